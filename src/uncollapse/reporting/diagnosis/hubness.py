"""Whether short or long texts crowd the results of a search."""

from uncollapse.records import Result
from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, Section
from uncollapse.reporting.diagnosis.bars import Frame, bar_chart
from uncollapse.reporting.diagnosis.rows import asked, by_length, cut_at, find_by_bin
from uncollapse.reporting.diagnosis.summaries import summary_chart
from uncollapse.reporting.tasks.plots import Bars

VIEW = "hubness"
TOTALS = ("k_skewness", "share_of_antihubs", "hub_length_ratio")
_LEVEL = (
    ": beyond the dashed line they turn up more often than their number deserves, short of it they are crowded out"
)
_ALONE = ": the longer a bar, the more often they turn up"


def make_hubness_section(result: Result) -> Section | None:
    """How often texts of each length turn up; None where nobody asked."""
    if not asked(result, "hubness", VIEW):
        return None
    rows = [row for measure in TOTALS for row in find_by_bin(result, VIEW, measure).values()]
    missing = "This result holds no numbers of hubs: there are too few texts."
    summary = summary_chart("hubness", "All texts together", rows, missing=missing)
    return Section(
        "hubness", "Do short or long texts crowd the results?", (_lengths(result), summary), look="diagnosis",
        notes=cut_at(result, "costs"),
        lead="Every text is used as a query against all others: a text that is among the nearest of very many is "
        "shown whatever is asked, and pushes better answers out.",
    )  # fmt: skip


def _lengths(result: Result) -> Chart:
    found, nearest = find_by_bin(result, VIEW, "occurrence"), _neighbours(result)
    frame = Frame(
        "hubness-lengths",
        f"How often a text is among the {f'{nearest} ' if nearest else ''}nearest of others, by length",
        f"Each bar is the mean over the texts of one length{_LEVEL if nearest else _ALONE}",
        "This result holds no such counts by length.",
        wide=True,
    )
    series = [Bars(found, "texts of this length", "before")] if found else []
    return bar_chart(
        frame,
        series,
        labels=by_length(list(found)),
        axis=f"{words.unit(result.about)} of the text",
        mark=(nearest, f"{nearest}: no length preferred") if nearest else None,
    )


def _neighbours(result: Result) -> int | None:
    """How many nearest texts were looked at, which is how often a text turns up where length plays no part."""
    value = words.entry(result.about, "costs", "neighbours")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
