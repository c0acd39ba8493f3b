"""One task of an evaluation as the report reads it: its scores, gains and items, found among a result's rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uncollapse.evaluation.statistics.linked import is_linked
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.evaluation.verdicts import LEVEL, SMALL
from uncollapse.records import Item, Result, Row
from uncollapse.reporting import words

LONG, SHORT = "by_document_length", "by_query_length"
VIEWS = ("overall", LONG, SHORT, "grid")
PROVEN = ("better", "worse")
"""What a gain is called that is significant and not too small to matter."""
UNCLEAR, ALIKE = "cannot tell", "no difference that matters"
RULE = (
    f"p, corrected by Holm for how many were compared, is below {LEVEL:g} and the whole 95 % interval lies on one "
    "side of 0"
)
"""Where a gain is called better or worse, in words."""
SIGNIFICANT = f"significant (corrected p below {LEVEL:g}, the whole interval on one side of 0)"
"""The same in short."""
RULE_ALIKE = f"the whole interval lies within {SMALL:g} either way"
FIRST_RUN = "first run"
"""What a reader calls the run that the others are held against when its name is not known."""
SHARES = ("share_of_corpus", "share_of_relevant", "share_of_top10")


@dataclass(frozen=True)
class Kind:
    """What a reader calls the things that a kind of task scores.

    Args:
        item: what is scored.
        long: whose length the first axis has.
        short: whose length the second axis has, "" where there is only one.
        grouping: which items share a bin of the first axis.
        alike: what of the items is about equally long within a bin of the first axis, "" for the items themselves.
        alike_short: the same of the second axis.
        corner: what lies at the top left of the grid of both.
    """

    item: str
    long: str
    short: str = ""
    grouping: str = "Each text is in the group of its own length."
    corner: str = ""
    alike: str = ""
    alike_short: str = ""

    @property
    def items(self) -> str:
        return words.plural(self.item)

    def binned(self, view: str) -> str:
        """What the bins of an axis hold.

        >>> KINDS["retrieval"].binned(LONG)
        'queries whose relevant documents are of about the same length'
        >>> KINDS["retrieval"].binned(SHORT)
        'queries of about the same length'
        """
        alike = self.alike if view == LONG else self.alike_short
        return f"{self.items} {f'whose {alike} are ' if alike else ''}of about the same length"


_PAIRS = Kind(
    "pair",
    "longer text",
    "shorter text",
    "Each pair is in the group of the longer of its two texts.",
    "a long text beside a short one",
    "longer texts",
    "shorter texts",
)
KINDS: Mapping[str, Kind] = {
    "retrieval": Kind(
        "query",
        "document",
        "query",
        "Each query is in the group of the documents that answer it, by their length.",
        "long answers to short questions",
        "relevant documents",
    ),
    "similarity": _PAIRS,
    "pair classification": _PAIRS,
    "classification": Kind("text", "text"),
    "clustering": Kind("text", "text"),
    "summary evaluation": Kind("article", "text", grouping="Each article is in the group of its own length."),
}


@dataclass(frozen=True)
class Task:
    """What a result says about one data set.

    Args:
        key: stable name, the beginning of all ids of its part of the page.
        name: the data set as the rows have it, name and split.
        kind: of the task in words, "" when unknown.
        main: name of the score that counts.
        rows: those of this data set.
        items: its scored items.
        fixes: the notations tried besides the stock model, in order.
        chosen: the one that is drawn in full while the others are faint; None without any fix.
        entry: what `about` says of it.
        before: what a reader calls the setting that the others are held against: "model as it is", or a name.
        of_runs: whether the settings are rankings made elsewhere, and not models.
        models: those of the fixes that are other models, by their names.
        unit: what lengths are counted in, "" where nobody knows.
    """

    key: str
    name: str
    kind: str
    main: str
    rows: tuple[Row, ...]
    items: tuple[Item, ...]
    fixes: tuple[str, ...]
    chosen: str | None
    entry: Mapping[str, Any]
    before: str = words.STOCK
    of_runs: bool = False
    models: tuple[str, ...] = ()
    unit: str = "tokens"

    @property
    def said(self) -> Kind:
        return KINDS.get(self.kind, Kind("item", "text"))

    @property
    def settings(self) -> tuple[str, ...]:
        """The stock model and every fix."""
        return ("none", *self.fixes)

    @property
    def after(self) -> str:
        """What a reader calls the chosen fix, "" where there is none."""
        return self.call(self.chosen) if self.chosen else ""

    def call(self, fix: str) -> str:
        """What a reader calls a setting."""
        if fix == "none":
            return self.before
        return fix if self.of_runs or fix in self.models else f"with {fix}"

    @property
    def noun(self) -> str:
        """What is compared: runs, models, or settings of one model, which other models may stand beside."""
        if self.of_runs:
            return "run"
        return "model" if self.models and set(self.fixes) <= set(self.models) else "setting"

    @property
    def by_name(self) -> bool:
        """Whether the chosen setting is a run or model with a name of its own, and not a fix."""
        return self.of_runs or self.chosen in self.models

    @property
    def origin(self) -> str:
        """What the others are held against, in a sentence."""
        if not self.of_runs:
            return self.before if self.models else f"the {words.STOCK}"
        return f"the {FIRST_RUN}" if self.before == FIRST_RUN else f"the run {self.before}"

    @property
    def target(self) -> str:
        """The chosen setting in a sentence, "" where there is none."""
        return f"the run {self.chosen}" if self.chosen and self.of_runs else self.chosen or ""

    @property
    def within(self) -> str:
        """Under the chosen setting."""
        return f"in {self.target}" if self.of_runs else f"with {self.chosen}" if self.chosen else ""

    @property
    def drawn(self) -> tuple[str, ...]:
        """The settings drawn in full: the stock model and the chosen fix."""
        return ("none", self.chosen) if self.chosen else ("none",)

    def score(self, fix: str) -> Row | None:
        return self.one(self.main, fix)

    def gain(self, fix: str) -> Row | None:
        return self.one(f"{self.main}_gain", fix)

    def where(self, fix: str, said: str) -> list[tuple[str, list[str]]]:
        """By axis, the bins where a fix is proven better or worse."""
        measure, axes = f"{self.main}_gain", ((LONG, self.said.long), (SHORT, self.said.short))
        return [
            (axis, bins)
            for view, axis in axes
            if (bins := [row.bin for row in self.some(measure, view=view, fix=fix) if outcome(row) == said])
        ]

    def why_not(self, measure: str, fix: str) -> str:
        """What the rows say about a number that they do not have."""
        found = (row for row in self.rows if (row.measure, row.fix, row.view) == (measure, fix, "overall"))
        return next(
            (words.reason(row.note) for row in found if not math.isfinite(row.value) and row.note), "not measured"
        )

    def one(self, measure: str, fix: str, *, view: str = "overall", label: str = "") -> Row | None:
        found = self.some(measure, view=view, fix=fix)
        return next((row for row in found if row.bin == label), None)

    def some(self, measure: str, *, view: str, fix: str | None = None) -> list[Row]:
        """The rows with a number, of one fix or of all, shortest texts first."""
        rows = [row for row in self.rows if (row.measure, row.view) == (measure, view) and math.isfinite(row.value)]
        return sorted((row for row in rows if fix in (None, row.fix)), key=lambda row: row.n_tokens)

    def bins(self, measure: str, view: str) -> list[str]:
        """The labels of the length bins of one axis, shortest first."""
        return list(dict.fromkeys(row.bin for row in self.some(measure, view=view) if row.bin))

    def role(self, fix: str) -> str:
        """The colour of a setting."""
        return "before" if fix == "none" else "after" if fix == self.chosen else "faint"


def read_tasks(result: Result) -> list[Task]:
    """The tasks of an evaluation, as `about` lists them and then as the rows name them; none in a diagnosis."""
    rows = [row for row in result.rows if row.view in VIEWS]
    entries = {str(entry.get("dataset")): entry for entry in _entries(result.about)}
    found = dict.fromkeys(row.dataset for row in rows)
    names = [name for name in entries if name in found] + [name for name in found if name not in entries]
    return [_task(result, f"task-{place}", name, entries.get(name, {})) for place, name in enumerate(names, start=1)]


def linked_sentence(rows: Mapping[str, Sequence[Row]]) -> str:
    """Where n counts items that are not independent, and what was done about it; "" where nowhere.

    Args:
        rows: of each task or data set, by its name.
    """
    found = [name for name, some in rows.items() if any(is_linked(row.note) for row in some)]
    if not found:
        return ""
    where = f"Of {', '.join(found)}, n" if len(rows) > 1 else "Here n"
    return (
        f"{where} counts items that share what is relevant and are not independent: intervals and p of means are "
        "widened for it, and all others take the items as independent; the note of each number in the last table says "
        "which."
    )


def proven(gain: Row | None) -> bool:
    """Whether a gain is called better or worse."""
    return outcome(gain) in PROVEN


def outcome(gain: Row | None) -> str:
    """What a gain says in plain words, by the rules of the verdict; of every score that tasks have, higher is better.

    >>> outcome(Row("ndcg@10_gain", 0.02, 0.01, 0.03, 90, p_holm=0.01))
    'better'
    >>> outcome(Row("ndcg@10_gain", 0.02, -0.01, 0.05, 90, p_holm=0.01))
    'cannot tell'
    >>> outcome(Row("ndcg@10_gain", 0.002, 0.001, 0.003, 90, p_holm=0.01))
    'no difference that matters'
    """
    if gain is not None and gain.low == gain.high == 0:
        return "changes nothing"
    if gain is None or gain.low is None or gain.high is None or gain.p_holm is None:
        return "not tested"
    if gain.low > -SMALL and gain.high < SMALL:
        return ALIKE
    if gain.p_holm < LEVEL and not gain.low <= 0 <= gain.high:
        return "better" if gain.low > 0 else "worse"
    return UNCLEAR


def start(label: str) -> float:
    """The first number of a bin's label, by which bins are put in order.

    >>> start("120-233"), start("9"), start("all")
    (120.0, 9.0, inf)
    """
    first = label.replace(",", "").split("-")[0].strip()
    return float(first) if first.isdecimal() else math.inf


def _entries(about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = about.get("tasks")
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list | tuple) else []


def _task(result: Result, key: str, name: str, entry: Mapping[str, Any]) -> Task:
    rows = tuple(row for row in result.rows if row.dataset == name and row.view in VIEWS)
    items = tuple(item for item in result.items if item.dataset == name)
    main = str(entry.get("main") or _first_score(rows))
    kind = str(entry.get("kind") or "")
    runs, models, unit = not result.about.get("model"), words.rivals(result.about), str(entry.get("unit", "tokens"))
    before = _before(result.about)
    return Task(key, name, kind, main, rows, items, *_fixes(result.about, rows), entry, before, runs, models, unit)


def _first_score(rows: Sequence[Row]) -> str:
    names = (row.measure for row in rows if row.measure in METRICS)
    return next(names, "")


def _fixes(about: Mapping[str, Any], rows: Sequence[Row]) -> tuple[tuple[str, ...], str | None]:
    """The fixes of these rows, in the order of `about` and then in theirs; and the one it chose, else the first."""
    listed = about.get("fixes")
    order = listed if isinstance(listed, list | tuple) else ()
    there = dict.fromkeys(row.fix for row in rows if row.fix != "none")
    fixes = tuple(dict.fromkeys([*(fix for fix in order if isinstance(fix, str) and fix in there), *there]))
    chosen = about.get("chosen_fix")
    return fixes, str(chosen) if chosen in fixes else next(iter(fixes), None)


def _before(about: Mapping[str, Any]) -> str:
    """Without a model it is rankings that are compared, each by its name, as are models."""
    if about.get("model"):
        return (words.name(about, "model") if words.rivals(about) else "") or words.STOCK
    runs = about.get("runs")
    return str(runs[0]) if isinstance(runs, list | tuple) and runs else FIRST_RUN
