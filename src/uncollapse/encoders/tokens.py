"""Tokens of texts whose model cannot be asked: words, or what a tokenizer's own file says."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from uncollapse.encoders.sentence import word_spans
from uncollapse.errors import ModelError
from uncollapse.records import chunks

UNKNOWN_LIMIT = (
    "At how many tokens the model cuts texts off is not known, so every text counts with its full length. Give "
    "--max-tokens N (max_tokens=N) if you know it."
)

_AT_ONCE = 32  # texts; counting takes some hundred bytes a token


class TokenCounter(Protocol):
    """Counts tokens and finds them in a text.

    Attributes:
        unit: what is counted, in the plural.
        n_special_tokens: tokens added to every text.
        notes: what a reader must know.
        digest: tells it from another tokenizer; "" for words.
    """

    unit: str
    n_special_tokens: int
    notes: tuple[str, ...]
    digest: str

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens of each text, special tokens in: int64 [texts]."""
        ...

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of a text begins and ends, in characters: int64 [tokens, 2], without special tokens."""
        ...


class Words:
    """Words stand for tokens: what white space parts."""

    unit, n_special_tokens, digest = "words", 0, ""
    notes: tuple[str, ...] = (
        "Lengths are counted in words, what white space parts: how the model cuts texts into tokens is not known. "
        "Name its tokenizer (--tokenizer) for its own tokens, and for texts in a script without white space.",
    )

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Words of each text: int64 [texts]."""
        return np.array([len(text.split()) for text in texts], dtype=np.int64)

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """Where each word of a text begins and ends, in characters: int64 [words, 2]."""
        return word_spans(text)


class TokenizerFile:
    """A tokenizer from its tokenizer.json, whose limit on the length of a text is left out.

    Args:
        place: the file, or the folder of a model that holds it.

    Raises:
        ModelError: no such file, or one that cannot be read.
    """

    unit = "tokens"
    notes: tuple[str, ...] = ()

    def __init__(self, place: Path) -> None:
        file = place / "tokenizer.json" if place.is_dir() else place
        if not file.is_file():
            raise ModelError(
                f"Expected a tokenizer.json or the folder of a model that holds one, got {str(place)!r}. Most models "
                "on the Hugging Face hub have that file."
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise ModelError(f"Expected a tokenizer that can be read, got {str(file)!r}: {error}.") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.n_special_tokens = int(self.count([""])[0])
        self.digest = hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()[:32]

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens of each text, special tokens in: int64 [texts]."""
        found = [len(item) for few in chunks(texts, _AT_ONCE) for item in self._tokenizer.encode_batch_fast(few)]
        return np.array(found, dtype=np.int64)

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of a text begins and ends, in characters: int64 [tokens, 2], without special tokens."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        found = np.array(offsets, np.int64).reshape(-1, 2)
        return found[found[:, 1] > found[:, 0]]


def open_counter(tokenizer: str | Path | None) -> TokenCounter:
    """Words, or the tokens of a tokenizer.

    Args:
        tokenizer: a tokenizer.json or the folder of a model that holds one; None for words.

    Raises:
        ModelError: see `TokenizerFile`.
    """
    return Words() if tokenizer is None else TokenizerFile(Path(tokenizer))


def cut_text(text: str, spans: npt.NDArray[np.int64], most: int) -> str:
    """The beginning of a text, up to the end of its `most`-th token.

    >>> cut_text("one two  three", word_spans("one two  three"), 2)
    'one two'
    """
    return text if len(spans) <= most else text[: spans[most - 1, 1]]
