"""What of it all reaches the embedding: how alike texts are after every layer, and whose temperature changes that."""

from collections.abc import Mapping

from uncollapse.records import Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, Section, closed, remarks
from uncollapse.reporting.diagnosis.bars import Frame
from uncollapse.reporting.explanation import plots
from uncollapse.reporting.explanation.curves import ladder_chart
from uncollapse.reporting.explanation.rows import BEFORE, LAYERS, ONE_LAYER, Explanation
from uncollapse.reporting.plots import Line

COSINE, CHANGE = "pooled_mean_cosine", "rise_change"
ALL = "all layers at once"


def make_embedding_section(explanation: Explanation) -> Section | None:
    """A curve a layer and a bar a layer; None where nobody asked."""
    charts = [*_cosines(explanation), *_changes(explanation)]
    if not charts:
        return None
    return Section(
        "embedding", "What reaches the embedding", tuple(charts), look="explanation",
        lead="The vector of a text is pooled from the states of its tokens. Pooling by the mean keeps only what "
        "tokens share, so smoothing alone does not make texts alike: here is how alike different texts become.",
    )  # fmt: skip


def _cosines(explanation: Explanation) -> list[Chart]:
    layers = explanation.layers(COSINE, LAYERS)
    if not layers:
        return []
    frame = Frame(
        "embedding-layers", "How alike different texts are, layer by layer",
        "Each line is one layer, light for the first and dark for the last, whose line is the model's own: one that "
        "climbs to the right says that longer texts look more alike after this layer",
        "", "The mean cosine of pairs of different texts, pooled after each layer as the model pools its last.",
    )  # fmt: skip
    first = [row for rows in explanation.layers(COSINE, BEFORE).values() for row in rows]
    return [ladder_chart(frame, layers, Line(first, "before the first layer", "reference"))]


def _changes(explanation: Explanation) -> list[Chart]:
    found = explanation.rows.get((CHANGE, ONE_LAYER), ())
    rows = {row.layer: row for row in reversed(found) if row.layer is not None}
    if not rows:
        return []
    together = next((row for row in found if row.layer is None), None)
    tried = together.fix if together else "a temperature"
    frame = Frame(
        "embedding-changes", "Which layer's temperature changes the collapse",
        "A bar below 0 (blue) says that a temperature in this layer alone makes texts drift together less with "
        "length, one above 0 (orange) more, and a pale bar can be nothing",
        "", f"How the rise of the mean cosine with length changes by {tried} in one layer at a time.",
    )  # fmt: skip
    ordered = dict(sorted(rows.items()))
    drawn = [*ordered.values(), *([together] if together else [])]
    return [
        Chart(
            frame.key, frame.title, closed(frame.reading, drawn, mark="thin line on a bar"),
            plots.bars(ordered, together), f"Bar chart. {frame.title}. {_tell(ordered, together)}",
            remarks=(*_rise(explanation), *remarks(drawn)), lead=frame.lead,
        )
    ]  # fmt: skip


def _rise(explanation: Explanation) -> tuple[str, ...]:
    """What the changes are changes of."""
    row = next(iter(explanation.find("mean_cosine_rise", ONE_LAYER)), None)
    if row is None:
        return ()
    between = words.interval(row)
    surely = f" (95 % interval {between})" if between else ""
    return (f"Without any, the rise is {words.number(row.value, row.measure)}{surely}.",)


def _tell(rows: Mapping[int, Row], together: Row | None) -> str:
    said = [f"layer {layer}: {words.number(row.value, CHANGE)}" for layer, row in rows.items()]
    said += [f"{ALL}: {words.number(together.value, CHANGE)}"] if together else []
    return f"{', '.join(said).capitalize()}."
