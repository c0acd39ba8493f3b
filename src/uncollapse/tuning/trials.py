"""One data set of a race: every configuration scored, dials chosen with and without labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from uncollapse.errors import ModelError
from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.statistics.significance import MIN_GROUPS
from uncollapse.evaluation.tasks import Retrieval
from uncollapse.progress import Reporter
from uncollapse.tuning.bench import STOCK, Measured, Scorer
from uncollapse.tuning.contenders import START, Configuration, Contender
from uncollapse.tuning.crossfit import Crossfit, crossfit, pick_best, pick_mildest, pick_proven
from uncollapse.tuning.halving import halve
from uncollapse.tuning.probe import Probe
from uncollapse.tuning.rules import Rules

Floats = npt.NDArray[np.float64]

UNITS = "characters"
"""What progress is counted in."""


@dataclass(frozen=True, eq=False)
class Blind:
    """What a probe without labels found.

    Args:
        scores: by notation, the model as it came among them, float64 [queries] on the largest sample it reached.
        chosen: the dial it takes, by family; families that could not be probed are not there.
        overall: the frozen pipeline unless another is proven to be better, or the best of all families where that is
            not among them; None where the probe could not ask.
        tried: documents that each was tried on.
        n_documents: of the whole sample.
        prices: how often the corpus would go through the model for each, beyond what is read for the model as it is
            and for what stands before it in the race; 1 for a temperature, 0 for a fix after the model.
        spent: tokens of documents that went through the model for the probe, by what decides how they are encoded.
    """

    scores: Mapping[str, Floats]
    chosen: Mapping[str, str]
    overall: str | None
    tried: Mapping[str, int]
    n_documents: int
    prices: Mapping[str, float] = field(default_factory=dict)
    spent: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Family:
    """A family in one race.

    Args:
        contender: its row.
        measured: by notation, the mildest first.
        fit: its scores on queries that had no say in its dial.
        chosen: the dial that all queries together choose.
    """

    contender: Contender
    measured: Mapping[str, Measured]
    fit: Crossfit
    chosen: str

    @property
    def name(self) -> str:
        return self.contender.name


@dataclass(frozen=True, eq=False)
class Heat:
    """One data set of a race.

    Args:
        dataset: name and split.
        main: the score that counts.
        n_documents: that are searched.
        labelled: whether people judged what answers what.
        sheet: a line a query, with the scores of the model as it came.
        stock: the model as it came.
        families: those that could be raced.
        whole: the race itself as a family: fix and dial chosen together.
        blind: what a probe without labels says; None where the race itself is that probe.
        taken: where the race itself is that probe, what would be taken by it; None where judgements decide, or where
            the frozen pipeline is not among the members.
        left_out: why some are not in it, by notation.
        notes: what a reader must know of the data.
    """

    dataset: str
    main: str
    n_documents: int
    labelled: bool
    sheet: Sheet
    stock: Measured
    families: tuple[Family, ...]
    whole: Crossfit | None
    blind: Blind | None = None
    taken: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def race_task(
    task: Retrieval,
    contenders: Sequence[Contender],
    scorer: Scorer,
    rules: Rules,
    *,
    blind: Blind | None,
    progress: Reporter,
) -> Heat:
    """Score every configuration on a task, and choose dials on some queries to score them on the others.

    Args:
        task: with judgements, or of queries made out of documents.
        contenders: families.
        scorer: a bench.
        rules: of the race.
        blind: what a probe without labels found; None where the task is that probe.
        progress: shows how far the work is.
    """
    members = [one for contender in contenders for one in contender.configurations]
    dataset = f"{task.name}/{task.split}"
    with progress.track(f"{dataset}, as it is", scorer.work(task, [STOCK]), UNITS) as advance:
        found = scorer.measure(task, [STOCK], advance=advance)
    if str(STOCK) not in found:
        raise ModelError(f"The model as it is could not be scored: {scorer.refusals(task)[str(STOCK)]}")
    stock = found[str(STOCK)]
    sheet = scorer.sheet(task)
    entered, left_out = _within_budget(members, stock, blind, rules)
    with progress.track(f"{dataset}, {len(entered)} settings", scorer.work(task, entered), UNITS) as advance:
        measured = scorer.measure(task, entered, advance=advance, keep=False)
    families = _families(contenders, measured, sheet, rules)
    every = {name: one.scores for family in families for name, one in family.measured.items()}
    whole = _crossfit(every, sheet, rules) if len(families) > 1 else None
    refused = {**scorer.refusals(task), **left_out}
    labelled = blind is not None
    taken = None if labelled or START not in every else pick_proven(every, START)
    return Heat(
        dataset, task.main, len(task.documents), labelled, sheet, stock, families, whole, blind, taken, refused,
        task.notes,
    )  # fmt: skip


def probe_blindly(probe: Probe, contenders: Sequence[Contender], scorer: Scorer, progress: Reporter) -> Blind:
    """Choose a dial of every family by queries made out of documents, on growing samples.

    Args:
        probe: of the corpus.
        contenders: families.
        scorer: a bench.
        progress: shows how far the work is.
    """
    sizes = [size for size in probe.sizes() if probe.count(size) >= MIN_GROUPS]
    if not sizes:
        return Blind({}, {}, None, {}, len(probe.asked))
    known = {str(STOCK): STOCK, **{str(one): one for contender in contenders for one in contender.configurations}}
    ledger = Ledger(known)

    def score(some: Sequence[str], size: int) -> dict[str, Floats]:
        found = scorer.measure(probe.first(size), [known[name] for name in some], advance=advance)
        ledger.enter(found)
        return {name: one.scores for name, one in found.items()}

    total = sum(scorer.work(probe.first(size), list(known.values())) for size in sizes)
    families = {contender.name: [str(one) for one in contender.configurations] for contender in contenders}
    with progress.track("choosing without labels", total, UNITS) as advance:
        halved = halve({str(STOCK): [str(STOCK)], **families}, sizes, score, kept=START)
        advance(total)
    if str(STOCK) not in halved.survivors:
        raise ModelError(f"The model as it is could not be scored: {scorer.refusals(probe.task)[str(STOCK)]}")
    left = {one: halved.scores[one] for one in halved.survivors if one != str(STOCK)}
    chosen = {name: _pick({one: left[one] for one in some if one in left}) for name, some in families.items()}
    chosen = {name: one for name, one in chosen.items() if one}
    best = pick_best({one: left[one] for one in chosen.values()}) if chosen else None
    overall = pick_proven(left, START) if START in left else best
    prices = ledger.prices(halved.tried)
    return Blind(halved.scores, chosen, overall, halved.tried, len(probe.asked), prices, ledger.fresh)


def _pick(scores: Mapping[str, Floats]) -> str:
    """The dial of a family: the frozen pipeline unless another is proven, or the mildest; "" of none."""
    if START in scores:
        return pick_proven(scores, START)
    return pick_mildest(scores) if scores else ""


@dataclass(eq=False)
class Ledger:
    """Tokens that went through the model, by what decides which texts go through which model.

    Args:
        known: configurations by notation.
    """

    known: Mapping[str, Configuration]
    fresh: dict[tuple[str, str], int] = field(default_factory=dict)

    def enter(self, found: Mapping[str, Measured]) -> None:
        """Add what was measured at once; those that are encoded alike share their tokens."""
        for way, tokens in {self.known[name].encoding: one.fresh for name, one in found.items()}.items():
            self.fresh[way] = self.fresh.get(way, 0) + tokens

    def prices(self, tried: Mapping[str, int]) -> dict[str, float]:
        """By notation, tokens a document against those of the model as it is.

        Args:
            tried: documents that each was tried on at last.
        """
        reached: dict[tuple[str, str], int] = {}
        for name, size in tried.items():
            way = self.known[name].encoding
            reached[way] = max(size, reached.get(way, 0))
        each = {way: self.fresh[way] / size for way, size in reached.items()}
        stock = max(each[STOCK.encoding], 1.0)
        return {name: each[self.known[name].encoding] / stock for name in tried}


def _families(
    contenders: Sequence[Contender], measured: Mapping[str, Measured], sheet: Sheet, rules: Rules
) -> tuple[Family, ...]:
    made = []
    for contender in contenders:
        names = (str(one) for one in contender.configurations)
        members = {name: measured[name] for name in names if name in measured}
        if members:
            scores = {name: one.scores for name, one in members.items()}
            made.append(Family(contender, members, _crossfit(scores, sheet, rules), pick_best(scores)))
    return tuple(made)


def _crossfit(scores: Mapping[str, Floats], sheet: Sheet, rules: Rules) -> Crossfit:
    return crossfit(scores, sheet.groups, folds=rules.folds, repeats=rules.repeats, seed=rules.seed)


def _within_budget(
    members: Sequence[Configuration], stock: Measured, blind: Blind | None, rules: Rules
) -> tuple[list[Configuration], dict[str, str]]:
    """The configurations whose encodings are paid for, best of the probe first, and why the others are not."""
    if blind is None or not blind.scores:
        return list(members), {}
    prices, merits = _prices(members, blind)
    begun = {way: tokens / max(stock.tokens, 1) for way, tokens in blind.spent.items()}
    spent, paid = 1 + sum(begun.values()) - begun.get(STOCK.encoding, 0.0), {STOCK.encoding}
    for way in sorted(prices, key=lambda way: merits[way], reverse=True):
        rest = max(prices[way] - begun.get(way, 0.0), 0.0)  # the probe's documents are documents of the race
        if way not in paid and spent + rest <= rules.encodes:
            spent += rest
            paid.add(way)
    why = (
        f"the race may encode the corpus {rules.encodes:g} times at most, and others do better on the probe "
        "without labels"
    )
    beyond = {str(one): why for one in members if one.encoding not in paid}
    return [one for one in members if one.encoding in paid], beyond


def _prices(
    members: Sequence[Configuration], blind: Blind
) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], tuple[int, float]]]:
    """Of every way to encode, how many encodings of the corpus it takes, and how far its best member came blindly.

    A mean among fewer documents is higher, so the number of documents that a member was not dropped on goes first.
    """
    prices: dict[tuple[str, str], float] = {}
    merits: dict[tuple[str, str], tuple[int, float]] = {}
    for one in members:
        scores = blind.scores.get(str(one))
        merit = (0, -np.inf) if scores is None else (blind.tried[str(one)], float(scores.mean()))
        merits[one.encoding] = max(merit, merits.get(one.encoding, (0, -np.inf)))
        prices[one.encoding] = max(blind.prices.get(str(one), 1.0), prices.get(one.encoding, 0.0))
    return prices, merits
