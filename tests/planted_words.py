"""A black box whose tokens are parts of words, and documents for it in which no word comes twice."""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from uncollapse.diagnosis.causes.controls import measure_controls, measurement
from uncollapse.diagnosis.causes.controls.cutting import Lengths, Made
from uncollapse.records import Part, Row
from uncollapse.reservoir import Kept

DIM, D, LIMIT = 16, 36, 66
PIECE, SIZE, COUNT = 16, 14, 4  # what follows from a limit of 66 tokens, two of them special


def numbers_of(word: str) -> npt.NDArray[np.float64]:
    """Small whole numbers that depend on the word alone: their sums are exact in any order."""
    return np.random.default_rng(zlib.crc32(word.encode())).integers(-3, 4, DIM).astype(np.float64)


class Words:
    """Tokens are parts of words between tildes, and two special ones; a vector is the mean of the parts' vectors."""

    name, dim, notes, folder_max_tokens = "planted", DIM, (), None
    n_special_tokens = 2

    def __init__(
        self,
        part: Callable[[str], npt.NDArray[np.float64]] = numbers_of,
        *,
        late: float = 0.0,
        max_tokens: int = LIMIT,
        can_cut: bool = True,
    ) -> None:
        self.part, self.late, self.max_tokens, self.can_cut = part, late, max_tokens, can_cut
        self.seen: list[str] = []

    def parts(self, text: str) -> list[str]:
        return re.findall(r"[^~\s]+", text)

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([len(self.parts(text)) + 2 for text in texts], np.int64)

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """A part with the tilde behind it, so that no gap lies inside a word."""
        return np.array([part.span() for part in re.finditer(r"[^~\s]+~?", text)], np.int64).reshape(-1, 2)

    def vectors(self, texts: Sequence[str], n_tokens: object = None) -> npt.NDArray[np.float32]:  # noqa: ARG002
        self.seen += texts
        return np.array([self._vector(self.parts(text)) for text in texts], np.float32)

    def _vector(self, parts: list[str]) -> npt.NDArray[np.float64]:
        late = np.zeros(DIM)
        late[0] = self.late * np.log2(len(parts) / SIZE)
        return np.mean([self.part(part) for part in parts], axis=0) + late


def text_of(document: int, words: int = 90) -> str:
    """Words that occur once in all texts, of one to four tokens, in sentences of four words."""
    made = [
        "~".join(f"d{document}w{i}p{part}" for part in range(1 + (i + document) ** 2 % 7 % 4)) for i in range(words)
    ]
    return " ".join(word + ("." if i % 4 == 3 else "") for i, word in enumerate(made))


def documents(n: int = D, make: Callable[[int], str] = text_of) -> list[Kept]:
    texts = [make(i) for i in range(n)]
    return [Kept(f"id{i}", text, len(Words().parts(text)) + 2) for i, text in enumerate(texts)]


def rows_of(part: Part) -> dict[tuple[str, str], Row]:
    return {(row.measure, row.bin): row for row in part.rows}


def effect(part: Part, name: str) -> Row:
    return rows_of(part)["control_effect", name]


def made_texts(monkeypatch: pytest.MonkeyPatch, encoder: Any = None, **keys: Any) -> dict[str, Made]:
    """The texts of every control, as they are embedded."""
    made: dict[str, Made] = {}
    real = measurement.fit

    def fit(encoder: Any, texts: Sequence[str], lengths: Lengths, name: str) -> Made:
        made[name] = real(encoder, texts, lengths, name)
        return made[name]

    with monkeypatch.context() as patched:
        patched.setattr(measurement, "fit", fit)
        measure_controls(encoder or Words(), keys.pop("documents", documents()), **keys)
    return made


def bag(texts: Sequence[str]) -> Counter[str]:
    return Counter(word.strip(".") for text in texts for word in text.split())
