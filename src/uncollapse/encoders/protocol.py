"""What a diagnosis asks of a model, whether its inside can be seen or not."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from uncollapse.encoders.sentence import Prepared
from uncollapse.records import Embeddings


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that counts tokens, cuts texts and turns them into vectors; `SentenceEncoder` is one.

    Attributes:
        name: what the user calls it.
        dim: length of its vectors.
        max_tokens: tokens of a text it sees, special tokens and prompt in.
        folder_max_tokens: the limit it came with; None for no limit.
        n_special_tokens: tokens added to every text.
        can_cut: whether texts can be cut to fewer tokens, so that `window` works.
        notes: what a reader must know.
    """

    name: str
    dim: int
    notes: tuple[str, ...]
    folder_max_tokens: int | None

    @property
    def max_tokens(self) -> int: ...

    @property
    def n_special_tokens(self) -> int: ...

    @property
    def can_cut(self) -> bool: ...

    @property
    def about(self) -> dict[str, Any]:
        """What a report says of it."""
        ...

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens of each text before truncation: int64 [texts]."""
        ...

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of a text begins and ends, in characters: int64 [tokens, 2]."""
        ...

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Count tokens, and cut off what is never seen."""
        ...

    def vectors(self, texts: Sequence[str], n_tokens: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:
        """One vector a text: float32 [texts, dim]."""
        ...

    def encode(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> Embeddings:
        """Vectors with ids and token counts."""
        ...

    def window(self, n_tokens: int) -> AbstractContextManager[None]:
        """Cut every text to at most `n_tokens` tokens inside the `with`."""
        ...
