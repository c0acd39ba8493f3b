"""Unit vectors of all texts that the probes need, each text encoded once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.memory import Memory
from uncollapse.encoders import TextEncoder
from uncollapse.measures import unit
from uncollapse.progress import Reporter, Silent

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
    memory: Memory | None = None,
    progress: Reporter | None = None,
) -> Encodings:
    """Encode every different text once, longest first.

    Args:
        encoder: the model.
        texts: not blank; the same text any number of times.
        what: heading of the bar.
        memory: of what other rooms embedded already; None starts a new one.
        progress: told about tokens.
    """
    different = list(dict.fromkeys(texts))
    rows = {text: row for row, text in enumerate(different)}
    if not different:
        return Encodings(rows, np.empty((0, encoder.dim), np.float32), 0)
    prepared = encoder.prepare(different)
    memory = memory or Memory()
    before = memory.tokens
    with (progress or Silent()).track(what, int(prepared.n_tokens.sum()), "tokens") as advance:
        vectors = memory.vectors(encoder, prepared.texts, prepared.n_tokens, advance=advance)
    return Encodings(rows, unit(vectors), memory.tokens - before)
