"""Vectors that several rooms of a diagnosis ask for: every text embedded once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import TextEncoder
from uncollapse.progress import Advance
from uncollapse.records import chunks

MOST = 1 << 26
"""Numbers that are kept, 256 MB of them; the vectors of further texts are made anew whenever they are asked for."""

_AT_ONCE = 128

Vectors = dict[str, npt.NDArray[np.float32]]
"""By text, float32 [dim] each."""

Setting = tuple[str, str, int]
"""What besides its text a vector depends on: prompt, tower, and how many tokens are read."""


class Memory:
    """The vectors of one model for as long as nothing about the model changes.

    A vector is found by its text, by the prompt and the tower it went through, and by the tokens that were read. What
    acts inside the model, such as a shift of its positions, is not seen: such vectors must be asked of the encoder
    itself.

    Args:
        most: numbers kept at most.

    Attributes:
        tokens: that went through the model.
    """

    def __init__(self, *, most: int = MOST) -> None:
        self.tokens, self._free = 0, most
        self._known: dict[Setting, Vectors] = {}

    def vectors(
        self,
        encoder: TextEncoder,
        texts: Sequence[str],
        n_tokens: npt.NDArray[np.int64],
        *,
        advance: Advance = lambda _: None,
    ) -> npt.NDArray[np.float32]:
        """One vector a text, float32 [texts, dim], as the model gives it; new texts are embedded longest first.

        Args:
            encoder: the model, in any of its roles.
            texts: the same one any number of times.
            n_tokens: int64 [texts].
            advance: told about tokens, those of known texts at once.
        """
        known = self._known.setdefault(_setting(encoder), {})
        first: dict[str, int] = {}
        for row, text in enumerate(texts):
            first.setdefault(text, row)
        new = np.array([row for text, row in first.items() if text not in known], np.int64)
        found = {text: known[text] for text in first if text in known}
        advance(float(n_tokens.sum() - n_tokens[new].sum()))
        for few in chunks(new[np.argsort(-n_tokens[new], kind="stable")].tolist(), _AT_ONCE):
            found |= self._embed(encoder, [texts[row] for row in few], n_tokens[few], known)
            advance(float(n_tokens[few].sum()))
        return np.array([found[text] for text in texts], np.float32).reshape(len(texts), encoder.dim)

    def _embed(
        self, encoder: TextEncoder, texts: Sequence[str], n_tokens: npt.NDArray[np.int64], known: Vectors
    ) -> Vectors:
        """Vectors of new texts, which are known from now on where they fit."""
        vectors = encoder.vectors(texts, n_tokens)
        made = dict(zip(texts, vectors, strict=True))
        self.tokens += int(n_tokens.sum())
        if vectors.size <= self._free:
            self._free -= vectors.size
            known.update(made)
        return made


def _setting(encoder: TextEncoder) -> Setting:
    return getattr(encoder, "prompt", ""), getattr(encoder, "tower", ""), encoder.max_tokens
