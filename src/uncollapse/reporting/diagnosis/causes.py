"""Why long texts drift together: the rise of the mean cosine from short pieces to whole texts, cause by cause."""

from dataclasses import dataclass

from uncollapse.records import Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Cell, Chart, Section, Table, closed, remarks
from uncollapse.reporting.diagnosis import plots
from uncollapse.reporting.diagnosis.plots import Effect
from uncollapse.reporting.diagnosis.rows import asked, find_by_bin

VIEW = "causes"


@dataclass(frozen=True)
class Words:
    """What a reader must know about a cause.

    Args:
        title: what the reader calls it.
        adds: what it means where it makes texts more alike.
        takes: what it means where it keeps them apart.
        help: what to try where it adds.
    """

    title: str
    adds: str
    takes: str
    help: str


_AT_ONCE = "Read at once, a text looks {} like other texts than the mean of its pieces does."
_CHUNKS = "Smaller chunks, one vector each."
CAUSES = {
    "beginnings": Words(
        "How texts begin",
        "What follows the beginnings is more alike from text to text than the beginnings are.",
        "The beginnings of these texts are more alike than what follows them.",
        "Leave out what the bodies of your texts share, such as licences or navigation.",
    ),
    "content_averaging": Words(
        "Longer texts say more",
        "A long text's vector is about the mean of what it says, and the mean of more things lies nearer to what all "
        "texts share; any model does this, with or without attention.",
        "The mean of more pieces lies further from what all texts share.",
        _CHUNKS,
    ),
    "topic_mix": Words(
        "Texts change their subject",
        "A text that moves from subject to subject lies nearer to the middle of all subjects.",
        "Pieces far apart in a text are more alike than neighbouring ones.",
        "Chunks cut where the subject changes.",
    ),
    "truncation": Words(
        "Text that is never read",
        "What is cut off would tell the texts apart better than what is read.",
        "What is cut off would make the texts more alike still.",
        "Chunks that fit into the token limit, or a model with a longer one.",
    ),
    "position": Words(
        "Late positions",
        "The same words look more alike to the model when they stand late in a text.",
        "The same words look less alike to the model when they stand late in a text.",
        "Texts no longer than those the model was trained on, often shorter than its limit.",
    ),
    "attention": Words(
        "Attention over the whole text",
        _AT_ONCE.format("more"),
        _AT_ONCE.format("less"),
        'A temperature below 1, scored first: `uncollapse evaluate DATA --fix "temperature(0.9)"`.',
    ),
    "inseparable": Words(
        "Reading the whole text at once",
        f"{_AT_ONCE.format('more')} Whether attention or late positions do it cannot be told from outside the model.",
        f"{_AT_ONCE.format('less')} Whether attention or late positions do it cannot be told from outside the model.",
        f"{_CHUNKS} With the model itself at hand, a diagnosis tells the two apart.",
    ),
}
"""Every cause by its name in the rows, in the order of the steps."""


def make_cause_section(result: Result) -> Section | None:
    """The waterfall with what every bar means; None where nobody asked."""
    if not asked(result, "causes", VIEW):
        return None
    return Section(
        "causes", "Why do long texts drift together?", (_chart(result), *_meanings(result)), look="diagnosis",
        notes=_measured(result),
        lead="The way from short pieces of these texts to the whole texts, one change at a time: each step makes all "
        "pairs of texts a little more alike, or less, and together the steps are the whole rise.",
    )  # fmt: skip


def _chart(result: Result) -> Chart:
    title = "What the rise of the mean cosine is made of"
    reading = (
        "From the top, each bar begins where the one above ends: to the right (orange) the cause makes texts more "
        "alike, to the left (blue) it keeps them apart, and a pale bar can be nothing"
    )
    steps, causes = find_by_bin(result, VIEW, "mean_cosine"), _found(result)
    if not causes or "start" not in steps:
        missing = "This result holds no causes: too few of these texts are long enough to be cut into pieces."
        return Chart("causes", title, f"{reading}.", missing=missing, wide=True)
    lines = [Effect(_words(name).title, row) for name, row in causes.items()]
    last = ("Whole texts", steps["whole"]) if "whole" in steps else None
    figure = plots.waterfall(("First pieces alone", steps["start"]), lines, last)
    drawn = [*causes.values(), steps["start"]]
    return Chart(
        "causes", title, closed(reading, drawn, mark="thin line"), figure, _alt(steps, lines), remarks=remarks(drawn),
        height=plots.height_of(len(lines) + 2), wide=True,
    )  # fmt: skip


def _alt(steps: dict[str, Row], lines: list[Effect]) -> str:
    parts = [f"First pieces alone: {words.number(steps['start'].value)}"]
    parts += [f"{line.label}: {words.number(line.row.value, line.row.measure)}" for line in lines]
    parts += [f"Whole texts: {words.number(steps['whole'].value)}"] if "whole" in steps else []
    return f"Waterfall chart. {'; '.join(parts)}."


def _meanings(result: Result) -> list[Chart]:
    causes = _found(result)
    if not causes:
        return []
    rise = next(iter(find_by_bin(result, VIEW, "rise").values()), None)
    of = f"of {words.number(rise.value, rise.measure)}" if rise else ""
    lines = tuple(_line(name, row, of) for name, row in causes.items())
    table = Table("What each cause adds.", ("cause", "part of the rise", "what it means", "what to try"), lines)
    reading = "The parts of all causes together are the rise: what is below zero works against it."
    return [Chart("causes-meanings", "What each cause means", reading, table=table, wide=True)]


def _found(result: Result) -> dict[str, Row]:
    """The causes of this result, in the order of their steps."""
    found = find_by_bin(result, VIEW, "cause")
    return {name: found[name] for name in [*CAUSES, *found] if name in found}


def _words(name: str) -> Words:
    """What is known of a cause; of one that the table does not have, its name."""
    return CAUSES.get(name, Words(name.replace("_", " "), "", "", ""))


def _line(name: str, row: Row, of: str) -> tuple[Cell, ...]:
    said, effect = _words(name), Effect("", row)
    under = words.unbroken(of, words.interval(row), f"n = {words.count(row.n)}")
    amount = Cell(words.number(row.value, row.measure), under, marks=(("neutral", row.note),) if row.note else ())
    if not effect.proven:
        return (Cell(said.title), amount, Cell("", "Its interval holds zero: it can be nothing."), Cell(words.UNKNOWN))
    meaning, advice = (said.adds, said.help) if row.value > 0 else (said.takes, "")
    return (Cell(said.title), amount, *(Cell("", text) if text else Cell(words.UNKNOWN) for text in (meaning, advice)))


def _measured(result: Result) -> tuple[str, ...]:
    """On how much text the split rests."""
    sizes = {
        "documents": "documents", "piece_tokens": "tokens in a piece", "pieces": "pieces",
        "window_tokens": "tokens of each text looked at", "read_tokens": "tokens read at once",
    }  # fmt: skip
    found = ((words.listing(words.entry(result.about, "causes", key)), what) for key, what in sizes.items())
    parts = [f"{value} {what}" for value, what in found if value]
    return (f"Measured on {', '.join(parts)}.",) if parts else ()
