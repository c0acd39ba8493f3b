"""What of the collapse each layer holds, and what a temperature in one layer alone does to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import ArchitectureError
from uncollapse.explanation.estimates import cosine_of
from uncollapse.explanation.settings import Settings
from uncollapse.measures import unit
from uncollapse.progress import Advance
from uncollapse.records import FloatArray, chunks
from uncollapse.resampling import Estimate, difference

_AT_ONCE = 64


@dataclass(frozen=True)
class Ablation:
    """How the rise of the mean cosine changes with a temperature in some layers.

    Args:
        rise: of the model as it is, from the shortest to the longest length.
        changes: by layer, the rise with the temperature in that layer alone minus `rise`.
        together: the same with the temperature in all layers; None where it was not measured.
        refused: why a temperature cannot be put into one layer of this model, else "".
    """

    rise: Estimate
    changes: Mapping[int, Estimate]
    together: Estimate | None
    refused: str = ""


def ablate(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    ids: Sequence[str],
    ends: tuple[int, int],
    stock: tuple[FloatArray, FloatArray],
    n_layers: int,
    settings: Settings,
    *,
    advance: Advance,
) -> Ablation:
    """Embed the texts at both ends of their lengths with a temperature in one layer at a time.

    Args:
        encoder: the model as it is.
        texts, ids: the documents, each at least as long as the longer end.
        ends: shortest and longest length, in tokens.
        stock: unit vectors [documents, dim] of the model as it is at both ends.
        n_layers: layers with attention.
        settings: the temperature is `at_one_layer`.
        advance: told the tokens done.
    """
    rise = _rise(stock, ids, settings)
    changes: dict[int, Estimate] = {}
    tau, refused, together = settings.at_one_layer, "", None
    try:
        for layer in range(n_layers):
            with patch(encoder.model, Temperature(one_layer(tau, layer, n_layers))):
                changes[layer] = difference(_rise(_embed(encoder, texts, ends, advance), ids, settings), rise)
    except ArchitectureError as error:
        refused = str(error)
    with patch(encoder.model, Temperature(tau)):
        together = difference(_rise(_embed(encoder, texts, ends, advance), ids, settings), rise)
    return Ablation(rise, changes, together, refused)


def one_layer(tau: float, layer: int, n_layers: int) -> list[float]:
    """A temperature in one layer, 1 in all others.

    >>> one_layer(0.8, 1, 3)
    [1.0, 0.8, 1.0]
    """
    return [tau if number == layer else 1.0 for number in range(n_layers)]


def _rise(ends: Sequence[FloatArray], ids: Sequence[str], settings: Settings) -> Estimate:
    short, long = (cosine_of(vectors, ids, replicates=settings.replicates, seed=settings.seed) for vectors in ends)
    return difference(long, short)


def _embed(
    encoder: SentenceEncoder, texts: Sequence[str], ends: tuple[int, int], advance: Advance
) -> tuple[FloatArray, FloatArray]:
    short, long = (np.concatenate(list(_cut(encoder, texts, n, advance))) for n in ends)
    return unit(short), unit(long)


def _cut(encoder: SentenceEncoder, texts: Sequence[str], n: int, advance: Advance) -> Iterator[FloatArray]:
    with encoder.window(n):
        for few in chunks(texts, _AT_ONCE):
            yield encoder.vectors(few, np.full(len(few), n))
            advance(float(n * len(few)))
