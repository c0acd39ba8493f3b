"""What every number of a report is, from the tables where it is defined."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from uncollapse.evaluation.bias.table import BIAS
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.measures import MEASURES
from uncollapse.records import Row


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
    """
    name = _base(measure)
    general = re.sub(r"(@|top)\d+$", r"\1k", name)
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
    names = dict.fromkeys(_base(row.measure) for row in rows)
    return [found for name in names if (found := find_term(name)) is not None]


def _base(measure: str) -> str:
    return re.sub("_(gain|change|detectable)$", "", measure)


_TABLES: tuple[Mapping[str, Any], ...] = (MEASURES, METRICS, BIAS)


def _term(name: str, entry: Any) -> Term:
    cut = re.search(r"\d+$", name)
    words = {
        part: re.sub(r"\btop k\b", f"top {cut[0]}", said) if cut else said
        for part in ("title", "formula", "range", "better", "reading", "reference")
        if isinstance(said := getattr(entry, part), str)
    }
    return Term(name, **words, neutral=getattr(entry, "neutral", None))
