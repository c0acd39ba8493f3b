"""What a race says, in plain sentences: the winner and what it costs, or to leave the model as it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uncollapse.evaluation.statistics.linked import is_linked
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.evaluation.statistics.significance import MIN_GROUPS
from uncollapse.evaluation.verdicts import LEVEL, SMALL, signed
from uncollapse.evaluation.verdicts.gains import items_for
from uncollapse.evaluation.verdicts.numbers import change, counted, sentence
from uncollapse.records import Finding, Row
from uncollapse.tuning.rows import BY_LENGTH, RACE, WHOLE, cost_of

UNLABELLED = (
    "No judgement by people stands behind this: the queries are stretches of your own documents. "
    "Such queries like strong dials better than people's questions do{taken}. A few hundred real queries with their "
    "answers decide it: a BEIR folder for `uncollapse compare`."
)
"""What a race on made queries alone cannot say."""

TAKEN = (
    ", so what `fix --auto` writes is what is tested for use, unless they find documents surely better with another"
)


@dataclass(frozen=True)
class Standing:
    """A family in a race, as its rows have it.

    Args:
        name: of the family.
        dial: what its members chose, over all queries.
        gain: on queries that had no say.
        worse: length bins in which it is surely worse.
    """

    name: str
    dial: str
    gain: Row
    worse: tuple[Row, ...]

    @property
    def better(self) -> bool:
        """Whether it is surely better by more than what matters."""
        return is_sure(self.gain) and self.gain.value > 0


def is_sure(row: Row) -> bool:
    """Whether test and interval both say that a difference is not chance, and it is not too small to matter."""
    if row.p_holm is None or row.p_holm >= LEVEL or row.low is None or row.high is None:
        return False
    return (row.low > 0 and row.high >= SMALL) or (row.high < 0 and row.low <= -SMALL)


def standings(rows: Sequence[Row], facts: Mapping[str, Any]) -> list[Standing]:
    """The families of one data set, largest gain first.

    Args:
        rows: of the race.
        facts: its entry of `Result.about["races"]`.
    """
    own = [row for row in rows if row.dataset == facts["dataset"] and row.measure == f"{facts['main']}_gain"]
    gains = {row.fix: row for row in own if row.view == RACE and row.fix != WHOLE}
    worse = {
        name: tuple(row for row in own if (row.view, row.fix) == (BY_LENGTH, name) and is_sure(row) and row.value < 0)
        for name in gains
    }
    dials = {family["name"]: _dial(family, facts.get("taken")) for family in facts["families"]}
    found = [Standing(name, dials[name], gain, worse[name]) for name, gain in gains.items()]
    return sorted(found, key=lambda one: -one.gain.value)


def _dial(family: Mapping[str, Any], taken: str | None) -> str:
    return str(taken if taken in family["grid"] else family["chosen"])


def find_winner(rows: Sequence[Row], facts: Mapping[str, Any]) -> Standing | None:
    """The family with the largest gain among those that are surely better, and at no length surely worse.

    Where no labels stand behind a race, only the family is asked whose member would be taken without them.
    """
    asked = {family["name"] for family in facts["families"] if facts.get("taken") in (None, *family["grid"])}
    return next((one for one in standings(rows, facts) if one.name in asked and one.better and not one.worse), None)


def judge_race(rows: Sequence[Row], races: Sequence[Mapping[str, Any]], model: str) -> tuple[Finding, ...]:
    """Findings, most important first.

    Args:
        rows: of all data sets.
        races: entries of `Result.about["races"]`.
        model: what the reader calls it.
    """
    found = [finding for facts in races for finding in _judge(rows, facts, model)]
    return (_sum_up(rows, races, model), *found) if len(races) > 1 else tuple(found)


def _judge(rows: Sequence[Row], facts: Mapping[str, Any], model: str) -> Iterator[Finding]:
    order = standings(rows, facts)
    if not order:
        yield _nothing_raced(facts)
        return
    if order[0].gain.n < MIN_GROUPS:
        yield _too_few(order, facts)
        return
    winner = find_winner(rows, facts)
    yield _leave(order, rows, facts, model) if winner is None else _use(winner, rows, facts)
    if winner is not None:
        yield from _cheaper(winner, order, rows, facts)
    yield from (_hurts(one, facts) for one in order if one.better and one.worse)
    yield from _whole(rows, facts)
    yield from _regret(rows, facts)
    if not facts["labelled"]:
        said = UNLABELLED.format(taken=TAKEN if facts.get("taken") else "")
        yield Finding("No labels stand behind this", said, "unknown")


def _nothing_raced(facts: Mapping[str, Any]) -> Finding:
    reasons = dict.fromkeys(facts["left_out"].values())
    return Finding(f"Nothing could be raced on {facts['dataset']}", " ".join(map(sentence, reasons)), "unknown")


def _too_few(order: Sequence[Standing], facts: Mapping[str, Any]) -> Finding:
    n, title = order[0].gain.n, f"Nothing can be told on {facts['dataset']}"
    if not facts["labelled"]:
        asked = f"{n} {'document' if n == 1 else 'documents'} can be asked for"
        return Finding(title, f"{asked}, and {MIN_GROUPS} are needed before anything is tested. Give more.", "unknown")
    return Finding(
        title,
        f"It has {n} independent {'query' if n == 1 else 'queries'}, and {MIN_GROUPS} are needed before anything is "
        "tested. Give more queries with their answers, or the documents alone: queries are made out of them then.",
        "unknown",
    )


def _use(winner: Standing, rows: Sequence[Row], facts: Mapping[str, Any]) -> Finding:
    bins = [row for row in rows if _is(row, facts, BY_LENGTH, winner.name) and row.p_holm is not None]
    lengths = (
        f" In none of {len(bins)} length bins is it surely worse."
        if bins
        else " There are too few queries to look at single lengths."
    )
    moved = f"{_moved(winner, rows, facts)}, {_tested(winner.gain)}.{lengths}"
    where = "" if facts["labelled"] else ", as far as queries made out of it can tell"
    return Finding(f"Use {winner.dial} on {facts['dataset']}{where}", f"{moved} {_cost(winner, rows, facts)}", "good")


def _moved(one: Standing, rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    stock = next(row for row in rows if _is(row, facts, RACE, "none") and row.measure == facts["main"])
    title = METRICS[facts["main"]].title
    asked, after = "queries" if facts["labelled"] else "made queries", stock.value + one.gain.value
    return f"{title} goes from {stock.value:.3f} to {after:.3f} on {asked} that had no say in its dial"


def _tested(gain: Row) -> str:
    return change(gain) + ("" if gain.p_holm is None else f", corrected p = {gain.p_holm:.2g}")


def _cost(one: Standing, rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """What a family costs: in words, then as counted."""
    of_dataset = [row for row in rows if row.dataset == facts["dataset"]]
    cost, said = cost_of(of_dataset, one.name), next(f["cost"] for f in facts["families"] if f["name"] == one.name)
    counted = []
    if "encode_cost" in cost:
        counted.append(
            f"{_times(cost['encode_cost'])} the tokens to encode, {_times(cost['storage_cost'])} the numbers to store"
        )
    fitted = [
        f"{value:,.0f} {name.removeprefix('fitted_')}" for name, value in cost.items() if name.startswith("fitted_")
    ]
    if fitted:
        counted.append(f"fitted to {' and '.join(fitted)}, without any label")
    return f"It costs {said}" + (f" ({'; '.join(counted)})." if counted else ".")


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times".replace("1.00 times", "1.0 times")


def _cheaper(
    winner: Standing, order: Sequence[Standing], rows: Sequence[Row], facts: Mapping[str, Any]
) -> Iterator[Finding]:
    """A family that costs less and is not surely behind."""
    price = _price(winner, rows, facts)
    for one in order:
        lag = next(
            (row for row in rows if _is(row, facts, RACE, one.name) and row.measure == f"{facts['main']}_lag"), None
        )
        if lag is None or lag.low is None or lag.low > 0 or _price(one, rows, facts) >= price:
            continue
        if one is winner or not one.better or one.worse:
            continue
        yield Finding(
            f"{one.dial} costs less and is not surely behind",
            f"It is behind by {_below(lag)} and gains {_tested(one.gain)}. {_cost(one, rows, facts)}",
        )
        return


def _price(one: Standing, rows: Sequence[Row], facts: Mapping[str, Any]) -> tuple[float, float, float]:
    cost = cost_of([row for row in rows if row.dataset == facts["dataset"]], one.name)
    return (
        round(cost.get("encode_cost", 1.0), 2),
        round(cost.get("storage_cost", 1.0), 2),
        float("temperature" in one.name),
    )


def _leave(order: Sequence[Standing], rows: Sequence[Row], facts: Mapping[str, Any], model: str) -> Finding:
    first, harmful = order[0], [one for one in order if one.better and one.worse]
    said = f"None of {len(order)} families of fixes is surely better"
    if facts.get("taken") and any(one.better for one in order):
        said = f"What would be taken without labels, {facts['taken']}, is not surely better"
    if harmful:
        said += (
            f" at all lengths: {harmful[0].dial} gains overall, but loses where documents are of {_bins(harmful[0])}"
        )
    largest = (
        f"The largest gain is that of {first.dial}, {_tested(first.gain)}, on queries that had no say in its dial."
    )
    return Finding(
        f"Leave {model} as it is on {facts['dataset']}",
        f"{said}. {largest}{_power(first, rows, facts)}",
        "neutral",
    )


def _power(first: Standing, rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """How large a gain would have been seen, and how many queries it takes to see the one that was found."""
    power = next(
        (r for r in rows if _is(r, facts, RACE, first.name) and r.measure == f"{facts['main']}_detectable"), None
    )
    if power is None:
        return ""
    said = f" With this many queries a true gain of {power.value:.3f} would be found in four of five such races"
    wanted = max(abs(first.gain.value), SMALL)
    if power.value <= wanted:
        return f"{said}."
    kind = "such" if is_linked(power.note) else "independent"
    return f"{said}; to find one of {wanted:.3f} as often takes about {items_for(wanted, power):,} {kind} queries."


def _hurts(one: Standing, facts: Mapping[str, Any]) -> Finding:
    return Finding(
        f"{one.dial} gains overall on {facts['dataset']}, and hurts at some lengths",
        f"It gains {_tested(one.gain)}, but is surely worse where documents are of {_bins(one)}, corrected for the "
        "number of bins. That is why it is not recommended.",
        "bad",
    )


def _bins(one: Standing) -> str:
    return "; ".join(f"{row.bin} tokens: {change(row)}" for row in one.worse)


def _whole(rows: Sequence[Row], facts: Mapping[str, Any]) -> Iterator[Finding]:
    row = next((row for row in rows if _is(row, facts, RACE, WHOLE) and row.measure == f"{facts['main']}_gain"), None)
    if row is None or row.low is None:
        return
    doubt = "" if row.low > 0 else " That is not surely above 0."
    yield Finding(
        f"Following this race is worth {signed(row.value)} on queries it has not seen",
        "Fix and dial were chosen together on most of the queries and scored on the rest, over and over: "
        f"{change(row)}.{doubt} The gain of the best family is a little flattered, as it was picked for it; this one "
        "is not.",
    )


def _regret(rows: Sequence[Row], facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What a choice without labels would have lost."""
    if not facts.get("blind"):
        return
    row = next((row for row in rows if _is(row, facts, RACE, WHOLE) and row.measure.endswith("_regret")), None)
    own = [r for r in rows if r.dataset == facts["dataset"] and r.view == RACE and r.measure.endswith("_regret")]
    single = [r for r in own if r.fix != WHOLE]
    if row is None or not single:
        return
    mean = sum(one.value for one in single) / len(single)
    yield Finding(
        f"Without labels the choice would have been {facts['blind']}",
        f"It scores {_below(row)} below the best of all dials on these queries. Within a family, dials chosen without "
        f"labels are {mean:.4f} below the best of it on average over {len(single)} families. Each best was picked on "
        "these same queries, which makes the losses look larger than they are.",
    )


def _below(row: Row) -> str:
    """A loss without its sign."""
    between = "" if row.low is None or row.high is None else f"95 % interval {row.low:.3f} to {row.high:.3f}, "
    return f"{row.value:.3f} ({between}{counted(row)})"


def _is(row: Row, facts: Mapping[str, Any], view: str, fix: str) -> bool:
    return (row.dataset, row.view, row.fix) == (facts["dataset"], view, fix)


def _sum_up(rows: Sequence[Row], races: Sequence[Mapping[str, Any]], model: str) -> Finding:
    """Which family is better on the most data sets and hurts on none."""
    names = list(dict.fromkeys(family["name"] for facts in races for family in facts["families"]))
    placed = {facts["dataset"]: {one.name: one for one in standings(rows, facts)} for facts in races}
    better = {name: sum(one[name].better for one in placed.values() if name in one) for name in names}
    hurt = {
        name
        for one in placed.values()
        for name, at in one.items()
        if at.worse or (is_sure(at.gain) and at.gain.value < 0)
    }
    sound = sorted((name for name in names if name not in hurt and better[name]), key=lambda name: -better[name])
    if not sound:
        return Finding(
            f"Leave {model} as it is on {len(races)} data sets together",
            "No family of fixes is surely better on one of them without being surely worse on another, or at some "
            "length. Each data set by itself stands below.",
        )
    mean = [one[sound[0]].gain.value for one in placed.values() if sound[0] in one]
    return Finding(
        f"{sound[0]}: better on {better[sound[0]]} of {len(races)} data sets, worse on none",
        f"Its mean gain over {len(mean)} data sets is {signed(sum(mean) / len(mean))}; each was tested by itself, and "
        "stands below with its interval and its dial.",
        "good",
    )
