"""`uncollapse evaluate` with a model, as a stranger meets it."""

import json
import shutil
import sys
from io import StringIO
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from command_files import go_alone, load_nothing, write_words
from tiny import save_tiny
from uncollapse import tables
from uncollapse.cli import options, run
from uncollapse.cli.printing import _card
from uncollapse.encoders import Dtype
from uncollapse.errors import OutputError, UncollapseError
from uncollapse.evaluation.reading.trec import read_run
from uncollapse.records import Finding, Result


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=32))


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_alone(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_words(tmp_path / "data")


@pytest.fixture
def no_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    load_nothing(monkeypatch)


@pytest.mark.usefixtures("bars")
def test_it_writes_report_result_rows_and_says_what_it_found(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(folder), "-m", model, "--fix", "temperature(0.7)", "-o", "out"]) == 0
    printed = capsys.readouterr()
    assert "60 documents" in printed.err
    assert "temperature(0.7)" in printed.err, "a bar for each setting"
    assert "Report: out/report.html" in printed.out
    assert "data/test" in printed.out
    result = Result.from_json(Path("out/result.json").read_text())
    assert {row.fix for row in result.rows} == {"none", "temperature(0.7)"}
    assert result.about["command"].startswith("uncollapse")
    assert pq.read_table("out/items.parquet").num_rows > 400
    assert Path("out/report.html").read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in Path("out").iterdir()) == ["items.parquet", "report.html", "result.json"]


def test_a_second_run_takes_its_vectors_from_the_cache(model: str, folder: Path) -> None:
    for name in ("a", "b"):
        assert run(["evaluate", str(folder), "-m", model, "-o", name, "-q"]) == 0
    first, again = (json.loads(Path(name, "result.json").read_text()) for name in ("a", "b"))
    assert first["about"]["vectors"]["encoded"] > 0
    assert again["about"]["vectors"] == {"encoded": 0, "from the cache": sum(first["about"]["vectors"].values())}
    assert first["rows"] == again["rows"]


def test_vectors_of_another_number_format_are_kept_apart_and_told(model: str, folder: Path) -> None:
    common = ["evaluate", str(folder), "-m", model, "-q", "--fix", "temperature(0.5)"]
    assert run([*common, "-o", "a"]) == 0
    assert run([*common, "-o", "b", "--dtype", "bfloat16"]) == 0
    first, half = (json.loads(Path(name, "result.json").read_text()) for name in ("a", "b"))
    assert half["about"]["vectors"] == first["about"]["vectors"]  # encoded, none from the cache
    assert [one["about"]["model"]["dtype"] for one in (first, half)] == ["float32", "bfloat16"]
    assert "bfloat16" in Path("b/report.html").read_text()
    assert any("runs in bfloat16 on a processor" in note for note in half["about"]["notes"])


def test_every_number_format_can_be_asked_for() -> None:
    assert {one.value for one in options.Dtype} == set(get_args(Dtype))


def test_no_cache_keeps_nothing(model: str, folder: Path) -> None:
    assert run(["evaluate", str(folder), "-m", model, "-o", "out", "-q", "--no-cache"]) == 0
    assert not Path("cache").exists()


def test_a_damaged_cache_is_built_anew_and_told(model: str, folder: Path) -> None:
    for name in ("a", "b"):
        assert run(["evaluate", str(folder), "-m", model, "-o", name, "-q", "--cache", "kept"]) == 0
        for file in Path("kept").glob("*.sqlite"):
            file.write_bytes(b"no database" * 100)
    first, again = (json.loads(Path(name, "result.json").read_text()) for name in ("a", "b"))
    assert any("was damaged and is built anew" in note for note in again["about"]["notes"])
    assert first["rows"] == again["rows"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "neither was given"),
        (["data", "--run", "x", "--qrels", "y", "--lengths", "z"], "both were given"),
        (["--run", "x"], "--qrels and --lengths must be given too"),
        (["--run", "x", "--qrels", "y"], "--lengths must be given too"),
        (["--run", "x", "--qrels", "y", "--lengths", "z", "--dtype", "float16"], "--dtype would do nothing"),
        (["data", "--qrels", "y"], "so --qrels would do nothing"),
        (["data", "--query-lengths", "y", "--lengths", "z"], "so --lengths, --query-lengths would do nothing"),
        (["data", "--cache", "kept", "--no-cache"], "no vectors are kept, so --cache would do nothing"),
        (["data", "--learn-from", "sentences"], "none was given, so --learn-from would do nothing"),
        (["mteb:SciFact", "--lenient", "--kind", "x"], "so --kind, --lenient would do nothing"),
        (["data", "mteb:SciFact", "--queries", "x"], "so --queries would do nothing"),
        (["mteb:SciFact", "--score-field", "x"], "so --score-field would do nothing"),
        (["data", "--split", "tset"], "Did you mean 'test'?"),
        (["data", "--fix", "temperatur(0.9)"], "Did you mean 'temperature'?"),
        (["data", "--kind", "retrievel"], "Did you mean 'retrieval'?"),
        (["data", "--fix", "temperature(0,9)"], "Decimals have a point: write temperature(0.9)"),
        (["data", "--fix", "tau.json"], "got 'tau.json', which is not there. Such a file holds"),
        (["data", "--device", "gpu"], "Expected a device that torch finds here (cpu"),
        (["data", "--against", "nomodel/"], "nomodel"),
        (["nowhere"], "nowhere"),
        (["data", "-m", "nomodel/"], "nomodel"),
    ],
)
def test_wrong_usage_leaves_with_2_and_says_what_to_do(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given = arguments if "-m" in arguments else [*arguments, "-m", model]
    assert run(["evaluate", *given]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    files = {path for path in Path.cwd().rglob("*") if path.is_file()}
    assert files == {path for path in folder.rglob("*") if path.is_file()}, "nothing was written"


def test_unknown_ids_are_refused_and_dropped_when_lenient(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q1\tghost\t1\nq2\tphantom\t1\n")
    assert run(["evaluate", str(folder), "-m", model, "-o", "out"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "ghost" in said
    assert "--lenient" in said
    assert not Path("out").exists()
    assert run(["evaluate", str(folder), "-m", model, "-o", "out", "--lenient"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "judgements left out: 0 query ids and 2 document ids unknown, in 2 of 32 judgements" in said


@pytest.mark.parametrize("part", ["_append", "_write_runs"])
def test_what_cannot_be_written_item_by_item_costs_neither_report_nor_result(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("no room")

    monkeypatch.setattr(tables.ItemTable if part == "_append" else tables, part, full)
    assert run(["evaluate", str(folder), "-m", model, "-o", "out", "--save-runs"]) == 2
    assert "no room" in capsys.readouterr().err
    assert Result.from_json(Path("out/result.json").read_text()).rows
    there = {path.name for path in Path("out").iterdir()}
    assert there == {"report.html", "result.json", "runs" if part == "_append" else "items.parquet"}


@pytest.mark.usefixtures("no_encoding")
@pytest.mark.parametrize(("option", "package"), [("--mteb", "mteb"), ("--approximate", "usearch")])
def test_a_package_that_is_not_there_is_missed_before_anything_is_encoded(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: str, package: str
) -> None:
    monkeypatch.delitem(sys.modules, "mteb", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    assert run(["evaluate", str(folder), option, "-o", "out"]) == 2
    assert f"needs the package '{package}', which is not installed" in " ".join(capsys.readouterr().err.split())
    assert not Path("out").exists()


def test_report_and_result_are_there_before_mteb_begins(
    model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mteb")
    seen = []

    def stop(*_: object, **__: object) -> None:
        seen.extend(path.name for path in Path("out").iterdir() if not path.name.startswith("."))
        raise UncollapseError("stopped")

    monkeypatch.setattr("uncollapse.evaluation.mteb.as_mteb_task", stop)
    assert run(["evaluate", str(folder), "-m", model, "-o", "out", "-q", "--mteb"]) == 2
    assert sorted(seen) == ["items.parquet", "report.html", "result.json"]


def test_mteb_scores_the_same_data_and_files_it_in_its_own_layout(model: str, folder: Path) -> None:
    pytest.importorskip("mteb")
    arguments = ["evaluate", str(folder), "-m", model, "--fix", "temperature(0.7)", "-o", "out", "-q", "--mteb"]
    assert run(arguments) == 0
    result = Result.from_json(Path("out/result.json").read_text())
    for fix, place in (("none", "results/*/*"), ("temperature(0.7)", "results/*/*/experiments/temperature_0.7")):
        (file,) = Path("out/mteb").glob(f"{place}/data.json")
        (row,) = result.select(measure="ndcg@10", view="overall", fix=fix)
        theirs = json.loads(file.read_text())["scores"]["test"][0]["ndcg_at_10"]
        assert theirs == pytest.approx(row.value, abs=5e-5)


@pytest.mark.usefixtures("bars")
def test_two_models_are_compared_in_pairs_and_each_has_its_own_vectors(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model with a temperature in its weights is what the temperature makes of the model."""
    assert run(["fix", model, "temperature(0.5)", "-o", "after", "-q"]) == 0
    common = ["evaluate", str(folder), "-m", model]
    assert run([*common, "--fix", "temperature(0.5)", "--against", "after", "-o", "out", "--save-runs"]) == 0
    printed = capsys.readouterr()
    result = Result.from_json(Path("out/result.json").read_text())
    assert result.about["fixes"] == ["none", "temperature(0.5)", "after"]
    assert [one["folded_fix"] for one in (result.about["model"], *result.about["against"])] == [
        "none",
        "temperature(0.5)",
    ]
    patched, folded = (result.select(measure="ndcg@10_gain", fix=fix) for fix in ("temperature(0.5)", "after"))
    assert len(patched) == len(folded) > 5
    for mine, theirs in zip(patched, folded, strict=True):
        assert (mine.view, mine.bin, mine.n) == (theirs.view, theirs.bin, theirs.n)
        assert theirs.value == pytest.approx(mine.value, abs=1e-9)
    assert "after" in printed.err, "a bar for each model"
    assert any(f"{model} and after" in one.title or "after is " in one.title for one in result.verdict)
    assert read_run("out/runs/data-test.after.trec").name == "after"
    assert run([*common, "--against", "after", "-o", "again", "-q"]) == 0
    again = Result.from_json(Path("again/result.json").read_text())
    assert again.about["vectors"]["encoded"] == 0


def test_a_model_against_itself_is_refused_and_a_copy_scores_the_same(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(folder), "-m", model, "--against", model, "-o", "out"]) == 2
    assert "was given twice. Give it once" in " ".join(capsys.readouterr().err.split())
    shutil.copytree(model, "stock")
    shutil.copytree(model, "copy")
    assert run(["evaluate", str(folder), "-m", "stock", "--against", "copy", "-o", "out"]) == 0
    printed = capsys.readouterr().out
    assert "copy and stock score the same on data/test" in printed
    assert "+0.000" not in printed
    assert "-0.000" not in printed


@pytest.mark.parametrize("length", [1, 73, 74, 75, 200])
def test_a_title_of_any_length_is_printed_whole(length: int) -> None:
    console = Console(width=80, file=StringIO())
    title = "m" * length
    console.print(_card(Finding(title, "what was found", "good"), console.width))
    printed = console.file.getvalue()
    assert "".join(printed.replace("│", " ").split()).count("m") == length
    assert "what was found" in printed
    assert all(len(line) == 80 for line in printed.splitlines())


def test_mteb_scores_every_model(model: str, folder: Path) -> None:
    pytest.importorskip("mteb")
    shutil.copytree(model, "copy")
    assert run(["evaluate", str(folder), "-m", model, "--against", "copy", "-o", "out", "-q", "--mteb"]) == 0
    assert len({file.parent for file in Path("out/mteb").glob("results/*/*/data.json")}) == 2


def test_an_mteb_task_that_cannot_be_had_is_told_in_one_line(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mteb")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(["evaluate", "mteb:SciFakt", "-m", model]) == 2
    assert "SciFact" in capsys.readouterr().err
