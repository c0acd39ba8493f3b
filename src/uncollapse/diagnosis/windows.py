"""The same documents cut to 8, 16, 32, ... tokens: length alone differs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.units import unit_of
from uncollapse.diagnosis.views import View, make_view
from uncollapse.encoders import TextEncoder, VectorFile
from uncollapse.measures import unit
from uncollapse.moments import BinState
from uncollapse.progress import Advance, Reporter, Silent
from uncollapse.records import chunks
from uncollapse.resampling import document_keys
from uncollapse.reservoir import Kept


def window_lengths(encoder: TextEncoder) -> tuple[int, ...]:
    """The lengths to which a model cuts texts; none for one whose token limit cannot be set."""
    return document_lengths(encoder) if encoder.can_cut else ()


def document_lengths(encoder: TextEncoder) -> tuple[int, ...]:
    """Powers of two from 8 tokens (or what leaves room for 4 tokens of text), and what the model sees at most.

    None for a file of vectors, where nothing can be asked of a long document.
    """
    if isinstance(encoder, VectorFile):
        return ()
    shortest, longest = max(8, encoder.n_special_tokens + 4), min(encoder.max_tokens, 2**20)
    powers = [2**k for k in range(3, 21) if shortest <= 2**k <= longest]
    return tuple(powers if longest in powers or longest < shortest else [*powers, longest])


def profile_windows(
    encoder: TextEncoder,
    documents: Sequence[Kept],
    settings: Settings,
    *,
    label: str = "",
    progress: Reporter | None = None,
) -> View:
    """Cut the same documents to exactly n tokens, n = 8, 16, ..., and measure at each n.

    What differs between bins is then the length alone and never which texts are in the bin. A document that has n
    tokens as the model sees it is not cut, so its vector is taken as it is where the document carries one.

    Args:
        encoder: the model; patch it first to measure a fix.
        documents: from `Profile.documents`; all at least as long as the longest window. A vector must be of this
            model, with this fix.
        settings: as for `profile`.
        label: of the progress bar.
        progress: told about every batch.
    """
    shortest = min(document.n_tokens for document in documents)
    lengths = [n for n in window_lengths(encoder) if n <= shortest]
    keys, states = document_keys([document.id for document in documents]), []
    with (progress or Silent()).track(f"nested windows{label}", len(documents) * sum(lengths), "tokens") as advance:
        for n in lengths:
            with encoder.window(n):
                vectors = np.concatenate([_cut(encoder, few, n, advance) for few in chunks(documents, 64)])
            state = BinState(encoder.dim, settings.replicates, settings.seed)
            tokens, truncated = np.full(len(documents), n), np.zeros(len(documents), dtype=bool)
            state.update(unit(vectors), keys=keys, n_tokens=tokens, truncated=truncated)
            states.append(state)
    return make_view("windows", states, [str(n) for n in lengths], unit=unit_of(encoder))


def _cut(encoder: TextEncoder, documents: Sequence[Kept], n: int, advance: Advance) -> npt.NDArray[np.float32]:
    """Vectors of the first n tokens of each, float32 [documents, dim]."""
    known = {row: one.vector for row, one in enumerate(documents) if one.n_tokens == n and one.vector is not None}
    new = [row for row in range(len(documents)) if row not in known]
    vectors = np.empty((len(documents), encoder.dim), np.float32)
    if new:
        vectors[new] = encoder.vectors([documents[row].text for row in new], np.full(len(new), n))
    for row, vector in known.items():
        vectors[row] = vector
    advance(n * len(documents))
    return vectors
