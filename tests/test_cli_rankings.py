"""`uncollapse evaluate` on rankings of any engine, and the rankings it saves for others."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest
import typer

from command_files import go_alone, load_nothing, write_rankings, write_trec, write_words
from tiny import save_tiny
from uncollapse.cli import app, modes, run
from uncollapse.evaluation.bias.table import BIAS
from uncollapse.evaluation.reading.trec import read_run
from uncollapse.records import Result


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
def rankings() -> list[str]:
    return write_rankings()


@pytest.fixture
def no_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    load_nothing(monkeypatch)


def evaluated(*arguments: str) -> Result:
    assert run(["evaluate", *arguments, "-o", "runs", "-q"]) == 0
    return Result.from_json(Path("runs/result.json").read_text())


def test_a_run_file_is_scored_without_a_model(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["evaluate", str(folder), "-m", model, "-o", "out", "-q", "--save-runs"]) == 0
    scored = Result.from_json(Path("out/result.json").read_text())
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    lengths = {item["_id"]: len(item["text"].split()) for item in map(json.loads, lines)}
    Path("lengths.tsv").write_text("".join(f"{name}\t{length}\n" for name, length in lengths.items()))
    load_nothing(monkeypatch)
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


WITH_A_MODEL = {
    "model": ["--model", "minilm"],
    "fix": ["--fix", "temperature(0.7)"],
    "against": ["--against", "minilm"],
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
    "dtype": ["--dtype", "float16"],
    "learn-from": ["--learn-from", "sentences"],
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
    assert {one.name for one in command.params} - both == {
        *modes.WITH_A_MODEL, *modes.WITH_TEXTS, *modes.WITHOUT_A_MODEL
    }  # fmt: skip


def test_saved_rankings_judgements_and_lengths_give_the_same_length_bias_without_the_model(
    model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["evaluate", str(folder), "-m", model, "--fix", "temperature(0.7)", "-o", "out", "-q", "--save-runs"]
    assert run(arguments) == 0
    load_nothing(monkeypatch)
    saved = "out/runs/data-test"
    again = evaluated(
        "--run", f"{saved}.none.trec", "--qrels", f"{saved}.qrels", "--lengths", f"{saved}.lengths.tsv"
    )  # fmt: skip
    regression = ("length_slope", "length_slope_sd", "length_explained")
    figures = [name for name in BIAS if name not in regression]
    first = Result.from_json(Path("out/result.json").read_text())

    def bias(result: Result) -> list[tuple[object, ...]]:
        rows = [row for row in result.select(fix="none") if re.sub(r"(@|top)\d+$", r"\1k", row.measure) in figures]
        return [(row.measure, row.view, row.bin, row.value, row.low, row.high, row.n, row.n_tokens) for row in rows]

    assert len(bias(first)) > 20
    assert bias(again) == bias(first)
    assert again.about["tasks"][0]["dataset"] == "data-test"
    assert again.about["tasks"][0]["unit"] == "tokens"


@pytest.mark.parametrize(
    ("qrels", "name"),
    [("judged.qrels", "judged"), ("my-set/qrels/dev.tsv", "my-set/dev"), ("trec.2019.qrels.gz", "trec.2019")],
)
def test_the_data_set_is_named_after_what_is_judged_and_not_after_a_run(
    qrels: str, name: str, rankings: list[str]
) -> None:
    Path(qrels).parent.mkdir(parents=True, exist_ok=True)
    text = Path("qrels.tsv").read_bytes()
    Path(qrels).write_bytes(gzip.compress(text) if qrels.endswith(".gz") else text)
    result = evaluated("--run", "a.trec", "--qrels", qrels, *rankings[2:])
    assert {row.dataset for row in result.rows} == {name}
    assert result.verdict[0].title.endswith(f"nDCG@10 on {name}")


@pytest.mark.parametrize(
    ("headers", "unit", "told"),
    [
        (("document\twords\n",), "words", " words)"),
        (("id\tn_tokens\n",), "tokens", " tokens)"),
        (("",), "", "(length 1"),
        (("document\tlength\n",), "", "(length 1"),
        (("document\twords\n", "query\twords\n"), "words", " words)"),
        (("document\twords\n", "query\ttokens\n"), "", "(length 1"),
    ],
)
def test_lengths_are_called_what_the_header_of_their_file_says(
    headers: tuple[str, ...], unit: str, told: str, rankings: list[str]
) -> None:
    Path("lengths.tsv").write_text(headers[0] + Path("lengths.tsv").read_text())
    asked = ["--query-lengths", "asked.tsv"] if len(headers) > 1 else []
    Path("asked.tsv").write_text(headers[-1] + "".join(f"q{i}\t{5 + i}\n" for i in range(12)))
    result = evaluated("--run", "a.trec", *rankings, *asked)
    assert result.about["tasks"][0]["unit"] == unit
    text = " ".join(finding.sentence for finding in result.verdict)
    assert told in text
    assert ("tokens" in text) == (unit == "tokens")


def test_every_run_is_judged_for_length_bias(rankings: list[str]) -> None:
    result = evaluated("--run", "a.trec", "--run", "b.trec", *rankings)
    titles = [finding.title for finding in result.verdict if "push" in finding.title]
    assert [title.rpartition("on qrels, ranked by ")[2] for title in titles] == ["a", "b"]
    assert not any(word in finding.title for finding in result.verdict for word in ("helps", "hurts", " by b "))


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


def test_what_a_reader_of_runs_must_know_is_said_on_the_error_stream(
    rankings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_trec("more.trec", "more", {"q1": [1, 2], "x1": [3], "x2": [4]})
    assert run(["evaluate", "--run", "more.trec", *rankings, "-o", "loud"]) == 0
    assert "note: 11 of 12 judged queries are not in the run" in " ".join(capsys.readouterr().err.split())
    assert run(["evaluate", "--run", "more.trec", *rankings, "-o", "still", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_queries_that_only_the_run_or_only_the_judgements_have_are_counted(rankings: list[str]) -> None:
    write_trec("more.trec", "more", {"q1": [1, 2], "x1": [3], "x2": [4]})
    result = evaluated("--run", "more.trec", "--run", "a.trec", *rankings)
    assert result.about["tasks"][0]["notes"] == [
        "more: 2 of 3 queries of the run have no relevant document in the judgements and are left out",
        "more: 11 of 12 judged queries are not in the run and count as having found nothing",
        "more: the run holds at most 2 documents a query, so scores at 10 and 100 count what it does not hold as not "
        "found",
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
    lengths, ranking, judgements = sorted(path.name for path in Path("out/runs").iterdir())
    assert lengths.startswith("xxx")
    assert lengths.removesuffix(".lengths.tsv") == ranking.removesuffix(".none.trec")
    assert ranking.removesuffix(".none.trec") == judgements.removesuffix(".qrels")


def test_the_same_command_again_is_refused_with_the_way_out(
    rankings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated("--run", "a.trec", *rankings)
    assert run(["evaluate", "--run", "a.trec", *rankings, "-o", "runs"]) == 2
    assert "--force to write into it" in " ".join(capsys.readouterr().err.split())
    evaluated("--run", "a.trec", *rankings, "--force")
