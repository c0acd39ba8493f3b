"""The same documents cut to 8, 16, 32, ... tokens: length alone differs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.views import View, make_view
from uncollapse.encoders import TextEncoder
from uncollapse.measures import unit
from uncollapse.moments import BinState
from uncollapse.progress import Advance, Reporter, Silent
from uncollapse.records import chunks
from uncollapse.resampling import document_keys
from uncollapse.reservoir import Kept


def window_lengths(encoder: TextEncoder) -> tuple[int, ...]:
    """Powers of two from 8 tokens (or what leaves room for 4 tokens of text), and what the model sees at most.

    None for a model whose token limit cannot be set.
    """
    if not encoder.can_cut:
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

    What differs between bins is then the length alone and never which texts are in the bin.

    Args:
        encoder: the model; patch it first to measure a fix.
        documents: from `Profile.documents`; all at least as long as the longest window.
        settings: as for `profile`.
        label: of the progress bar.
        progress: told about every batch.
    """
    shortest = min(document.n_tokens for document in documents)
    lengths = [n for n in window_lengths(encoder) if n <= shortest]
    texts, keys = [d.text for d in documents], document_keys([d.id for d in documents])
    states = []
    with (progress or Silent()).track(f"nested windows{label}", len(texts) * sum(lengths), "tokens") as advance:
        for n in lengths:
            with encoder.window(n):
                vectors = np.concatenate([_advance_after(_cut(encoder, b, n), n, advance) for b in chunks(texts, 64)])
            state = BinState(encoder.dim, settings.replicates, settings.seed)
            tokens = np.full(len(texts), n)
            state.update(unit(vectors), keys=keys, n_tokens=tokens, truncated=np.zeros(len(texts), dtype=bool))
            states.append(state)
    return make_view("windows", states, [str(n) for n in lengths])


def _cut(encoder: TextEncoder, texts: Sequence[str], n: int) -> npt.NDArray[np.float32]:
    return encoder.vectors(texts, np.full(len(texts), n))


def _advance_after(vectors: npt.NDArray[np.float32], n: int, advance: Advance) -> npt.NDArray[np.float32]:
    advance(n * len(vectors))
    return vectors
