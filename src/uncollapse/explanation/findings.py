"""What was found inside a model, in plain sentences."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from uncollapse.explanation.rows import ALL_HEADS, EMBEDDINGS, HEADS, LAWS, LAYERS, ONE_LAYER
from uncollapse.records import Finding, Row

ATTENTION, REST, TEMPERATURE, EMBEDDING, THEORY = (
    "What attention does",
    "What the rest of the layer puts back",
    "What a temperature does",
    "What reaches the embedding",
    "Theory beside measurement",
)
"""Headings of the verdict."""

Say = Callable[["_Table"], Iterator[Finding]]


def conclude(rows: Sequence[Row], about: Mapping[str, Any]) -> dict[str, tuple[Finding, ...]]:
    """The findings under their headings; a heading without any is left out.

    Args:
        rows: every number of the explanation.
        about: what was looked at, as in `Result.about["explanation"]`.
    """
    table = _Table(rows, about)
    found = {heading: tuple(say(table)) for heading, say in SAID.items()}
    return {heading: findings for heading, findings in found.items() if findings}


class _Table:
    """Rows by what they are about."""

    def __init__(self, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
        self.rows, self.about = rows, about
        self.short, self.long = about["lengths"][0], about["lengths"][-1]

    def all(self, measure: str, **keys: object) -> list[Row]:
        """Every row with these keys; a fix that is not named is none."""
        wanted = {"fix": "none", **keys}
        return [
            row
            for row in self.rows
            if row.measure == measure and all(getattr(row, key) == value for key, value in wanted.items())
        ]

    def one(self, measure: str, **keys: object) -> Row | None:
        """The only such row."""
        return next(iter(self.all(measure, **keys)), None)

    def ends(self, measure: str, view: str, **keys: object) -> tuple[Row, Row] | None:
        """The row at the shortest and at the longest length."""
        short, long = (self.one(measure, view=view, bin=str(n), **keys) for n in (self.short, self.long))
        return (short, long) if short and long else None


def _attention(table: _Table) -> Iterator[Finding]:
    ends, change = table.ends("filter_rate", ALL_HEADS), table.one("filter_rate_change", view=ALL_HEADS)
    if ends and change:
        yield _filter_finding(table, ends, change)
    kept, lost = table.ends("output_hc_share", ALL_HEADS), table.one("output_hc_share_change", view=ALL_HEADS)
    if kept and lost:
        yield _kept_finding(table, kept, lost)
    if spread := table.ends("entropy", ALL_HEADS):
        yield _spread_finding(table, spread)


def _filter_finding(table: _Table, ends: tuple[Row, Row], change: Row) -> Finding:
    heads = table.all("filter_rate", view=HEADS, bin=str(table.long))
    smooth = sum(row.value < 1 for row in heads)
    title = _by_sign(
        change,
        "The filter rate grows with length: the published cause has it fall",
        "The filter rate falls with length, as the published cause has it",
        "The filter rate neither surely grows nor surely falls with length",
    )
    return Finding(
        title,
        "The filter rate is the most by which one step of attention can stretch what tells tokens apart; below 1 all "
        f"of it shrinks. Its median over {len(heads)} heads is {_number(ends[0])} at {table.short} tokens and "
        f"{_number(ends[1])} at {table.long}, on {ends[1].n} documents. At {table.long} tokens {smooth} of "
        f"{len(heads)} heads lie below 1.",
        "bad" if _sign(change) < 0 else "neutral",
    )


def _kept_finding(table: _Table, ends: tuple[Row, Row], change: Row) -> Finding:
    title = _by_sign(
        change,
        "What attention puts out tells tokens apart more in long texts",
        "What attention puts out tells tokens apart less in long texts",
        "What attention puts out tells tokens apart as much in long texts as in short ones",
    )
    return Finding(
        title if _decided(change) else "Whether attention smooths long texts more cannot be told",
        "Of the energy of a head's output, the share in which tokens differ (the rest is the same for all) is "
        f"{_share(ends[0])} at {table.short} tokens and {_share(ends[1])} at {table.long}, median over heads. This is "
        "what is left of the tokens' differences; the filter rate is only the most that could be.",
        "bad" if _sign(change) < 0 else "neutral",
    )


def _spread_finding(table: _Table, ends: tuple[Row, Row]) -> Finding:
    parts = [
        f"{_share(row)} on {what}"
        for measure, what in (
            ("share_special", "special tokens"),
            ("share_own", "the token itself"),
            ("share_window", "the tokens around it and itself"),
        )
        if (row := table.one(measure, view=ALL_HEADS, bin=str(table.long)))
    ]
    where = f" At {table.long} tokens the median head spends {', '.join(parts)}." if parts else ""
    return Finding(
        "Where attention goes",
        f"The entropy of attention is {_share(ends[0])} of that of uniform attention at {table.short} tokens and "
        f"{_share(ends[1])} at {table.long}, median over heads.{where}",
    )


def _rest(table: _Table) -> Iterator[Finding]:
    stages, top = list(table.about["stages"]), table.about["layers"] - 1
    if not stages:
        return
    ends = [_through_layers(table, stages[-1], top, n) for n in (table.short, table.long)]
    attention, mlp = (
        table.one("hc_share", view=stage, layer=None, bin=str(table.long)) for stage in ("attention", "mlp")
    )
    if not all(ends):
        return
    added = (
        f" Of what attention adds it is {_share(attention)}, of what the MLP adds {_share(mlp)}, on average over the "
        "layers."
        if attention and mlp
        else ""
    )
    yield Finding(
        _rest_title(attention, mlp),
        f"The share of energy that tells tokens apart goes from {ends[1]} through the layers at {table.long} tokens, "
        f"and from {ends[0]} at {table.short}.{added}",
    )


def _through_layers(table: _Table, last: str, top: int, n: int) -> str:
    """The share that tells tokens apart, from what enters the first layer to what the last hands on; "" if unknown."""
    first = table.one("hc_share", view="input", layer=0, bin=str(n))
    end = table.one("hc_share", view=last, layer=top, bin=str(n))
    return f"{_share(first)} to {_share(end)}" if first and end else ""


def _rest_title(attention: Row | None, mlp: Row | None) -> str:
    if attention and mlp and _apart(attention, mlp):
        if attention.value < mlp.value:
            return "The MLP puts back what tells tokens apart"
        return "The MLP adds less of what tells tokens apart than attention does"
    return "How much of the stream tells tokens apart"


def _temperature(table: _Table) -> Iterator[Finding]:
    at_long: dict[str, object] = {"view": ALL_HEADS, "bin": str(table.long)}
    stock = table.one("filter_rate", **at_long)
    shown = {fix: table.one("filter_rate", fix=fix, **at_long) for fix in table.about["temperatures"]}
    under = {fix: row for fix, row in shown.items() if row}
    if stock and under:
        said = ", ".join(f"{_number(row)} with {fix}" for fix, row in under.items())
        yield Finding(
            _moved([_sign_between(stock, row) for row in under.values()]),
            f"At {table.long} tokens its median over heads is {_number(stock)} without, {said}.",
        )
    if solved := table.all("solved_tau", view="keeps filter_rate", bin=str(table.long)):
        yield _solved_finding(table, solved)


def _moved(signs: Sequence[int]) -> str:
    """The title for how all temperatures move the filter rate."""
    if set(signs) == {1}:
        return "Sharper attention raises the filter rate"
    if set(signs) == {-1}:
        return "Sharper attention lowers the filter rate"
    return "Whether a temperature changes the filter rate cannot be told for all of them"


def _solved_finding(table: _Table, solved: Sequence[Row]) -> Finding:
    heads = table.about["layers"] * table.about["heads"]
    below = sum(row.high is not None and row.high < 1 for row in solved)
    above = sum(row.low is not None and row.low > 1 for row in solved)
    return Finding(
        f"What would keep each head at {table.long} tokens as it is at {table.about['n0']}",
        f"To keep its filter rate, {below} of {heads} heads need a temperature surely below 1, the sharpening that "
        f"the theory asks for, and {above} one surely above 1; in {heads - len(solved)} no temperature does it. The "
        f"median is {median(row.value for row in solved):.2f}.",
    )


def _embedding(table: _Table) -> Iterator[Finding]:
    first = table.one("pooled_mean_cosine_change", view=EMBEDDINGS)
    layers = sorted(table.all("pooled_mean_cosine_change", view=LAYERS), key=lambda row: row.layer or 0)
    if first and layers:
        yield _depth_finding(table, first, layers)
    changes = [row for row in table.rows if row.measure == "rise_change"]
    rise = table.one("mean_cosine_rise", view=ONE_LAYER)
    if rise and changes:
        yield _ablation_finding(rise, changes, table.about["at_one_layer"])


def _depth_finding(table: _Table, first: Row, layers: Sequence[Row]) -> Finding:
    steps = [after.value - before.value for before, after in zip([first, *layers], layers, strict=False)]
    top = max(range(len(steps)), key=lambda layer: steps[layer])
    last = layers[-1]
    if _sign(last) <= 0:
        title = "Documents do not surely move together with length"
    elif _sign_between(last, first) > 0:
        title = "Documents drift together more before the first layer than after the last"
    elif first.value >= last.value / 2 and _sign(first) > 0:
        title = "Much of the rise is there before any attention"
    else:
        title = f"The rise is made mostly in layer {top}"
    return Finding(
        title,
        f"From {table.short} to {table.long} tokens the mean cosine of different documents, pooled as the model does, "
        f"changes by {_signed(first)} before the first layer and by {_signed(last)} after the last; layer {top} adds "
        f"most, {steps[top]:+.2f}. n = {last.n} documents.",
        "bad" if _sign(last) > 0 else "neutral",
    )


def _ablation_finding(rise: Row, changes: Sequence[Row], tau: float) -> Finding:
    single = sorted((row for row in changes if row.layer is not None), key=lambda row: row.value)
    together = next((row for row in changes if row.layer is None), None)
    down, up = ([row for row in single if _sign(row) == sign] for sign in (-1, 1))
    said = [f"The mean cosine of the model's vectors changes by {_signed(rise)} from short to long."]
    if single:
        said.append(
            f"A temperature of {tau:g} in one layer alone lowers that rise for sure in {len(down)} of {len(single)} "
            f"layers and raises it in {len(up)}: from {_signed(single[0], 3)} in layer {single[0].layer} to "
            f"{_signed(single[-1], 3)} in layer {single[-1].layer}."
        )
    if together:
        said.append(f"In all layers at once it changes it by {_signed(together, 3)}.")
    return Finding(_ablation_title(together, tau), " ".join(said))


def _ablation_title(together: Row | None, tau: float) -> str:
    ways = {
        -1: f"A temperature of {tau:g} lowers the rise of the mean cosine",
        1: f"A temperature of {tau:g} raises the rise of the mean cosine",
        0: f"Whether a temperature of {tau:g} lowers the rise of the mean cosine cannot be told",
    }
    return ways[0 if together is None else _sign(together)]


def _theory(table: _Table) -> Iterator[Finding]:
    measured = {row.bin: row for row in table.all("filter_rate", view=ALL_HEADS)}
    gaussian, bound = ({row.bin: row for row in table.all("filter_rate", view=view)} for view in LAWS[:2])
    long = str(table.long)
    if not all(long in found for found in (measured, gaussian, bound)):
        return
    fits = sum(not _apart(row, gaussian[n]) for n, row in measured.items())
    over = sum(_sign_between(bound[n], row) > 0 for n, row in measured.items())
    yield Finding(
        _theory_title(fits, len(measured)),
        f"At {long} tokens the median head filters at {_number(measured[long])}; the Gaussian law gives "
        f"{_number(gaussian[long])}, the bound quoted for the paper {_number(bound[long])}, which is surely exceeded "
        f"at {over} of {len(measured)} lengths.{_spread(table)}",
    )


def _theory_title(fits: int, lengths: int) -> str:
    if fits == lengths:
        return "The Gaussian law describes this model"
    if fits:
        return f"The Gaussian law describes this model at {fits} of {lengths} lengths"
    return "The theory does not describe this model"


def _spread(table: _Table) -> str:
    """Which assumption fails."""
    ends = table.ends("score_spread", ALL_HEADS)
    if not ends:
        return ""
    return (
        f" The scores of a row have a standard deviation of {_number(ends[0])} at {table.short} tokens and "
        f"{_number(ends[1])} at {table.long}, median over heads. The law takes scores for independent and Gaussian; "
        "in real heads many rows look at the same few tokens, which no spread of a row shows."
    )


SAID: Mapping[str, Say] = {
    ATTENTION: _attention,
    REST: _rest,
    TEMPERATURE: _temperature,
    EMBEDDING: _embedding,
    THEORY: _theory,
}
"""Who speaks under each heading."""


def _sign(row: Row) -> int:
    """1 or -1 where the whole interval lies on one side of 0, else 0."""
    if row.low is None or row.high is None:
        return 0
    return (row.low > 0) - (row.high < 0)


def _decided(row: Row) -> bool:
    """Whether the sign is sure, or the whole interval is small beside what could matter."""
    return _sign(row) != 0 or (row.low is not None and row.high is not None and max(-row.low, row.high) < 0.02)


def _by_sign(change: Row, up: str, down: str, level: str) -> str:
    return {1: up, -1: down, 0: level}[_sign(change)]


def _apart(one: Row, other: Row) -> bool:
    return _sign_between(one, other) != 0


def _sign_between(one: Row, other: Row) -> int:
    """1 where the other's whole interval lies above that of the one, -1 below, else 0."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return 0
    return (other.low > one.high) - (other.high < one.low)


def _need(row: Row | None) -> Row:
    assert row is not None
    return row


def _number(row: Row) -> str:
    interval = "" if row.low is None or row.high is None else f" [{row.low:.2f}, {row.high:.2f}]"
    return f"{row.value:.2f}{interval}"


def _signed(row: Row, places: int = 2) -> str:
    interval = "" if row.low is None or row.high is None else f" [{row.low:+z.{places}f}, {row.high:+z.{places}f}]"
    return f"{row.value:+z.{places}f}{interval}"


def _share(row: Row | None) -> str:
    row = _need(row)
    interval = "" if row.low is None or row.high is None else f" [{100 * row.low:.0f}, {100 * row.high:.0f}]"
    return f"{100 * row.value:.0f} %{interval}"
