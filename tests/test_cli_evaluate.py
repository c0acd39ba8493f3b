"""`uncollapse evaluate` as a stranger meets it."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer

from tiny import save_tiny
from uncollapse import tables
from uncollapse.cli import app, modes, run
from uncollapse.encoders import cache
from uncollapse.errors import OutputError, UncollapseError
from uncollapse.evaluation.reading.trec import read_run
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
    capsys.readouterr()
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
        (["data", "--qrels", "y"], "so --qrels would do nothing"),
        (["data", "--query-lengths", "y", "--lengths", "z"], "so --lengths, --query-lengths would do nothing"),
        (["data", "--cache", "kept", "--no-cache"], "no vectors are kept, so --cache would do nothing"),
        (["mteb:SciFact", "--lenient", "--kind", "x"], "so --kind, --lenient would do nothing"),
        (["data", "mteb:SciFact", "--queries", "x"], "so --queries would do nothing"),
        (["mteb:SciFact", "--score-field", "x"], "so --score-field would do nothing"),
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


WITH_A_MODEL = {
    "model": ["--model", "minilm"],
    "fix": ["--fix", "temperature(0.7)"],
    "split": ["--split", "test"],
    "kind": ["--kind", "retrieval"],
    "queries": ["--queries", "queries.jsonl"],
    "score-field": ["--score-field", "score"],
    "lenient": ["--lenient"],
    "max-tokens": ["--max-tokens", "model"],
    "cache": ["--cache", "kept"],
    "no-cache": ["--no-cache"],
    "approximate": ["--approximate"],
    "batch-size": ["--batch-size", "32"],
    "device": ["--device", "cpu"],
    "mteb": ["--mteb"],
    "save-runs": ["--save-runs"],
    "trust-remote-code": ["--trust-remote-code"],
}


@pytest.mark.parametrize("option", WITH_A_MODEL)
def test_an_option_that_rankings_have_no_use_for_is_refused_by_name(
    option: str, rankings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "--run", "a.trec", *rankings, *WITH_A_MODEL[option]]) == 2
    assert f"without a model, so --{option} would do nothing" in " ".join(capsys.readouterr().err.split())


def test_every_option_is_of_use_to_data_to_rankings_or_to_both() -> None:
    """A new option is put into a list here, or is for both."""
    command = typer.main.get_command(app).commands["evaluate"]
    both = {"paths", "run", "out", "bins", "seed", "force", "quiet", "json", "help"}
    assert {name.replace("-", "_") for name in WITH_A_MODEL} == set(modes.WITH_A_MODEL)
    assert {one.name for one in command.params} - both == {*modes.WITH_A_MODEL, *modes.WITHOUT_A_MODEL}


@pytest.fixture
def rankings() -> list[str]:
    """Two runs over 12 queries, a.trec and b.trec, and the options that name their judgements and lengths."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_trec(f"{name}.trec", name, {f"q{i}": rng.permutation(12) for i in range(12)})
    Path("qrels.tsv").write_text("".join(f"q{i}\t0\td{i}\t1\n" for i in range(12)))
    Path("lengths.tsv").write_text("".join(f"d{i}\t{10 + i}\n" for i in range(12)))
    return ["--qrels", "qrels.tsv", "--lengths", "lengths.tsv"]


def write_trec(path: str, tag: str, found: dict[str, list[int]]) -> None:
    lines = [f"{q} Q0 d{d} {i} {20 - i} {tag}\n" for q, documents in found.items() for i, d in enumerate(documents)]
    Path(path).write_text("".join(lines))


def evaluated(*arguments: str) -> Result:
    assert run(["evaluate", *arguments, "-o", "runs", "-q"]) == 0
    return Result.from_json(Path("runs/result.json").read_text())


def test_rows_of_runs_say_which_run_came_first(rankings: list[str]) -> None:
    result = evaluated("--run", "a.trec", "--run", "b.trec", *rankings)
    assert {row.model for row in result.rows} == {"a"}
    assert {row.fix for row in result.rows} == {"none", "b"}
    assert result.about["runs"] == ["a", "b"]
    assert result.about["fixes"] == ["none", "b"]


def test_a_further_run_called_none_is_refused_and_the_first_may_be(
    rankings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path("b.trec").read_text()
    Path("b.trec").write_text(text.replace(" b\n", " none\n"))
    assert run(["evaluate", "--run", "a.trec", "--run", "b.trec", *rankings, "-o", "x"]) == 2
    assert "no further run may have that tag, but run 2 of 2 does" in " ".join(capsys.readouterr().err.split())
    result = evaluated("--run", "b.trec", "--run", "a.trec", *rankings)
    assert {row.fix for row in result.rows} == {"none", "a"}


def test_a_run_without_any_judged_query_is_refused_with_an_id_of_each_side(
    rankings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_trec("other.trec", "other", {"topic-7": [1, 2]})
    assert run(["evaluate", "--run", "a.trec", "--run", "other.trec", *rankings]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "run 'other' has, got none of the same id: its first query is 'topic-7'" in said
    assert "the first judged one with a relevant document is 'q0'" in said


def test_queries_that_only_the_run_or_only_the_judgements_have_are_counted(rankings: list[str]) -> None:
    write_trec("more.trec", "more", {"q1": [1, 2], "x1": [3], "x2": [4]})
    result = evaluated("--run", "more.trec", "--run", "a.trec", *rankings)
    assert result.about["tasks"][0]["notes"] == [
        "more: 2 of 3 queries of the run have no relevant document in the judgements and are left out",
        "more: 11 of 12 judged queries are not in the run and count as having found nothing",
    ]


def test_lengths_of_queries_must_be_of_all_judged_ones(
    rankings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("asked.tsv").write_text("".join(f"q{i}\t{5 + i}\n" for i in range(11)))
    assert run(["evaluate", "--run", "a.trec", *rankings, "--query-lengths", "asked.tsv", "-o", "x"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Every judged query needs a length, but 1 have none; the first is 'q11'" in said
    with Path("asked.tsv").open("a") as file:
        file.write("q11\t16\n")
    assert evaluated("--run", "a.trec", *rankings, "--query-lengths", "asked.tsv").select(view="by_query_length")


def test_saved_runs_are_tagged_with_model_and_fix_and_compare_with_another_engine(
    model: str, folder: Path, rankings: list[str]
) -> None:
    shutil.copytree(model, "my model")
    arguments = ["evaluate", str(folder), "-m", "my model", "--fix", "temperature([0.9, 0.8, 0.7])", "-o", "out", "-q"]
    assert run([*arguments, "--save-runs"]) == 0
    names = {"none": "my_model", "temperature--0.9--0.8--0.7": "my_model+temperature([0.9,0.8,0.7])"}
    files = [f"out/runs/data-test.{fix}.trec" for fix in names]
    assert [read_run(file).name for file in files] == list(names.values())
    write_trec("bm25.trec", "bm25", {f"q{i}": range(12) for i in range(12)})
    Path("lengths.tsv").write_text("".join(f"d{i}\t{10 + i}\n" for i in range(60)))
    given = [part for file in ("bm25.trec", *files) for part in ("--run", file)]
    result = evaluated(*given, *rankings)
    assert {row.fix for row in result.rows} == {"none", *names.values()}


@pytest.fixture
def no_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uncollapse.encoders.load", lambda *_, **__: pytest.fail("a model was loaded"))


@pytest.mark.usefixtures("no_encoding")
@pytest.mark.parametrize(("file", "what"), [("corpus.jsonl", "document ids"), ("queries.jsonl", "query ids")])
def test_an_id_that_a_trec_file_cannot_hold_is_found_before_anything_is_encoded(
    folder: Path, capsys: pytest.CaptureFixture[str], file: str, what: str
) -> None:
    old, new = ("d3", "d 3") if what.startswith("doc") else ("q3", "q 3")
    for path in (folder / file, folder / "qrels" / "test.tsv"):
        text = path.read_text()
        path.write_text(text.replace(f'"{old}"', f'"{new}"').replace(f"{old}\t", f"{new}\t"))
    assert run(["evaluate", str(folder), "--save-runs", "-o", "out"]) == 2
    assert f"so {what} (data/test) must be Unicode text without any, got '{new}'" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not Path("out").exists()


@pytest.mark.usefixtures("no_encoding")
def test_two_sets_whose_rankings_would_be_one_file_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["my data", "my-data"]
    for name in names:
        shutil.copytree(folder, name)
    assert run(["evaluate", *names, "--save-runs", "-o", "out"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "'my-data-test.none.trec' for both my data/test under none and my-data/test under none" in said


@pytest.mark.usefixtures("no_encoding")
def test_saving_runs_or_an_index_where_nothing_is_ranked_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["sentence1\tsentence2\tscore", *(f"a dog {i}\ta cat {i}\t{i % 5}" for i in range(20))]
    Path("test.tsv").write_text("\n".join(lines) + "\n")
    assert run(["evaluate", "test.tsv", "--save-runs", "--approximate"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "what was given is similarity, so --approximate and --save-runs would do nothing" in said


def test_a_name_too_long_for_a_file_is_cut(model: str, folder: Path) -> None:
    long = folder.rename("x" * 240)
    assert run(["evaluate", str(long), "-m", model, "-o", "out", "-q", "--save-runs"]) == 0
    first, second = sorted(path.name for path in Path("out/runs").iterdir())
    assert first.startswith("xxx")
    assert first.removesuffix(".none.trec") == second.removesuffix(".qrels")


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
        seen.extend(path.name for path in Path("out").iterdir())
        raise UncollapseError("stopped")

    monkeypatch.setattr("uncollapse.evaluation.mteb.as_mteb_task", stop)
    assert run(["evaluate", str(folder), "-m", model, "-o", "out", "-q", "--mteb"]) == 2
    assert sorted(seen) == ["items.parquet", "report.html", "result.json"]


def test_the_same_command_again_is_refused_with_the_way_out(
    rankings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated("--run", "a.trec", *rankings)
    assert run(["evaluate", "--run", "a.trec", *rankings, "-o", "runs"]) == 2
    assert "--force to write into it" in " ".join(capsys.readouterr().err.split())
    evaluated("--run", "a.trec", *rankings, "--force")


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
