"""One data set of a trial under all settings, and the words for what it is made of."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uncollapse.records import Row


@dataclass(frozen=True)
class Kind:
    """What a kind of task is made of.

    Args:
        items: what is scored, in the plural.
        ends: of which items the lengths are shortest, and longest.
        axes: what the length bins of each view are of.
    """

    items: str
    ends: tuple[str, str]
    axes: Mapping[str, str]


_PAIRS = Kind(
    "pairs",
    ("the shortest pairs", "the longest"),
    {"by_document_length": "pairs with a longer text", "by_query_length": "pairs with a shorter text"},
)
_TEXTS = Kind("texts", ("the shortest texts", "the longest"), {"by_document_length": "texts"})
KINDS = {
    "retrieval": Kind(
        "queries",
        ("queries whose relevant documents are shortest", "those whose relevant documents are longest"),
        {"by_document_length": "documents", "by_query_length": "queries"},
    ),
    "similarity": _PAIRS,
    "pair classification": _PAIRS,
    "classification": _TEXTS,
    "clustering": _TEXTS,
    "summary evaluation": Kind(
        "articles",
        ("articles with the shortest summaries", "those with the longest"),
        {"by_document_length": "summaries"},
    ),
}
"""By the kind of a task."""


@dataclass(frozen=True)
class Task:
    """One data set of a trial, and what its settings are called.

    Args:
        rows: of all data sets.
        facts: its entry of `Result.about["tasks"]`.
        stock: the setting that the others are held against.
        name: of the model or run that this is.
        rivals: settings that are models or runs of their own, and not fixes of the first.
    """

    rows: Sequence[Row]
    facts: Mapping[str, Any]
    stock: str
    name: str
    rivals: Collection[str]

    @property
    def dataset(self) -> str:
        return str(self.facts["dataset"])

    @property
    def main(self) -> str:
        """The score that counts."""
        return str(self.facts["main"])

    @property
    def kind(self) -> Kind:
        return KINDS[self.facts["kind"]]

    def select(self, measure: str, **keys: str) -> list[Row]:
        """Its rows of a measure."""
        wanted = {"dataset": self.dataset, "measure": measure, **keys}
        return [row for row in self.rows if all(getattr(row, key) == value for key, value in wanted.items())]

    def select_overall(self, fix: str) -> list[Row]:
        """Its rows of a setting over all lengths."""
        return [row for row in self.rows if (row.dataset, row.fix, row.view) == (self.dataset, fix, "overall")]

    def overall(self, measure: str, fix: str) -> Row | None:
        """The row of a measure over all lengths."""
        return next(iter(self.select(measure, view="overall", fix=fix)), None)

    def call(self, fix: str) -> str:
        """What a reader calls a setting."""
        return self.name if fix == self.stock else fix

    def long(self, label: str) -> str:
        """How long the texts of a bin are, in what their lengths were counted in, if that is known."""
        unit = self.facts.get("unit", "tokens")
        return f"{label} {unit}" if unit else f"length {label}"
