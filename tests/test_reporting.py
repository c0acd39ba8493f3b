"""The report as text: deterministic, escaped, honest about what is missing, and written whole or not at all."""

import base64
import hashlib
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import reporting_examples as examples
import uncollapse.reporting.html as html_module
from reporting_examples import charts_of
from uncollapse.errors import OutputError
from uncollapse.records import Finding, Result, Row
from uncollapse.reporting import plots, render_report, sections, write_report


class Page(HTMLParser):
    """The elements of a page with their attributes and direct text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.stack: list[int] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in ("meta", "link", "img", "br"):
            self.stack.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.elements[self.stack.pop()][0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.stack:
            self.elements[self.stack[-1]][2].append(data)

    def texts(self, tag: str, **attrs: str) -> list[str]:
        return ["".join(text) for name, have, text in self.elements if name == tag and attrs.items() <= have.items()]


def without_library(page: str) -> str:
    return page.replace(plots.plotly_source(), "")


@pytest.fixture(scope="module")
def demo() -> str:
    return render_report(examples.demo_result())


@pytest.fixture(scope="module")
def hostile() -> str:
    return render_report(examples.hostile_result())


def test_same_result_gives_same_bytes(demo: str) -> None:
    assert render_report(examples.demo_result()) == demo
    assert render_report(Result.from_json(examples.demo_result().to_json())) == demo


def test_another_result_gives_another_page(demo: str) -> None:
    result = examples.demo_result()
    changed = replace(result, rows=(replace(result.rows[0], value=0.1234), *result.rows[1:]))
    assert render_report(changed) != demo


def test_every_row_is_in_the_table(demo: str) -> None:
    result = examples.demo_result()
    table = re.search(r"<tbody>(.*?)</tbody>", demo, re.S)
    assert table
    assert table[1].count('<th scope="row">') == len(result.rows)
    assert "0.462" in table[1]
    assert "0.431 to 0.493" in table[1]
    assert "a count, not an estimate" in table[1]


@pytest.mark.parametrize("make", [examples.demo_result, examples.diagnose_result], ids=["demo", "diagnose"])
def test_every_chart_has_one_reading_sentence_and_words_for_who_cannot_see_it(make) -> None:  # type: ignore[no-untyped-def]
    page = Page(render_report(make()))
    readings = page.texts("p", **{"class": "reading"})
    charts = [attrs for tag, attrs, _ in page.elements if tag == "div" and attrs.get("class") == "chart"]
    assert len(readings) == len(charts) == len(charts_of(make()))
    for reading in readings:
        assert reading.endswith(".")
        assert len(re.findall(r"[.!?](?:\s|$)", reading)) == 1
    for attrs in charts:
        assert attrs["role"] == "img"
        assert re.search(r"\d", attrs["aria-label"] or "")


def test_page_loads_nothing(demo: str) -> None:
    page = Page(without_library(demo))
    assert not re.search(r"https?:|//\w", without_library(demo))
    assert {tag for tag, _, _ in page.elements}.isdisjoint({"link", "img", "iframe", "object", "base", "a"})
    assert not [attrs for _, attrs, _ in page.elements if attrs.keys() & {"src", "href", "srcset", "action"}]
    assert "url(" not in "".join(page.texts("style"))
    assert "@import" not in "".join(page.texts("style"))


def test_policy_runs_the_two_scripts_of_the_page_and_no_other(demo: str) -> None:
    page = Page(demo)
    (policy,) = [a["content"] for t, a, _ in page.elements if t == "meta" and a.get("http-equiv")]
    scripts = ["".join(text) for tag, attrs, text in page.elements if tag == "script" and not attrs]
    assert len(scripts) == 2
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert policy
    assert f"script-src 'sha256-{digests[0]}' 'sha256-{digests[1]}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_hostile_text_stays_text(hostile: str) -> None:
    page = Page(hostile)
    allowed = {tag for tag, _, _ in Page(render_report(examples.demo_result())).elements}
    assert {tag for tag, _, _ in page.elements} <= allowed
    executable = [
        attrs for tag, attrs, _ in page.elements if tag == "script" and attrs.get("type") != "application/json"
    ]
    assert executable == [{}, {}]
    assert not [key for _, attrs, _ in page.elements for key in attrs if key.startswith("on")]
    assert page.texts("h1") == [examples.HOSTILE[0]]
    assert examples.HOSTILE[3] in page.texts("li")
    assert page.texts("code") == [examples.HOSTILE[0]]


def test_hostile_text_cannot_leave_the_data_of_a_figure(hostile: str) -> None:
    page = Page(hostile)
    blocks = page.texts("script", type="application/json")
    assert len(blocks) == len(charts_of(examples.hostile_result()))
    for block in blocks:
        assert not set(block) & set("<>&'\u2028\u2029")
        json.loads(block)


def test_empty_result_says_what_is_missing_everywhere() -> None:
    page = Page(render_report(Result()))
    assert page.texts("h1") == ["Length report"]
    assert not [tag for tag, attrs, _ in page.elements if attrs.get("class") == "chart"]
    missing = page.texts("p", **{"class": "missing"})
    assert len([text for text in missing if text.startswith("This result holds no")]) == 8
    assert "The command that made this report was not recorded." in missing
    assert "What each setting buys" not in page.texts("h2")


@pytest.mark.parametrize("part", ["rows", "verdict", "points", "lengths", "about"])
def test_any_part_may_be_missing(part: str) -> None:
    result = replace(examples.demo_result(), **{part: {} if part == "about" else ()})
    charts = charts_of(result)
    assert all(bool(chart.figure) != bool(chart.missing) for chart in charts.values())
    assert "undefined" not in without_library(render_report(result)).lower()


@pytest.mark.parametrize("key", sorted(examples.demo_result().about))
def test_any_entry_of_about_may_be_missing_or_a_bare_text(key: str) -> None:
    result = replace(examples.demo_result(), rows=(), points=())
    without = {name: value for name, value in result.about.items() if name != key}
    for about in (without, {**without, key: "bare"}, {**without, key: None}, {**without, key: 7}):
        page = without_library(render_report(replace(result, about=about)))
        assert "None" not in page


def test_rows_that_cannot_be_placed_are_left_to_the_table() -> None:
    rows = [
        Row("mean_cosine", v, None, None, 9, "windows", "", n) for v, n in ((0.1, 8), (0.2, 16), (0.3, 0), (0.4, 32))
    ]
    rows[3] = replace(rows[3], value=float("nan"))
    figure = charts_of(Result(rows=tuple(rows)))["windows"].figure
    assert figure
    assert figure["data"][0]["x"] == [8, 16]
    assert "\N{EN DASH}" in render_report(Result(rows=tuple(rows)))


def test_verdict_comes_first_and_an_unknown_kind_is_a_note() -> None:
    findings = (Finding("First", "One.", "bad"), Finding("Second", "Two.", "strange"))
    page = Page(render_report(Result(verdict=findings)))
    assert page.texts("p", **{"class": "kind"}) == ["Problem", "Note"]
    assert page.texts("h3")[:2] == ["First", "Second"]


def test_facts_and_notes_are_all_there(demo: str) -> None:
    page = Page(demo)
    facts = dict(zip(page.texts("dt")[3:], page.texts("dd")[6:], strict=True))
    assert facts["Versions"] == "uncollapse 0.1.0, torch 2.13.0, sentence-transformers 6.2.0"
    assert facts["Skipped"] == "empty 3, duplicate 41"
    assert facts["Seed"] == "0"
    assert facts["Limit set in its folder"] == "256"
    assert "Intervals come from resampling documents 1,000 times." in page.texts("li")
    assert page.texts("code") == ["uncollapse demo --out demo --seed 0"]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_contrast(scheme: int) -> None:
    css = (Path(html_module.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", css, re.S)[scheme]
    colours = dict(re.findall(r"--(\w+): (#\w{6})", block))
    for text in ("ink", "soft", "bad", "good", "neutral", "unknown"):
        for ground in ("page", "raised", "wash"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for role in ("before", "after"):
        assert _contrast(plots.COLOURS[role], colours["page"]) >= 3, role


def _contrast(one: str, other: str) -> float:
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_written_file_is_the_page_with_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, examples.hostile_result())
    assert path.read_text(encoding="utf-8") == render_report(examples.hostile_result()).replace("\ud800", "?")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(item.name for item in tmp_path.iterdir()) == ["plain", "report.html"]


def test_failure_while_rendering_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(_: Result) -> list[sections.Section]:
        raise RuntimeError("no")

    monkeypatch.setattr(html_module, "make_sections", fail)
    with pytest.raises(RuntimeError, match="no"):
        write_report(path, Result())
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_failure_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(part: Path, *_: object) -> None:
        with part.open("wb") as file:
            file.write(b"half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(OutputError, match=r"Could not write .*report\.html.*No space left.*: make room"):
        write_report(path, Result())
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"needs an existing folder, but '.*nowhere' is none .* Make the folder first"
    ):
        write_report(tmp_path / "nowhere" / "report.html", Result())


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"one file, but .* is a folder\. Give a file name in it, such as"):
        write_report(tmp_path, Result())
