"""Which figures a report holds, from which rows, and the words around them."""

import math
from collections.abc import Sequence
from dataclasses import replace

from uncollapse.measures import MEASURES
from uncollapse.records import Point, Result, Row
from uncollapse.reporting import plots, words
from uncollapse.reporting.charts import Chart, Section, Tile, closed, gaps
from uncollapse.reporting.diagnosis.audit import is_audit, make_audit_section
from uncollapse.reporting.diagnosis.sections import make_reason_sections
from uncollapse.reporting.drawing import Range, from_zero
from uncollapse.reporting.explanation.sections import make_explanation_sections, make_explanation_tiles
from uncollapse.reporting.plots import Line
from uncollapse.reporting.races import make_race_sections, make_race_tiles
from uncollapse.reporting.tasks import make_task_sections, make_task_tiles


def chosen_fix(result: Result) -> str | None:
    """The fix to show as "after": the one `about` names, else the only one there is, else None."""
    fixes = list(dict.fromkeys(row.fix for row in result.rows if row.fix != "none"))
    named = result.about.get("chosen_fix")
    if named is not None:
        return str(named) if named in fixes else None
    return fixes[0] if len(fixes) == 1 else None


def make_tiles(result: Result) -> list[Tile]:
    """The rise with length; with a fix, the share it takes back and what that does to retrieval."""
    fix = chosen_fix(result)
    wanted = [("mean_cosine_rise", "none", "rise of the mean cosine with length", "before")]
    if fix is None and result.select(measure="mean_cosine_rise_from_lowest"):
        wanted.append(("mean_cosine_rise_from_lowest", "none", "rise from its lowest point to the longest", "before"))
    elif fix is None:
        wanted.append(("mean_cosine_per_doubling", "none", "rise for each doubling of the length", "before"))
    else:
        wanted.append(("share_recovered", fix, f"of that rise taken back by {fix}{_both_ends(result, fix)}", "after"))
        wanted.append(
            ("mean_reciprocal_rank_change", fix, f"change of retrieval (mean reciprocal rank) by {fix}", "after")
        )
    found = [(result.select(measure=measure, fix=fix), label, role) for measure, fix, label, role in wanted]
    return [
        Tile(words.number(row.value, row.measure), label, words.interval(row), role, row.n)
        for row, label, role in ((_preferred(rows), label, role) for rows, label, role in found)
        if row is not None and math.isfinite(row.value)
    ] + [*make_race_tiles(result), *make_task_tiles(_scored(result)), *make_explanation_tiles(result)]


def _both_ends(result: Result, fix: str) -> str:
    """The mean cosine at both ends without and with a fix, since a higher short end also makes a rise smaller."""
    ends = sorted(result.select(measure="mean_cosine_change", fix=fix), key=lambda row: -row.n_tokens)
    if len(ends) < 2:
        return ""
    told = []
    for end in ends:
        found = (result.select(measure="mean_cosine", view=end.view, bin=end.bin, fix=one) for one in ("none", fix))
        values = " -> ".join(words.number(row.value) for rows in found for row in rows[:1])
        told.append(f"{values} at {end.bin} {words.unit(result.about)}")
    return f": {', '.join(told)}"


def make_sections(result: Result) -> list[Section]:
    """Every section of the report, top to bottom; what this result was never asked for is left out.

    An evaluation begins with its tasks and an explanation with its heads; of a diagnosis they then have what there is
    something to draw for.
    """
    diagnosis = [make_audit_section(result), _cosine_section(result), *make_reason_sections(result)]
    diagnosis += [_sweep_section(result), _projection_section(result), _shape_section(result), _length_section(result)]
    asked = [section for section in diagnosis if section is not None]
    first = [*make_race_sections(result), *make_task_sections(_scored(result)), *make_explanation_sections(result)]
    if not first:
        return asked
    return first + [section for section in asked if any(chart.figure or chart.table for chart in section.charts)]


def _scored(result: Result) -> Result:
    """The result without the totals of a truncation audit, which are no scores of a task."""
    return replace(result, rows=tuple(row for row in result.rows if not is_audit(row)))


def _cosine_section(result: Result) -> Section:
    views = {view: _lines(result, "mean_cosine", view, sweep=view == "windows") for view in ("windows", "as_is")}
    y_range = from_zero([row for lines in views.values() for line in lines for row in line.rows])
    unit = words.unit(result.about)
    windows = _curve_chart(
        "windows", f"Mean cosine of the same texts, cut to n {unit}", views["windows"], y_range=y_range,
        y_title="mean cosine", unit=unit,
        reading=f"Each dot is the mean cosine of pairs of different texts cut to exactly that many {unit}: a line "
        "that climbs to the right says that longer pieces of these texts look more alike to the model",
        missing="This result holds no texts cut to several lengths: none is long enough, or nobody asked for it.",
    )  # fmt: skip
    as_is = _curve_chart(
        "as-is", "Mean cosine, every text at its own length", views["as_is"], y_title="mean cosine", y_range=y_range,
        unit=unit,
        reading="The same number for texts grouped by their own length: this is what a search over this corpus meets, "
        "and it mixes the effect of length with what the long texts are about",
        missing="This result holds no numbers for texts at their own length.",
    )  # fmt: skip
    colours = _colours([*views["windows"], *views["as_is"]])
    lead = MEASURES["mean_cosine"].reading
    return Section("cosine", "Do longer texts drift together?", (windows, as_is), colours, lead)


def _sweep_section(result: Result) -> Section | None:
    fix = chosen_fix(result)
    rise = _one_per_fix(result, "mean_cosine_rise")
    change = _one_per_fix(result, "mean_reciprocal_rank_change")
    order = list(dict.fromkeys(row.fix for row in (*rise, *change)))
    if len(order) < 2 and not change:
        return None
    charts = (
        _forest_chart(
            "rise", "Rise of the mean cosine with length", rise, order=order, chosen=fix,
            reading="Further left is better: with that setting the mean cosine grows less from the shortest texts to "
            "the longest",
            missing="This result holds no rise of the mean cosine: it takes two length bins.",
        ),
        _forest_chart(
            "retrieval", "Change of retrieval (mean reciprocal rank)", change, order=order, chosen=fix, stock_at=0.0,
            reading="Further right is better: the upright line is the model as it is, and a setting whose interval "
            "crosses it is not proven to change search",
            missing="Retrieval was not measured, so nothing here says whether a fix helps or hurts search.",
        ),
    )  # fmt: skip
    return Section("sweep", "What each setting buys", charts, _setting_colours(order, fix))


def _projection_section(result: Result) -> Section:
    fixes = sorted({point.fix for point in result.points}, key=lambda fix: (fix != "none", fix))
    unit = words.unit(result.about)
    charts = tuple(
        _cloud_chart(result.points, fix, key=f"points-{index}", unit=unit) for index, fix in enumerate(fixes)
    )
    missing = Chart("points-0", "Projection", _CLOUD_READING, missing="This result holds no projected texts.")
    return Section("points", "Where the texts lie", charts or (missing,))


_CLOUD_READING = (
    "Each dot is one text, drawn along the two directions in which the vectors differ most and coloured by its "
    "length: colours in separate places mean that a text's place follows its length; hover or tap to read it."
)
_CLOUD_READING_AFTER = (
    "The same with the fix on and at the same scale: the more the colours mix, compared with the model as it is, the "
    "less a text's place follows its length."
)


def _cloud_chart(points: Sequence[Point], fix: str, *, key: str, unit: str) -> Chart:
    shown = [point for point in points if point.fix == fix and math.isfinite(point.x + point.y)]
    title = words.setting(fix)[:1].upper() + words.setting(fix)[1:]
    reading = _CLOUD_READING if key == "points-0" else _CLOUD_READING_AFTER
    if not shown:
        return Chart(key, title, reading, missing="No projected text has finite coordinates.")
    around = [point for point in points if math.isfinite(point.x + point.y)]
    tokens = [point.n_tokens for point in shown]
    alt = (
        f"Scatter plot of {words.count(len(shown))} texts of {words.count(min(tokens))} to {words.count(max(tokens))} "
        f"{unit}, {words.setting(fix)}, coloured by length."
    )
    return Chart(key, title, reading, plots.cloud(shown, around=around, unit=unit), alt)


def _shape_section(result: Result) -> Section:
    view = "windows" if result.select(measure="effective_rank", view="windows") else "as_is"
    unit = words.unit(result.about)
    place = f"texts cut to n {unit}" if view == "windows" else "texts at their own length"
    rank, uniformity = _lines(result, "effective_rank", view), _lines(result, "uniformity", view)
    isotropic = _curve_rows(result, "effective_rank_isotropic", view, "none")
    reference = [Line(isotropic, "vectors in random directions", "reference")] if isotropic else []
    dashed = ", and the dashed line is what as many vectors in random directions would show" if isotropic else ""
    first = _curve_chart(
        "rank", f"Effective rank, {place}", [*reference, *rank], y_title="effective rank", unit=unit,
        y_range=from_zero([row for line in (*reference, *rank) for row in line.rows]),
        reading=f"{_better('effective_rank')}: a line that falls says that longer texts use fewer directions" + dashed,
        missing="This result holds no effective rank by length.",
    )  # fmt: skip
    second = _curve_chart(
        "uniformity", f"Uniformity, {place}", uniformity, y_title="uniformity", unit=unit,
        reading=f"{_better('uniformity')}: a line that climbs says that longer texts crowd together",
        missing="This result holds no uniformity by length.",
    )  # fmt: skip
    charts = (_led(first, "effective_rank"), _led(second, "uniformity"))
    return Section("shape", "How much room the vectors use", charts, _colours([*reference, *rank, *uniformity]))


def _led(chart: Chart, measure: str) -> Chart:
    """The chart with the sentence that says what its measure is."""
    return replace(chart, lead=MEASURES[measure].reading)


def _length_section(result: Result) -> Section:
    unit = words.unit(result.about)
    title = f"{unit[:1].upper()}{unit[1:]} per text"
    limit, folder_limit = words.limit(result.about), words.limit(result.about, "folder_max_tokens")
    limits = [(limit, f"the model's limit: {words.count(limit)}")] if limit else []
    if folder_limit and folder_limit != limit:
        limits.append((folder_limit, f"limit set in its folder: {words.count(folder_limit)}"))
    reading = (
        f"Each bar counts the texts of that many {unit} before truncation: what stands beyond the model's limit is "
        "read only in part, and no fix of the model brings the rest back."
    )
    if not result.lengths:
        chart = Chart("lengths", title, reading, missing="This result holds no counts of lengths.")
        return Section("lengths", "How long the texts are", (chart,))
    texts, cut = (sum(getattr(item, what) for item in result.lengths) for what in ("texts", "truncated"))
    said = f"{words.count(cut)} of {words.count(texts)} texts were truncated."
    alt = f"Histogram of {words.count(texts)} texts by length in {unit}. {said}"
    figure = plots.histogram(result.lengths, limits=limits, unit=unit)
    chart = Chart("lengths", title, reading, figure, alt, remarks=(said,))
    return Section("lengths", "How long the texts are", (chart,), (("whole", "read whole"), ("cut", "truncated")))


def _curve_chart(
    key: str,
    title: str,
    lines: Sequence[Line],
    *,
    y_title: str,
    reading: str,
    missing: str,
    y_range: Range | None = None,
    unit: str = "tokens",
) -> Chart:
    main = [line for line in lines if line.role in ("before", "after")]
    longest = max((line.rows for line in main), key=len, default=())
    if not longest:
        return Chart(key, title, reading, missing=missing)
    if len(longest) < 2:
        said = f"Only one length bin holds enough texts ({words.ends(longest, unit)}), and a curve needs two."
        return Chart(key, title, reading, missing=said)
    figure = plots.curve(lines, y_range=y_range, y_title=y_title, unit=unit)
    numbers = " ".join(f"{line.name.capitalize()}: {words.ends(line.rows, unit)}." for line in main)
    alt = f"Line chart of {y_title} by number of {unit}. {numbers}"
    drawn = [row for line in main for row in line.rows]
    return Chart(key, title, closed(reading, drawn, mark="band"), figure, alt, remarks=gaps(drawn))


def _forest_chart(
    key: str,
    title: str,
    rows: Sequence[Row],
    *,
    order: Sequence[str],
    chosen: str | None,
    reading: str,
    missing: str,
    stock_at: float | None = None,
) -> Chart:
    if not rows:
        return Chart(key, title, reading, missing=missing)
    said = "; ".join(f"{words.setting(row.fix)} {words.number(row.value, row.measure)}" for row in rows)
    figure = plots.forest(rows, order=order, chosen=chosen, stock_at=stock_at)
    full = closed(reading, rows, mark="line through a dot")
    return Chart(key, title, full, figure, f"{title}. {said}.", remarks=gaps(rows))


def _lines(result: Result, measure: str, view: str, *, sweep: bool = False) -> list[Line]:
    """Before and after on top; the other settings of a `sweep` as faint lines under them."""
    chosen = chosen_fix(result)
    fixes = dict.fromkeys(row.fix for row in result.select(measure=measure, view=view))
    roles = {fix: "before" if fix == "none" else "after" if fix == chosen else "faint" for fix in fixes}
    ordered = sorted(fixes, key=lambda fix: ("faint", "before", "after").index(roles[fix]))
    lines = [Line(_curve_rows(result, measure, view, fix), words.setting(fix), roles[fix]) for fix in ordered]
    return [line for line in lines if line.rows and (sweep or line.role != "faint")]


def _curve_rows(result: Result, measure: str, view: str, fix: str) -> list[Row]:
    rows = result.select(measure=measure, view=view, fix=fix)
    return sorted((row for row in rows if row.n_tokens > 0 and math.isfinite(row.value)), key=lambda row: row.n_tokens)


def _one_per_fix(result: Result, measure: str) -> list[Row]:
    rows = [row for row in result.select(measure=measure) if math.isfinite(row.value)]
    fixes = dict.fromkeys(row.fix for row in rows)
    best = (_preferred([row for row in rows if row.fix == fix]) for fix in fixes)
    return [row for row in best if row is not None]


def _preferred(rows: Sequence[Row]) -> Row | None:
    """The row of the controlled view where a number was taken in both."""
    return next((row for row in rows if row.view == "windows"), rows[0] if rows else None)


def _better(measure: str) -> str:
    """Which way is better, as the table of measures has it."""
    return {"higher": "Higher is better", "lower": "Lower is better"}.get(
        MEASURES[measure].better, "Neither way is better"
    )


def _colours(lines: Sequence[Line]) -> tuple[tuple[str, str], ...]:
    named = {line.role: line.name for line in lines}
    if "faint" in named:
        named["faint"] = "other settings tried"
    return tuple((role, named[role]) for role in ("before", "after", "faint", "reference") if role in named)


def _setting_colours(fixes: Sequence[str], chosen: str | None) -> tuple[tuple[str, str], ...]:
    roles = {"before": words.STOCK if "none" in fixes else "", "after": words.setting(chosen) if chosen else ""}
    roles["faint"] = "other settings tried" if set(fixes) - {"none", chosen} else ""
    return tuple((role, name) for role, name in roles.items() if name)
