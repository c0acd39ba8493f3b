"""Texts with one vector each, or several that are compared by the best of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.errors import ModelError
from uncollapse.records import Embeddings

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Several:
    """Vectors of texts, those of one text one after another.

    Args:
        flat: the vectors, with the token counts of what each is of.
        owners: the number of the text of each vector, rising, with none left out: int64 [vectors].
        ids: one a text.
        n_tokens, n_tokens_full: of the texts, read and before truncation: int64 [texts].
    """

    flat: Embeddings
    owners: Ints
    ids: tuple[str, ...]
    n_tokens: Ints
    n_tokens_full: Ints

    @classmethod
    def of(cls, single: Embeddings) -> "Several":
        """Texts of one vector each."""
        return cls(single, np.arange(len(single)), single.ids, single.n_tokens, single.n_tokens_full)

    @classmethod
    def join(cls, parts: Sequence["Several"]) -> "Several":
        """Texts after texts; at least one part."""
        starts = np.cumsum([0, *(len(part.ids) for part in parts)])
        flat = [part.flat for part in parts]
        return cls(
            Embeddings(
                np.concatenate([one.vectors for one in flat]),
                tuple(name for one in flat for name in one.ids),
                np.concatenate([one.n_tokens for one in flat]),
                np.concatenate([one.n_tokens_full for one in flat]),
            ),
            np.concatenate([part.owners + start for part, start in zip(parts, starts[:-1], strict=True)]),
            tuple(name for part in parts for name in part.ids),
            np.concatenate([part.n_tokens for part in parts]),
            np.concatenate([part.n_tokens_full for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_single(self) -> bool:
        """Whether every text has one vector."""
        return len(self.owners) == len(self.ids)

    def replace(self, vectors: Vectors) -> "Several":
        """The same texts with other vectors in place of theirs."""
        flat = Embeddings(vectors, self.flat.ids, self.flat.n_tokens, self.flat.n_tokens_full)
        return Several(flat, self.owners, self.ids, self.n_tokens, self.n_tokens_full)


def direct(
    vectors: npt.NDArray[np.floating], ids: Sequence[str], fix: object, *, least: float = np.finfo(float).tiny
) -> Vectors:
    """The same directions with norm 1; vectors that have it, to the precision of float32, stay as they are.

    Args:
        vectors: [vectors, dim].
        ids: one a vector.
        fix: what made them, for the message.
        least: norm below which a direction is mere rounding.

    Raises:
        ModelError: a vector without a direction.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if len(lost := np.flatnonzero(~(norms >= least))):
        raise ModelError(
            f"`{fix}` leaves {len(lost)} of {len(vectors)} vectors without a direction; the first is text "
            f"{ids[lost[0]][:60]!r}. Take such texts out, or choose another fix."
        )
    directed: Vectors = vectors.astype(np.float32)
    others = np.flatnonzero(~(np.abs(norms - 1) < 1e-6))
    for start in range(0, len(others), _ROWS):  # float64 of all at once would take twice their memory again
        rows = others[start : start + _ROWS]
        directed[rows] = vectors[rows] / norms[rows, None]
    return directed
