"""Ladders: one line under another, each with what a setting changed there and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from uncollapse.records import Row
from uncollapse.reporting.drawing import COLOURS, Figure, bold, clipped, finished, joined, plain, roomy, sure, whiskers
from uncollapse.reporting.tasks.rows import PROVEN, UNCLEAR
from uncollapse.reporting.words import chance, interval, number

STEP, HEADING, WRAPPED = 50, 30, 16
"""Height of a line of a ladder, of a heading in it, and of what a wrapped heading needs more a line, in pixels."""
HOLLOW = "rgba(0,0,0,0)"


@dataclass(frozen=True)
class Step:
    """One line of a ladder: what a setting changed somewhere.

    Args:
        label: where.
        gain: the difference, None where nobody took it.
        before, after: the two scores.
        outcome: what the gain says in a word.
        role: colour of the gain.
        others: the gains of other settings at the same place.
    """

    label: str
    gain: Row | None
    before: Row | None = None
    after: Row | None = None
    outcome: str = ""
    role: str = "after"
    others: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Group:
    """Lines of a ladder under one heading, "" for none."""

    heading: str
    steps: tuple[Step, ...]


def ladder_height(groups: Sequence[Group]) -> int:
    """How many pixels a ladder needs, its axis included."""
    lines = sum(len(group.steps) for group in groups)
    return 64 + STEP * lines + sum(_room(group.heading) for group in groups)


def dumbbells(groups: Sequence[Group], *, title: str, names: tuple[str, str]) -> Figure:
    """Two scores of every line joined by a bar, the gain beside them in words."""
    steps, heights = _steps(groups), _heights(groups)
    labels = [_step_label(step, title, names) for step in steps]
    traces = [_joints(steps, heights, outcome) for outcome in (UNCLEAR, "worse", "better")]
    for end, role in (("before", "before"), ("after", "after")):
        found = [
            (getattr(step, end), height, label) for step, height, label in zip(steps, heights, labels, strict=True)
        ]
        ends = _ends([(row.value, height, label) for row, height, label in found if row is not None], role)
        traces.append(ends.update(marker={"size": 15 if end == "before" else 10}))
    values = [row.value for step in steps for row in (step.before, step.after) if row is not None]
    beside = [_gain_words(step) for step in steps]
    return _ladder(traces, groups, beside, margin=126, across={"range": roomy(values), "nticks": 5})


def gains(groups: Sequence[Group], *, title: str, names: Mapping[str, str]) -> Figure:
    """One dot and interval for every line around the upright line of no change; filled where the gain is proven.

    `names` are what the reader calls each fix.
    """
    placed = list(zip(_steps(groups), _heights(groups), strict=True))
    others = [(row, height) for step, height in placed for row in step.others]
    labels = [_gain_label(row, title, names) for row, _ in others]
    faint = _ends([(row.value, height, label) for (row, height), label in zip(others, labels, strict=True)], "faint")
    faint.update(marker={"size": 7, "opacity": 0.65})
    beside = [_sure_words(step) if step.gain else [] for step, _ in placed]
    lines = [
        {"type": "line", "x0": 0, "x1": 0, "y0": top, "y1": bottom, "layer": "below", "line": _UPRIGHT}
        for top, bottom in _blocks(groups)
    ]
    across = {"nticks": 5, "zeroline": False}
    dots = [
        _dots([place for place in placed if place[0].role == role], role, title, names) for role in ("faint", "after")
    ]
    return _ladder([faint, *dots], groups, beside, margin=92, across=across, shapes=lines)


_UPRIGHT = {"width": 1.6, "color": COLOURS["before"]}


def _joints(steps: Sequence[Step], heights: Sequence[float], outcome: str) -> go.Scatter:
    """The bars between two scores of all lines with this outcome; what is not proven has one look."""
    same = [
        (step.before.value, step.after.value, height)
        for step, height in zip(steps, heights, strict=True)
        if step.before and step.after and (step.outcome if step.outcome in PROVEN else UNCLEAR) == outcome
    ]
    role = {"better": "after", "worse": "before"}.get(outcome, "faint")
    return go.Scatter(
        x=[x for before, after, _ in same for x in (before, after, None)],
        y=[y for *_, height in same for y in (height, height, None)],
        mode="lines",
        line={"width": 5 if outcome in PROVEN else 2, "color": COLOURS[role]},
        hoverinfo="skip",
    )


def _ends(places: Sequence[tuple[float, float, str]], role: str) -> go.Scatter:
    """Dots with a value, a height and what the mouse finds there."""
    return go.Scatter(
        x=[value for value, _, _ in places],
        y=[height for _, height, _ in places],
        mode="markers",
        marker={"size": 12, "color": COLOURS[role]},
        hovertext=[label for _, _, label in places],
        hoverinfo="text",
    )


def _dots(placed: Sequence[tuple[Step, float]], role: str, title: str, names: Mapping[str, str]) -> go.Scatter:
    """The gains of one colour: filled where they are proven, hollow elsewhere."""
    drawn = [(step, step.gain, height) for step, height in placed if step.gain is not None]
    fills = [COLOURS[role] if step.outcome in PROVEN else HOLLOW for step, _, _ in drawn]
    return go.Scatter(
        x=[row.value for _, row, _ in drawn],
        y=[height for *_, height in drawn],
        mode="markers",
        marker={"size": 11, "color": fills, "line": {"width": 2.2, "color": COLOURS[role]}},
        error_x=whiskers([row for _, row, _ in drawn]) | {"thickness": 2.2, "color": COLOURS[role]},
        hovertext=[_gain_label(row, title, names, step.outcome) for step, row, _ in drawn],
        hoverinfo="text",
    )


def _gain_label(row: Row, title: str, names: Mapping[str, str], outcome: str = "") -> str:
    lines = [plain(names[row.fix]), bold(f"{title} {number(row.value, row.measure)}"), *sure(row), plain(outcome)]
    return joined(lines)


def _step_label(step: Step, title: str, names: tuple[str, str]) -> str:
    scores = [
        f"{plain(name)}: {plain(title)} {number(row.value, row.measure)}"
        for name, row in zip(names, (step.before, step.after), strict=True)
        if row is not None
    ]
    gain = step.gain
    said = [bold(f"gain {number(gain.value, gain.measure)}"), *sure(gain), plain(step.outcome)] if gain else []
    return joined([bold(step.label), *scores, *said])


def _gain_words(step: Step) -> list[str]:
    if step.gain is None:
        return []
    value = number(step.gain.value, step.gain.measure)
    return [bold(value) if step.outcome in PROVEN else plain(value), plain(interval(step.gain))]


def _sure_words(step: Step) -> list[str]:
    said = bold(step.outcome) if step.outcome in PROVEN else plain(step.outcome, width=14)
    return [said, plain(chance(step.gain.p_holm) if step.gain else "")]


def _steps(groups: Sequence[Group]) -> list[Step]:
    return [step for group in groups for step in group.steps]


def _heading(text: str) -> str:
    """A heading over as many lines as a narrow page needs."""
    return f"<b>{plain(clipped(text, 90), width=28)}</b>"


def _room(heading: str) -> int:
    return HEADING + WRAPPED * _heading(heading).count("<br>") if heading else 0


def _blocks(groups: Sequence[Group]) -> list[tuple[float, float]]:
    """Top and bottom of each group's lines, in pixels from the top, without its heading."""
    blocks, at = [], 0.0
    for group in groups:
        top = at + _room(group.heading)
        at = top + STEP * len(group.steps)
        blocks.append((top, at))
    return blocks


def _heights(groups: Sequence[Group]) -> list[float]:
    """Where the lines lie, in pixels from the top."""
    return [
        top + STEP * (place + 0.5)
        for group, (top, _) in zip(groups, _blocks(groups), strict=True)
        for place in range(len(group.steps))
    ]


def _ladder(
    traces: Sequence[go.Scatter],
    groups: Sequence[Group],
    beside: Sequence[Sequence[str]],
    *,
    margin: int,
    across: Figure,
    shapes: Sequence[Figure] = (),
) -> Figure:
    """The axes of lines one under the other, the headings between them, and words in the margin at their right."""
    heights, blocks = _heights(groups), _blocks(groups)
    headings = [
        {"x": 0, "xanchor": "left", "yanchor": "bottom", "y": top, "align": "left", "text": _heading(group.heading)}
        for group, (top, _) in zip(groups, blocks, strict=True)
        if group.heading
    ]
    words = [
        {"x": 1, "xanchor": "left", "xshift": 12, "y": height, "align": "left", "text": said, "font": {"size": 12}}
        for height, lines in zip(heights, beside, strict=True)
        if (said := joined(lines))
    ]
    common = {"xref": "paper", "yanchor": "middle", "showarrow": False}
    layout = {
        "xaxis": across,
        "yaxis": {
            "tickvals": heights, "ticktext": [plain(step.label, width=18) for step in _steps(groups)],
            "range": [blocks[-1][1], 0], "automargin": True, "zeroline": False, "ticklabelstandoff": 6,
        },
        "margin": {"r": margin, "t": 4},
        "annotations": [common | note for note in headings + words],
        "shapes": list(shapes),
    }  # fmt: skip
    return finished(go.Figure(list(traces), layout))
