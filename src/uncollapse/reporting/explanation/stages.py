"""What norm, MLP and residual put back: the differences between tokens after every step through the model."""

from collections.abc import Mapping, Sequence

from uncollapse.records import Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, Section, remarks
from uncollapse.reporting.diagnosis.bars import Frame
from uncollapse.reporting.explanation import plots
from uncollapse.reporting.explanation.curves import reach
from uncollapse.reporting.explanation.plots import Stop
from uncollapse.reporting.explanation.rows import Explanation, ends

ENTRY, ADDED = "input", "after attention"
BRANCHES = {"attention": "what attention adds, alone", "mlp": "what the MLP adds, alone"}
"""Stages that are no state of the stream but what is added to it."""
MARKS = {"attention": "diamond", "mlp": "square"}
"""Their marks in the legend."""
_READING = (
    "Follow a line from left to right through all layers: {}; shaded steps are attention's, the others those of norm "
    "and MLP, and open marks are what a branch adds before it joins the stream"
)
FRAMES = {
    "hc_share": Frame(
        "stages-share", "What tells tokens apart, step by step",
        _READING.format("where it falls tokens become more alike, where it climbs their differences are put back"),
        "This result holds no energies of the steps inside the layers.",
        "The share of the energy of the token states that tells tokens apart; the rest is what all of them share.",
        wide=True,
    ),
    "token_cosine": Frame(
        "stages-cosine", "How alike tokens are, step by step",
        _READING.format("where it climbs tokens become more alike, where it falls they are told apart again"),
        "This result holds no cosines of tokens of the steps inside the layers.",
        "The mean cosine of pairs of tokens of the same text: 1 when all of them point the same way.",
        wide=True,
    ),
}  # fmt: skip


def make_stage_section(explanation: Explanation) -> Section | None:
    """Two ways through the model; None where nobody asked."""
    if not any(explanation.views(measure) for measure in FRAMES):
        return None
    charts = tuple(_way(explanation, measure, frame) for measure, frame in FRAMES.items())
    return Section(
        "stages", "What the rest of the layer puts back", charts, look="explanation", notes=_order(explanation),
        lead="A head that smooths does not yet make a model that does: the residual stream carries what was there "
        "before, and norm and MLP change it again.",
    )  # fmt: skip


def find_stops(explanation: Explanation, measure: str) -> list[Stop]:
    """All steps that a measure was taken after, in their order.

    What enters a layer is what the layer before hands on, so only the first layer has it.
    """
    by_stage = {stage: explanation.layers(measure, stage) for stage in _stages(explanation, measure)}
    layers = sorted({layer for rows in by_stage.values() for layer in rows})
    taken = [
        (layer, stage)
        for layer in layers
        for stage, rows in by_stage.items()
        if layer in rows and not (stage == ENTRY and layer - 1 in layers)
    ]
    return [
        Stop(place, layer, stage, stage if stage in BRANCHES else "", stage == ADDED)
        for place, (layer, stage) in enumerate(taken)
    ]


def last_rows(explanation: Explanation, measure: str) -> list[Row]:
    """A measure of what the last layer hands on, shortest length first."""
    stream = [stop for stop in find_stops(explanation, measure) if not stop.branch]
    return explanation.layers(measure, stream[-1].stage)[stream[-1].layer] if stream else []


def _stages(explanation: Explanation, measure: str) -> list[str]:
    there = explanation.views(measure)
    named = [str(stage) for stage in explanation.listed("stages")]
    return [*(stage for stage in named if stage in there), *(stage for stage in there if stage not in named)]


def _way(explanation: Explanation, measure: str, frame: Frame) -> Chart:
    stops = find_stops(explanation, measure)
    by_stage = {stop.stage: explanation.layers(measure, stop.stage) for stop in stops}
    by_stop = {stop: by_stage[stop.stage][stop.layer] for stop in stops}
    lengths = ends(sorted({row.n_tokens for rows in by_stop.values() for row in rows}))
    if not lengths:
        return Chart(frame.key, frame.title, f"{frame.reading}.", missing=frame.missing, lead=frame.lead, wide=True)
    roles = ("after", "before")[-len(lengths) :]
    lines = {
        role: {stop: row for stop, rows in by_stop.items() for row in rows if row.n_tokens == length}
        for role, length in zip(roles, lengths, strict=True)
    }
    names = {role: f"{words.count(length)} tokens" for role, length in zip(roles, lengths, strict=True)}
    drawn = [row for line in lines.values() for row in line.values()]
    told = " ".join(f"At {names[role]}: {_tell(line)}." for role, line in lines.items())
    return Chart(
        frame.key, frame.title, f"{frame.reading}.", plots.way(lines, names, y_range=reach(drawn)),
        f"Line chart. {frame.title}. {told}", remarks=remarks(drawn), lead=frame.lead,
        colours=(*names.items(), *_marks(stops)), wide=True, height=400,
    )  # fmt: skip


def _marks(stops: Sequence[Stop]) -> list[tuple[str, str]]:
    """The legend of what is no line."""
    shaded = [("shade", "attention's step")] if any(stop.attention for stop in stops) else []
    branches = dict.fromkeys(stop.branch for stop in stops if stop.branch)
    return [*shaded, *((MARKS[branch], BRANCHES[branch]) for branch in branches)]


def _order(explanation: Explanation) -> tuple[str, ...]:
    """The steps of a layer in words."""
    stages = dict.fromkeys(stage for measure in FRAMES for stage in _stages(explanation, measure))
    named = [f"{stage} (what it adds)" if stage in BRANCHES else stage for stage in stages]
    return (f"The steps of a layer, in their order: {', '.join(named)}.",)


def _tell(line: Mapping[Stop, Row]) -> str:
    """Where a line begins, how low it gets and where it ends."""
    stream = [stop for stop in line if not stop.branch] or list(line)
    lowest = min(stream, key=lambda stop: line[stop].value)
    told = {"begins at": stream[0], "lowest": lowest, "ends at": stream[-1]}
    return "; ".join(
        f"{what} {words.number(line[stop].value, line[stop].measure)} (layer {stop.layer}, {stop.stage})"
        for what, stop in told.items()
    )
