"""Why long texts drift together: the rise of the mean cosine from short pieces to whole texts, cause by cause."""

from collections.abc import Mapping

from uncollapse.records import Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Cell, Chart, Section, Table, closed, remarks
from uncollapse.reporting.diagnosis import plots
from uncollapse.reporting.diagnosis.plots import Effect
from uncollapse.reporting.diagnosis.rows import asked, described, find_by_bin, titled

VIEW = "causes"


def make_cause_section(result: Result) -> Section | None:
    """The waterfall with what every bar means; None where nobody asked."""
    if not asked(result, "causes", VIEW):
        return None
    return Section(
        "causes", "Why do long texts drift together?", (_chart(result), *_meanings(result)), look="diagnosis",
        notes=(*_measured(result), *_other_rise(result)),
        lead="The way from first pieces of these texts to the whole texts, one change at a time: each step makes all "
        "pairs of texts a little more alike, or less, and together the steps are the rise from the first piece.",
    )  # fmt: skip


def _chart(result: Result) -> Chart:
    title = "What the rise from the first piece to the whole text is made of"
    reading = (
        "From the top, each bar begins where the one above ends: to the right (orange) the cause makes texts more "
        "alike, to the left (blue) it keeps them apart, and a pale bar can be nothing"
    )
    steps, causes = find_by_bin(result, VIEW, "mean_cosine"), _found(result)
    if not causes or "start" not in steps:
        missing = "This result holds no causes: too few of these texts are long enough to be cut into pieces."
        return Chart("causes", title, f"{reading}.", missing=missing, wide=True)
    lines = [Effect(titled(result, VIEW, name), row) for name, row in causes.items()]
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
    lines = tuple(_line(result, name, row, of) for name, row in causes.items())
    table = Table(
        "What each cause adds.",
        ("cause", "part of the rise from the first piece", "what it means", "what to try"),
        lines,
    )
    reading = f"The parts of all causes together are {_sum(result, rise)}: what is below zero works against it."
    return [Chart("causes-meanings", "What each cause means", reading, table=table, wide=True)]


def _sum(result: Result, rise: Row | None) -> str:
    """The rise that the parts add up to, with what it goes from and to."""
    steps, unit = find_by_bin(result, VIEW, "mean_cosine"), words.unit(result.about)
    ends = [steps[name].n_tokens for name in ("start", "whole") if name in steps]
    if rise is None or len(ends) < 2 or not all(ends):
        return "the rise from the first piece"
    number = words.unbroken(words.number(rise.value, rise.measure), words.interval(rise), f"n = {words.count(rise.n)}")
    return f"the rise from first pieces ({ends[0]:.0f} {unit}) to whole texts ({ends[1]:.0f}), {number}"


def _other_rise(result: Result) -> tuple[str, ...]:
    """That the verdict speaks of another rise, where there is one."""
    rises = find_by_bin(result, "windows", "mean_cosine_rise").values()
    windows = list(find_by_bin(result, "windows", "mean_cosine"))
    if len(windows) < 2 or not (rise := next(iter(rises), None)):
        return ()
    return (
        f"The verdict speaks of another rise, from windows of {windows[0]} {words.unit(result.about)} to windows of "
        f"{windows[-1]}: {words.number(rise.value, rise.measure)}, n = {words.count(rise.n)}.",
    )


def _found(result: Result) -> dict[str, Row]:
    """The causes of this result, in the order of their steps."""
    table, found = words.entry(result.about, VIEW, "table"), find_by_bin(result, VIEW, "cause")
    order = [*(table if isinstance(table, Mapping) else ()), *found]
    return {name: found[name] for name in order if name in found}


def _line(result: Result, name: str, row: Row, of: str) -> tuple[Cell, ...]:
    title, effect = Cell(titled(result, VIEW, name)), Effect("", row)
    under = words.unbroken(of, words.interval(row), f"n = {words.count(row.n)}")
    amount = Cell(words.number(row.value, row.measure), under, marks=(("neutral", row.note),) if row.note else ())
    if not effect.proven:
        return (title, amount, Cell("", "Its interval holds zero: it can be nothing."), Cell(words.UNKNOWN))
    entry = described(result, VIEW, name)
    said = (entry.get(key) for key in (("meaning", "remedy") if row.value > 0 else ("against", "")))
    return (title, amount, *(Cell("", str(text)) if text else Cell(words.UNKNOWN) for text in said))


def _measured(result: Result) -> tuple[str, ...]:
    """On how much text the split rests."""
    unit = words.unit(result.about)
    sizes = {
        "documents": "documents", "piece_tokens": f"{unit} in a piece", "pieces": "pieces",
        "window_tokens": f"{unit} of each text looked at", "read_tokens": f"{unit} read at once",
    }  # fmt: skip
    found = ((words.listing(words.entry(result.about, "causes", key)), what) for key, what in sizes.items())
    parts = [f"{value} {what}" for value, what in found if value]
    return (f"Measured on {', '.join(parts)}.",) if parts else ()
