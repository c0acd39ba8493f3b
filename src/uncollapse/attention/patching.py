"""Patch a fix onto a model for the length of a `with`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from uncollapse.attention.baskets import put_calibration
from uncollapse.attention.calibration import Calibration
from uncollapse.attention.compilation import is_compiled
from uncollapse.attention.features import put_featscale
from uncollapse.attention.grouping import put_self_extend
from uncollapse.attention.highpass import AttnScale, FeatScale, IdentityMix, LocalGlobal
from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.mixing import put_attnscale, put_identity_mix, put_local_global
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.positions import Positions, Rope, SelfExtend
from uncollapse.attention.postables import put_positions
from uncollapse.attention.rotations import put_rope
from uncollapse.attention.rows import scale_rows
from uncollapse.attention.scaling import scale_logits
from uncollapse.attention.sites import backbone
from uncollapse.attention.stamps import refuse_folded
from uncollapse.attention.temperature import Temperature
from uncollapse.errors import ArchitectureError, NotationError

MARK = "_temperatures_on"
"""Attribute that a transformers model has only while it is patched: the fixes, one a `with`. Hooks alone would not
tell, since on some architectures only numbers and parameters are changed."""

Put = Callable[[PreTrainedModel, Any, ExitStack], None]

PATCHES: dict[type[ModelFix], Put] = {
    Temperature: scale_logits,
    TemperatureLaw: scale_rows,
    AttnScale: put_attnscale,
    IdentityMix: put_identity_mix,
    LocalGlobal: put_local_global,
    FeatScale: put_featscale,
    Calibration: put_calibration,
    Positions: put_positions,
    Rope: put_rope,
    SelfExtend: put_self_extend,
}
"""Type of a fix to what puts it on a model until the stack closes, or refuses the model and leaves it as it was."""


@contextmanager
def patch(model: nn.Module, fix: ModelFix) -> Iterator[nn.Module]:
    """Run a model with a fix inside the `with`; afterwards it is bit for bit as before.

    With a temperature, attention is softmax(scores / tau); what the other fixes do stands with each. Patches may be
    nested, but only one of them may exchange the attention function. A compiled model is refused, since its graph
    would ignore the patch; so is one with such a fix in its weights. A fix at its identity touches nothing.
    A pool of processes works with copies of the model as it was when the pool was started: one started before the
    `with` ignores the patch, and copies of a model whose attention function is exchanged fail. Fold for a pool.
    Inside the `with` the model bears a mark, by which an evaluation refuses to take its vectors for
    those of the model as it came.

    Args:
        model: a transformers model, or one that holds it, such as a SentenceTransformer.
        fix: any fix that acts on a model.

    Raises:
        ArchitectureError: a model that cannot take the fix, by name and with the reason.
        NotationError: a fix of texts, vectors or scores, which no model can wear.

    >>> from transformers import BertConfig, BertModel
    >>> bert = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)).eval()
    >>> with patch(bert, Temperature(0.5)):
    ...     hasattr(bert, MARK)
    True
    """
    put = PATCHES.get(type(fix))
    if put is None:
        known = ", ".join(kind.__name__ for kind in PATCHES)
        raise NotationError(f"Expected a fix that acts on a model, got {fix!r}. `patch` takes: {known}.")
    if is_compiled(model):
        raise ArchitectureError(
            "Expected a model that is not compiled, got one that is, or a part of it: its graph would ignore "
            "the patch. Patch first and compile inside the `with`, or fold."
        )
    inner = backbone(model)
    refuse_folded(inner, fix)
    with ExitStack() as undo:
        put(inner, fix, undo)
        if not fix.is_identity:
            _mark(inner, fix, undo)
        yield model


def _mark(model: PreTrainedModel, fix: ModelFix, undo: ExitStack) -> None:
    setattr(model, MARK, (*getattr(model, MARK, ()), fix))
    undo.callback(_unmark, model, fix)


def _unmark(model: PreTrainedModel, fix: ModelFix) -> None:
    left = list(getattr(model, MARK))
    left.remove(fix)
    if left:
        setattr(model, MARK, tuple(left))
    else:
        delattr(model, MARK)
