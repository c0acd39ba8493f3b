"""A fix on scores put into vectors that exist already, as one more dimension."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uncollapse.corpora.batches import finished_manifest, read_batches
from uncollapse.corpora.shards import Manifest
from uncollapse.errors import CorpusError, FixError
from uncollapse.fixes import compose, parse
from uncollapse.fixes.kinds import Cohort, ScoreFix, ScoreMap
from uncollapse.pipelines.fitting import LEARNED_FROM
from uncollapse.pipelines.several import direct
from uncollapse.records import Embeddings
from uncollapse.resampling import document_keys, sampling_order


@dataclass(frozen=True, eq=False)
class Correction:
    """A fitted fix on scores, and what it was fitted to.

    Args:
        fix: its notation.
        fitted: what makes vectors longer.
        documents, queries: how many.
    """

    fix: str
    fitted: ScoreMap
    documents: int
    queries: int

    def extend(self, batches: Iterator[Embeddings]) -> Iterator[Embeddings]:
        """Documents with their further dimension."""
        for batch in batches:
            vectors = self.fitted.extend(direct(batch.vectors, batch.ids, self.fix), batch.n_tokens_full, "document")
            yield Embeddings(vectors, batch.ids, batch.n_tokens, batch.n_tokens_full)

    @property
    def dim(self) -> int:
        """Numbers in a vector, the further one in."""
        none = np.empty((0, int(self.fitted.arrays["dim"][0])), np.float32)
        return int(self.fitted.extend(none, np.empty(0, np.int64), "document").shape[1])


def read_score_fix(notation: str) -> ScoreFix:
    """The fix that a notation names.

    Raises:
        FixError: one that acts elsewhere, or none.
    """
    chosen = compose(parse(notation))
    if chosen.score is None or len(chosen.parts) > 1:
        raise FixError(
            f"Vectors that exist already can be corrected by a fix on scores alone, such as csls(10, 0.5), got "
            f"{notation!r}. Other fixes belong into the model, before `uncollapse embed`."
        )
    return chosen.score


def fit_correction(fix: ScoreFix, documents: Path, queries: Path, seed: int = 0) -> Correction:
    """Fit a fix on scores to vectors in folders.

    Args:
        fix: from `read_score_fix`.
        documents: folder of what is searched.
        queries: folder of what is asked, embedded by the same model as queries; no answers are needed.
        seed: of the sample of each.

    Raises:
        FixError: folders of different models, of the wrong role, of a model that compares by inner product, or with
            too few texts.
    """
    _check_pair(fix, finished_manifest(documents), finished_manifest(queries))
    searched, asked = (_sample(folder, seed) for folder in (documents, queries))
    vectors = [direct(one.vectors, one.ids, fix).astype(np.float64) for one in (searched, asked)]
    cohort = Cohort(vectors[0], searched.n_tokens_full, vectors[1], asked.n_tokens_full)
    return Correction(str(fix), fix.fit(cohort), len(searched), len(asked))


def _check_pair(fix: ScoreFix, documents: Manifest, queries: Manifest) -> None:
    if documents.made["model"] != queries.made["model"] or documents.dim != queries.dim:
        raise FixError(
            f"`{fix}` needs documents and queries of one model, got folders of two. Embed one of them again."
        )
    if documents.made.get("role") == "query" or queries.made.get("role") == "document":
        raise FixError(
            f"`{fix}` needs a folder of documents and one of queries, got the roles {documents.made.get('role')!r} "
            f"and {queries.made.get('role')!r}. Embed queries with --role query."
        )
    if documents.made.get("similarity") == "dot":
        raise FixError(
            f"`{fix}` works on directions, but this model compares vectors by inner product, so their lengths mean "
            "something. Leave it out."
        )


def _sample(folder: Path, seed: int) -> Embeddings:
    """Random rows of a folder, in their order, however many it has."""
    kept: Embeddings | None = None
    for batch in read_batches(folder):
        kept = _first_in_line(batch if kept is None else _joined(kept, batch), seed)
    if kept is None:
        raise CorpusError(f"{folder}: expected vectors, got none. Embed again.")
    return kept


def _first_in_line(found: Embeddings, seed: int) -> Embeddings:
    order = np.argsort(sampling_order(document_keys(found.ids), seed=seed), kind="stable")
    rows = np.sort(order[:LEARNED_FROM])
    ids = tuple(found.ids[row] for row in rows.tolist())
    return Embeddings(found.vectors[rows], ids, found.n_tokens[rows], found.n_tokens_full[rows])


def _joined(one: Embeddings, other: Embeddings) -> Embeddings:
    return Embeddings(
        np.concatenate([one.vectors, other.vectors]),
        one.ids + other.ids,
        np.concatenate([one.n_tokens, other.n_tokens]),
        np.concatenate([one.n_tokens_full, other.n_tokens_full]),
    )
