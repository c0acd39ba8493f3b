"""The page of a diagnosis with causes: user text stays text, findings in groups, a way through it."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import diagnosis_examples as examples
import reporting_examples
import uncollapse.reporting.html as html_module
from diagnosis_examples import DRAWN, ORDER, full_result, only
from reporting_examples import charts_of
from test_reporting import Page
from uncollapse.records import Finding, Result
from uncollapse.reporting import diagnosis, render_report, words
from uncollapse.reporting.sections import make_sections


@pytest.fixture(scope="module", autouse=True)
def _small_library() -> Iterator[None]:
    """Pages without the five megabytes of plotly.js, which take long to write and to read again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_module.plots, "plotly_source", lambda: "/* plotly.js */")
        yield


@pytest.fixture(scope="module")
def page(_small_library: None) -> str:
    return render_report(full_result())


@pytest.fixture(scope="module")
def parsed(page: str) -> Page:
    return Page(page)


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_who_cannot_see_a_chart_gets_its_words(parsed: Page) -> None:
    charts = list(charts_of(full_result()).values())
    drawn = [a for tag, a, _ in parsed.elements if tag == "div" and a.get("class") == "chart"]
    assert [a["aria-label"] for a in drawn] == [chart.alt for chart in charts if chart.figure]
    assert all(a["role"] == "img" for a in drawn)


def test_user_text_stays_text_in_tables_and_figures(parsed: Page) -> None:
    hostile = Page(render_report(examples.hostile_diagnosis()))
    assert {tag for tag, _, _ in hostile.elements} <= {tag for tag, _, _ in parsed.elements}
    scripts = [a for tag, a, _ in hostile.elements if tag == "script" and a.get("type") != "application/json"]
    assert scripts == [{}, {}]
    assert not [key for _, attrs, _ in hostile.elements for key in attrs if key.startswith("on")]
    values = hostile.texts("span", **{"class": "value"})
    assert set(reporting_examples.HOSTILE) - {reporting_examples.HOSTILE[5]} <= set(values)
    assert reporting_examples.HOSTILE[4] in "".join(hostile.texts("p", **{"class": "note"}))
    for block in hostile.texts("script", type="application/json"):
        assert not set(block) & set("<>&'\u2028\u2029")
        json.loads(block)


def test_hostile_labels_are_no_markup_for_plotly() -> None:
    for key, chart in charts_of(examples.hostile_diagnosis()).items():
        for text in strings(chart.figure or {}):
            assert set(re.findall(r"<[^>]*>?", text)) <= {"<br>", "<b>", "</b>"}, key
        assert "hovertemplate" not in json.dumps(chart.figure)


def test_nothing_of_the_page_is_fetched(parsed: Page) -> None:
    assert not [attrs for _, attrs, _ in parsed.elements if attrs.keys() & {"src", "srcset", "action"}]
    links = [attrs["href"] for tag, attrs, _ in parsed.elements if tag == "a"]
    assert links
    assert all(link and link.startswith("#") for link in links)


def test_a_long_page_has_a_table_of_contents(parsed: Page) -> None:
    links = [attrs["href"] for tag, attrs, _ in parsed.elements if tag == "a"]
    assert links == [*(f"#{key}" for key in ORDER), "#numbers"]
    assert '<nav aria-label="Contents">' not in render_report(reporting_examples.diagnose_result())


def test_findings_stand_in_their_groups(parsed: Page, page: str) -> None:
    assert parsed.texts("h3", **{"class": "group"}) == ["The verdict", "Why", "What it costs", "What to try next"]
    titles = [finding.title for finding in full_result().verdict]
    assert parsed.texts("h4") == titles[1:]
    assert parsed.texts("h3")[0] == titles[0]
    before_why = page.split(">Why</h3>")[0]
    assert titles[3] in before_why
    assert titles[4] not in before_why


@pytest.mark.parametrize("sizes", [None, 3, {"Why": 2}, {"Why": "all"}, {"Why": 99}, {"Why": -1, "Next": 14}])
def test_counts_that_do_not_fit_leave_the_findings_in_one_group(sizes: object) -> None:
    result = replace(full_result(), rows=(), about={"verdict_groups": sizes})
    parsed = Page(render_report(result))
    assert parsed.texts("h3", **{"class": "group"}) == []
    charts = [chart.title for section in make_sections(result) for chart in section.charts]
    assert parsed.texts("h3") == [*(finding.title for finding in result.verdict), *charts]
    assert f"Show {len(result.verdict) - 7} more" in parsed.texts("summary")


def test_more_findings_than_fit_are_folded_within_their_group() -> None:
    findings = tuple(Finding(f"Finding {place}", "One.") for place in range(12))
    result = Result(verdict=findings, about={"verdict_groups": {"First": 1, "Many": 9, "Two": 2}})
    parsed = Page(render_report(result))
    assert parsed.texts("h3", **{"class": "group"}) == ["Many", "Two"]
    assert parsed.texts("h4") == [finding.title for finding in findings[1:]]
    assert parsed.texts("summary") == ["Show 3 more"]


def test_commands_in_findings_look_like_commands(parsed: Page) -> None:
    command = 'uncollapse evaluate DATA --model minilm --fix "temperature(0.9)"'
    codes = parsed.texts("code")
    assert command in codes
    assert "`" not in "".join(codes)


def test_same_result_gives_same_bytes(page: str) -> None:
    assert render_report(Result.from_json(full_result().to_json())) == page


@pytest.mark.parametrize("room", examples.ROOMS)
def test_any_entry_of_about_may_be_bare(room: str) -> None:
    drawn = {"audit-limits", "audit-lengths", "audit-sources"} if room == "audit" else DRAWN[room]
    for bare in ("bare", 7, ["bare"], {"texts": "bare", "servers": [1], "table": [], "left_out": 3, "limits": 5}):
        charts = charts_of(replace(only(room), about={room: bare}))
        assert drawn <= {key for key, chart in charts.items() if chart.figure or chart.table}


def test_shares_are_printed_in_percent_and_small_ones_are_not_nothing() -> None:
    assert words.number(0.0042, "tokens_lost@512") == "0.4 %"
    assert words.number(0.052, "false_positive_rate@0.01") == "5.2 %"
    assert words.number(0.052, "cloze_recall@10") == "5 %"
    assert words.number(0.0, "needle_recall@1") == "0 %"
    assert words.number(-0.0001, "quote_recall@1_loss") == "0.0 %"


def test_the_sections_import_nothing_that_computes() -> None:
    for path in Path(diagnosis.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert not [name for name in names if name.split(".")[0] in ("numpy", "scipy", "torch", "sklearn")], path.name
        assert not [name for name in names if name.startswith("uncollapse.diagnosis")], path.name


def test_lengths_are_called_what_they_were_counted_in() -> None:
    """A black box that counts words has no token on any axis, table or note, but where servers are spoken of."""
    about = {**full_result().about, "model": {"name": "box", "unit": "words"}}
    for section in make_sections(replace(full_result(), about=about)):
        charts = [chart for chart in section.charts if chart.key not in ("audit-servers", "audit-texts")]
        said = [section.title, section.lead, *section.notes, *(chart.key for chart in charts)]
        said += [text for chart in charts for text in strings(json.loads(json.dumps(asdict(chart))))]
        assert not [text for text in said if "token" in text], section.key
        assert not charts or any("words" in text for text in said), section.key


def test_lengths_are_tokens_of_a_model_that_says_nothing_else() -> None:
    for section in make_sections(full_result()):
        text = json.dumps([asdict(chart) for chart in section.charts if chart.key != "audit-texts"])
        assert not re.search(r"\bwords of the text\b|query words", text), section.key
        assert section.key in ("causes", "controls") or "tokens" in text, section.key
