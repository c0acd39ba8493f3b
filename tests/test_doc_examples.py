"""What the pages tell people to type: commands that the command line takes, and Python that runs."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from corpus_files import json_lines, write
from pipeline_examples import made_corpus
from task_files import write_beir
from uncollapse import embed, load, open_corpus
from uncollapse.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = ("http://", "SciFact", "FastAPI", "QdrantClient", "fastembed")
"""In Python that needs a server, the hub, stores of another page, or other packages, so that it is not run here."""


def commands(page: Path) -> list[str]:
    """Lines after a `$`, those that go on joined, of our own command line."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE) if line.startswith("uncollapse ")]


def blocks(page: Path) -> list[str]:
    found = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [code for code in found if not any(name in code for name in ELSEWHERE)]


@pytest.mark.parametrize("line", [line for page in PAGES for line in commands(page)])
def test_a_command_on_a_page_is_one_that_is_taken(line: str) -> None:
    """All of its options are there, none that is needed is missing; nothing is run."""
    _, verb, *words = shlex.split(line, comments=True)
    assert understood(verb, words)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fix minilm --no-such-option", "No such option"),
        ("embed docs.jsonl", "Missing parameter: out"),
        ("diagnose --model minilm", "Missing parameter: corpus"),
    ],
)
def test_a_command_that_is_not_taken_would_be_told(line: str, said: str) -> None:
    verb, *words = line.split()
    with pytest.raises(Exception, match=said):
        understood(verb, words)


def understood(verb: str, words: list[str]) -> dict[str, object]:
    """What a command makes of its arguments; nothing is run."""
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    return dict(command.make_context(verb, list(words)).params)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages speak of."""
    corpus = made_corpus(60, 30)
    documents = {f"d{i}": text for i, text in enumerate(corpus.documents)}
    queries = {f"q{i}": text for i, text in enumerate(corpus.queries)}
    write_beir(tmp_path / "my-folder", documents, queries, test=[(q, f"d{i}", 1) for i, q in enumerate(queries)])
    write(tmp_path / "docs.jsonl", json_lines(*({"id": name, "text": text} for name, text in documents.items())))
    write(tmp_path / "search-log.txt", "\n".join(corpus.queries).encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.real
@pytest.mark.parametrize("page", [page for page in PAGES[1:] if blocks(page)], ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, workplace: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from uncollapse.encoders import load_model

    folder = workplace / "my-model-fixed"
    SentenceTransformer(str(load_model("minilm").source), device="cpu").save(str(folder))
    embed(load(str(folder)), open_corpus("docs.jsonl"), "vectors")
    names: dict[str, object] = {}
    for code in blocks(page):
        exec(code, names)
    assert any(not name.startswith("__") for name in names)
