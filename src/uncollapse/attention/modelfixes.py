"""Every fix that acts on a model: its class, and what a reader is told of it."""

from collections.abc import Collection
from dataclasses import dataclass

from uncollapse.attention.calibration import Calibration
from uncollapse.attention.highpass import AttnScale, FeatScale, IdentityMix, LocalGlobal
from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.positions import Positions, Rope, SelfExtend
from uncollapse.attention.temperature import Temperature

ModelFix = (
    Temperature
    | TemperatureLaw
    | AttnScale
    | IdentityMix
    | LocalGlobal
    | FeatScale
    | Calibration
    | Positions
    | Rope
    | SelfExtend
)
"""A fix that acts on a model: `patch` puts it on."""


@dataclass(frozen=True)
class Facts:
    """What a reader is told of a fix.

    Args:
        name: of its notation.
        example: a notation that parses.
        formula: what it computes.
        effect: what that does to a text.
        cost: what it costs while a model runs.
        unfoldable: why no weights can carry it, "" if they can.
        source: where it is from.
    """

    name: str
    example: str
    formula: str
    effect: str
    cost: str
    unfoldable: str
    source: str


_MIXES_TOKENS = "the mean over a text's tokens mixes tokens, which no weight of a layer does"

FACTS: dict[type[ModelFix], Facts] = {
    Temperature: Facts(
        "temperature",
        "temperature(0.8)",
        "softmax(QK' / (tau sqrt d)); one tau, one a layer, or one a layer and head",
        "tau < 1 sharpens attention, so that a text keeps more of what tells its tokens apart",
        "none once folded; patched, one multiplication of the query a layer",
        "",
        "TempScale: Zhou et al., ACL 2025 (arXiv 2410.24200)",
    ),
    TemperatureLaw: Facts(
        "temperature",
        "temperature(law=log, n0=128)",
        "softmax(QK' / (tau(n) sqrt d)), n the text's own token count",
        "sharpens long texts more than short ones, which dilute attention less",
        "one multiplication of the query a layer",
        "it depends on each text's length. Export buckets instead: `uncollapse export --buckets` writes a checkpoint "
        "for each bucket of lengths, and what picks among them",
        "by law, see the table of laws",
    ),
    AttnScale: Facts(
        "attnscale",
        "attnscale(0.2)",
        "(1 + w) A V - w LP(V), LP(V) the plain mean of the values a token may look at",
        "amplifies what attention does beyond averaging",
        "one mean of the values a layer; SDPA instead of flash attention",
        _MIXES_TOKENS,
        "AttnScale: Wang et al., ICLR 2022 (arXiv 2203.05962)",
    ),
    IdentityMix: Facts(
        "identity_mix",
        "identity_mix(0.1)",
        "(1 - a) A V + a V",
        "lets each token keep a share of itself",
        "one sum a layer; SDPA instead of flash attention",
        "attention is mixed with each token's own value after the softmax, where a layer has no weight of its own",
        "the shortcut of He et al., ICLR 2023 (arXiv 2302.10322)",
    ),
    LocalGlobal: Facts(
        "local_global",
        "local_global(window=64, a=0.3)",
        "(1 - a) A V + a A_local V, A_local the softmax over at most `window` places on either side",
        "lets near tokens count more than far ones",
        "a second attention call a layer; SDPA instead of flash attention",
        "the softmax over a window is another one than over the text",
        "this package; windows from Longformer, Beltagy et al. 2020 (arXiv 2004.05150)",
    ),
    FeatScale: Facts(
        "featscale",
        "featscale(s=0.0, t=0.1)",
        "(1 + s) DC + (1 + t) (X - DC) after every layer, DC the mean of a text's tokens",
        "amplifies what tells a text's tokens apart; blind after the last layer where tokens are averaged",
        "one mean over the tokens a layer",
        _MIXES_TOKENS,
        "FeatScale: Wang et al., ICLR 2022 (arXiv 2203.05962)",
    ),
    Calibration: Facts(
        "calibration",
        "calibration(basket=128, strength=0.5, layers=upper, rows=all)",
        "A_ij m'_b / m_b with m'_b = (1 - strength) m_b + strength e_b, m_b the attention that basket b gets and e_b "
        "its share of the tokens",
        "lets every part of a text count, wherever it stands",
        "eager attention in the layers it acts on",
        "the shares of the baskets depend on the text",
        "Attention Calibration: Michail et al. 2026 (arXiv 2606.02737), from its abstract alone",
    ),
    Positions: Facts(
        "positions",
        "positions(mode=grouped, max_tokens=1024)",
        "a table of L positions for N tokens: row i is old row i // ceil(N / L) (grouped), i mod L (recurrent), or a "
        "line between those nearest to i (L - 1) / (N - 1) (interpolated)",
        "lets a model with a table of positions read past its window; only recurrent keeps short texts as they were",
        "that of the longer texts",
        "",
        "LongEmbed: Zhu et al., EMNLP 2024 (arXiv 2404.12096)",
    ),
    Rope: Facts(
        "rope",
        "rope(type=yarn, factor=4.0)",
        "angles divided by the factor (linear), base times factor^(d / (d - 2)) (ntk), slow angles divided and cos "
        "and sin times 0.1 ln(factor) + 1 (yarn)",
        "lets a model with rotary positions read past its window; all texts change",
        "that of the longer texts",
        "",
        "Chen et al. 2023 (arXiv 2306.15595); Peng et al., ICLR 2024 (arXiv 2309.00071)",
    ),
    SelfExtend: Facts(
        "self_extend",
        "self_extend(group=4, window=512)",
        "logits of tokens i, j at distance i - j within the window w, else at i // G - j // G + w - w // G for an "
        "earlier j and its mirror image for a later one",
        "lets a model with rotary positions read past its window; texts within `window` stay as they were",
        "three times the projections and logits, eager attention",
        "two tokens are compared at one of two distances, and weights know one. Use rope(...), which folds",
        "SelfExtend: Jin et al., ICML 2024 (arXiv 2401.01325)",
    ),
}
"""Class of a fix to its facts."""

MODEL_FIXES: dict[str, type[ModelFix]] = {facts.name: kind for kind, facts in reversed(FACTS.items())}
"""Name of a notation to its class; `temperature` with a law is a `TemperatureLaw`."""


def class_of(name: str, keys: Collection[str]) -> type[ModelFix]:
    """The class behind a notation, by its name and the names of its arguments.

    >>> class_of("temperature", ["law", "n0"]).__name__
    'TemperatureLaw'
    """
    return TemperatureLaw if name == "temperature" and "law" in keys else MODEL_FIXES[name]
