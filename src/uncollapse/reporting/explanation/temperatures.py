"""What a temperature does to the heads, and which one each head would need to act as it does on shorter texts."""

from uncollapse.records import Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, Section
from uncollapse.reporting.diagnosis.bars import Frame
from uncollapse.reporting.explanation.curves import curve_chart
from uncollapse.reporting.explanation.heatmaps import around_one
from uncollapse.reporting.explanation.maps import head_grid, map_chart
from uncollapse.reporting.explanation.rows import ALL_HEADS, HEADS, Explanation, size_of
from uncollapse.reporting.plots import Line

ROLES = ("after", "relevant", "limit-4")
"""Lines of the temperatures: more of them cannot be told apart."""
UNREACHED = "could not be reached"
FRAMES = {
    "filter_rate": Frame(
        "temperature-rate", "Filter rate at each temperature",
        "Each line is one temperature in all layers: where it lies above the model as it is, attention leaves more of "
        "the differences between tokens",
        "This result holds no filter rate at a temperature.", "The median over all heads.",
    ),
    "entropy": Frame(
        "temperature-entropy", "Entropy of attention at each temperature",
        "Each line is one temperature in all layers: the lower it lies, the fewer tokens a token looks at",
        "This result holds no entropy at a temperature.", "The median over all heads, as a share of log n.",
    ),
    "output_hc_share": Frame(
        "temperature-output", "Differences in what heads put out at each temperature",
        "Each line is one temperature in all layers: the higher it lies, the more of what heads put out tells tokens "
        "apart",
        "This result holds no energies of what heads put out at a temperature.",
        "The median over all heads of the share of their output's energy that tells tokens apart.", wide=True,
    ),
}  # fmt: skip
KEPT = {"keeps filter_rate": "filter rate", "keeps entropy": "entropy"}
"""Views of solved temperatures, and what they keep."""


def make_temperature_section(explanation: Explanation) -> Section | None:
    """Curves a temperature, and maps of solved temperatures; None where no temperature was tried."""
    tried = any(explanation.fixes(measure, ALL_HEADS) for measure in FRAMES)
    charts = [*(_curves(explanation) if tried else ()), *_solved(explanation)]
    if not charts:
        return None
    return Section(
        "temperature", "Temperature", tuple(charts), look="explanation",
        lead="A temperature divides the scores of attention before the softmax: below 1 it sharpens what a token "
        "looks at, above 1 it softens it, and at 1 the model is as it is.",
    )  # fmt: skip


def _curves(explanation: Explanation) -> list[Chart]:
    return [_curve(explanation, measure, frame) for measure, frame in FRAMES.items()]


def _curve(explanation: Explanation, measure: str, frame: Frame) -> Chart:
    fixes = explanation.fixes(measure, ALL_HEADS)
    lines = [Line(explanation.curve(measure, ALL_HEADS), words.STOCK, "before")]
    lines += [
        Line(explanation.curve(measure, ALL_HEADS, fix=fix), words.setting(fix), role)
        for fix, role in zip(fixes, ROLES, strict=False)
    ]
    rest = fixes[len(ROLES) :]
    also = [f"Not drawn, but in the table of all numbers: {', '.join(rest)}."] if rest else []
    return curve_chart(frame, lines, level=1.0 if measure == "filter_rate" else None, also=also)


def _solved(explanation: Explanation) -> list[Chart]:
    """A map for every measure that temperatures were solved for, also where none was found."""
    found = {view: explanation.heads("solved_tau", view) for view in KEPT}
    asked = _documents(explanation) > 0 and bool(_lengths(explanation))
    return [_map(explanation, view, by_length) for view, by_length in found.items() if by_length or asked]


def _documents(explanation: Explanation) -> float:
    """On how many documents temperatures were solved for; an older result does not say."""
    return explanation.number("solved") or 0


def _lengths(explanation: Explanation) -> list[float]:
    """The lengths at which heads can be held against what they are at n0."""
    return [length for length in explanation.heads("filter_rate", HEADS) if length != explanation.number("n0")]


def _map(explanation: Explanation, view: str, by_length: dict[float, dict[tuple[int, int], Row]]) -> Chart:
    maps = explanation.heads("filter_rate", HEADS)
    longest = max([*by_length, *_lengths(explanation)])
    squares = by_length.get(longest, {})
    size = size_of(*by_length.values(), *maps.values())
    n0 = explanation.said("n0")
    kept, other = KEPT[view], f"{n0} tokens" if n0 else "another length"
    lost, documents = size[0] * size[1] - len(squares), _documents(explanation)
    most = f" in most of {words.count(documents)} documents" if documents else ""
    frame = Frame(
        f"temperature-keeps-{kept.replace(' ', '-')}",
        f"Temperature that keeps the {kept} of {other}, at {words.count(longest)} tokens",
        f"Each square is one head: blue must be sharpened to have the {kept} that it has at {other}, orange "
        "softened, the page's own colour left as it is, and a cross is a head where that could not be reached",
        f"No temperature was found that keeps the {kept} of any head at {words.count(longest)} tokens{most}.",
        f"What the scores of a head would have to be divided by so that it acts on {words.count(longest)} tokens as "
        f"it does on {n0 or 'others'}, the layers below it left as they are.",
    )  # fmt: skip
    also = (
        (f"For {words.count(lost)} of {words.count(size[0] * size[1])} heads it {UNREACHED}{most}.",) if lost else ()
    )
    crossed = dict.fromkeys(((x, y) for x in range(size[0]) for y in range(size[1])), UNREACHED)
    return map_chart(frame, squares, head_grid(size, crossed), around_one([squares], "temperature"), also=also)
