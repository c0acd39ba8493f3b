"""What a run file holds of what was judged: what is refused, and what a reader must know."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from uncollapse.errors import CorpusError
from uncollapse.evaluation.rankings.trec_eval import RANKING_METRICS
from uncollapse.evaluation.reading.trec import Run
from uncollapse.evaluation.tasks import Judgements

Ints = npt.NDArray[np.int64]


def check_names(runs: Sequence[Run], *, first: str) -> None:
    """Refuse runs that results could not tell apart.

    Args:
        runs: all of them.
        first: what results call the first one.

    Raises:
        CorpusError: two of one name, or a further one of the first one's.
    """
    names = [run.name for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CorpusError(
            f"Runs are told apart by their tag, the last column, but {twice!r} is the tag of two of {len(runs)} runs. "
            "Give each run its own."
        )
    if first in names[1:]:
        raise CorpusError(
            f"Results call the first run {first!r}, so no further run may have that tag, but run "
            f"{names.index(first, 1) + 1} of {len(runs)} does. Give it first, or change its tag, the last column."
        )


def check_shared(run: Run, judgements: Judgements) -> None:
    """Refuse a run none of whose queries is judged.

    Raises:
        CorpusError: it is such a one.
    """
    if run.rankings.keys().isdisjoint(judgements):
        raise CorpusError(
            f"Expected judgements of the queries that run {run.name!r} has, got none of the same id: its first query "
            f"is {next(iter(run.rankings), None)!r}, the first judged one with a relevant document is "
            f"{next(iter(judgements), None)!r}. Give the run and the judgements of one set of queries."
        )


def check_lengths(lengths: Mapping[str, int], names: Iterable[str], what: str) -> None:
    """Refuse names without a length.

    Raises:
        CorpusError: there are such names.
    """
    unknown = [name for name in dict.fromkeys(names) if name not in lengths]
    if unknown:
        whole = "of all judged queries, one line a query" if "query" in what else "of the whole corpus, one a document"
        raise CorpusError(
            f"Every {what} needs a length, but {len(unknown)} have none; the first is {unknown[0]!r}. Give the "
            f"lengths {whole}: id, tab, number of tokens or words."
        )


def say_coverage(run: Run, judgements: Judgements) -> list[str]:
    """Which queries only the run has, and which only the judgements have."""
    notes = []
    found = {query for query, ranking in run.rankings.items() if ranking.documents}
    if unjudged := len(run.rankings.keys() - judgements.keys()):
        notes.append(
            f"{unjudged} of {len(run.rankings)} queries of the run have no relevant document in the judgements and "
            "are left out"
        )
    if absent := len(judgements.keys() - found):
        of = f"{absent} of {len(judgements)} judged queries"
        notes.append(f"{of} are not in the run and count as having found nothing")
    return notes


def say_ties(scores: npt.NDArray[np.float64]) -> list[str]:
    """In how many queries of a run the scores order nothing."""
    found = ~np.isnan(scores)
    tied = (found.sum(axis=1) > 1) & ~(found & (scores != scores[:, :1])).any(axis=1)
    if not tied.any():
        return []
    said = "all scores are equal; ties are ordered by id, so this ranking says nothing about them"
    return [f"in {int(tied.sum())} of {len(scores)} queries {said}"]


def say_depth(top: Ints, documents: int) -> list[str]:
    """Which scores look further than a run goes."""
    held = int((top >= 0).sum(axis=1).max())
    cuts = sorted({int(cut) for name in RANKING_METRICS if (cut := name.partition("@")[2])})
    deeper = [str(cut) for cut in cuts if held < min(cut, documents)]
    if not deeper:
        return []
    said = f"so scores at {' and '.join(deeper)} count what it does not hold as not found"
    return [f"the run holds at most {held} documents a query, {said}"]


def say_empty(lengths: Ints, what: str) -> list[str]:
    """How many texts are empty."""
    n = int((lengths == 0).sum())
    return [f"{n:,} of {len(lengths):,} {what} have length 0 and count as one token or word"] if n else []
