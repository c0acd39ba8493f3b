"""Scores of ranked lists of documents, query by query, computed by ir_measures: the only file that knows it."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from uncollapse.errors import CorpusError, UncollapseError, nearest
from uncollapse.evaluation.tasks import Judgements

RANKING_METRICS = ("ndcg@10", "ndcg@1", "rr@10", "recall@10", "recall@100", "ap")
"""The rows of METRICS that a ranking is scored by."""

DEPTH = 1000
"""Ranks that count for average precision, as in trec_eval and mteb."""


def score_rankings(
    rankings: Mapping[str, Sequence[str]],
    judgements: Judgements,
    measures: Sequence[str] = RANKING_METRICS,
) -> dict[str, npt.NDArray[np.float64]]:
    """Every judged query's score under every measure.

    trec_eval's definitions, as ir_measures runs them: gains of nDCG are linear (grade / log2(rank + 1)) and its ideal
    is over all judged documents; a document is relevant when its grade is above 0; documents without a judgement are
    not; a query without a ranking, or with an empty one, scores 0.

    Args:
        rankings: document ids by query, best first, none twice. Only the first 1000 count. Queries that are not judged
            are left out.
        judgements: grades by query and document.
        measures: names in METRICS.

    Returns:
        By measure, float64 [queries], one score a judged query in the order of the judgements.

    Raises:
        CorpusError: a judged query has no relevant document, so that no score is defined for it.

    >>> score_rankings({"q": ["a", "b"]}, {"q": {"b": 1}}, ["rr@10", "recall@10"])
    {'rr@10': array([0.5]), 'recall@10': array([1.])}

    Reference:
        MacAvaney, Macdonald & Ounis (2022), Streamlining evaluation with ir-measures, ECIR.
    """
    import ir_measures
    from ir_measures import AP, RR, R, nDCG

    known = {
        "ndcg@10": nDCG @ 10,
        "ndcg@1": nDCG @ 1,
        "rr@10": RR,
        "recall@10": R @ 10,
        "recall@100": R @ 100,
        "ap": AP,
    }
    _check(rankings, judgements, measures)
    wanted = {name: known[name] for name in measures}
    names = {str(measure): name for name, measure in wanted.items()}
    run = {query: _falling(rankings[query]) for query in judgements if rankings.get(query)}
    qrels = {query: {name: int(grade) for name, grade in grades.items()} for query, grades in judgements.items()}
    line = {query: number for number, query in enumerate(judgements)}
    scores = {name: np.zeros(len(line)) for name in measures}
    for found in ir_measures.pytrec_eval.evaluator(list(wanted.values()), qrels).iter_calc(run):
        scores[names[str(found.measure)]][line[found.query_id]] = found.value
    if "rr@10" in scores:  # ir_measures cuts reciprocal ranks in another, slower provider; 1 / rank tells the rank
        scores["rr@10"][scores["rr@10"] < 1 / 10] = 0.0
    return scores


def _falling(ranking: Sequence[str]) -> dict[str, float]:
    """Scores that put documents in just this order: whole numbers, because trec_eval reads scores in float32."""
    ranked = ranking[:DEPTH]
    return dict(zip(ranked, map(float, range(len(ranked), 0, -1)), strict=True))


def _check(rankings: Mapping[str, Sequence[str]], judgements: Judgements, measures: Sequence[str]) -> None:
    for name in measures:
        if name not in RANKING_METRICS:
            raise UncollapseError(
                f"No measure of rankings is called {name!r}. {nearest(name, RANKING_METRICS, 'Measures')}"
            )
    bare = [query for query, grades in judgements.items() if not any(grade > 0 for grade in grades.values())]
    if bare:
        raise CorpusError(
            f"Every judged query needs a relevant document (a grade above 0), but {len(bare)} of {len(judgements)} "
            f"have none; the first is {bare[0]!r}. Leave those queries out."
        )
    for query in judgements:
        ranking = rankings.get(query, ())
        if len(set(ranking)) < len(ranking):
            twice = next(name for place, name in enumerate(ranking) if name in ranking[:place])
            raise UncollapseError(
                f"A ranking must hold each document once, but that of query {query!r} holds {twice!r} more than once. "
                "Keep each document's best rank."
            )
