"""`uncollapse embed` with a model behind a URL, and what it says of it."""

import json
from pathlib import Path

import pytest

from command_files import go_alone
from embedding_server import serving
from tiny import save_tiny
from uncollapse.cli import run

TEXTS = ["One, two.", "three four five", "six"]


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_alone(tmp_path, monkeypatch)
    lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(TEXTS)]
    Path("docs.jsonl").write_text("\n".join(lines))


def test_words_are_called_words_and_the_vectors_of_a_server_are_kept_where_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving() as server:
        asked = ["embed", "docs.jsonl", "-m", server.name, "--cache", "kept"]
        assert run([*asked, "-o", "a"]) == 0
        assert "Words:   6; 0 texts were cut at the model's limit." in capsys.readouterr().out
        assert any(Path("kept").rglob("*"))
        assert not Path("cache").exists() or not any(Path("cache").rglob("*.sqlite*"))
        sent = len(server.seen)
        assert run([*asked, "-o", "b", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["unit"] == "words"
        assert sum(text in TEXTS for one in server.seen[sent:] for text in one.texts) == 0, "they were kept"


def test_the_tokens_of_a_server_are_counted_with_its_tokenizer(capsys: pytest.CaptureFixture[str]) -> None:
    model = str(save_tiny(Path("model")))
    with serving() as server:
        assert run(["embed", "docs.jsonl", "-m", server.name, "-o", "out", "--tokenizer", model]) == 0
    said = capsys.readouterr().out
    assert "Tokens:  " in said
    assert "Words" not in said


@pytest.mark.parametrize(("option", "name"), [("--tokenizer", "tokenizer"), ("--cache", "cache")])
def test_what_is_for_servers_is_refused_for_a_model_that_runs_here(
    option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(save_tiny(Path("model")))
    assert run(["embed", "docs.jsonl", "-m", model, "-o", "out", option, "x"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"A model that runs here has no use for {name}" in said
