"""How much of a text a model really reads, whatever it says: what it does not read can be replaced unnoticed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import TextEncoder
from uncollapse.measures import unit
from uncollapse.progress import Advance
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept

PROBES = 8
"""Documents on which it is tried."""

UNNOTICED = 1e-6
"""1 - cosine up to which a vector counts as unchanged: above what batches and half precision do to equal texts."""


@dataclass(frozen=True)
class Reach:
    """How far a model reads.

    Args:
        window: tokens of text it was given, special tokens and prompt in.
        tokens: how many of them it reads, special tokens and prompt in.
        probes: documents on which this was tried.
    """

    window: int
    tokens: int
    probes: int

    @property
    def is_short(self) -> bool:
        """Whether it surely reads less than it was given."""
        return self.tokens < self.window


@dataclass(frozen=True, eq=False)
class _Probe:
    """A text whose end is replaced by another one."""

    text: str
    spans: npt.NDArray[np.int64]
    other: str
    other_spans: npt.NDArray[np.int64]

    def replaced(self, kept: int) -> str:
        """The first `kept` tokens, then as many others as were cut off."""
        others = self.other_spans[: len(self.spans) - kept]
        start = self.text[: self.spans[kept - 1, 1]] if kept else ""
        return f"{start} {self.other[: others[-1, 1]]}".strip()


def find_reach(
    encoder: TextEncoder,
    documents: Sequence[Kept],
    window: int,
    *,
    last: int,
    seed: int = 0,
    advance: Advance = lambda _: None,
) -> Reach:
    """How many of `window` tokens a model reads.

    Everything after token k of a few documents is replaced by other text; k is the smallest number for which not one
    vector changes, found by bisection. Where replacing the last `last` tokens changes any vector, the model reads
    everything; where replacing the whole text changes none, it cannot be told and the model is believed.

    Args:
        encoder: the model.
        documents: at least 2, each of `window` tokens or more; tried on PROBES of them.
        window: tokens, special tokens and prompt in.
        last: tokens of text, the least that would be missed.
        seed: which documents are tried.
        advance: told about texts.
    """
    probes = _probes(encoder, documents, window - encoder.n_special_tokens, seed)
    length = min(len(probe.spans) for probe in probes)
    as_is = _units(encoder, [probe.text for probe in probes])
    advance(len(probes))

    def is_read(kept: int) -> bool:
        changed = _units(encoder, [probe.replaced(kept) for probe in probes])
        advance(len(probes))
        share = (length - kept) / length
        # A mean over very many tokens hardly moves by a few of them: their share is the change to expect.
        unnoticed = min(UNNOTICED, 1e-3 * share**2)
        return bool((1 - np.einsum("ij,ij->i", as_is, changed) > unnoticed).any())

    high = length - last
    if high < 1 or is_read(high) or not is_read(0):
        return Reach(window, window, len(probes))
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_read(middle) else (low, middle)
    return Reach(window, high + encoder.n_special_tokens, len(probes))


def _probes(encoder: TextEncoder, documents: Sequence[Kept], most: int, seed: int) -> list[_Probe]:
    """The first documents in a random line, each with the next one as what replaces its end.

    Texts may all begin alike, so every second one is replaced by a text that begins in its middle.
    """
    order = np.argsort(sampling_order(document_keys([document.id for document in documents]), seed=seed))
    texts = [documents[row].text for row in order[:PROBES].tolist()]
    spans = [encoder.spans(text)[:most] for text in texts]
    texts = [text[: own[-1, 1]] for text, own in zip(texts, spans, strict=True)]
    others = [*texts[1:], texts[0]]
    others[1::2] = [_from_the_middle(encoder, other) for other in others[1::2]]
    return [
        _Probe(text, own, other, encoder.spans(other)) for text, own, other in zip(texts, spans, others, strict=True)
    ]


def _from_the_middle(encoder: TextEncoder, text: str) -> str:
    """The second half of a text, then the first."""
    spans = encoder.spans(text)
    middle = int(spans[len(spans) // 2, 0])
    return f"{text[middle:].strip()} {text[:middle].strip()}"


def _units(encoder: TextEncoder, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    units = unit(encoder.vectors(texts)).astype(np.float64)
    return np.asarray(units / np.linalg.norm(units, axis=1, keepdims=True), dtype=np.float64)
