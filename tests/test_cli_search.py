"""`uncollapse search`: what it prints, the run it writes, and what a fix changed."""

import json
import shlex
from pathlib import Path

import pytest

from command_files import go_alone, write_words
from tiny import save_tiny
from uncollapse.cli import run
from uncollapse.evaluation.reading.trec import read_run
from uncollapse.records import Result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder, a model and a colder one, and the vectors of both."""
    root = tmp_path_factory.mktemp("asked")
    write_words(root / "data")
    save_tiny(root / "model")
    assert run(["fix", str(root / "model"), "temperature(0.3)", "-o", str(root / "fixed"), "-q"]) == 0
    for model, vectors in {"model": "before", "fixed": "after"}.items():
        assert run(["embed", str(root / "data"), "-m", str(root / model), "-o", str(root / vectors), "-q"]) == 0
    return root


@pytest.fixture(autouse=True)
def there(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_alone(made, monkeypatch)
    monkeypatch.setenv("COLUMNS", "100")


def test_the_best_documents_are_printed_with_their_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    first = json.loads(Path("data/corpus.jsonl").read_text().splitlines()[0])
    assert run(["search", "before", first["text"], "-m", "model", "--corpus", "data", "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = next(number for number, line in enumerate(lines) if line.startswith("rank"))
    assert lines[heads].split() == ["rank", "score", "tokens", "document"]
    assert lines[heads + 1].split()[:2] == ["1", "1.000"]
    assert lines[heads + 1].split()[-1] == "d0"
    assert lines[heads + 2].strip().startswith(first["text"][:60])
    assert lines[-1].startswith("Found:  documents of ")
    assert "in the median of 1 query; all 60 have " in lines[-1]


def test_what_a_fix_changed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "search",
        "after",
        "a red dog",
        "-m",
        "fixed",
        "--against",
        "before",
        "--against-model",
        "model",
        "-k",
        "5",
    ]
    assert run([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    after, before = ([hit["id"] for hit in one["found"][0]["hits"]] for one in (told, told["before"]))
    assert told["found"][0]["id"] == "q1"
    assert told["shared"] == [len(set(after) & set(before)) / 5]
    assert run(asked) == 0
    said = " ".join(capsys.readouterr().out.split())
    gone = [f"{name} ({rank}, " for rank, name in enumerate(before, 1) if name not in after]
    assert ("No more among them: " in said) == bool(gone)
    assert all(one in said for one in gone)
    assert f"Shared: {len(set(after) & set(before)) / 5:.0%} of what is found was found before." in said
    for rank, name in enumerate(after, 1):
        assert f"{rank} {before.index(name) + 1 if name in before else '-'} " in said


def test_the_same_vectors_share_everything_with_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "before", "--queries", "data/queries.jsonl", "-m", "model", "--against", "before"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "and 20 more queries, which --json prints." in said
    assert "Shared: 100% [89%, 100%] of what is found was found before." in said


def test_the_run_is_scored_as_the_model_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "before", "--queries", "data/queries.jsonl", "-m", "model", "-k", "60", "-o", "a.trec"]) == 0
    assert "Run:    a.trec, for `uncollapse evaluate --run`." in capsys.readouterr().out
    found = read_run("a.trec")
    assert len(found.rankings) == 30
    assert {len(ranking.documents) for ranking in found.rankings.values()} == {60}
    files = ["--run", "a.trec", "--qrels", "data/qrels/test.tsv", "--lengths", "before"]
    assert run(["evaluate", *files, "-o", "scored", "-q"]) == 0
    assert run(["evaluate", "data", "-m", "model", "-o", "direct", "-q"]) == 0
    scored, direct = (Result.from_json(Path(name, "result.json").read_text()) for name in ("scored", "direct"))
    for measure in ("ndcg@10", "ap"):
        (mine,), (theirs,) = (one.select(measure=measure, view="overall") for one in (scored, direct))
        assert (mine.value, mine.n) == (theirs.value, theirs.n)
    binned = [{row.bin: row.n for row in one.select(measure="found@10")} for one in (scored, direct)]
    assert len(binned[0]) > 1
    assert binned[0] == binned[1], "the lengths are those that the model counts"


def test_embed_says_how_to_ask_its_vectors_and_the_line_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["embed", "data", "-m", "model", "-o", "some vectors"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Search:"))
    _, *words = shlex.split(line.removeprefix("Search:"))
    assert run([*words, "--quiet"]) == 0
    assert run(["embed", "data/queries.jsonl", "-m", "model", "-o", "asked", "--role", "query"]) == 0
    assert "Search:" not in capsys.readouterr().out


def test_the_queries_of_a_beir_folder_are_its_queries(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["search", "before", "-m", "model", "--json", "--queries"]
    told = []
    for place in ("data", "data/queries.jsonl"):
        assert run([*asked, place]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    assert len(told[0]["found"]) == 30


def test_another_field_of_queries_is_named_by_its_own_option(capsys: pytest.CaptureFixture[str]) -> None:
    Path("asked.jsonl").write_text(json.dumps({"id": "a", "asked": "a dog"}))
    assert run(["search", "before", "-m", "model", "--queries", "asked.jsonl"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--query-field" in said
    assert "--text-field" not in said
    assert run(["search", "before", "-m", "model", "--queries", "asked.jsonl", "--query-field", "asked"]) == 0


@pytest.mark.parametrize("kept", ["model/config.json", "before/manifest.json", "data/queries.jsonl", "there.trec"])
def test_nothing_that_is_there_is_written_over(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("there.trec").write_text("mine")
    held = Path(kept).read_bytes()
    asked = ["search", "before", "--queries", "data/queries.jsonl", "-m", "model", "-o", kept]
    assert run(asked) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert ("is there already" in said) == (kept == "there.trec")
    assert Path(kept).read_bytes() == held
    assert run([*asked, "--force"]) == (0 if kept == "there.trec" else 2)
    assert (Path(kept).read_bytes() == held) == (kept != "there.trec")


def test_vectors_of_other_texts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["embed", "data/queries.jsonl", "-m", "model", "-o", "few", "-q"]) == 0
    assert run(["search", "before", "a dog", "-m", "model", "--against", "few"]) == 2
    assert "Expected vectors of the same texts in 'before' and 'few', got others" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_corpus_of_other_documents_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("others.jsonl").write_text(json.dumps({"id": "elsewhere", "text": "a dog"}))
    assert run(["search", "before", "a dog", "-m", "model", "--corpus", "others.jsonl"]) == 0
    assert "--corpus has no document with these ids." in capsys.readouterr().out


def test_ids_that_a_run_cannot_hold_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("spaced.jsonl").write_text(json.dumps({"id": "a b", "text": "a dog"}))
    assert run(["search", "before", "--queries", "spaced.jsonl", "-m", "model", "-o", "b.trec"]) == 2
    assert "so query ids must be Unicode text without any, got 'a b'" in " ".join(capsys.readouterr().err.split())
    assert not Path("b.trec").exists()


def test_letters_that_steer_a_terminal_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("steering.jsonl").write_text(json.dumps({"id": "s\x1b]0;x", "text": "\x1b[31m[red]a dog\x07"}))
    assert run(["embed", "steering.jsonl", "-m", "model", "-o", "steered", "-q"]) == 0
    capsys.readouterr()
    assert run(["search", "steered", "[b]dog\x1b[2J", "-m", "model", "--corpus", "steering.jsonl"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "[31m[red]a dog" in said
    assert "[b]dog" in said
