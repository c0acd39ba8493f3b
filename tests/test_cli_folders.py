"""Where commands write: one at a time, nothing left of a failure, and at Ctrl-C a word on what is kept."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command_files import go_alone, write_rankings, write_words
from tiny import save_tiny
from uncollapse.cli import run
from uncollapse.cli.folders import output_folder
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import OutputError, UncollapseError
from uncollapse.writing import LOCK, made_folder, only_writer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=32))


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_alone(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(write_words(tmp_path / "data"))


def errors(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


# --- two at once


RUNS = "uncollapse.evaluation.trial.evaluate_runs"


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_second_command_in_the_same_folder_is_refused_and_the_first_loses_nothing(
    force: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from uncollapse.evaluation.trial import evaluate_runs

    command = ["evaluate", "--run", "a.trec", *write_rankings(), "-o", "out", "-q", *force]
    codes = []

    def work_while_another_comes(*arguments: Any, **keys: Any) -> Any:
        monkeypatch.setattr(RUNS, evaluate_runs)
        codes.append(run(command))
        return evaluate_runs(*arguments, **keys)

    monkeypatch.setattr(RUNS, work_while_another_comes)
    assert run(command) == 0
    assert codes == [2]
    assert "Another command is writing to 'out' at this moment. Wait for it to end, or give another" in errors(capsys)
    assert sorted(path.name for path in Path("out").iterdir()) == ["items.parquet", "report.html", "result.json"]


def test_two_models_written_to_one_place_at_once_are_one_and_a_refusal(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from uncollapse.checkpoints import fix

    codes = []

    def work_while_another_comes(*arguments: Any, **keys: Any) -> Any:
        monkeypatch.setattr("uncollapse.checkpoints.fix", fix)
        codes.append(run(["fix", model, "temperature(0.5)", "-o", "new/fixed", "-q"]))
        return fix(*arguments, **keys)

    monkeypatch.setattr("uncollapse.checkpoints.fix", work_while_another_comes)
    assert run(["fix", model, "temperature(0.9)", "-o", "new/fixed", "-q"]) == 0
    assert codes == [2]
    assert "Another command is writing to 'new/fixed'" in errors(capsys)
    assert [path.name for path in Path("new").iterdir()] == ["fixed"]
    assert "temperature(0.9)" in Path("new/fixed/README.md").read_text()


HOLD = """
import sys, time
from pathlib import Path
from uncollapse.writing import only_writer
with only_writer(Path("out")):
    print("holding", flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("inside", [False, True])
def test_another_process_is_kept_out_until_the_first_ends_or_is_killed(
    inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is mounted has the file in it, as those who share it may share nothing beside it."""
    out = Path("out")
    out.mkdir()
    lock = out / LOCK if inside else Path(".out.lock")
    if inside:
        monkeypatch.setattr(os.path, "ismount", lambda place: Path(place).name == "out")
    hold = HOLD.replace("only_writer\n", "only_writer\nimport os; os.path.ismount = lambda _: True\n", int(inside))
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        with pytest.raises(OutputError, match="Another command is writing to 'out'"), only_writer(out):
            pytest.fail("two at once")
        other.send_signal(signal.SIGKILL)
    assert lock.exists()
    with output_folder(out, "x", force=False):
        assert lock.exists()
    assert list(out.iterdir()) == []
    assert not lock.exists()


def test_commands_that_write_into_a_folder_and_those_that_replace_it_keep_each_other_out(
    model: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, out = f"{folder}/corpus.jsonl", Path("out")
    commands = [
        ["fix", model, "temperature(0.9)"],
        ["store", "nowhere"],
        ["embed", texts, "-m", model],
        ["diagnose", texts, "-m", model],
    ]
    out.mkdir()
    with only_writer(out):
        for command in commands:
            assert run([*command, "-o", "out", "-q"]) == 2
            assert "Another command is writing to 'out'" in errors(capsys)
    assert list(out.iterdir()) == []


# --- failures


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "data", "-m", "MODEL", "--max-tokens", "2"],
        ["evaluate", "--run", "a.trec", "--qrels", "qrels.tsv", "--lengths", "broken.tsv"],
        ["diagnose", "data/corpus.jsonl", "-m", "MODEL", "--max-tokens", "2"],
        ["diagnose", "data/corpus.jsonl", "-m", "http://127.0.0.1:9/v1#none", "--tokenizer", "nowhere"],
        ["fix", "MODEL", "temperature([0.9, 0.8])"],
    ],
)
def test_a_command_that_fails_leaves_no_folder_that_it_made(model: str, arguments: list[str]) -> None:
    write_rankings()
    Path("broken.tsv").write_text("d1\tlong\n")
    given = [model if argument == "MODEL" else argument for argument in arguments]
    before = {path for path in Path.cwd().rglob("*") if "cache" not in path.parts}
    assert run([*given, "-o", "new/er/out"]) == 2
    assert {path for path in Path.cwd().rglob("*") if "cache" not in path.parts} == before
    Path("new").mkdir()
    assert run([*given, "-o", "new/out"]) == 2
    assert list(Path("new").iterdir()) == [], "what was there before stays"


def test_only_folders_that_were_made_and_are_empty_are_removed() -> None:
    Path("old").mkdir()
    with pytest.raises(UncollapseError), made_folder(Path("old/new/newer")):
        Path("old/new/result").write_text("precious")
        raise UncollapseError
    assert [path.name for path in Path("old").rglob("*")] == ["new", "result"]
    with pytest.raises(KeyboardInterrupt), made_folder(Path("old")):
        raise KeyboardInterrupt
    with made_folder(Path("kept/deep")):
        pass
    assert Path("kept/deep").is_dir()


def test_a_folder_that_cannot_be_made_is_told() -> None:
    Path("file").write_text("")
    with (
        pytest.raises(OutputError, match="Could not make the folder 'file/out'.*Give another"),
        made_folder(Path("file/out")),
    ):
        pytest.fail("made")


# --- Ctrl-C


def interrupt_encoding(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C when so many batches of texts are encoded."""
    done, encode = [], SentenceEncoder.vectors

    def interrupted(self: SentenceEncoder, *arguments: Any, **keys: Any) -> Any:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(1)
        return encode(self, *arguments, **keys)

    monkeypatch.setattr(SentenceEncoder, "vectors", interrupted)


def test_an_interrupted_evaluation_says_what_is_kept_and_goes_on_from_there(
    model: str, folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["evaluate", folder, "-m", model, "-o", "out", "--cache", "kept", "-q"]
    with monkeypatch.context() as patching:
        interrupt_encoding(patching, after=1)
        assert run(command) == 130
    said = capsys.readouterr()
    kept = "Nothing was written into 'out'. Vectors are kept in 'kept' as they are made."
    assert f"Interrupted. {kept} The same command goes on from there." in " ".join(said.err.split())
    assert "Traceback" not in said.err
    assert "Aborted" not in said.err
    assert not Path("out").exists()
    assert run(command) == 0
    vectors = json.loads(Path("out/result.json").read_text())["about"]["vectors"]
    assert vectors["from the cache"] > 0
    assert vectors["encoded"] > 0


def test_without_a_cache_it_says_that_the_same_command_begins_anew(
    model: str, folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_encoding(monkeypatch, after=1)
    assert run(["evaluate", folder, "-m", model, "-o", "out", "--no-cache"]) == 130
    said = errors(capsys)
    assert "Interrupted. Nothing was written into 'out'. The same command begins anew." in said
    assert "kept" not in said


def test_what_was_written_before_ctrl_c_is_named(
    model: str, folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("uncollapse.evaluation.mteb.as_mteb_task", interrupt)
    pytest.importorskip("mteb")
    assert run(["evaluate", folder, "-m", model, "-o", "out", "-q", "--mteb"]) == 130
    said = errors(capsys)
    assert "Written into 'out' before that: items.parquet, report.html, result.json. Vectors are kept" in said
    assert "The same command, with --force, goes on from there." in said


@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_diagnosis_says_that_nothing_was_written(
    there: bool, model: str, folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        Path("out").mkdir()
        Path("out/thesis.txt").write_text("years of work")
    interrupt_encoding(monkeypatch, after=1)
    assert run(["diagnose", f"{folder}/corpus.jsonl", "-m", model, "-o", "out", "--force"]) == 130
    said = errors(capsys)
    assert "Interrupted. Nothing was written into 'out'. The same command begins anew." in said
    assert "Traceback" not in said
    assert ([path.name for path in Path("out").iterdir()] == ["thesis.txt"]) if there else not Path("out").exists()


def test_an_interrupted_fix_says_that_nothing_was_written(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_encoding(monkeypatch, after=1)
    assert run(["fix", model, "temperature(0.9)", "-o", "new/fixed"]) == 130
    assert "Interrupted. Nothing was written into 'new/fixed'. The same command begins anew." in errors(capsys)
    assert not Path("new").exists()


# --- SIGTERM

WORK = """
import sys, time
import uncollapse.writing

flush = uncollapse.writing._flush

def pause(place):
    flush(place)
    if "partial" in place.name:
        print("half written", flush=True)
        time.sleep(60)

uncollapse.writing._flush = pause
from uncollapse.cli import main

main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal to catch")
def test_a_process_that_is_asked_to_end_leaves_nothing_half_written_and_says_how_to_go_on(
    model: str, folder: str
) -> None:
    command = ["embed", f"{folder}/corpus.jsonl", "-m", model, "-o", "new/vectors"]
    with subprocess.Popen(
        [sys.executable, "-c", WORK, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half written\n"
        there = {path.name.partition("-")[0] for path in Path("new").rglob("*")}
        assert {".vectors.lock", ".manifest.json.partial"} <= there
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Terminated. Whole shards are kept in 'new/vectors'. The same command goes on from there." in said
    assert "Traceback" not in said
    assert not [path for path in Path("new").rglob("*") if "partial" in path.name or "lock" in path.name]
