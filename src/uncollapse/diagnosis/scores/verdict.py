"""What a score means by length, in plain words."""

from collections.abc import Sequence

from uncollapse.diagnosis.scores.cells import PAIRS_ABOVE, TEXTS_OF_A_BIN, Cell, Grid
from uncollapse.measures import MINIMUM
from uncollapse.records import Finding
from uncollapse.resampling import Estimate, difference, ratio

FACTOR = 2.0
"""How many times as many pairs a threshold may let through at one length as at another and still be called fit for
all.

Judgement, stated in the docs."""

UNEQUAL = "One threshold lets more through by chance"
"""How the title of a finding begins that calls one threshold unfit for all lengths."""

CURES = {
    "documents": "If you keep only results above a score, use a threshold for each length (thresholds.json "
    "has them), or keep a fixed number of results instead.",
    "queries": "A threshold for each query length (thresholds.json has them) avoids it, and so does a fixed number of "
    "results.",
}


def too_few(n_queries: int, n_documents: int) -> Finding:
    """Nothing can be said about lengths."""
    return Finding(
        "Too few texts to say what a score means",
        f"Comparing lengths needs at least {2 * TEXTS_OF_A_BIN} documents, and queries for {MINIMUM} of them or of "
        f"others; there are {n_documents} documents and {n_queries} queries. Use more texts.",
        "unknown",
    )


def judge(
    grid: Grid, by_query: Sequence[Cell], by_document: Sequence[Cell], cells: Sequence[Cell], query_source: str
) -> tuple[Finding, ...]:
    """The findings, most important first; they speak of the first rate.

    Args:
        grid: whose threshold all pairs share.
        by_query, by_document: pairs by the length of one side, with all lengths of the other.
        cells: pairs by both lengths.
        query_source: what the queries are.
    """
    if grid.pairs.n < MINIMUM:
        return (too_few(len(grid.pairs.queries), len(grid.pairs.documents)),)
    name, rate = next(iter(grid.rates.items()))
    sides = {"documents": by_document, "queries": by_query}
    told = {what: [cell for cell in side if f"threshold@{name}" in cell.figures] for what, side in sides.items()}
    findings = [_compare(grid, what, side, query_source) for what, side in told.items() if len(side) > 1]
    if len(told["documents"]) < 2:
        findings.insert(0, _cannot_compare(grid, rate, by_document))
    untold = [cell for cell in cells if f"threshold@{name}" not in cell.figures]
    return (*findings, *([_untold(untold, len(cells), rate, grid.unit)] if untold else []))


def _compare(grid: Grid, what: str, side: Sequence[Cell], query_source: str) -> Finding:
    name, rate = next(iter(grid.rates.items()))
    short, long = side[0], side[-1]
    first, last = (cell.figures[f"false_positive_rate@{name}"] for cell in (short, long))
    low, high = (cell.figures[f"threshold@{name}"] for cell in (short, long))
    figures = (
        f"Over all lengths, {percent(rate)} of pairs of a query and a document that is not its own score above "
        f"{_spell(grid.cutoffs[name])}. Of pairs with the shortest {what} ({short.label} {grid.unit}), "
        f"{_share(first)} do; with the longest ({long.label} {grid.unit}), {_share(last)}. To let through "
        f"{percent(rate)} at both lengths, the threshold would have to be {_spell(low)} for the shortest and "
        f"{_spell(high)} for the longest (n = {min(first.n, last.n)} documents or more at each length; 95 % "
        f"intervals; queries: {query_source})."
    )
    return Finding(*_name(first, last, what, figures))


def _name(short: Estimate, long: Estimate, what: str, figures: str) -> tuple[str, str, str]:
    gap, times = difference(long, short), ratio(long, short)
    few, many = sorted([short.value, long.value])
    apart = gap.low is not None and gap.high is not None and (gap.low > 0 or gap.high < 0)
    if apart and many >= FACTOR * few:
        more = "long" if long.value > short.value else "short"
        return f"{UNEQUAL} where {what} are {more}", f"{figures} {CURES[what]}", "bad"
    if apart:
        return f"One threshold means nearly the same for {what} of every length", figures, "neutral"
    if times.low is not None and times.high is not None and times.low >= 1 / FACTOR and times.high <= FACTOR:
        return f"One threshold means the same for {what} of every length", figures, "good"
    unsure = "The two shares cannot be told apart, nor be called alike: use more texts."
    return f"Whether one threshold fits {what} of every length cannot be told", f"{figures} {unsure}", "unknown"


def _cannot_compare(grid: Grid, rate: float, by_document: Sequence[Cell]) -> Finding:
    queries, documents = len(grid.pairs.queries), len(grid.pairs.documents)
    if documents < 2 * TEXTS_OF_A_BIN:
        return too_few(queries, documents)
    if len(by_document) == 1:
        return Finding(
            "What a score means by length cannot be told",
            f"Half of the {documents} documents or more are read at one length, so that {by_document[0].label} "
            f"{grid.unit} is the only length bin. Add shorter texts, or chunks of these.",
            "unknown",
        )
    most = max(cell.n_pairs for cell in by_document)
    return Finding(
        "Too few pairs to tell a threshold",
        f"{_needed(rate)}, at two lengths at least; {queries} queries and {documents} documents give {most:,} at the "
        "length that has most. Use more texts or a higher rate.",
        "unknown",
    )


def _untold(untold: Sequence[Cell], cells: int, rate: float, unit: str) -> Finding:
    fewest = min(untold, key=lambda cell: cell.n_pairs)
    return Finding(
        "Some thresholds cannot be told",
        f"{_needed(rate)}. {len(untold)} of {cells} combinations of a query length and a document length have fewer "
        f"({fewest.label} {unit} has {fewest.n_pairs:,}) and no threshold. Use more texts.",
        "unknown",
    )


def _needed(rate: float) -> str:
    return f"The score that {percent(rate)} of pairs exceed needs {PAIRS_ABOVE / rate:,.0f} pairs"


def percent(share: float) -> str:
    """A share in per cent with two digits that count.

    >>> percent(0.01), percent(0.0213), percent(0.00042), percent(1.0), percent(0)
    ('1 %', '2.1 %', '0.042 %', '100 %', '0 %')
    """
    return f"{float(f'{100 * share:.2g}'):g} %"


def _share(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{percent(estimate.value)} (no interval)"
    return f"{percent(estimate.value)} [{percent(estimate.low)}, {percent(estimate.high)}]"


def _spell(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f} (no interval)"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
