"""What every tiny model shows of itself, and an independent look at the same attention maps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from architectures import CONFIGS, stay_double
from test_attention import model_of
from uncollapse.attention.observing import Heads, States, Support, find_support, observe
from uncollapse.attention.sites import find_sites
from uncollapse.attention.verification import probe_batch

HEADS_REFUSED = {
    "nystromformer": "product of three over landmarks",
    "big_bird-sparse": "few blocks of the text; load it with attention_type='original_full'",
    "longformer": "window and a few global tokens",
    "gpt_oss": "includes a sink",
}
"""Architecture to what the refusal of its heads must say; the heads of all others are observed."""

POST_NORM = ("input", "attention", "after attention", "attention norm", "mlp", "after mlp", "mlp norm")
PRE_NORM = ("input", "attention", "after attention", "mlp", "after mlp")
PARALLEL = ("input", "attention", "mlp", "after mlp")

_POST = """bert roberta xlm-roberta camembert ernie electra roc_bert roformer rembert nystromformer big_bird albert
albert-groups distilbert convbert xlnet mpnet deberta deberta-v2 deberta-v2-shared nomic_bert gte jina_embeddings_v3"""
_PRE = """xlm-roberta-xl esm megatron-bert t5 mt5 umt5 modernbert eurobert ultrabert neomme llama mistral ministral3
qwen2 gemma granite qwen3 qwen3_moe lfm2 gemma3 olmo2 esmc phi3 gpt2 gemma2 gemma2-uncapped t5gemma gpt_oss mistral4
llama4 llama4-normed nanochat bloom mpt"""
_PARALLEL = "cohere cohere-plain phi phi-normed gpt_neox"
STAGES = {
    **dict.fromkeys(_POST.split(), POST_NORM),
    **dict.fromkeys(_PRE.split(), PRE_NORM),
    **dict.fromkeys(_PARALLEL.split(), PARALLEL),
}
"""Architecture to the stages of its layers."""

STATES_REFUSED = {
    "xmod": "adapters",
    "mobilebert": "bottleneck",
    "embedding_gemma2": "inputs beside the stream",
    "xlm": "no module is a layer",
    "squeezebert": "run past the hooks",
    "longformer": "lengthens the texts to whole windows",
    "big_bird-sparse": "load it with attention_type='original_full'",
}
"""Architecture to what the refusal of its states must say."""

OBSERVED = [name for name in CONFIGS if name not in HEADS_REFUSED]
FOLLOWED = [name for name in CONFIGS if name not in STATES_REFUSED]


@dataclass
class Seen:
    """What the callbacks were given."""

    heads: list[Heads] = field(default_factory=list)
    states: list[States] = field(default_factory=list)
    output: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def heads_of(self, row: int) -> list[tuple[Heads, int]]:
        """Every layer's heads that hold a text of the batch, and its place among them."""
        return [(heads, heads.rows.index(row)) for heads in self.heads if row in heads.rows]

    def states_of(self, row: int) -> list[tuple[States, int]]:
        """Every layer's states that hold a text of the batch, and its place among them."""
        return [(states, states.rows.index(row)) for states in self.states if row in states.rows]


Batch = dict[str, torch.Tensor]


def look(model: nn.Module, batch: Batch, *, heads: bool = False, states: bool = False) -> Seen:
    """Run a model observed, in float64 throughout."""
    return look_at_all(model, [batch], heads=heads, states=states)[0]


def look_at_all(
    model: nn.Module, batches: Sequence[Batch], *, heads: bool = False, states: bool = False
) -> list[Seen]:
    """Run several batches inside one `with`."""
    now, done = Seen(), []
    on_heads = now.heads.append if heads else None
    on_states = now.states.append if states else None
    with stay_double(), torch.no_grad(), observe(model, on_heads=on_heads, on_states=on_states):
        for batch in batches:
            output = model(**batch)[0]
            done.append(Seen([*now.heads], [*now.states], output))
            now.heads.clear()
            now.states.clear()
    return done


def alone(batch: Batch) -> list[Batch]:
    """Every text of a padded batch without its padding."""
    masks = enumerate(batch["attention_mask"].bool())
    return [{key: value[row : row + 1, real] for key, value in batch.items()} for row, real in masks]


def one_thread() -> Iterator[None]:
    """A fixture: tiny models gain nothing from threads, and on a busy machine lose much."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def seen_of(name: str, part: str) -> tuple[Seen, Seen, list[Seen]]:
    """The "heads" or "states" of an architecture: a batch without padding, one with it, the texts of that alone."""
    model = model_of(name)
    padded = probe_batch(model)
    whole, together, *apart = look_at_all(model, [whole_batch(model), padded, *alone(padded)], **{part: True})
    return whole, together, apart


@cache
def support_of(name: str) -> Support:
    """What can be observed of an architecture."""
    with stay_double():
        return find_support(model_of(name))


def whole_batch(model: nn.Module, texts: int = 2, n: int = 17) -> dict[str, torch.Tensor]:
    """A batch without padding."""
    return probe_batch(model, [n] * texts)


def left_padded(model: nn.Module) -> dict[str, torch.Tensor]:
    """The probe batch, padded on the left."""
    batch = {key: value.flip(1) for key, value in probe_batch(model).items()}
    return {**batch, "position_ids": (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)}


class Recorder(TorchFunctionMode):
    """Record what every softmax over keys gives while an attention module runs."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = False
        self.maps: list[torch.Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        softmax = func in {torch.softmax, torch.Tensor.softmax, nn.functional.softmax}
        if self.inside and softmax and result.ndim == 4 and result.shape[-1] == result.shape[-2]:
            self.maps.append(result)
        return result


def literal_maps(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The attention weights of every layer, caught at the softmax of eager attention."""
    recorder, handles = Recorder(), []
    for site in find_sites(model):
        for hook, value in (("register_forward_pre_hook", True), ("register_forward_hook", False)):
            handles.append(getattr(site.module, hook)(lambda *_, to=value: setattr(recorder, "inside", to)))
    with stay_double(), torch.no_grad(), recorder:
        model(**batch)
    for handle in handles:
        handle.remove()
    return recorder.maps


def given_maps(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The attention weights a model gives itself, none if it does not."""
    with stay_double(), torch.no_grad():
        outputs = model(**batch, output_attentions=True)
    return [maps for maps in getattr(outputs, "attentions", None) or () if maps is not None]
