"""Encoders whose vectors are known in advance, and documents whose sentences say one thing each."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import Prepared
from uncollapse.encoders.sentence import word_spans
from uncollapse.measures import unit
from uncollapse.reservoir import Kept

DIM = 1024
"""So many that the words of a test are close to orthogonal."""

Read = Callable[[list[str]], list[str]]


class BagEncoder:
    """Words are tokens, each with a random vector of its own; a text is the mean of the words that are read."""

    name, dim, notes, folder_max_tokens, n_special_tokens, can_cut = "bag", DIM, (), None, 2, True

    def __init__(self, read: Read = list, *, max_tokens: int = 10_000) -> None:
        self.read, self.max_tokens = read, max_tokens
        self.encoded: list[str] = []

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([len(text.split()) + 2 for text in texts], dtype=np.int64)

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        return word_spans(text)

    def prepare(self, texts: Sequence[str]) -> Prepared:
        full = self.count(texts)
        return Prepared(tuple(texts), np.minimum(full, self.max_tokens), full)

    def vectors(self, texts: Sequence[str], n_tokens: object = None) -> npt.NDArray[np.float32]:  # noqa: ARG002
        self.encoded += texts
        return np.stack([self.vector(text) for text in texts]).astype(np.float32)

    def vector(self, text: str) -> npt.NDArray[np.float32]:
        words = self.read(text.split()[: self.max_tokens - 2])
        return np.mean([word_vector(word.strip(".,")) for word in words], axis=0)

    @contextmanager
    def window(self, n_tokens: int) -> Iterator[None]:
        before, self.max_tokens = self.max_tokens, n_tokens
        yield
        self.max_tokens = before


class RandomEncoder(BagEncoder):
    """Every text has a random vector, whatever it says."""

    def vector(self, text: str) -> npt.NDArray[np.float32]:
        return word_vector(text)


class ConstantEncoder(BagEncoder):
    """Every text has the same vector."""

    def vector(self, text: str) -> npt.NDArray[np.float32]:  # noqa: ARG002
        return np.ones(DIM, np.float32)


@lru_cache(maxsize=30_000)
def word_vector(word: str) -> npt.NDArray[np.float32]:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(DIM, dtype=np.float32)


def first_half(words: list[str]) -> list[str]:
    return words[: max(1, len(words) // 2)]


def sentence(document: int, number: int, *, topic: bool = False, words: int = 8) -> str:
    """Words that stand nowhere else, but for the document's topic."""
    own = [f"w{document}x{number}x{word}" for word in range(words)]
    return " ".join([f"topic{document}", *own[1:]] if topic else own) + "."


def text(document: int, sentences: int, *, topic: bool = False) -> str:
    return " ".join(sentence(document, number, topic=topic) for number in range(sentences))


def make_documents(
    encoder: BagEncoder, n: int, *, sentences: Sequence[int] = (6, 12, 24), topic: bool = False
) -> list[Kept]:
    """Documents of so many sentences, in turn; of 8 words a sentence."""
    texts = [text(i, sentences[i % len(sentences)], topic=topic) for i in range(n)]
    return keep(encoder, texts)


def keep(encoder: BagEncoder, texts: Sequence[str], *, spare: int = 16) -> list[Kept]:
    """Texts as a profile keeps them: cut to what is read and a few tokens more, with vectors."""
    vectors, full = unit(encoder.vectors(texts)), encoder.count(texts)
    encoder.encoded.clear()
    cut = [" ".join(words.split(" ")[: encoder.max_tokens - 2 + spare]) for words in texts]
    return [
        Kept(f"id{i}", cut[i], int(min(full[i], encoder.max_tokens)), vectors[i], full=texts[i])
        for i in range(len(texts))
    ]
