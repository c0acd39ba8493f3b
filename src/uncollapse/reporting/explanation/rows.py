"""The rows of an explanation as its sections read them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from uncollapse.records import Finding, Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.findings import find_groups

HEADS, ALL_HEADS, SPECTRUM, LAYERS, ONE_LAYER = "heads", "all heads", "spectrum", "layers", "one layer"
BEFORE = "what enters the first layer"
VIEWS = (HEADS, ALL_HEADS, SPECTRUM, LAYERS, ONE_LAYER)
"""Views that only an explanation has."""


@dataclass(frozen=True)
class Explanation:
    """The rows of a result by what they measure and where, and what the result says of them.

    Args:
        rows: those that hold a number, by measure and view, each with its length.
        about: what the result says under "explanation".
        findings: of the verdict, under their headings.
    """

    rows: Mapping[tuple[str, str], Sequence[Row]]
    about: Mapping[str, Any]
    findings: Mapping[str, tuple[Finding, ...]]

    @classmethod
    def of(cls, result: Result) -> Self | None:
        """None where nobody asked for an explanation."""
        about = words.entry(result.about, "explanation")
        if not about and not any(row.view in VIEWS for row in result.rows):
            return None
        found: dict[tuple[str, str], list[Row]] = {}
        for row in result.rows:
            if math.isfinite(row.value):
                found.setdefault((row.measure, row.view), []).append(_placed(row))
        return cls(found, about if isinstance(about, Mapping) else {}, find_groups(result))

    def find(self, measure: str, view: str, *, fix: str = "none") -> list[Row]:
        """The rows of a measure in a view, shortest length first."""
        found = (row for row in self.rows.get((measure, view), ()) if row.fix == fix)
        return sorted(found, key=lambda row: row.n_tokens)

    def curve(self, measure: str, view: str, *, fix: str = "none") -> list[Row]:
        """The same without the numbers of single layers and heads."""
        return [row for row in self.find(measure, view, fix=fix) if row.layer is None and row.n_tokens > 0]

    def layers(self, measure: str, view: str) -> dict[int, list[Row]]:
        """The same by layer, first layer first, each shortest length first."""
        found: dict[int, list[Row]] = {}
        for row in self.find(measure, view):
            if row.layer is not None and row.head is None:
                found.setdefault(row.layer, []).append(row)
        return dict(sorted(found.items()))

    def heads(self, measure: str, view: str) -> dict[float, dict[tuple[int, int], Row]]:
        """By number of tokens, shortest first, then by head and layer."""
        found: dict[float, dict[tuple[int, int], Row]] = {}
        for row in self.find(measure, view):
            if row.layer is not None and row.head is not None:
                found.setdefault(row.n_tokens, {})[row.head, row.layer] = row
        return found

    def fixes(self, measure: str, view: str) -> list[str]:
        """Settings other than the model as it is, in the order in which the result names them."""
        there = dict.fromkeys(row.fix for row in self.rows.get((measure, view), ()) if row.fix != "none")
        named = [str(name) for name in self.listed("temperatures")]
        return [*(name for name in named if name in there), *(fix for fix in there if fix not in named)]

    def views(self, measure: str) -> list[str]:
        """Where a measure was taken, in the order of the rows."""
        return [view for name, view in self.rows if name == measure]

    def listed(self, key: str) -> Sequence[Any]:
        """A list of `about`, empty where there is none."""
        value = self.about.get(key)
        return value if isinstance(value, list | tuple) else ()

    def number(self, key: str) -> float | None:
        """A number of `about`, None where there is none."""
        value = self.about.get(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def said(self, key: str, otherwise: str = "") -> str:
        """The same in words."""
        return words.listing(self.number(key)) or otherwise


def size_of(*maps: Mapping[tuple[int, int], Row]) -> tuple[int, int]:
    """How many places across and down hold all squares of some maps."""
    places = [place for squares in maps for place in squares]
    return 1 + max(x for x, _ in places), 1 + max(y for _, y in places)


def ends(lengths: Sequence[float]) -> list[float]:
    """The shortest and the longest of them, or the one there is.

    >>> ends([16, 32, 512]), ends([64])
    ([16, 512], [64])
    """
    return [lengths[0], lengths[-1]] if len(lengths) > 1 else list(lengths)


def _placed(row: Row) -> Row:
    """The row with its number of tokens, where only its bin has it."""
    return replace(row, n_tokens=float(row.bin)) if not row.n_tokens and row.bin.isdecimal() else row
