"""The pages of fixes name every row of their table, with notations that can be read."""

import inspect
import re
from pathlib import Path

import pytest

from uncollapse.fixes import FIXES, parse
from uncollapse.fixes.scores import SCORE_FIXES
from uncollapse.fixes.vectors import VECTOR_FIXES

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [("fixes-vectors.md", VECTOR_FIXES), ("fixes-scores.md", SCORE_FIXES)]


def called(page: str) -> list[str]:
    """What stands in backquotes with brackets behind it."""
    return re.findall(r"`([a-z_]+\([^`]*\)(?: \+ [a-z_]+\([^`]*\))*)`", (DOCS / page).read_text())


@pytest.mark.parametrize(("page", "table"), PAGES)
def test_the_table_of_a_page_has_a_row_for_every_fix_and_no_other(page: str, table: dict[str, type]) -> None:
    text = (DOCS / page).read_text()
    section = text.split("## The table")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_]+)\(", section, re.MULTILINE)
    assert list(dict.fromkeys(rows)) == list(table)
    turns = text.split("## Each in turn")[1].split("\n## ")[0]
    assert re.findall(r"^\*\*`([a-z_]+)\(", turns, re.MULTILINE) == list(table)


@pytest.mark.parametrize(("page", "table"), PAGES)
def test_every_dial_is_named(page: str, table: dict[str, type]) -> None:
    turns = (DOCS / page).read_text().split("## Each in turn")[1]
    for name, kind in table.items():
        (dials,) = re.findall(rf"^\*\*`{name}\((.*?)\)`", turns, re.MULTILINE)
        assert [dial for dial in dials.split(", ") if dial] == list(inspect.signature(kind).parameters)


@pytest.mark.parametrize(("page", "table"), PAGES)
def test_notations_with_numbers_can_be_read(page: str, table: dict[str, type]) -> None:
    names = set()
    for text in called(page):
        if not re.search(r"\b(by|strength|scale|k|g|around|shrinkage)\b", text):
            parse(text)
        names.add(text.partition("(")[0])
    assert set(table) <= names <= set(FIXES)


def test_what_the_page_calls_the_least_is_what_is_asked_for() -> None:
    from uncollapse.fixes.statistics import FEWEST
    from uncollapse.pipelines.fitting import LEARNED_FROM
    from uncollapse.pipelines.windows import ASKED, WINDOWED

    text = (DOCS / "fixes-vectors.md").read_text()
    assert f"| {FEWEST} documents, {FEWEST} queries |" in text
    assert f"| {4 * FEWEST} windows |" in text
    assert f"At most {LEARNED_FROM:,} documents are learned" in text
    assert f"at most {WINDOWED} documents. **Queries**" in text
    assert f"up to {ASKED:,} documents" in text
    assert f"at most {LEARNED_FROM:,} of your queries" in (DOCS / "fixes-scores.md").read_text()
