"""Every fix that acts on a model: its class, and what a reader is told of it."""

from collections.abc import Collection
from dataclasses import dataclass

from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.temperature import Temperature

ModelFix = Temperature | TemperatureLaw
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
        "it depends on each text's length. Export buckets instead: fold TemperatureLaw.at(n) for some lengths n, and "
        "send each text to the checkpoint of its length",
        "by law, see the table of laws",
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
