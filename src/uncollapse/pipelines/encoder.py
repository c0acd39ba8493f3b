"""A model whose texts, vectors and scores are fixed: what an evaluation encodes with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import CachedEncoder, Role, SentenceEncoder
from uncollapse.errors import FixError, ModelError
from uncollapse.fixes.composition import Composition
from uncollapse.fixes.kinds import Piece, ScoreMap, TextFix
from uncollapse.fixes.maps import VectorMap, collapse
from uncollapse.records import Embeddings

Advance = Callable[[float], None]
Vectors = npt.NDArray[np.float32]

NOTHING = 1e-6
"""Norm below which nothing but rounding is left of a vector that had norm 1 in float32."""

_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Fitted:
    """What the fixes of a pipeline learned from a corpus.

    Args:
        maps: of its fixes on vectors, in order.
        score: of its fix on scores, if it has one.
        learned_from: how many vectors of each group it was fitted to.
        seed: of every choice of those.
    """

    maps: tuple[VectorMap, ...] = ()
    score: ScoreMap | None = None
    learned_from: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0


class FixedEncoder:
    """A model with a pipeline of fixes: cut texts, encode, make one vector a text, map it, add dimensions.

    Vectors of norm 1 come out where the model compares by cosine, before the further dimensions of a fix on scores.
    The model itself encodes through its cache, so pipelines that differ only in what comes after it share that work.

    Args:
        base: the model, with the fixes of its inside.
        fix: the whole pipeline.
        fitted: to the corpus that is searched; nothing where no fix needs it.

    Raises:
        FixError: a pipeline that was not fitted, or fixes on vectors of a model that compares by inner product.
    """

    def __init__(self, base: CachedEncoder, fix: Composition, fitted: Fitted | None = None) -> None:
        self.base, self.fix, self.fitted = base, fix, fitted or Fitted()
        if len(self.fitted.maps) != len(fix.vectors) or (self.fitted.score is None) != (fix.score is None):
            raise FixError(f"`{fix}` must be fitted to a corpus before texts are encoded. Use `fit_pipeline`.")
        if fix.is_fitted_to_corpus and base.inner_product:
            raise FixError(
                f"`{fix}` works on directions, but {base.name!r} compares vectors by inner product, so their lengths "
                "mean something. Leave the fixes on vectors and scores out."
            )
        self.name, self.max_tokens = base.name, base.max_tokens

    @property
    def encoder(self) -> SentenceEncoder:
        """The model."""
        return self.base.encoder

    @property
    def dim(self) -> int:
        """Length of the vectors, the further dimensions of a fix on scores in."""
        if self.fitted.score is None:
            return self.base.dim
        none = np.empty((0, self.base.dim), np.float32)
        return int(self.fitted.score.extend(none, np.empty(0, np.int64), "document").shape[1])

    @property
    def inner_product(self) -> bool:
        """Whether vectors are to be compared as they are, and not by their directions."""
        return self.base.inner_product or self.fix.score is not None

    @property
    def encoded(self) -> int:
        """Texts and pieces that went through the model."""
        return self.base.encoded

    @property
    def reused(self) -> int:
        """Texts and pieces that were known."""
        return self.base.reused

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return self.base.notes

    def work(self, texts: Sequence[str]) -> int:
        """About how much texts cost to encode, in characters."""
        return self.base.work(texts) if self.fix.text is None else sum(len(text) for text in texts)

    def encode(
        self,
        texts: Sequence[str],
        ids: Sequence[str] | None = None,
        *,
        role: Role = "document",
        advance: Advance = lambda _: None,
    ) -> Embeddings:
        """One vector a text, as `CachedEncoder.encode` gives it, with every fix applied.

        Raises:
            ModelError: a vector that is not finite or has no direction.
        """
        whole = self.encode_whole(texts, ids, role=role, advance=advance)
        vectors = whole.vectors
        if self.fitted.maps:
            vectors = directed(self._mapped(whole, role), whole.ids, str(self.fix), least=NOTHING)
        if self.fitted.score is not None:
            vectors = self.fitted.score.extend(vectors, whole.n_tokens_full, role)
        return Embeddings(vectors, whole.ids, whole.n_tokens, whole.n_tokens_full)

    def encode_whole(
        self,
        texts: Sequence[str],
        ids: Sequence[str] | None = None,
        *,
        role: Role = "document",
        advance: Advance = lambda _: None,
    ) -> Embeddings:
        """One vector a text with the fixes inside the model and on texts only: what the others are fitted to."""
        text_fix = self.fix.text
        if text_fix is None or role not in text_fix.roles:
            found = self.base.encode(texts, ids, role=role, advance=advance)
            if not self.fix.is_fitted_to_corpus:
                return found
            vectors = directed(found.vectors, found.ids, str(self.fix))
            return Embeddings(vectors, found.ids, found.n_tokens, found.n_tokens_full)
        return self._encode_pieces(text_fix, texts, ids, role=role, advance=advance)

    def _encode_pieces(
        self, text_fix: TextFix, texts: Sequence[str], ids: Sequence[str] | None, *, role: Role, advance: Advance
    ) -> Embeddings:
        encoder = self.encoder.as_role(role)
        room = max(1, encoder.max_tokens - encoder.n_special_tokens)
        pieces = [self._split(text_fix, encoder, text, room) for text in texts]
        flat = [piece.text for piece in chain.from_iterable(pieces)]
        found = self.base.encode(flat, role=role, advance=advance)
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(texts)))
        of_pieces = self._comparable(found.vectors, found.ids)
        vectors, start = [], 0
        for several in pieces:
            counts = np.array([piece.n_tokens for piece in several], np.int64)
            vectors.append(_single(text_fix, of_pieces[start : start + len(several)], counts))
            start += len(several)
        n_tokens = np.array([sum(piece.n_tokens for piece in several) for several in pieces], np.int64)
        n_tokens += encoder.n_special_tokens
        stacked = np.stack(vectors) if vectors else np.empty((0, self.base.dim), np.float32)
        return Embeddings(self._comparable(stacked, names), names, n_tokens, n_tokens)

    def _split(self, text_fix: TextFix, encoder: SentenceEncoder, text: str, room: int) -> Sequence[Piece]:
        return text_fix.split(text, encoder.spans(text), room)

    def _mapped(self, whole: Embeddings, role: Role) -> Vectors:
        at_once = collapse(self.fitted.maps, role)
        made = np.empty((len(whole), len(at_once.matrix)), np.float32)
        for rows in _portions(len(whole)):
            made[rows] = at_once.apply(whole.vectors[rows], whole.n_tokens_full[rows])
        return made

    def _comparable(self, vectors: Vectors, ids: Sequence[str]) -> Vectors:
        """Of norm 1 where the model compares by cosine."""
        return vectors if self.base.inner_product else directed(vectors, ids, str(self.fix))


def directed(
    vectors: npt.NDArray[np.floating], ids: Sequence[str], fix: str, *, least: float = np.finfo(float).tiny
) -> Vectors:
    """The same directions with norm 1: float32 [texts, dim].

    Args:
        vectors: [texts, dim].
        ids: one a text, for the message.
        fix: what made the vectors, for the message.
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
    scaled = np.empty(vectors.shape, np.float32)
    for rows in _portions(len(vectors)):
        scaled[rows] = vectors[rows] / norms[rows, None]
    return scaled


def _portions(count: int) -> Iterator[slice]:
    """Rows that float64 copies have room for at once."""
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))


def _single(text_fix: TextFix, vectors: Vectors, counts: npt.NDArray[np.int64]) -> Vectors:
    made = text_fix.aggregate(vectors, counts)
    if len(made) != 1:
        raise FixError(f"`{text_fix}` gives {len(made)} vectors a text, where one is needed.")
    only: Vectors = made[0]
    return only
