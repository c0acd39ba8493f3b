"""An encoder with a planted effect of length, and corpora for it, made of nothing but numbers."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from uncollapse.corpora import Skipped, Text
from uncollapse.encoders import Prepared
from uncollapse.encoders.sentence import word_spans

DIM = 32


class PlantedEncoder:
    """Words are tokens. A vector is noise of its own, plus `drift` a doubling of the length in one direction."""

    name, dim, notes, architecture = "planted", DIM, (), "Planted"
    folder_max_tokens: int | None = None
    source = Path(__file__).parent / "none"

    def __init__(self, drift: float, *, max_tokens: int = 128, mean: float = 0.0) -> None:
        self.drift, self.max_tokens, self.mean = drift, max_tokens, mean
        self.encoded = 0

    n_special_tokens, can_cut, folded_fix = 2, True, "none"

    @property
    def about(self) -> dict[str, object]:
        return {"name": self.name, "architecture": self.architecture, "folder_max_tokens": self.folder_max_tokens}

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([len(text.split()) + 2 for text in texts], dtype=np.int64)

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        return word_spans(text)

    def prepare(self, texts: Sequence[str]) -> Prepared:
        full = self.count(texts)
        return Prepared(tuple(texts), np.minimum(full, self.max_tokens), full)

    def vectors(self, texts: Sequence[str], n_tokens: object = None) -> npt.NDArray[np.float32]:  # noqa: ARG002
        self.encoded += len(texts)
        return np.stack([self._vector(text) for text in texts]).astype(np.float32)

    def _vector(self, text: str) -> npt.NDArray[np.float64]:
        words = text.split()
        tokens = min(len(words) + 2, self.max_tokens)
        noise = np.random.default_rng(zlib.crc32(f"{words[0]} {tokens}".encode())).standard_normal(DIM)
        noise[0] += (self.mean + self.drift * np.log2(max(tokens, 1) / 8)) * np.sqrt(DIM)
        return noise

    @contextmanager
    def window(self, n_tokens: int) -> Iterator[None]:
        before, self.max_tokens = self.max_tokens, n_tokens
        yield
        self.max_tokens = before


class ListCorpus:
    """Texts in memory."""

    name, description, notes = "made", "made for a test", ("a note",)

    def __init__(self, texts: Sequence[Text]) -> None:
        self.texts, self.skipped, self.passes = list(texts), Skipped(), 0

    def __iter__(self) -> Iterator[Text]:
        self.passes += 1
        return iter(self.texts)


def corpus(n: int, *, longest: int = 200, seed: int = 0) -> ListCorpus:
    """n texts whose lengths are even on a log scale from 4 words up."""
    lengths = np.exp(np.random.default_rng(seed).uniform(np.log(4), np.log(longest), n)).astype(int)
    return ListCorpus(
        [
            Text(f"id{i}", " ".join([f"t{i}", *["w"] * (length - 1)]), f"t{i}", "src")
            for i, length in enumerate(lengths)
        ]
    )
