"""The numbers of a race as rows: gains on queries that had no say, by length, costs, and what a choice without labels
loses."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.statistics.linked import noted_linked, p_linked
from uncollapse.evaluation.statistics.scores import Gain, gain, score
from uncollapse.evaluation.statistics.significance import holm, standard_error
from uncollapse.evaluation.strata import Stratum, cut_by_length
from uncollapse.records import Row
from uncollapse.resampling import Estimate
from uncollapse.tuning.bench import Measured
from uncollapse.tuning.halving import error_of
from uncollapse.tuning.relabelling import Worth, judge_gains
from uncollapse.tuning.rules import Rules
from uncollapse.tuning.trials import Blind, Heat

Floats = npt.NDArray[np.float64]

RACE, BY_LENGTH, DIALS, COSTS, BLIND = "race", "race_by_length", "race_dials", "race_costs", "race_blind"
"""Views: families, families by length of the documents, every dial, what it costs, and the probe without labels."""

WHOLE = "the whole race"
"""The fix of rows about fix and dial chosen together."""

COUNTED = "no interval: counted, not estimated"
PICKED = "over all queries: the best of several dials looks better here than it is on other queries"
OPTIMUM = "the optimum was picked on the same queries, which makes this loss look larger than it is"
PER_BIN = 20
"""Independent groups of queries of a length bin, at least, on average."""


def heat_rows(heat: Heat, rules: Rules) -> tuple[Row, ...]:
    """Every number of one data set."""
    bench = _Lines(heat, rules)
    rows = [*_families(bench), *_by_length(bench), *_regrets(bench), *_dials(bench), *_blind_of(heat), *_costs(heat)]
    if heat.sheet.shared is not None:
        rows = [row if row.view == COSTS else noted_linked(row, heat.sheet.items) for row in rows]
    return tuple(replace(row, dataset=heat.dataset) for row in rows)


@dataclass(frozen=True, eq=False)
class _Lines:
    """A data set's lines, with the scores of one setting or another."""

    heat: Heat
    rules: Rules

    @property
    def stock(self) -> Sheet:
        return self.sheet(self.heat.stock.scores)

    def sheet(self, scores: Floats) -> Sheet:
        return replace(self.heat.sheet, columns={self.heat.main: scores})

    def gain(self, before: Sheet, after: Sheet, *, comparisons: int = 1) -> Gain:
        rules = self.rules
        return gain(
            before, after, self.heat.main, comparisons=comparisons, replicates=rules.replicates,
            resamples=rules.resamples, seed=rules.seed,
        )  # fmt: skip

    def worth(self, members: Mapping[str, Measured], strata: Sequence[npt.NDArray[np.bool_]]) -> tuple[Worth, ...]:
        """What chance makes of the gains of a family in some strata."""
        rules = self.rules
        gains = {name: one.scores - self.heat.stock.scores for name, one in members.items()}
        return judge_gains(
            gains, self.heat.sheet.groups, strata, splits=(rules.folds, rules.repeats), resamples=rules.resamples,
            seed=rules.seed,
        )  # fmt: skip

    def score(self, sheet: Sheet) -> Estimate:
        return score(sheet, self.heat.main, replicates=self.rules.replicates, seed=self.rules.seed)


def _families(lines: _Lines) -> Iterator[Row]:
    heat, stock = lines.heat, lines.stock
    yield _row(heat.main, lines.score(stock), RACE, "none")
    gains = []
    for family in heat.families:
        after = lines.sheet(family.fit.scores)
        yield _row(heat.main, lines.score(after), RACE, family.name)
        found = lines.gain(stock, after, comparisons=len(heat.families))
        (worth,) = lines.worth(family.measured, [_all(stock)])
        gains.append(_chosen(tested(f"{heat.main}_gain", found, RACE, family.name), worth, found, stock, after))
        if found.detectable is not None:
            note = "no interval: the gain that so many queries would show in 80 of 100 cases"
            power = Estimate(found.detectable, np.empty(0), None, None, found.estimate.n, note)
            yield _row(f"{heat.main}_detectable", power, RACE, family.name)
    yield from corrected(gains)
    yield from _lags(lines)
    if heat.whole is not None:
        after = lines.sheet(heat.whole.scores)
        found = lines.gain(stock, after)
        every = {name: one for family in heat.families for name, one in family.measured.items()}
        (worth,) = lines.worth(every, [_all(stock)])
        yield _chosen(tested(f"{heat.main}_gain", found, RACE, WHOLE), worth, found, stock, after)


def _all(sheet: Sheet) -> npt.NDArray[np.bool_]:
    return np.ones(len(sheet), np.bool_)


def _chosen(row: Row, worth: Worth, found: Gain, before: Sheet, after: Sheet) -> Row:
    """A gain whose p-value and interval allow for the choice of the dial.

    The interval of the bootstrap, which takes the dials as given, is widened in the ratio of the two standard errors;
    it is never made narrower.
    """
    if found.p is None or row.low is None or row.high is None:
        return row
    (name,) = before.columns
    plain = standard_error(after.columns[name] - before.columns[name], before.groups)
    wider = max(1.0, worth.error / plain) if plain else 1.0
    low, high = (row.value + wider * (end - row.value) for end in (row.low, row.high))
    p = p_linked(worth.p, found.estimate, worth.error, found.wider)
    note = f"{row.note}; and {wider:.2f} times that for the choice of the dial" if found.wider > 1 else row.note
    return replace(row, p=p, low=low, high=high, note=note)


def _lags(lines: _Lines) -> Iterator[Row]:
    """How far every family is behind the one with the largest gain."""
    families = lines.heat.families
    if len(families) < 2:
        return
    first = max(families, key=lambda family: float(family.fit.scores.mean()))
    for family in families:
        if family is not first:
            found = lines.gain(lines.sheet(family.fit.scores), lines.sheet(first.fit.scores))
            yield _row(f"{lines.heat.main}_lag", found.estimate, RACE, family.name)


def _by_length(lines: _Lines) -> Iterator[Row]:
    """Gains in bins of document length, corrected for the bins of a family."""
    heat = lines.heat
    strata = length_strata(heat.sheet, lines.rules.bins)
    for family in heat.families if strata else ():
        gains = []
        worths = lines.worth(family.measured, [stratum.lines for stratum in strata])
        for stratum, worth in zip(strata, worths, strict=True):
            before, after = (sheet.take(stratum.lines) for sheet in (lines.stock, lines.sheet(family.fit.scores)))
            found = lines.gain(before, after)
            row = tested(f"{heat.main}_gain", found, BY_LENGTH, family.name)
            row = _chosen(row, worth, found, before, after)
            gains.append(replace(row, bin=stratum.bin, n_tokens=stratum.n_tokens))
        yield from corrected(gains)


def length_strata(sheet: Sheet, bins: int) -> list[Stratum]:
    """Bins of document length with about 20 independent groups or more each; none where there are too few for two."""
    fitting = min(bins, len(set(sheet.groups)) // PER_BIN)
    if fitting < 2:
        return []
    return [one for one in cut_by_length(sheet, bins=fitting, cells=1) if one.view == "by_document_length"]


def _regrets(lines: _Lines) -> Iterator[Row]:
    """What a dial chosen without labels loses against the best of its family on these queries."""
    heat = lines.heat
    if heat.blind is None:
        return
    every = {name: one.scores for family in heat.families for name, one in family.measured.items()}
    pairs = [
        (family.name, every.get(heat.blind.chosen.get(family.name, "")), every[family.chosen])
        for family in heat.families
    ]
    if every:
        best = max(every.values(), key=lambda scores: float(scores.mean()))
        pairs.append((WHOLE, every.get(heat.blind.overall or ""), best))
    for name, blind, best in pairs:
        if blind is not None:
            found = lines.gain(lines.sheet(blind), lines.sheet(best)).estimate
            yield _row(f"{heat.main}_regret", found.noted(OPTIMUM), RACE, name)


def _dials(lines: _Lines) -> Iterator[Row]:
    heat = lines.heat
    for family in heat.families:
        for notation, measured in family.measured.items():
            found = lines.gain(lines.stock, lines.sheet(measured.scores)).estimate
            note = PICKED if len(family.measured) > 1 else ""
            yield _row(f"{heat.main}_gain", found.noted(note) if note else found, DIALS, notation)


def _blind_of(heat: Heat) -> tuple[Row, ...]:
    return blind_rows(heat.blind) if heat.blind else ()


def blind_rows(blind: Blind) -> tuple[Row, ...]:
    """Scores of the probe without labels; dials that were dropped early are on fewer documents than the others."""
    return tuple(_blind_row(notation, scores, blind.tried[notation]) for notation, scores in blind.scores.items())


def _blind_row(notation: str, scores: Floats, tried: int) -> Row:
    mean, half = float(scores.mean()), 1.96 * error_of(scores)
    note = f"searched among {tried:,} documents; the interval is 1.96 standard errors"
    low, high = max(0.0, mean - half), min(1.0, mean + half)
    return Row("known_item_ndcg@10", mean, low, high, len(scores), view=BLIND, fix=notation, note=note)


def _costs(heat: Heat) -> Iterator[Row]:
    stock = heat.stock
    for family in heat.families:
        one = family.measured[family.chosen]
        numbers = {
            "encode_cost": one.tokens / max(stock.tokens, 1),
            "storage_cost": one.vectors * one.dim / (stock.vectors * stock.dim),
            "vectors_per_document": one.vectors,
            "dimensions": float(one.dim),
            **{f"fitted_{group}": float(size) for group, size in one.fitted.items()},
        }
        for measure, value in numbers.items():
            yield Row(measure, value, None, None, 1, view=COSTS, fix=family.name, note=COUNTED)


def cost_of(rows: Iterable[Row], family: str) -> dict[str, float]:
    """By measure, what the rows say that a family costs."""
    return {row.measure: row.value for row in rows if (row.view, row.fix) == (COSTS, family)}


def corrected(gains: Sequence[Row]) -> Iterator[Row]:
    """Rows with Holm's correction for all of them."""
    tested = [row.p for row in gains if row.p is not None]
    adjusted = iter(holm(tested).tolist() if tested else ())
    for row in gains:
        yield row if row.p is None else replace(row, p_holm=next(adjusted))


def tested(measure: str, found: Gain, view: str, fix: str) -> Row:
    """A gain with its test."""
    return replace(_row(measure, found.estimate, view, fix), p=found.p, effect=found.effect)


def _row(measure: str, estimate: Estimate, view: str, fix: str) -> Row:
    return Row(
        measure, estimate.value, estimate.low, estimate.high, estimate.n, view=view, fix=fix, note=estimate.note
    )
