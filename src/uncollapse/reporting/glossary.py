"""What every number of a report is, from the tables where it is defined."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from uncollapse.evaluation.bias.table import BIAS
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.measures import MEASURES
from uncollapse.records import Row
from uncollapse.reporting.diagnosis.terms import TERMS
from uncollapse.reporting.explanation.terms import EXPLAINED
from uncollapse.reporting.races.terms import RACED


@dataclass(frozen=True)
class Term:
    """What the entries of all tables have in common; `neutral` is the value that means no bias, where there is one."""

    name: str
    title: str
    formula: str
    range: str
    better: str
    reading: str
    reference: str
    neutral: float | None = None


def find_term(measure: str) -> Term | None:
    """The entry of a measure, with the number in its name for the k of its words; None when no table knows it.

    A gain or a change has the entry of what it is a gain or a change of.

    >>> find_term("length_ratio@10").title
    'Length of the top 10 over length of relevant documents'
    >>> find_term("ndcg@10_gain").title, find_term("beauty")
    ('nDCG@10', None)
    >>> find_term("tokens_lost@512").reading
    'How much of all text lies beyond a limit of 512 and is never read.'
    """
    name = _base(measure)
    general = re.sub(_CUT, r"\1k", name)
    found = next((table[key] for key in (name, general) for table in _TABLES if key in table), None)
    return None if found is None else _term(name, found)


def title(measure: str) -> str:
    """What a reader calls a measure; one that no table knows is called by its name."""
    found = find_term(measure)
    return found.title if found else measure


def is_bias(measure: str) -> bool:
    """Whether a measure is a figure of length bias."""
    return re.sub(r"(@|top)\d+$", r"\1k", measure) in BIAS


def find_terms(rows: Iterable[Row]) -> list[Term]:
    """The entries that explain these rows, each once, in their order."""
    measures = dict.fromkeys(row.measure for row in rows)
    names = dict.fromkeys(map(_base, measures))
    return [found for name in names if (found := find_term(name)) is not None]


def numbers_of_diagnosis(*, quick: bool = False) -> dict[str, str]:
    """Every name that a row of a diagnosis can have, with "k" for a number in it, and why this one will not have it.

    Args:
        quick: whether it leaves causes and costs out.

    >>> names = numbers_of_diagnosis(quick=True)
    >>> names["mean_cosine"], names["rise"]
    ('', '--quick leaves it out')
    """
    absent = {"always": "", "deep": _NOT_QUICK if quick else "", "comparison": _COMPARED}
    entries = {name + change: absent[term.given] for name, term in TERMS.items() for change in ("", *term.changes)}
    return {**dict.fromkeys(MEASURES, ""), **entries}


_NOT_QUICK = "--quick leaves it out"
_COMPARED = "only `compare` gives it"


def _base(measure: str) -> str:
    """What a gain or a change is one of, unless a table knows the change itself."""
    if any(measure in table for table in _TABLES):
        return measure
    return re.sub("_(gain|change|loss|detectable|lag|regret)$", "", measure)


_TABLES: tuple[Mapping[str, Any], ...] = (MEASURES, METRICS, BIAS, TERMS, EXPLAINED, RACED)
_CUT = r"(@|top)(\d[\d.e-]*)$"
"""The number that ends a name: results looked at, tokens of a limit, a rate."""


def _term(name: str, entry: Any) -> Term:
    cut = re.search(_CUT, name)
    words = {
        part: re.sub(r"\b(top|rank|limit of|rate of|share of) k\b", rf"\g<1> {cut[2]}", said) if cut else said
        for part in ("title", "formula", "range", "better", "reading", "reference")
        if isinstance(said := getattr(entry, part), str)
    }
    return Term(name, **words, neutral=getattr(entry, "neutral", None))
