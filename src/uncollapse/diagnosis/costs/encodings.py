"""Unit vectors of all texts that the probes need, each text encoded once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import Prepared, TextEncoder
from uncollapse.measures import unit
from uncollapse.progress import Advance, Reporter, Silent

_AT_ONCE = 128

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Encodings:
    """Vectors by text.

    Args:
        rows: the row of each text.
        vectors: float32 [texts, dim], of norm 1.
        n_tokens: that went through the model for them.
    """

    rows: Mapping[str, int]
    vectors: Vectors
    n_tokens: int

    def of(self, texts: Sequence[str]) -> Vectors:
        """The vectors of some texts: float32 [texts, dim]."""
        return self.vectors[[self.rows[text] for text in texts]]


def encode_once(
    encoder: TextEncoder,
    texts: Iterable[str],
    *,
    what: str,
    progress: Reporter | None = None,
) -> Encodings:
    """Encode every different text once, longest first.

    Args:
        encoder: the model.
        texts: not blank; the same text any number of times.
        what: heading of the bar.
        progress: told about tokens.
    """
    different = list(dict.fromkeys(texts))
    rows = {text: row for row, text in enumerate(different)}
    if not different:
        return Encodings(rows, np.empty((0, encoder.dim), np.float32), 0)
    prepared = encoder.prepare(different)
    total = int(prepared.n_tokens.sum())
    with (progress or Silent()).track(what, total, "tokens") as advance:
        vectors = _encode(encoder, prepared, advance)
    return Encodings(rows, unit(vectors), total)


def _encode(encoder: TextEncoder, prepared: Prepared, advance: Advance) -> Vectors:
    order = np.argsort(-prepared.n_tokens, kind="stable")
    vectors = np.empty((len(order), encoder.dim), np.float32)
    for rows in np.array_split(order, -(-len(order) // _AT_ONCE)):
        vectors[rows] = encoder.vectors([prepared.texts[row] for row in rows], prepared.n_tokens[rows])
        advance(int(prepared.n_tokens[rows].sum()))
    return vectors
