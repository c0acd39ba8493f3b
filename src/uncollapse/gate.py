"""Conditions under which a run fails, such as `mean_cosine@512 > 0.5`: read early, checked against a result."""

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from uncollapse.errors import NotationError, UncollapseError, nearest
from uncollapse.records import Result, Row

FAILED = 3
"""Exit code of a run of which a condition is met, or cannot be decided."""

PREFERRED_VIEW = "windows"
"""The view that is meant where several have the number: there, nothing but length differs between bins."""

SHOWN = 30
"""Most names that an error lists."""

End = Literal["value", "low", "high"]

OPERATORS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
)

_CONDITION = re.compile(r"(?P<subject>.+?)\s*(?P<operator>[<>]=?)\s*(?P<number>[^<>=]*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_END = re.compile(r"(?P<end>low|high)\s*\((?P<subject>.*)\)", re.DOTALL)
_VIEW = re.compile(r"(?P<subject>.*\S)\s+in\s+(?P<view>\w+)", re.DOTALL)
_FORM = "Write NAME@BIN > NUMBER, such as 'mean_cosine@512 > 0.5' or 'low(mean_cosine_rise) > 0.05'."


@dataclass(frozen=True)
class Condition:
    """What must not be so: a number of a result beyond a bound.

    Args:
        subject: NAME or NAME@BIN, as in the rows of a result.
        operator: one of > >= < <=.
        bound: what the number is compared with.
        end: which number: the value, or the low or high end of its interval.
        view: of the row; "" for the only one that has it, or "windows".

    >>> str(parse_condition("low( mean_cosine@512 in windows )>.5"))
    'low(mean_cosine@512 in windows) > 0.5'
    """

    subject: str
    operator: str
    bound: float
    end: End = "value"
    view: str = ""

    def __str__(self) -> str:
        subject = f"{self.subject} in {self.view}" if self.view else self.subject
        left = subject if self.end == "value" else f"{self.end}({subject})"
        return f"{left} {self.operator} {_plain(self.bound)}"


@dataclass(frozen=True)
class Outcome:
    """What a condition came to.

    Args:
        condition: as it was asked.
        row: the number it is about.
        met: whether it is so; None where that cannot be decided.
        why: what keeps it from being decided, else "".
    """

    condition: Condition
    row: Row
    met: bool | None
    why: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run fails by it: it is met, or nobody can say."""
        return self.met is not False

    def __str__(self) -> str:
        verdict = {True: "met -> fail", False: "ok", None: f"cannot be decided ({self.why}) -> fail"}[self.met]
        return f"{self.condition}: {_found(self.row)}: {verdict}"


def parse_condition(text: str) -> Condition:
    """Read a condition such as `mean_cosine@512 > 0.5`, without knowing any result.

    NAME[@BIN] [in VIEW] OPERATOR NUMBER, where `low(...)` and `high(...)` around what stands left of the operator
    mean the ends of the interval: `low(mean_cosine_rise) > 0.05` is met where the rise is surely above 0.05.

    >>> parse_condition("mean_cosine@512 > 0.5")
    Condition(subject='mean_cosine@512', operator='>', bound=0.5, end='value', view='')

    Raises:
        NotationError: the text is no condition.
    """
    found = _CONDITION.fullmatch(text.strip())
    if not found or found["subject"].rstrip().endswith(("<", ">", "=")):
        raise NotationError(f"Expected a condition, got {text!r}. {_FORM}")
    if not _NUMBER.fullmatch(found["number"]) or not math.isfinite(float(found["number"])):
        raise NotationError(f"A condition compares with a number, but {text!r} has {found['number']!r}. {_FORM}")
    subject, end = _split_end(found["subject"].strip())
    subject, view = _split_view(re.sub(r"\s*@\s*", "@", " ".join(subject.split())))
    if not re.match(r"[A-Za-z]", subject):
        raise NotationError(f"A condition begins with the name of a measure, but {text!r} does not. {_FORM}")
    if re.match(r"\w+\s*\(", subject):
        raise NotationError(
            f"Only low(...) and high(...), the ends of an interval, stand around a name, got {text!r}. {_FORM}"
        )
    return Condition(subject, found["operator"], float(found["number"]), end, view)


def _split_end(text: str) -> tuple[str, End]:
    if found := _END.fullmatch(text):
        return found["subject"].strip(), "low" if found["end"] == "low" else "high"
    return text, "value"


def _split_view(text: str) -> tuple[str, str]:
    if found := _VIEW.fullmatch(text):
        return found["subject"], found["view"]
    return text, ""


def check_names(
    conditions: Iterable[Condition], names: Mapping[str, str], *, by_bin: Collection[str], views: Collection[str]
) -> None:
    """Refuse, before any work, conditions on what no result of a run can hold; `check` knows the rest.

    Args:
        conditions: from `parse_condition`.
        names: every name that a row may have, with "k" for a number in it, and why this run will not have it, or "".
        by_bin: those of them that are given by bin alone.
        views: every view that a row may have.

    Raises:
        UncollapseError: a name or view that is none of these; all such are told at once.

    >>> check_names([parse_condition("rise > 0")], {"rise": "", "cloze_recall@k": ""}, by_bin=(), views=())
    """
    told = [(condition, _unknown(condition, names, by_bin, views)) for condition in conditions]
    if problems := [f"`{condition}`: {problem}" for condition, problem in told if problem]:
        raise UncollapseError("\n".join(problems))


def _unknown(condition: Condition, names: Mapping[str, str], by_bin: Collection[str], views: Collection[str]) -> str:
    """Why no row can be what is meant, "" where one may be."""
    subject = condition.subject
    known = [name for name, _ in _readings(subject) if _general(name) in names]
    if not known:
        had = [name for name, absent in names.items() if not absent]
        return f"There is no such number. {_nearest(_base(subject), had)} The k in a name stands for a number."
    if all(names[_general(name)] for name in known):
        return f"This run will have no {known[0]}: {names[_general(known[0])]}."
    if subject in by_bin:
        return f"{subject} is given by bin: name one, such as {subject}@512."
    if condition.view and condition.view not in views:
        return f"There is no such view. {nearest(condition.view, views, 'Views')}"
    return ""


def _general(name: str) -> str:
    """A name with "k" for the number in it."""
    return re.sub(r"@\d[\d.e-]*(?=$|_)", "@k", name)


def check(conditions: Iterable[Condition], result: Result) -> tuple[Outcome, ...]:
    """Hold every condition against a result, in order.

    Args:
        conditions: from `parse_condition`.
        result: of a diagnosis or an evaluation; write it to a file first, because names are looked up only here.

    Raises:
        UncollapseError: a condition that names no number of this result, or more than one; all such are told at once.

    Example:
        >>> result = Result(rows=(Row("mean_cosine", 0.46, 0.43, 0.49, 120, "windows", "512"),))
        >>> for outcome in check([parse_condition("mean_cosine@512 > 0.5")], result):
        ...     print(outcome)
        mean_cosine@512 > 0.5: 0.46 [0.43, 0.49], n = 120, windows: ok
    """
    outcomes: list[Outcome] = []
    problems: list[str] = []
    for condition in conditions:
        try:
            outcomes.append(_decide(condition, _row(condition, result.rows)))
        except UncollapseError as error:
            problems.append(str(error))
    if problems:
        raise UncollapseError("\n".join(problems))
    return tuple(outcomes)


def _decide(condition: Condition, row: Row) -> Outcome:
    number = getattr(row, condition.end)
    if number is None or not math.isfinite(number):
        what = "no value" if condition.end == "value" else "no interval"
        return Outcome(condition, row, None, row.note or what)
    return Outcome(condition, row, OPERATORS[condition.operator](number, condition.bound))


def _row(condition: Condition, rows: Sequence[Row]) -> Row:
    """The one row that is meant."""
    named = [row for name, label in _readings(condition.subject) for row in rows if _is(row, name, label)]
    if not named:
        raise UncollapseError(f"`{condition}`: {_missing(condition.subject, rows)}")
    meant = [row for row in named if row.view == condition.view] if condition.view else _preferred(named)
    if not meant:
        views = ", ".join(dict.fromkeys(row.view for row in named))
        raise UncollapseError(
            f"`{condition}`: {condition.subject} is not in the view {condition.view!r}, but in: {views}."
        )
    if len(meant) > 1:
        raise UncollapseError(f"`{condition}` fits {len(meant)} numbers: {_listed(meant)}. {_advice(meant)}")
    return meant[0]


def _readings(subject: str) -> list[tuple[str, str]]:
    """Every way to read NAME@BIN, because a name may hold an @ too: `share_truncated@256`."""
    at = [place for place, letter in enumerate(subject) if letter == "@"]
    return [(subject, ""), *((subject[:place], subject[place + 1 :]) for place in reversed(at))]


def _is(row: Row, name: str, label: str) -> bool:
    return row.measure == name and row.bin == label


def _preferred(rows: list[Row]) -> list[Row]:
    """The rows of nested windows, where they are the same number in another view."""
    if len({(row.measure, row.bin) for row in rows}) > 1:
        return rows
    return [row for row in rows if row.view == PREFERRED_VIEW] or rows


def _missing(subject: str, rows: Sequence[Row]) -> str:
    """Why nothing fits: the measure is there with other bins, or it is not there at all."""
    for name, label in _readings(subject):
        if any(row.measure == name for row in rows):
            known = dict.fromkeys(_subject(row) for row in rows if _base(row.measure) == _base(name))
            problem = f"{name} has no bin {label!r} in this result" if label else f"{name} is given by bin: name one"
            return f"{problem}. {_nearest(subject, list(known))}"
    return f"This result has no such number. {_nearest(_base(subject), list(dict.fromkeys(r.measure for r in rows)))}"


def _base(name: str) -> str:
    return name.partition("@")[0]


def _nearest(subject: str, known: list[str]) -> str:
    """The nearest names and all others, or where these would fill a page, the nearest alone."""
    if len(known) <= SHOWN:
        return nearest(subject, known, "It has")
    close = difflib.get_close_matches(subject, known, n=SHOWN, cutoff=0)
    return f"{nearest(subject, close, 'It has')[:-1]}, and {len(known) - len(close)} more."


def _advice(rows: Sequence[Row]) -> str:
    settings = list(dict.fromkeys((row.dataset, row.fix) for row in rows))
    if len(settings) > 1:
        return "A condition needs a result of one data set and one fix."
    ways = list(dict.fromkeys(f"{_subject(row)} in {row.view}" for row in rows))
    return f"Choose one: {' or '.join(repr(way) for way in ways)}."


def _listed(rows: Sequence[Row]) -> str:
    return "; ".join(
        f"{_subject(row)} in {row.view or 'no view'}"
        + (f" of {row.dataset}" if row.dataset else "")
        + (f" with {row.fix}" if row.fix != "none" else "")
        for row in rows
    )


def _subject(row: Row) -> str:
    return f"{row.measure}@{row.bin}" if row.bin else row.measure


def _found(row: Row) -> str:
    interval = "(no interval)" if row.low is None or row.high is None else f"[{row.low:.4g}, {row.high:.4g}]"
    return f"{row.value:.4g} {interval}, n = {row.n:,}, {row.view or 'all'}"


def _plain(number: float) -> str:
    return repr(number).removesuffix(".0")
