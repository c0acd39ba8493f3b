"""Rankings of a retrieval task, made by a model or read from a run file, and the sheets that come of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from uncollapse.errors import FixError
from uncollapse.evaluation.rankings.approximate import search_index
from uncollapse.evaluation.rankings.ranked import Background, Judged, Ranked, draw_background, find_ranks, portions
from uncollapse.evaluation.rankings.run_files import (
    check_lengths,
    check_shared,
    say_coverage,
    say_depth,
    say_empty,
    say_ties,
)
from uncollapse.evaluation.rankings.trec_eval import DEPTH, score_rankings
from uncollapse.evaluation.reading.trec import Ranking, Run
from uncollapse.evaluation.sheets import Sheet, beginnings
from uncollapse.evaluation.statistics.linked import overlaps
from uncollapse.evaluation.statistics.significance import grouped
from uncollapse.evaluation.tasks import Judgements, Retrieval
from uncollapse.measures.search import Hits, first_vectors, score_pairs, search

FOUND_AT = 10
"""How many documents a user looks at."""

_DIMENSIONS = 384
"""Numbers that a pair is taken to need while it is scored, which bounds how many are scored at once."""

Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Scores = Callable[[Ints, Ints], npt.NDArray[np.float64]]
"""Numbers of queries and of documents, [pairs] each, to the scores of the pairs."""


@dataclass(frozen=True, eq=False)
class Retrieved:
    """The documents of every query in order, and what is needed to score them.

    Args:
        ranked: queries, documents and judgements as numbers.
        document_ids: one a document.
        query_lengths: tokens of each query; None where they are not known.
        snippets: the beginning of each query's text; empty where it is not known.
        notes: what a reader must know.
        shared: [queries, documents] of `linked.overlaps`, where shared documents link so many queries that every one
            is a group of its own; None where groups are independent.
    """

    ranked: Ranked
    document_ids: tuple[str, ...]
    query_lengths: Ints | None = None
    snippets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shared: csr_array | None = None


def rank_documents(
    task: Retrieval,
    queries: Vectors,
    documents: Vectors,
    *,
    query_lengths: Ints,
    document_lengths: Ints,
    owners: Ints | None = None,
    approximate: bool = False,
    seed: int = 0,
) -> Retrieved:
    """Rank the documents of a task by inner product with each query, by their best one where they have several.

    Of equal scores the larger id comes first, as trec_eval has it. A query that lies among the documents itself (same
    id and same text, a title before it apart) does not find itself.

    Args:
        task: its judgements.
        queries, documents: one vector each, in the task's order; unit vectors for cosine.
        query_lengths, document_lengths: tokens before truncation.
        owners: the number of the document of each vector, rising, where documents have several.
        approximate: search with an index instead of exactly; a note says how much it finds.
        seed: of the random documents that length is held against.

    Raises:
        FixError: an approximate search of documents with several vectors.
    """
    own, found = own_documents(task), _Searched(queries, documents, owners)
    hits, notes = found.search(task.documents.ids, own, approximate=approximate)
    ranking = assemble_ranking(
        task, hits, found.scores, query_lengths=query_lengths, document_lengths=document_lengths, seed=seed
    )
    return replace(ranking, notes=(*notes, *ranking.notes))


def assemble_ranking(
    task: Retrieval,
    hits: Hits,
    scores: Scores,
    *,
    query_lengths: Ints,
    document_lengths: Ints,
    seed: int = 0,
) -> Retrieved:
    """What a search found for the queries of a task, with the scores that length is held against.

    Args:
        task: its judgements.
        hits: the documents of each query, best first, without the query itself.
        scores: gives those of any pairs of a query and a document, retrieved or not.
        query_lengths, document_lengths: tokens before truncation, or words.
        seed: of the random documents that length is held against.
    """
    ids, own = task.documents.ids, own_documents(task)
    query, document, grade = _triples(task.judgements, task.queries.ids, ids, own)
    drawn = draw_background(len(task.queries), len(ids), seed=seed)
    groups, said, shared = _groups(task.judgements, task.queries.ids)
    ranked = Ranked(
        query_ids=task.queries.ids,
        groups=groups,
        lengths=document_lengths,
        top=hits.documents,
        top_scores=hits.scores,
        judged=Judged(
            query, document, grade, find_ranks(hits.documents, query, document), scores(query, document)
        ),
        background=Background(drawn, _scores_of(scores, drawn, own)),
        document_ids=ids,
    )  # fmt: skip
    notes = [said] if said else []
    if copies := int((own >= 0).sum()):
        notes.append(f"{copies} queries are documents themselves and were not allowed to find themselves")
    return Retrieved(ranked, ids, query_lengths, beginnings(task.queries.texts), tuple(notes), shared)


def tie_places(ids: Sequence[str]) -> Ints:
    """The place of each document among those of equal score, the larger id first, as trec_eval has it.

    >>> tie_places(("a", "c", "b")).tolist()
    [2, 0, 1]
    """
    places = np.empty(len(ids), np.int64)
    places[sorted(range(len(ids)), key=ids.__getitem__, reverse=True)] = np.arange(len(ids))
    return places


@dataclass(frozen=True, eq=False)
class _Searched:
    """Queries and documents, whose vectors are one each unless `owners` says whose they are."""

    queries: Vectors
    documents: Vectors
    owners: Ints | None

    def search(
        self, ids: Sequence[str], own: Ints, *, approximate: bool, depth: int = DEPTH
    ) -> tuple[Hits, list[str]]:
        """The best documents of each query, and what a reader must know."""
        places, depth = tie_places(ids), min(depth, len(ids))
        if not approximate:
            hits = search(self.queries, self.documents, depth, order=places, excluded=own, owners=self.owners)
            return hits, self._said()
        if self.owners is not None:
            raise FixError(
                f"An approximate search compares one vector a document, got {len(self.documents)} vectors of "
                f"{len(ids)} documents. Search exactly: leave approximate (--approximate) out."
            )
        found = search_index(self.queries, self.documents, depth, order=places, excluded=own)
        share = f"{found.recall:.1%} of the exact first ten over {found.checked} queries"
        return found.hits, [f"searched with an index, which finds {share}"]

    def _said(self) -> list[str]:
        if self.owners is None:
            return []
        n = int(self.owners[-1]) + 1
        return [f"{n:,} documents have {len(self.owners):,} vectors and are ranked by the best one of each"]

    def scores(self, rows: Ints, columns: Ints) -> npt.NDArray[np.float64]:
        """Of some pairs of a query and a document: float64 [pairs]."""
        firsts = None if self.owners is None else first_vectors(self.owners, len(self.documents))
        return score_pairs(self.queries, self.documents, rows, columns, firsts=firsts)


def main_scores(
    task: Retrieval, queries: Vectors, documents: Vectors, owners: Ints | None = None
) -> npt.NDArray[np.float64]:
    """The score that counts, of every query, as `rank_documents` and `ranking_sheets` give it, in less time.

    Args:
        task: its judgements.
        queries, documents: one vector each, in the task's order; unit vectors for cosine.
        owners: the number of the document of each vector, rising, where documents have several.

    Returns:
        float64 [queries].
    """
    ids, own = task.documents.ids, own_documents(task)
    cut = task.main.partition("@")[2]
    found = _Searched(queries, documents, owners)
    hits, _ = found.search(ids, own, approximate=False, depth=int(cut) if cut else DEPTH)
    named = {
        query: [ids[place] for place in places if place >= 0]
        for query, places in zip(task.queries.ids, hits.documents.tolist(), strict=True)
    }
    query, document, grade = _triples(task.judgements, task.queries.ids, ids, own)
    judged: dict[str, dict[str, int]] = {name: {} for name in task.queries.ids}
    for row, place, value in zip(query.tolist(), document.tolist(), grade.tolist(), strict=True):
        judged[task.queries.ids[row]][ids[place]] = value
    return score_rankings(named, judged, [task.main])[task.main]


def read_ranking(
    run: Run, judgements: Judgements, lengths: Mapping[str, int], query_lengths: Mapping[str, int] | None = None
) -> Retrieved:
    """The ranking of a run file: any engine's, without a model.

    Args:
        run: what was retrieved, best first.
        judgements: of the queries that count, each with a relevant document; those that the run does not have count
            as queries that found nothing.
        lengths: of every document of the corpus, in any unit; 0 counts as 1, and a note says of how many.
        query_lengths: of every judged query, if known; 0 counts as 1 likewise.

    Raises:
        CorpusError: no query of the run is judged, or a retrieved document, a judged document or, where lengths of
            queries are given, a judged query has no length.
    """
    ids = tuple(lengths)
    number = {name: i for i, name in enumerate(ids)}
    queries = tuple(judgements)
    nothing = Ranking((), np.empty(0))
    lists = [run.rankings.get(query, nothing) for query in queries]
    check_shared(run, judgements)
    check_lengths(number, (name for found in lists for name in found.documents), "retrieved document")
    check_lengths(number, (name for grades in judgements.values() for name in grades), "judged document")
    if query_lengths is not None:
        check_lengths(query_lengths, queries, "judged query")
    width = max((len(found.documents) for found in lists), default=0)
    top, scores = np.full((len(lists), width), -1, np.int64), np.full((len(lists), width), np.nan)
    for row, found in enumerate(lists):
        top[row, : len(found.documents)] = [number[name] for name in found.documents]
        scores[row, : len(found.documents)] = found.scores
    query, document, grade = _triples(judgements, queries, ids, np.full(len(queries), -1))
    ranks = find_ranks(top, query, document)
    score = np.where(ranks > 0, scores[query, np.maximum(ranks - 1, 0)] if width else np.nan, np.nan)
    groups, said, shared = _groups(judgements, queries)
    of_documents = np.array(list(lengths.values()), np.int64)
    ranked = Ranked(
        queries, groups, np.maximum(of_documents, 1), top,
        Judged(query, document, grade, ranks, score), None, scores, ids,
    )  # fmt: skip
    notes = (*run.notes, *([said] if said else []), *say_coverage(run, judgements))
    notes += (*say_ties(scores), *say_depth(top, len(ids)), *say_empty(of_documents, "documents"))
    if query_lengths is None:
        return Retrieved(ranked, ids, None, (), notes, shared)
    of_queries = np.array([query_lengths[name] for name in queries], np.int64)
    notes += tuple(say_empty(of_queries, "queries"))
    return Retrieved(ranked, ids, np.maximum(of_queries, 1), (), notes, shared)


def ranking_sheets(ranking: Retrieved) -> tuple[Sheet, Sheet]:
    """One sheet with a line a query, and one with a line for every relevant document of every query.

    The length of a query's document is the geometric mean over its relevant documents.
    """
    ranked = ranking.ranked
    judgements = judgements_of(ranking)
    found = [[ranking.document_ids[i] for i in row if i >= 0] for row in ranked.top.tolist()]
    columns = score_rankings(dict(zip(ranked.query_ids, found, strict=True)), judgements)
    queries = Sheet(
        items="queries",
        ids=ranked.query_ids,
        groups=ranked.groups,
        n_tokens=_relevant_lengths(ranked),
        n_query_tokens=ranking.query_lengths,
        columns=columns,
        snippets=ranking.snippets,
        notes=ranking.notes,
        shared=ranking.shared,
    )
    return queries, _relevant_sheet(ranking)


def _relevant_sheet(ranking: Retrieved) -> Sheet:
    ranked, judged = ranking.ranked, ranking.ranked.judged
    chosen = judged.grade > 0
    query, document, rank = judged.query[chosen], judged.document[chosen], judged.rank[chosen]
    return Sheet(
        items="relevant documents",
        ids=tuple(f"{ranked.query_ids[q]} {ranking.document_ids[d]}" for q, d in zip(query, document, strict=True)),
        groups=tuple(ranked.groups[q] for q in query),
        n_tokens=ranked.lengths[document],
        n_query_tokens=None if ranking.query_lengths is None else ranking.query_lengths[query],
        columns={f"found@{FOUND_AT}": ((rank > 0) & (rank <= FOUND_AT)).astype(np.float64)},
        snippets=tuple(ranking.snippets[q] for q in query) if ranking.snippets else (),
        notes=ranking.notes,
        shared=None if ranking.shared is None else ranking.shared[query],
    )


def _relevant_lengths(ranked: Ranked) -> Ints:
    judged = ranked.judged
    chosen = judged.grade > 0
    logs = np.log(np.maximum(ranked.lengths[judged.document[chosen]], 1))
    sums = np.bincount(judged.query[chosen], logs, len(ranked))
    counts = np.bincount(judged.query[chosen], minlength=len(ranked))
    return np.rint(np.exp(sums / np.maximum(counts, 1))).astype(np.int64)


def judgements_of(retrieved: Retrieved) -> dict[str, dict[str, int]]:
    """Grades by query and document id."""
    ranked, ids = retrieved.ranked, retrieved.document_ids
    named: dict[str, dict[str, int]] = {name: {} for name in ranked.query_ids}
    judged = ranked.judged
    for query, document, grade in zip(judged.query, judged.document, judged.grade, strict=True):
        named[ranked.query_ids[query]][ids[document]] = int(grade)
    return named


def own_documents(task: Retrieval) -> Ints:
    """The number of the document that is the query itself, -1 where there is none.

    It has the query's id and text, with or without a title before. Equal ids alone say nothing: many sets count
    queries and documents from 1.

    Returns:
        int64 [queries].
    """
    number = {name: i for i, name in enumerate(task.documents.ids)}
    own = np.full(len(task.queries), -1, np.int64)
    for row, (name, text) in enumerate(zip(task.queries.ids, task.queries.texts, strict=True)):
        if name in number and f" {_flat(task.documents.texts[number[name]])}".endswith(f" {_flat(text)}"):
            own[row] = number[name]
    return own


def _flat(text: str) -> str:
    return " ".join(text.casefold().split())


def _triples(judgements: Judgements, queries: Sequence[str], ids: Sequence[str], own: Ints) -> tuple[Ints, Ints, Ints]:
    number = {name: i for i, name in enumerate(ids)}
    triples = [
        (row, number[name], grade)
        for row, query in enumerate(queries)
        for name, grade in judgements[query].items()
        if number[name] != own[row]
    ]
    query, document, grade = np.array(triples, np.int64).reshape(-1, 3).T
    return query, document, grade


def _groups(judgements: Judgements, queries: Sequence[str]) -> tuple[tuple[str, ...], str, csr_array | None]:
    """Groups of queries, what is to be said of them, and what queries share where they cannot be grouped."""
    relevant = [[name for name, grade in judgements[query].items() if grade > 0] for query in queries]
    groups, said = grouped(relevant, queries)
    return groups, said, overlaps(relevant) if said else None


def _scores_of(scores: Scores, drawn: Ints, own: Ints) -> npt.NDArray[np.float64]:
    """Scores of each query with its drawn documents; unknown for the document that is the query itself."""
    found = np.empty(drawn.shape)
    for some in portions(len(drawn), drawn.shape[1] * _DIMENSIONS):
        columns = drawn[some]
        rows = np.repeat(np.arange(len(drawn))[some], drawn.shape[1])
        found[some] = scores(rows, columns.ravel()).reshape(columns.shape)
    found[drawn == own[:, None]] = np.nan
    return found


def as_run(retrieved: Retrieved, name: str) -> Run:
    """What was retrieved, as a run that any evaluation tool reads."""
    ranked, ids = retrieved.ranked, retrieved.document_ids
    scores = np.full(ranked.top.shape, np.nan) if ranked.top_scores is None else ranked.top_scores
    return Run(
        name,
        {
            query: Ranking(tuple(ids[i] for i in top[top >= 0].tolist()), np.asarray(found[top >= 0], np.float64))
            for query, top, found in zip(ranked.query_ids, ranked.top, scores, strict=True)
        },
    )
