"""The charts of one task: its score by length, what a fix changes and where, length bias, and every item."""

import math
from collections.abc import Sequence
from dataclasses import replace

from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.records import Item, Row
from uncollapse.reporting import glossary, words
from uncollapse.reporting.charts import Cell, Chart, Section, Table, closed, gaps
from uncollapse.reporting.drawing import clipped, from_zero
from uncollapse.reporting.tasks import ladders, plots
from uncollapse.reporting.tasks.bias import make_bias_charts
from uncollapse.reporting.tasks.ladders import Group, Step
from uncollapse.reporting.tasks.plots import Bars, Field
from uncollapse.reporting.tasks.rows import (
    LONG,
    RULE,
    RULE_ALIKE,
    SHORT,
    SIGNIFICANT,
    Task,
    linked_sentence,
    outcome,
    proven,
    start,
)

_IN_BOTH = {"run": "in both runs", "model": "with both models", "setting": "under both settings"}


def make_task_section(task: Task) -> Section:
    """Everything about one task; what its kind does not have, such as queries, is left out."""
    charts = [*_row(_bars_chart(task, LONG), _bars_chart(task, SHORT)), *_row(*_change_charts(task))]
    charts += _row(_grid_chart(task), _items_chart(task))
    charts += [replace(chart, wide=True) for chart in make_bias_charts(task)]
    notes = task.entry.get("notes")
    said = tuple(map(str, notes)) if isinstance(notes, list | tuple) else ()
    return Section(task.key, task.name, tuple(charts), setting_colours(task), _lead(task), look="task", notes=said)


def setting_colours(task: Task) -> tuple[tuple[str, str], ...]:
    """The legend of all settings."""
    named = {task.role(fix): task.call(fix) for fix in task.settings}
    if "faint" in named:
        named["faint"] = "other settings tried" if task.noun == "setting" else words.plural(f"other {task.noun}")
    return tuple((role, named[role]) for role in ("before", "after", "faint") if role in named)


def _row(*charts: Chart | None) -> list[Chart]:
    """The charts of one line of the page; one that has it to itself is wide."""
    there = [chart for chart in charts if chart is not None]
    return [replace(chart, wide=len(there) == 1) for chart in there]


def _lead(task: Task) -> str:
    sizes = {
        "n_documents": "documents", "n_queries": "queries", "n_judged": "judgements", "n_relevant": "relevant",
        "n_pairs": "pairs", "n_texts": "texts", "n_train": "texts to learn from", "n_articles": "articles",
        "n_groups": "independent groups",
    }  # fmt: skip
    parts = [f"{words.listing(task.entry[key])} {what}" for key, what in sizes.items() if key in task.entry]
    limit = task.entry.get("limit_tokens")
    linked = linked_sentence({task.name: task.rows})
    parts += [f"at most {words.sized(words.listing(limit), task.unit)} a text"] if limit else []
    facts = f"{task.kind.capitalize()}: {', '.join(parts)}." if task.kind and parts else ""
    term = glossary.find_term(task.main)
    return " ".join(part for part in (facts, f"{term.title}: {term.reading}" if term else "", linked) if part)


def _bars_chart(task: Task, view: str) -> Chart | None:
    axis = task.said.long if view == LONG else task.said.short
    if not axis:
        return None
    title, key = glossary.title(task.main), f"{task.key}-{'long' if view == LONG else 'short'}"
    heading = f"{title} by length of the {axis}"
    lead = task.said.grouping if view == LONG else f"The same {task.said.items} in groups by length of the {axis}."
    reading = (
        f"Each group of bars holds {task.said.binned(view)}, shortest left, and the higher a bar the better the score"
    )
    labels = task.bins(task.main, view)
    if len(labels) < 2:
        enough = f"that takes enough {task.said.items} for two groups"
        said = f"This result holds no {title} by length of the {axis}: {enough}."
        return Chart(key, heading, f"{reading}.", missing=said, lead=lead)
    series = [_series(task, view, fix) for fix in task.settings]
    everything = [row for which in (LONG, SHORT) for row in task.some(task.main, view=which)]
    figure = plots.bars(series, labels=labels, axis=axis, y_range=from_zero(everything), title=title, unit=task.unit)
    drawn = [row for one in series if one.role != "faint" for row in one.rows.values()]
    alt = f"Bar chart of {title} by length of the {axis}. {_ends(task, view)}"
    return Chart(key, heading, closed(reading, drawn, mark="thin line on a bar"), figure, alt, "", gaps(drawn), lead)


def _series(task: Task, view: str, fix: str) -> Bars:
    rows = {row.bin: row for row in task.some(task.main, view=view, fix=fix)}
    return Bars(rows, task.call(fix), task.role(fix))


def _ends(task: Task, view: str) -> str:
    """The first and the last bar of every setting drawn in full."""
    said = []
    for fix in task.drawn:
        rows = task.some(task.main, view=view, fix=fix)
        if not rows:
            continue
        ends = ", ".join(
            f"{words.number(r.value, r.measure)} at {words.sized(words.span(r.bin), task.unit)}"
            for r in (rows[0], rows[-1])
        )
        said.append(f"{task.call(fix).capitalize()}: {ends}.")
    return " ".join(said)


def _change_charts(task: Task) -> tuple[Chart | None, Chart | None]:
    """Before and after, and beside it line by line how sure the difference is; neither without a fix."""
    if task.chosen is None:
        return None, None
    groups = _ladder_groups(task, task.chosen)
    return _before_after_chart(task, groups), _sureness_chart(task, groups)


def _before_after_chart(task: Task, groups: Sequence[Group]) -> Chart:
    title = glossary.title(task.main)
    key, heading = f"{task.key}-change", _both(task)
    lead = f"{title} of the same {task.said.items} {_IN_BOTH[task.noun]}."
    reading = (
        f"Each line goes from {task.origin} (orange) to {task.target} (blue), with the gain and its 95 % interval "
        f"beside it; a thick line is a significant gain (blue) or loss (orange): {RULE}."
    )
    if not any(step.before and step.after for group in groups for step in group.steps):
        missing = f"This result holds no {title} of both {task.origin} and {task.target}."
        return Chart(key, heading, reading, missing=missing, lead=lead)
    figure = ladders.dumbbells(groups, title=title, names=(task.before, task.after))
    alt = f"{heading}: {title}. {_ladder_words(groups)}."
    return Chart(key, heading, reading, figure, alt, lead=lead, height=ladders.ladder_height(groups))


def _both(task: Task) -> str:
    return f"{task.before} and {task.chosen}" if task.by_name else f"Before and after {task.chosen}"


def _sureness_chart(task: Task, groups: Sequence[Group]) -> Chart:
    key, heading = f"{task.key}-gain", "How sure that is"
    lead = "The gain alone, drawn larger, and whether it is significant."
    reading = (
        "A dot right of the upright line is a gain and left of it a loss, and the line through it is the 95 % "
        f"interval; it is filled where {RULE}, and hollow elsewhere, with no difference that matters where "
        f"{RULE_ALIKE}."
    )
    drawn = [step.gain for group in groups for step in group.steps if step.gain]
    if not drawn:
        missing = "This result holds no gains: the two were not compared item by item."
        return Chart(key, heading, reading, missing=missing, lead=lead)
    names = {fix: task.call(fix) for fix in task.fixes}
    figure = ladders.gains(groups, title=f"gain of {glossary.title(task.main)}", names=names)
    height, alt = ladders.ladder_height(groups), f"Gains. {_ladder_words(groups)}."
    return Chart(key, heading, reading, figure, alt, remarks=gaps(drawn), lead=lead, height=height)


def _ladder_words(groups: Sequence[Group]) -> str:
    steps = [step for group in groups for step in group.steps]
    said = (f"{step.label}: {words.number(step.gain.value, '_gain')}, {step.outcome}" for step in steps if step.gain)
    return "; ".join(said)


def _ladder_groups(task: Task, fix: str) -> tuple[Group, ...]:
    """All items, then the bins of either length; lines without any number are left out."""
    said = task.said
    bins = [("", "overall", [""]), (said.long, LONG, task.bins(task.main, LONG))]
    bins += [(said.short, SHORT, task.bins(task.main, SHORT))] if said.short else []
    groups = [
        Group(
            f"by length of the {axis}{f', in {task.unit}' if task.unit else ''}" if axis else "",
            tuple(_step(task, fix, view, label, words.span(label) or f"all {said.items}") for label in labels),
        )
        for axis, view, labels in bins
    ]
    kept = (Group(group.heading, tuple(filter(_has_number, group.steps))) for group in groups)
    return tuple(group for group in kept if group.steps)


def _has_number(step: Step) -> bool:
    return any(row is not None for row in (step.before, step.after, step.gain))


def _step(task: Task, fix: str, view: str, label: str, said: str) -> Step:
    before, after = (task.one(task.main, which, view=view, label=label) for which in ("none", fix))
    measure = f"{task.main}_gain"
    gain = task.one(measure, fix, view=view, label=label)
    others = [task.one(measure, other, view=view, label=label) for other in task.fixes if other != fix]
    there = tuple(row for row in others if row is not None)
    return Step(said, gain, before, after, outcome(gain), task.role(fix), there)


def _grid_chart(task: Task) -> Chart | None:
    """What the chosen fix changes at both lengths at once; the score where there is no fix."""
    if not task.said.short:
        return None
    title, fix = glossary.title(task.main), task.chosen
    measure = f"{task.main}_gain" if fix else task.main
    heading = f"Gain of {title} by both lengths" if fix else f"{title} by both lengths"
    tint = f"blue where {task.target} is ahead, orange where {task.origin}" if fix else "the stronger the better"
    bold = f", and bold where the difference is {SIGNIFICANT}" if fix else ""
    reading = (
        f"Each field holds the {task.said.items} of one length of the {task.said.long} and of the {task.said.short}: "
        f"it is {tint}{bold}, while a hatched field has too few of them to say."
    )
    lead = f"Where the two lengths work together, with {task.said.corner} at the top left."
    rows = task.some(measure, view="grid", fix=fix or "none")
    fields = {tuple(row.bin.split(" x ")): row for row in rows if row.bin.count(" x ") == 1}
    longs, shorts = (sorted({key[axis] for key in fields}, key=start) for axis in (0, 1))
    key = f"{task.key}-grid"
    if not any(row.low is not None for row in fields.values()):
        said = f"This result holds no scores by both lengths: that takes enough {task.said.items} for every field."
        return Chart(key, heading, reading, missing=said, lead=lead)
    axes = (task.said.short, task.said.long)
    cells = [
        Field(
            x,
            y,
            row := fields.get((long, short)),
            plots.field_label(row, axes, (short, long), f"gain of {title}" if fix else title, task.unit),
            proven(row),
        )
        for y, long in enumerate(longs)
        for x, short in enumerate(shorts)
    ]
    figure = plots.grid(cells, xs=shorts, ys=longs, axes=axes, signed=fix is not None, unit=task.unit)
    return Chart(key, heading, reading, figure, _grid_alt(heading, list(fields.values()), task.unit), lead=lead)


def _grid_alt(heading: str, rows: Sequence[Row], unit: str) -> str:
    full = sorted((row for row in rows if row.low is not None), key=lambda row: row.value)
    ends = [f"{words.number(row.value, row.measure)} at {words.sized(row.bin, unit)}" for row in (full[0], full[-1])]
    return f"{heading}, {words.count(len(full))} fields: from {ends[0]} to {ends[1]}."


def _items_chart(task: Task) -> Chart:
    fix, items, said = task.chosen, _drawn(task), task.said
    measure = _known(items[0].measure, task.main) if items else task.main
    title, up, down = glossary.title(measure), *(("better", "worse") if measure in METRICS else ("higher", "lower"))
    key = f"{task.key}-items"
    heading = f"{_changes(task)}, {said.item} by {said.item}" if fix else f"Every {said.item}"
    lead = f"{title} {task.within}, minus that of {task.origin}." if fix else f"{title} of each, by length."
    cloud = (
        f"above the line its score is {up} {task.within}, below it {down}, so a cloud that leaves the line on one "
        "side says that this length decides"
        if fix
        else "a cloud that sinks to the right says that length costs score"
    )
    reading = f"Each dot is one {said.item}: {cloud}; hover or tap to read it."
    if not items:
        why = f"This result holds no single {said.items}: this score exists only for all of them together."
        return Chart(key, heading, reading, missing=why, lead=lead)
    figure = plots.dots(
        items, fix=fix, title=title, axis=said.long, lengths=(said.long, said.short), names=(task.before, task.after),
        unit=task.unit,
    )  # fmt: skip
    tokens = [item.n_tokens for item in items]
    alt = (
        f"Scatter plot of {words.count(len(items))} {said.items} of "
        f"{words.sized(f'{words.count(min(tokens))} to {words.count(max(tokens))}', task.unit)}. {lead}"
    )
    colours = (("after", f"{up} {task.within}"), ("before", down), ("faint", "the same")) if fix else ()
    table = _furthest(task, items, title) if fix else None
    drawn = f"{words.count(len(items))} {said.items} are drawn."
    return Chart(key, heading, reading, figure, alt, "", (*_moved(task), drawn), lead, table, colours)


def _changes(task: Task) -> str:
    return f"{task.chosen} against {task.before}" if task.by_name else f"What {task.chosen} changes"


def _known(measure: str, main: str) -> str:
    """The score of an item by the name of the task's score, where that is no more than its mean."""
    return main if main in METRICS and METRICS[main].columns == (measure,) else measure


def _furthest(task: Task, items: Sequence[Item], title: str, *, most: int = 5) -> Table | None:
    """The items that a fix moved furthest down and up, for who cannot hover."""
    changed = (item for item in items if plots.height(item, task.chosen))
    moved = sorted(changed, key=lambda item: plots.height(item, task.chosen))
    shown = moved if len(moved) <= 2 * most else [*moved[:most], *moved[-most:]]
    columns = (task.said.item, words.scale(task.said.long, task.unit), task.before, task.after, "change")
    lines = tuple(_item_line(item, task) for item in shown)
    fold = f"Show the {words.plural(task.said.item)} that moved furthest"
    return Table(f"{title} of the {task.said.items} that moved furthest.", columns, (), lines, fold) if lines else None


def _item_line(item: Item, task: Task) -> tuple[Cell, ...]:
    text = clipped(item.snippet or item.id, 220)
    scores = (words.number(item.values[fix]) for fix in task.drawn)
    numbers = (words.count(item.n_tokens), *scores, words.number(plots.height(item, task.chosen), "_gain"))
    return (Cell(text), *map(Cell, numbers))


def _drawn(task: Task) -> list[Item]:
    """The items with a score under every setting that is drawn in full, of the first item's measure."""
    full = [item for item in task.items if all(math.isfinite(item.values.get(fix, math.nan)) for fix in task.drawn)]
    return [item for item in full if item.measure == full[0].measure]


def _moved(task: Task) -> tuple[str, ...]:
    """How many went up and down, where the rows say so."""
    better = f"score better {'in' if task.of_runs else 'with'} it"
    said = {"share_up": better, "share_down": "worse", "share_same": "the same"}
    found = [(task.one(measure, task.chosen or "none"), what) for measure, what in said.items()]
    parts = [f"{words.number(row.value, row.measure)} {what}" for row, what in found if row is not None]
    return (f"Of all {task.said.items}, {', '.join(parts)}.",) if parts else ()
