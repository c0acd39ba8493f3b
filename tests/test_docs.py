"""The documents say what is so: code runs, tables are current, names and files exist."""

import csv
import html
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import explanation_examples
import uncollapse
from diagnosis_examples import full_result
from race_examples import race_result
from reporting_examples import demo_result
from task_examples import task_result
from uncollapse.reporting.glossary import find_term

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.real
def test_the_readmes_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, object] = {}
    exec(code, names)
    assert len(names["vectors"]) == 1
    assert (tmp_path / "report.html").stat().st_size > 100_000
    assert (tmp_path / "minilm-fixed" / "model.safetensors").exists()


def test_generated_pages_are_current() -> None:
    command = [sys.executable, ROOT / "docs/tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_number_of_every_kind_of_report_is_on_a_generated_page() -> None:
    """A diagnosis, an explanation, a demo, an evaluation, a race: every measure of their rows is in the pages."""
    pages = " ".join((ROOT / "docs" / name).read_text() for name in ("measures.md", "metrics.md", "numbers.md"))
    results = (full_result(), explanation_examples.full_result(), demo_result(), task_result(), race_result())
    for measure in {row.measure for result in results for row in result.rows}:
        found = find_term(measure)
        assert found is not None, measure
        general = re.sub(r"(@|top)\d[\d.e-]*$", r"\1k", found.name)
        assert f"`{found.name}`" in pages or f"`{general}`" in pages, measure


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)", prose):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_arxiv_number_is_in_the_references() -> None:
    listed = set(
        re.findall(r"arXiv (\d{4}\.\d{5})\]\(https://arxiv.org/abs/\1\)", (ROOT / "docs/references.md").read_text())
    )
    assert len(listed) > 30
    for path in (*PAGES, *(ROOT / "src").rglob("*.py")):
        cited = set(re.findall(r"arXiv[:\s]+(\d{4}\.\d{5})", path.read_text(encoding="utf-8")))
        assert cited <= listed, f"{path.name}: {cited - listed}"


def test_the_citation_file_names_this_version() -> None:
    cited = dict(re.findall(r"^([\w-]+): (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["title"], cited["version"], cited["license"]) == tuple(
        project[key] for key in ("name", "version", "license")
    )


def test_the_picture_of_gains_shows_what_its_table_holds() -> None:
    with (ROOT / "docs/images/gains.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    drawn = html.unescape((ROOT / "docs/images/gains.svg").read_text(encoding="utf-8"))
    labels = {f"{line['set']} ({line['n']})" for line in lines}
    assert labels == set(re.findall(r">(\w+ \(\d+\))<", drawn))
    assert len(lines) == len(labels) > 5


def test_every_collection_of_the_gains_is_described_with_its_licence_and_source() -> None:
    """A row that says what it is, its size and its licence, and a row that says where it is from."""
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE)
    with (ROOT / "docs/images/gains.csv").open(encoding="utf-8", newline="") as file:
        names = [line["set"] for line in csv.DictReader(file)]
    for name in names:
        cells = [[cell.strip() for cell in rest.split("|")] for found, rest in rows if found == name]
        assert [len(one) for one in cells] == [6, 3], name
        assert all(cell for one in cells for cell in one), name
    assert "](docs/data.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_and_public_name_is_documented() -> None:
    from uncollapse.cli import app

    text = " ".join(page.read_text() for page in PAGES)
    for command in app.registered_commands:
        assert f"uncollapse {command.callback.__name__}" in text or f"make {command.callback.__name__}" in text
    for name in (name for name in uncollapse.__all__ if not name.startswith("_")):
        assert re.search(rf"\b{name}\b", text), name


def test_no_machine_path_stands_anywhere() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".html", ".txt", ".svg", ""} and path.is_file():
            found = re.search(r"/(home|root|tmp|Users)/\w", path.read_text(errors="replace"))
            assert found is None, f"{name}: {found and found.group()}"
