"""A model whose texts, vectors and scores are fixed: what an evaluation encodes with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import CachedEncoder, ExportedEncoder, Role, Scorable, SentenceEncoder, TextEncoder
from uncollapse.errors import FixError, ModelError
from uncollapse.fixes import compose, parse
from uncollapse.fixes.composition import Composition
from uncollapse.fixes.kinds import ScoreMap, TextFix
from uncollapse.fixes.maps import VectorMap, collapse
from uncollapse.pipelines.pieces import check_text_fix, encode_pieces
from uncollapse.pipelines.several import Several, direct
from uncollapse.records import Embeddings

Advance = Callable[[float], None]

NOTHING = 1e-6
"""Norm below which nothing but rounding is left of a vector that had norm 1 in float32."""

ROWS = 8192
"""Vectors that are mapped at once, in float64."""


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
    """A model with a pipeline of fixes: cut texts, encode pieces, map their vectors, make one a text, add dimensions.

    Fixes on vectors act on what the model gives, piece by piece, and a fix on texts puts together what they leave: so
    a model with its fixes on vectors is a model like any other, of which a fix on texts asks for vectors of pieces.

    Vectors of norm 1 come out where the model compares by cosine, before the further dimensions of a fix on scores.
    The model itself encodes through its cache, so pipelines that differ only in what comes after it share that work.

    Args:
        base: the model, with the fixes of its inside.
        fix: the whole pipeline.
        fitted: to the corpus that is searched; nothing where no fix needs it.

    Attributes:
        texts, vectors: how many texts other than queries were encoded, and the vectors they have.
        tokens_encoded: what went through the model for them, or would have without a cache.
        tokens_plain: what would have without the fix on texts.

    Raises:
        FixError: a pipeline that was not fitted, fixes on vectors of a model that compares by inner product, or pieces
            that the model cannot read at once.
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
        if fix.vectors and fix.text is not None and fix.text.reading == "raw":
            raise FixError(
                f"`{fix.text}` weighs pieces by the norms of their vectors, which fixes on vectors take away: "
                f"{' + '.join(str(one) for one in fix.vectors)}. Choose another mean, such as chunks(128)."
            )
        if fix.text is not None:
            check_text_fix(fix.text, base.encoder)
        self.name, self.max_tokens = base.name, base.max_tokens
        self.texts = self.vectors = self.tokens_encoded = self.tokens_plain = 0

    @property
    def encoder(self) -> Scorable:
        """The model."""
        return self.base.encoder

    @property
    def dim(self) -> int:
        """Length of the vectors, the further dimensions of a fix on scores in."""
        if self.fitted.score is None:
            return self.base.dim
        none = np.empty((0, self.base.dim), np.float32)
        extended = self.fitted.score.extend(none, np.empty(0, np.int64), "document")
        return int(extended.shape[1])

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

    @property
    def vectors_per_text(self) -> float:
        """What is stored for a text that is no query, on average; 1 before any was encoded."""
        return self.vectors / self.texts if self.texts else 1.0

    @property
    def keeps_several(self) -> bool:
        """Whether a document may have several vectors, which only a search can compare."""
        return self.fix.text is not None and self.fix.text.keeps_all

    def work(self, texts: Sequence[str], role: Role = "document") -> int:
        """About how much texts cost to encode, in characters."""
        return encoding_work(self.base, self.fix, texts, role)

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
            FixError: a fix that keeps several vectors of a text of this role.
            ModelError: a vector that is not finite or has no direction.
        """
        if self._text_fix(role) and self.keeps_several:
            raise FixError(
                f"`{self.fix.text}` gives a text several vectors, where one is needed: only a search can compare "
                "several by the best of them. Use it on retrieval, or choose a fix that gives one: chunks(128)."
            )
        return self.encode_several(texts, ids, role=role, advance=advance).flat

    def encode_several(
        self,
        texts: Sequence[str],
        ids: Sequence[str] | None = None,
        *,
        role: Role = "document",
        advance: Advance = lambda _: None,
    ) -> Several:
        """The vectors of texts, of which each may have several, with every fix applied.

        Raises:
            ModelError: a vector that is not finite or has no direction.
        """
        found = self._encode(texts, ids, role=role, advance=advance)
        if self.fitted.score is None:
            return found
        return found.replace(self.fitted.score.extend(found.flat.vectors, found.flat.n_tokens_full, role))

    def encode_pieces(
        self,
        texts: Sequence[str],
        ids: Sequence[str] | None = None,
        *,
        role: Role = "document",
        advance: Advance = lambda _: None,
    ) -> Embeddings:
        """What fixes on vectors are fitted to: every piece of every text, of norm 1, with an id of its own.

        Args:
            texts, ids, role, advance: as for `encode`.
        """
        found = self._encode(texts, ids, role=role, advance=advance, keep_all=True).flat
        return Embeddings(direct(found.vectors, found.ids, self.fix), found.ids, found.n_tokens, found.n_tokens_full)

    def _encode(
        self,
        texts: Sequence[str],
        ids: Sequence[str] | None,
        *,
        role: Role,
        advance: Advance,
        keep_all: bool = False,
    ) -> Several:
        """Vectors with every fix but that on scores."""
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(texts)))
        text_fix = self._text_fix(role)
        if text_fix is None:
            single = self.base.encode(texts, names, role=role, advance=advance)
            found, tokens = Several.of(self._mapped(single, role)), int(single.n_tokens.sum())
        else:
            encoded = encode_pieces(
                self.base,
                text_fix,
                texts,
                names,
                role=role,
                advance=advance,
                then=lambda pieces: self._mapped(pieces, role),
                keep_all=keep_all,
            )
            found, tokens = encoded.several, encoded.tokens
        if role != "query" and not keep_all:
            self._count(found, tokens)
        return found

    def _text_fix(self, role: Role) -> TextFix | None:
        """The fix on texts of a role."""
        return self.fix.text if self.fix.text and role in self.fix.text.roles else None

    def _count(self, found: Several, tokens: int) -> None:
        self.texts += len(found)
        self.vectors += len(found.owners)
        self.tokens_encoded += tokens
        self.tokens_plain += int(np.minimum(found.n_tokens_full, self.base.encoder.max_tokens).sum())

    def _mapped(self, found: Embeddings, role: Role) -> Embeddings:
        """Vectors after every fix on vectors, of norm 1 again."""
        if not self.fix.is_fitted_to_corpus:
            return found
        vectors = direct(found.vectors, found.ids, self.fix)
        if self.fitted.maps:
            made = map_vectors(self.fitted.maps, vectors, found.n_tokens_full, role)
            vectors = direct(made, found.ids, self.fix, least=NOTHING)
        return Embeddings(vectors, found.ids, found.n_tokens, found.n_tokens_full)


def map_vectors(
    maps: Sequence[VectorMap],
    vectors: npt.NDArray[np.float32],
    n_tokens: npt.NDArray[np.int64],
    role: Role = "document",
) -> npt.NDArray[np.float32]:
    """Vectors after some maps, not scaled to norm 1: float32 [texts, dim out].

    Args:
        maps: at least one, in order; they are made one product of matrices, computed in float64.
        vectors: float32 [texts, dim in].
        n_tokens: int64 [texts].
        role: of the texts.
    """
    at_once = collapse(maps, role)
    made = np.empty((len(vectors), len(at_once.matrix)), np.float32)
    for start in range(0, len(vectors), ROWS):
        rows = slice(start, start + ROWS)
        made[rows] = at_once.apply(vectors[rows], n_tokens[rows])
    return made


def of_folder(encoder: Scorable) -> Composition:
    """The fix on texts that the folder of a model asks for; none for most."""
    return compose(parse(encoder.text_fix) if encoder.text_fix else None)


def encode(encoder: TextEncoder, texts: Sequence[str], *, role: Role = "document") -> Embeddings:
    """One vector a text, with all that the model's folder asks for, as `embed` writes them.

    The encoder's own `encode` cuts texts off at the model's limit. Where the folder asks for a fix on texts, as those
    of `fix --auto` do, this reads them to their end.

    Args:
        encoder: from `load`.
        texts: of any length.
        role: "document", "query", or "text" where texts are compared as equals.

    Returns:
        Vectors float32 [texts, dim] with token counts: `.vectors`, `.n_tokens`, `.n_tokens_full`.

    Raises:
        FixError: a fix on texts that keeps several vectors of a text.
        ModelError: an encoder that knows no roles, or a vector that is not finite or has no direction.

    >>> from uncollapse import encode, load
    >>> encode(load("my-model-fixed"), ["a text of any length"]).vectors.shape  # doctest: +SKIP
    (1, 384)
    """
    if isinstance(encoder, SentenceEncoder | ExportedEncoder):
        return FixedEncoder(CachedEncoder(encoder), of_folder(encoder)).encode(texts, role=role)
    if role != "document":
        raise ModelError(
            f"{encoder.name!r} takes every text alike, so role={role!r} would do nothing. Put the prompt of that role "
            "before the texts yourself, and leave the role out."
        )
    return encoder.encode(texts)


def encoding_work(base: CachedEncoder, fix: Composition, texts: Sequence[str], role: Role = "document") -> int:
    """About how much texts cost to encode with a pipeline, in characters: what its `encode` tells `advance`.

    Args:
        base: the model.
        fix: the pipeline, fitted or not.
        texts: of one role.
        role: a fix on texts reads some in full, which the model alone would cut off.
    """
    if fix.text is None or role not in fix.text.roles:
        return base.work(texts)
    return sum(len(text) for text in texts)
