"""What an evaluation found on all of its tasks, in one table and one figure."""

from collections.abc import Sequence
from dataclasses import replace

from uncollapse.records import Result, Row
from uncollapse.reporting import glossary, words
from uncollapse.reporting.charts import Cell, Chart, Section, Table, Tile, gaps
from uncollapse.reporting.tasks import ladders
from uncollapse.reporting.tasks.rows import (
    RULE,
    RULE_ALIKE,
    SIGNIFICANT,
    UNCLEAR,
    Task,
    linked_sentence,
    outcome,
    read_tasks,
)
from uncollapse.reporting.tasks.sections import make_task_section, setting_colours

TONES = {"better": "good", "worse": "bad"}


def make_task_sections(result: Result) -> list[Section]:
    """The overview and one section a task; none where the result is no evaluation."""
    tasks = read_tasks(result)
    return [_overview(tasks), *map(make_task_section, tasks)] if tasks else []


def make_task_tiles(result: Result) -> list[Tile]:
    """The score of a single task, and what the chosen fix adds to it; several tasks are summed up by the overview."""
    tasks = read_tasks(result)
    if len(tasks) != 1:
        return []
    (task,) = tasks
    title = glossary.title(task.main)
    wanted = [(task.score("none"), f"{title}, {task.before}", "before")]
    if task.chosen:
        wanted.append((task.score(task.chosen), f"{title}, {task.after}", "after"))
        gain = task.gain(task.chosen)
        sure = ", ".join(part for part in (outcome(gain), words.chance(gain.p_holm if gain else None)) if part)
        wanted.append((gain, f"gain: {sure}", "after"))
    return [
        Tile(words.number(row.value, row.measure), label, words.interval(row), role, row.n)
        for row, label, role in wanted
        if row is not None
    ]


def _overview(tasks: Sequence[Task]) -> Section:
    fixes = sorted(_fixes(tasks), key=lambda fix: fix != tasks[0].chosen)
    title = _question(tasks[0]) if fixes else "The scores"
    steps = sum(len(group.steps) for group in _groups(tasks))
    charts = [_summary(tasks, fixes)]
    if steps > 1:
        charts.append(_forest(tasks))
    colours = setting_colours(tasks[0]) if steps > 1 else ()
    return Section("tasks", title, tuple(replace(chart, wide=True) for chart in charts), colours, look="overview")


def _question(task: Task) -> str:
    return "Does it help, and where?" if task.noun == "setting" else f"Which {task.noun} is better, and where?"


def _summary(tasks: Sequence[Task], fixes: Sequence[str]) -> Chart:
    first = tasks[0]
    columns = ("task", f"score, {first.before}", "truncated", *(f"gain, {first.call(fix)}" for fix in fixes))
    lines = tuple((_name(task), _score(task), _cut(task), *(_gain(task, fix) for fix in fixes)) for task in tasks)
    reading = (
        f"A gain is what is added to the score of {first.origin}, on the same items: it is called better or worse "
        f"only where {RULE}, makes no difference that matters where {RULE_ALIKE}, and otherwise nothing can be told."
        if fixes
        else "The smaller figures are the 95 % interval, the range that other items of the same kind leave open."
    )
    table = Table("The main score of every task.", columns, lines)
    said = gaps([row for task in tasks for row in _main_rows(task, fixes)])
    linked = linked_sentence({task.name: task.rows for task in tasks}) if len(tasks) > 1 else ""  # its section says it
    remarks = tuple(part for part in (*said, linked) if part)
    return Chart("tasks", "Every task in one line", reading, table=table, remarks=remarks)


def _name(task: Task) -> Cell:
    said = ", ".join(part for part in (task.kind, glossary.title(task.main)) if part)
    return Cell(task.name, said, link=task.key)


def _score(task: Task) -> Cell:
    row = task.score("none")
    if row is None:
        return Cell(words.UNKNOWN, task.why_not(task.main, "none"))
    under = words.unbroken(words.interval(row), f"n = {words.count(row.n)}")
    return Cell(words.number(row.value, row.measure), under)


def _gain(task: Task, fix: str) -> Cell:
    row = task.gain(fix)
    if row is None:
        return Cell(words.UNKNOWN, task.why_not(f"{task.main}_gain", fix))
    word = outcome(row)
    under = words.unbroken(words.interval(row), words.chance(row.p_holm))
    drawn = TONES if fix == task.chosen else {}
    marks = [(tone, said) for which, tone in drawn.items() if (said := _where(task, fix, which))]
    smallest = task.one(f"{task.main}_detectable", fix)
    if smallest is not None and word == UNCLEAR:
        marks.append(("neutral", f"less than {words.number(smallest.value)} is easily missed"))
    return Cell(words.number(row.value, row.measure), under, word, TONES.get(word, "neutral"), tuple(marks))


def _where(task: Task, fix: str, which: str) -> str:
    """The lengths at which a fix is proven better or worse."""
    places = [
        f"{words.plural(axis)} of {words.sized(', '.join(map(words.span, bins)), task.unit)}"
        for axis, bins in task.where(fix, which)
    ]
    return f"{which}: {'; '.join(places)}" if places else ""


def _cut(task: Task) -> Cell:
    """The share of texts that lost tokens; of documents and of queries where both are known."""
    rows = [
        row for row in task.rows if row.measure == "share_truncated" and row.view == "overall" and row.fix == "none"
    ]
    if not rows:
        return Cell(words.UNKNOWN)
    first, *others = [(words.number(row.value, row.measure), f"of {row.bin}" if row.bin else "") for row in rows]
    limit = task.entry.get("limit_tokens")
    cut = f"limit {words.listing(limit)} {task.unit}".strip() if limit else ""
    return Cell(first[0], words.unbroken(first[1], *(" ".join(other).strip() for other in others), cut))


def _forest(tasks: Sequence[Task]) -> Chart:
    groups = _groups(tasks)
    steps = [step for group in groups for step in group.steps]
    said = "; ".join(
        f"{step.label} {words.number(step.gain.value, '_gain')}: {step.outcome}" for step in steps if step.gain
    )
    reading = (
        f"A dot right of the upright line is a better score than that of {tasks[0].origin}; a filled dot is a "
        f"gain or loss that is {SIGNIFICANT}, a hollow one can be chance or is too small to matter, and the line "
        "through it is the 95 % interval."
    )
    names = {fix: task.call(fix) for task in tasks for fix in task.fixes}
    figure = ladders.gains(groups, title="gain", names=names)
    height = ladders.ladder_height(groups)
    return Chart(
        "gains",
        f"Gain of every {tasks[0].noun} on every task",
        reading,
        figure,
        f"Gains. {said}.",
        height=height,
    )


def _groups(tasks: Sequence[Task]) -> tuple[ladders.Group, ...]:
    """Tasks under one fix, or the fixes under each task; colours as the legend of the first task has them."""
    chosen = tasks[0].chosen
    if len(_fixes(tasks)) > 1:
        return tuple(
            ladders.Group(task.name if len(tasks) > 1 else "", steps)
            for task in tasks
            if (steps := tuple(_step(task, fix, fix, chosen) for fix in task.fixes if task.gain(fix)))
        )
    steps = tuple(_step(task, fix, task.name, chosen) for task in tasks for fix in task.fixes if task.gain(fix))
    return (ladders.Group("", steps),) if steps else ()


def _step(task: Task, fix: str, label: str, chosen: str | None) -> ladders.Step:
    gain = task.gain(fix)
    return ladders.Step(label, gain, outcome=outcome(gain), role="after" if fix == chosen else "faint")


def _fixes(tasks: Sequence[Task]) -> list[str]:
    return list(dict.fromkeys(fix for task in tasks for fix in task.fixes))


def _main_rows(task: Task, fixes: Sequence[str]) -> list[Row]:
    rows = [task.score("none"), *(task.gain(fix) for fix in fixes)]
    return [row for row in rows if row is not None]
