"""What length costs in search: whether a text is found by its own sentences, by length, by place and by window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uncollapse.records import Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, Section, remarks
from uncollapse.reporting.diagnosis import plots
from uncollapse.reporting.diagnosis.bars import Frame, bar_chart
from uncollapse.reporting.diagnosis.rows import asked, by_length, cut_at, find_by_bin, find_fields
from uncollapse.reporting.diagnosis.summaries import summary_chart
from uncollapse.reporting.tasks.plots import Bars

TOTAL, LENGTH, POSITION, WINDOW, GRID = (
    "cost_overall", "cost_by_length", "cost_by_position", "cost_by_window", "cost_grid",
)  # fmt: skip
VIEWS = (TOTAL, LENGTH, POSITION, WINDOW, GRID)
PLACES = ("beginning", "middle", "end")
FOUND = (("cloze_recall@10", "among the first ten", "after"), ("cloze_recall@1", "first of all", "faint"))
DILUTION = (("evidence_dilution", "cosine lost", "after"),)
QUOTES = (("quote_recall@1", "first of all", "after"),)
WINDOWS = (
    ("anywhere_recall@10", "sentences from anywhere", "after"),
    ("beginning_recall@10", "sentences that every window holds", "faint"),
)
DERIVED = ("_loss", "_gain")
"""Ends of names of differences, which stand in the findings and in the table of all numbers."""


@dataclass(frozen=True)
class Bench:
    """One chart of bars: where its numbers are, and the words around it.

    Args:
        view: of the rows.
        series: measure, name and colour of the bars of each group.
        axis: what the groups are; {unit} stands for what lengths are counted in.
        frame: the words.
    """

    view: str
    series: tuple[tuple[str, str, str], ...]
    axis: str
    frame: Frame


_LENGTH = "{unit} of the text"
_CLOZE = "A sentence is taken out of its text and used as a query; the text without it should come up."
BENCHES = (
    Bench(
        LENGTH, FOUND, _LENGTH,
        Frame(
            "costs-length", "Found by one of its sentences, by length",
            "Each group of bars holds the texts of one length: bars that sink to the right say that longer texts are "
            "found less often by what they say",
            "This result holds no search by sentences, by length.", _CLOZE,
        ),
    ),
    Bench(
        POSITION, FOUND, "place of the sentence in its text",
        Frame(
            "costs-position", "Found by one of its sentences, by place",
            "Each group of bars holds sentences from one third of their texts: where the last is lower than the "
            "first, what stands late in a text is harder to find",
            "This result holds no search by sentences, by their place.", _CLOZE,
        ),
    ),
    Bench(
        POSITION, QUOTES, "place of the quote in its text",
        Frame(
            "costs-quotes", "Found by a quote, by place",
            "Each bar is the share of quotes that bring up their own text first: a quote that the text holds word for "
            "word should always do so",
            "This result holds no search by quotes.",
            "A sentence is quoted as it stands; what is cut off, the model never reads.",
        ),
    ),
    Bench(
        LENGTH, DILUTION, _LENGTH,
        Frame(
            "costs-dilution", "Likeness lost to one vector for the whole text",
            "Each bar says how much less like its whole text a sentence is than like the best chunk of it: the "
            "higher, the more a search over chunks would gain",
            "This result holds no evidence dilution by length.", "The price of one vector for a text of many things.",
        ),
    ),
    Bench(
        WINDOW, WINDOWS, "{unit} of each text that are read",
        Frame(
            "costs-window", "Does more context pay?",
            "Each group of bars is the same search with the beginning of every text indexed and no more: where the "
            "bars stop growing, reading more only costs time, and where the hatched ones sink, it hides the beginning",
            "This result holds no search over texts cut to several windows.",
            "The text that a sentence comes from should be among the first ten.",
        ),
    ),
)  # fmt: skip


def make_cost_section(result: Result) -> Section | None:
    """What length costs in search; None where nobody asked."""
    if not asked(result, "costs", *VIEWS):
        return None
    overall = [row for measure in _measures(result) for row in find_by_bin(result, TOTAL, measure).values()]
    missing = "This result holds no searches: too few of these texts have enough sentences."
    charts = [summary_chart("costs", "All texts together", overall, missing=missing)]
    if any(row.view in VIEWS for row in result.rows):
        charts += [*(_bars(result, bench) for bench in BENCHES), _needles(result)]
    return Section(
        "costs", "What does it cost in search?", tuple(charts), look="diagnosis",
        notes=(*_measured(result), *cut_at(result, "costs")),
        lead="Searches whose right answer is known without anybody's labels, because each query is made from the text "
        "that it must find.",
    )  # fmt: skip


def _measures(result: Result) -> list[str]:
    found = dict.fromkeys(row.measure for row in result.rows if row.view == TOTAL)
    return [measure for measure in found if not measure.endswith(DERIVED)]


def _measured(result: Result) -> tuple[str, ...]:
    """On how many texts the searches rest."""
    searched, asked_for = (words.listing(words.entry(result.about, "costs", key)) for key in ("documents", "asked"))
    return (
        (f"{searched} documents are searched, {asked_for} of them are asked for.",) if searched and asked_for else ()
    )


def _bars(result: Result, bench: Bench) -> Chart:
    series = [
        Bars(rows, name, role)
        for measure, name, role in bench.series
        if (rows := find_by_bin(result, bench.view, measure))
    ]
    labels = [label for one in series for label in one.rows]
    ordered = _by_place(labels) if bench.view == POSITION else by_length(labels)
    return bar_chart(bench.frame, series, labels=ordered, axis=bench.axis.format(unit=words.unit(result.about)))


def _by_place(labels: Sequence[str]) -> list[str]:
    """The thirds of a text, then whatever else there is, such as what is cut off."""
    there = dict.fromkeys(labels)
    return [place for place in PLACES if place in there] + [label for label in there if label not in PLACES]


def _needles(result: Result) -> Chart:
    key, title = "costs-needles", "Found by a planted sentence, by depth and length"
    lead = "A sentence that has nothing to do with it is planted into a text, and used as a query."
    reading = (
        "Each field is one length of the text (left to right) and one depth in it (top to bottom): the share of "
        "planted sentences that bring up their text first, in a stronger colour where it is higher"
    )
    found = find_fields(result, GRID, "needle_recall@1")
    if not found:
        missing = "This result holds no planted sentences: too few of these texts are long enough."
        return Chart(key, title, f"{reading}.", missing=missing, lead=lead)
    unit = words.unit(result.about)
    cells = {(length, depth): row for (depth, length), row in found.items()}
    lengths, depths = (by_length([cell[axis] for cell in cells]) for axis in (0, 1))
    figure = plots.fields(
        cells, xs=lengths, ys=depths, axes=(f"{unit} of the text", "depth in it, percent"), downwards=True
    )
    said = _field_alt(title, cells, unit)
    return Chart(key, title, f"{reading}.", figure, said, remarks=remarks(list(cells.values())), lead=lead)


def _field_alt(title: str, cells: Mapping[tuple[str, str], Row], unit: str) -> str:
    said = ", ".join(
        f"{words.number(row.value, row.measure)} at {length} {unit} and depth {depth} percent"
        for (length, depth), row in cells.items()
    )
    return f"Table of fields. {title}: {said}."
