"""`export` and `embed` as a stranger meets them: what they write, say, refuse, and how they leave."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export_examples import made_models, reuse_graph
from tiny import save_tiny
from uncollapse import embedding, load
from uncollapse.cli import run
from uncollapse.cli.embedding import Kind
from uncollapse.corpora import texts as corpus_texts
from uncollapse.corpora.shards import FORMATS, read_manifest
from uncollapse.exporting.parity import LIMITS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=32))


@pytest.fixture(scope="module")
def source() -> str:
    return str(made_models() / "fixed")


@pytest.fixture(scope="module")
def exported() -> str:
    return str(made_models() / "onnx")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["uncollapse"])
    lines = [json.dumps({"id": f"d{n}", "text": "ab cd " * (1 + n % 9)}) for n in range(20)]
    Path("texts.jsonl").write_text("\n".join(lines) + "\n")


def words(text: str) -> str:
    return " ".join(text.split())


def test_export_says_what_it_does_and_how_near_it_came(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reuse_graph(monkeypatch)
    assert run(["export", source, "-o", "out", "--format", "openvino"]) == 0
    printed = capsys.readouterr()
    for step in ("loading", "writing the graph", "converting to OpenVINO", "comparing with the source, by length"):
        assert f"{step} ..." in printed.err
    said = words(printed.out)
    assert "Agrees: 12 texts of up to 40 tokens. Smallest cosine 1.000000" in said
    assert "(0.001 is allowed)" in said
    assert "times torch's here" in said
    assert len(re.findall(r" \d+-\d+ 3 (?:alone|padded) 1\.000000 ", f" {said}")) == 4
    assert "of each length the way that came least near; parity.json has every way" in said
    assert run(["export", source, "-o", "out"]) == 2
    assert "is not empty. Give another folder, or replace it with --force" in words(capsys.readouterr().err)
    assert run(["export", source, "-o", "out", "--force", "--json", "-q"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["folder"], report["format"], report["parity"]["agrees"]) == ("out", "onnx", True)
    assert printed.err == ""
    assert run(["export", source, "-o", "silent", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(["export", source, "-o", "x", "--format", "gguf"]) == 2
    assert "onnx-int8" in capsys.readouterr().err
    assert not [path for path in Path.cwd().iterdir() if path.name.startswith(".")]


def test_export_that_disagrees_fails_and_says_where_it_is(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reuse_graph(monkeypatch)
    monkeypatch.setitem(LIMITS, "onnx", 1e-12)
    assert run(["export", source, "-o", "out"]) == 2
    assert "It was kept as 'out.disagrees' with parity.json" in words(capsys.readouterr().err)
    assert not Path("out").exists()
    assert Path("out.disagrees/parity.json").exists()


def test_an_exported_folder_is_a_model_for_other_commands(exported: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["embed", "texts.jsonl", "-m", exported, "-o", "vectors", "-q"]) == 0
    assert load("vectors").dim == 48
    for command in (["fix", exported, "temperature(0.8)", "-o", "x"], ["explain", "texts.jsonl", "-m", exported]):
        assert run(command) == 2
        assert "which was exported" in words(capsys.readouterr().err)


@pytest.mark.usefixtures("bars")
def test_embed_writes_reports_and_goes_on(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["embed", "texts.jsonl", "-m", model, "-o", "out", "--shard-texts", "8"]
    assert run([*command, "--limit", "8"]) == 0
    printed = capsys.readouterr()
    assert "Vectors: out, 8 of 64 dimensions in 1 file, all of them new." in words(printed.out)
    assert "of what was computed was padding" in words(printed.out)
    assert "embedding" in printed.err
    assert run([*command, "--json", "-q"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["folder"], report["n_texts"], report["n_new"], report["n_shards"]) == ("out", 20, 12, 3)
    assert printed.err == ""
    assert run([*command, "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run([*command, "--max-tokens", "20"]) == 2
    assert "max_tokens 32 and now 20" in words(capsys.readouterr().err)
    assert run([*command, "--max-tokens", "20", "--format", "npy", "--role", "text", "--force", "-q"]) == 0
    made = read_manifest(Path("out"))
    assert (made.made["max_tokens"], made.made["role"], made.format) == (20, "text", "npy")
    assert np.load("out/vectors-00000.npy").shape == (8, 64)
    assert run(["embed", "texts.jsonl", "-m", "out", "-o", "x"]) == 2
    assert "nothing to embed with" in words(capsys.readouterr().err)
    assert run(["embed", "texts.jsonl", "-m", "out", "-o", "x", "--role", "query"]) == 2
    assert "--role query would do nothing" in words(capsys.readouterr().err)
    assert not Path("x").exists()


def test_broken_records_are_told_before_any_work_or_counted(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.jsonl").write_text(Path("texts.jsonl").read_text() + '{"id": "x", "text": \n')
    assert run(["embed", "broken.jsonl", "-m", model, "-o", "out"]) == 2
    assert "broken.jsonl:21" in words(capsys.readouterr().err)
    assert not Path("out").exists()
    assert run(["embed", "broken.jsonl", "-m", model, "-o", "out", "--skip-bad"]) == 0
    assert "Left out: 1 x" in words(capsys.readouterr().out)


def test_what_is_learnt_while_reading_is_said_once(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpus_texts, "IDS_REMEMBERED", 5)
    command = ["embed", "texts.jsonl", "-m", model, "-o", "out"]
    assert run(command) == 0
    assert words(capsys.readouterr().err).count("duplicate ids were looked for among the first 5 ids only") == 1
    assert run([*command, "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_after_ctrl_c_the_same_command_goes_on(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["embed", "texts.jsonl", "-m", model, "-o", "out", "--shard-texts", "8", "-q"]
    encode = embedding._encode

    def interrupted(batch: Any, *rest: Any) -> Any:
        if batch[0].id == "d16":
            raise KeyboardInterrupt
        return encode(batch, *rest)

    monkeypatch.setattr(embedding, "_encode", interrupted)
    assert run(command) == 130
    assert "Whole shards are kept in 'out'. The same command goes on from there" in words(capsys.readouterr().err)
    assert len(read_manifest(Path("out")).shards) == 2
    monkeypatch.setattr(embedding, "_encode", encode)
    assert run(command) == 0
    assert read_manifest(Path("out")).complete


@pytest.mark.parametrize("command", ["export", "embed"])
def test_help_shows_examples_and_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    shown = words(capsys.readouterr().out)
    assert f"Examples: uncollapse {command}" in shown
    assert "Exit codes: 0 done" in shown


def test_the_command_offers_the_formats_of_the_table() -> None:
    assert [kind.value for kind in Kind] == list(FORMATS)
