"""`uncollapse evaluate` as a stranger meets it."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tiny import save_tiny
from uncollapse.cli import run
from uncollapse.encoders import cache
from uncollapse.records import Result

WORDS = ("red", "blue", "green", "dog", "cat", "house", "tree", "river", "stone", "cloud")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=32))


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["uncollapse"])
    monkeypatch.setattr(cache, "default_folder", lambda: tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    made = tmp_path / "data"
    (made / "qrels").mkdir(parents=True)
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 20))) for _ in range(60)]
    corpus = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    queries = [json.dumps({"_id": f"q{i}", "text": text[:20]}) for i, text in enumerate(texts[:30])]
    (made / "corpus.jsonl").write_text("\n".join(corpus))
    (made / "queries.jsonl").write_text("\n".join(queries))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(30))]
    (made / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return made


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


def test_a_run_file_is_scored_without_a_model(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["evaluate", str(folder), "-m", model, "-o", "out", "-q", "--save-runs"]) == 0
    scored = Result.from_json(Path("out/result.json").read_text())
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    lengths = {item["_id"]: len(item["text"].split()) for item in map(json.loads, lines)}
    Path("lengths.tsv").write_text("".join(f"{name}\t{length}\n" for name, length in lengths.items()))
    monkeypatch.setattr("uncollapse.encoders.load", lambda *_, **__: pytest.fail("a model was loaded"))
    found = [
        "--run",
        "out/runs/data-test.none.trec",
        "--qrels",
        "out/runs/data-test.qrels",
        "--lengths",
        "lengths.tsv",
    ]
    assert run(["evaluate", *found, "-o", "runs"]) == 0
    again = Result.from_json(Path("runs/result.json").read_text())
    for measure in ("ndcg@10", "ap"):
        (mine,), (theirs,) = (one.select(measure=measure, view="overall") for one in (scored, again))
        assert (mine.value, mine.low, mine.high, mine.n) == (theirs.value, theirs.low, theirs.high, theirs.n)
    assert "Report: runs/report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "neither was given"),
        (["data", "--run", "x", "--qrels", "y", "--lengths", "z"], "both were given"),
        (["--run", "x"], "--qrels and --lengths must be given too"),
        (["--run", "x", "--qrels", "y"], "--lengths must be given too"),
        (["data", "--qrels", "y"], "go with --run"),
        (["data", "--split", "tset"], "Did you mean 'test'?"),
        (["data", "--fix", "temperatur(0.9)"], "Did you mean 'temperature'?"),
        (["data", "--kind", "retrievel"], "Did you mean 'retrieval'?"),
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
    assert folder.exists()


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
    assert "2" in capsys.readouterr().err


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


def test_an_mteb_task_that_cannot_be_had_is_told_in_one_line(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mteb")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(["evaluate", "mteb:SciFakt", "-m", model]) == 2
    assert "SciFact" in capsys.readouterr().err
