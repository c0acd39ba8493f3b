"""A command looks at what it was given before anybody waits for torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from uncollapse.encoders import check_source
from uncollapse.errors import ModelError

HEAVY = ("torch", "transformers", "sentence_transformers")

TELL = f"""
import contextlib, io, json, sys
from uncollapse.cli import run

told = []
for command in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = run(command.split())
    told.append((code, said.getvalue(), [name for name in {HEAVY!r} if name in sys.modules]))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a folder of tasks, a folder that holds something and a file where a folder should be."""
    folder = tmp_path_factory.mktemp("place")
    lines = [json.dumps({"_id": f"d{number}", "text": f"text number {number}"}) for number in range(3)]
    (folder / "docs.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "test.tsv").write_text("sentence1\tsentence2\tscore\na b\tc d\t1\ne f\tg h\t2\n")
    (folder / "full").mkdir()
    (folder / "full" / "notes.txt").write_text("mine\n")
    (folder / "file").write_text("mine\n")
    return folder


GONE = "Expected a file or folder, got 'nowhere.jsonl', of which there is none."
NO_TASKS = "Expected a folder or a file with tasks, got 'nowhere/', of which there is none."
NO_VECTORS = "Expected a folder of vectors that `uncollapse embed` wrote, got 'nowhere'. Embed a corpus first."
NO_MODEL = "Expected a model folder, got './nomodel', which is not there. Bundled models: minilm."
NOT_EMPTY = "The output folder 'full' is not empty (notes.txt). Give another with --out, or --force to write into it."
IN_THE_WAY = "The output 'full' exists and is not empty. Give another folder, or replace it with --force (force=True)."
A_FILE = "The output 'file' is a file. Give a folder"
T = "temperature(0.8)"
NO_FIX = "Did you mean 'temperature'"
NO_NUMBER = "`mean_cosin@512 > 0.5`: There is no such number. Did you mean 'mean_cosine' or 'mean_cosine_rise'"
NOT_QUICK = "`cloze_recall@10 < 0.5`: This run will have no cloze_recall@10: --quick leaves it out."


COMMANDS = (
    ("diagnose nowhere.jsonl", GONE),
    ("explain nowhere.jsonl", GONE),
    ("embed nowhere.jsonl -o v", GONE),
    ("fix minilm --auto nowhere.jsonl -o v", GONE),
    ("fix minilm whitening --corpus docs.jsonl --queries nowhere.jsonl -o v", GONE),
    ("compare nowhere.jsonl", GONE),
    ("tune nowhere.jsonl --fix whitening", GONE),
    ("evaluate nowhere/", NO_TASKS),
    ("store nowhere -o v", NO_VECTORS),
    ("store docs.jsonl -o v", "wrote, got 'docs.jsonl'. Embed a corpus first."),
    ("store nowhere -o full", IN_THE_WAY),
    ("search nowhere dog", NO_VECTORS),
    ("search nowhere --queries nowhere.jsonl", GONE),
    ("search nowhere dog --corpus nowhere.jsonl", GONE),
    ("search nowhere", "Give either queries, each in quotes, or a file of them with --queries."),
    ("search nowhere dog --queries docs.jsonl", "Give either queries, each in quotes, or a file"),
    ("search nowhere dog --against-model minilm", "is the model of --against, which is not given"),
    ("search nowhere dog --force", "--force replaces the run that --out names, which is not given"),
    ("search nowhere dog --query-field body", "is a field of --queries, which is not given"),
    ("search nowhere dog --corpus docs.jsonl --json", "so with --json or --quiet it would do nothing"),
    ("search nowhere dog --text-field body", "is a field of --corpus, which is not given"),
    (
        "search nowhere dog -o gone/run.trec",
        "Expected a file for the run in a folder that exists, got 'gone/run.trec'",
    ),
    ("diagnose docs.jsonl -m ./nomodel", NO_MODEL),
    ("explain docs.jsonl -m ./nomodel", NO_MODEL),
    ("embed docs.jsonl -o v -m ./nomodel", NO_MODEL),
    ("compare docs.jsonl -m ./nomodel", NO_MODEL),
    ("tune docs.jsonl --fix whitening -m ./nomodel", NO_MODEL),
    ("evaluate tasks -m ./nomodel", NO_MODEL),
    ("evaluate tasks -m . --against ./nomodel", NO_MODEL),
    (f"fix ./nomodel {T} -o v", NO_MODEL),
    ("export ./nomodel -o v", NO_MODEL),
    ("evaluate tasks --bm25 Englisch", "got 'Englisch'. Did you mean 'english' or"),
    (
        "evaluate tasks --bm25 -o x",
        "--bm25 takes the language of the texts, and the option '-o' came instead. Write --bm25 english -o ..., or "
        "--bm25 plain for words as they are written.",
    ),
    ("diagnose docs.jsonl --fail-if mean_cosin@512>0.5", NO_NUMBER),
    ("diagnose docs.jsonl --quick --fail-if cloze_recall@10<0.5", NOT_QUICK),
    ("diagnose docs.jsonl -o full", NOT_EMPTY),
    ("explain docs.jsonl -o full", NOT_EMPTY),
    ("compare docs.jsonl -o full", NOT_EMPTY),
    ("tune docs.jsonl --fix whitening -o full", NOT_EMPTY),
    ("evaluate tasks -o full", NOT_EMPTY),
    ("fix minilm temprature(0.8) -o v", NO_FIX),
    ("fix minilm nowhere.json -o v", "Expected a file with a fix, got 'nowhere.json', which is not there."),
    ("diagnose docs.jsonl --fix temprature(0.8)", NO_FIX),
    ("diagnose docs.jsonl --fix whitening", "`diagnose` takes fixes that act inside the model"),
    ("evaluate tasks --fix temprature(0.8)", NO_FIX),
    ("compare docs.jsonl --fix temprature(0.8)", NO_FIX),
    ("tune docs.jsonl --fix temprature(0.8)", NO_FIX),
    ("export minilm -o v --buckets 128,256 --law temprature(law=log,n0=128)", NO_FIX),
    ("export minilm -o v --buckets 128,256 --law temperature(law=log,n0=0)", "n0 must be a whole number from 2"),
    ("export minilm -o v --buckets 128,256 --law temperature(law=log,n0=128) --search nowhere/", NO_TASKS),
    (
        "evaluate --run nowhere --qrels file --lengths file",
        "Expected a TREC run, got 'nowhere', of which",
    ),
    ("evaluate --run file --qrels nowhere --lengths file", "Expected a file of judgements (qrels), got 'nowhere'"),
    ("evaluate --run file --qrels file --lengths nowhere", "Expected a file of document lengths, got 'nowhere'"),
    (
        "evaluate --run file --qrels file --lengths file --query-lengths tasks",
        "tasks: expected a file of document lengths, got something that is no regular file.",
    ),
    (f"fix . {T} -o full", IN_THE_WAY),
    ("export . -o full", IN_THE_WAY),
    ("diagnose docs.jsonl -o file", A_FILE),
    ("embed docs.jsonl -o file", A_FILE),
    ("export . -o file", A_FILE),
)


@pytest.fixture(scope="module")
def told(place: Path) -> dict[str, tuple[int, str, list[str]]]:
    """Of each command the exit code, what it said, and what was imported by then; all in one process."""
    commands = [command for command, _ in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", TELL], cwd=place, input=json.dumps(commands), capture_output=True, text=True, check=True
    )
    return dict(zip(commands, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("command", "said"), COMMANDS)
def test_what_is_not_there_or_in_the_way_is_told_before_torch_is_imported(
    command: str, said: str, told: dict[str, tuple[int, str, list[str]]]
) -> None:
    code, errors, imported = told[command]
    assert (code, imported) == (2, [])
    assert said in " ".join(errors.split())


def test_nothing_is_left_where_they_were_refused(place: Path, told: dict[str, object]) -> None:
    assert told
    files = {path.relative_to(place).as_posix() for path in place.rglob("*")}
    assert files == {"docs.jsonl", "tasks", "tasks/test.tsv", "full", "full/notes.txt", "file"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("Got: ConnectError: no such host\nAn error happened.", "ConnectError: no such host"),
        ("Repository Not Found for url: https://hub/x.\nPlease", "Repository Not Found for url: https://hub/x"),
        ("", "LocalEntryNotFoundError"),
    ],
)  # fmt: skip
def test_what_the_hub_answered_is_one_sentence(error: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError(error)

    monkeypatch.setattr("uncollapse.encoders.sources.snapshot_download", fail)
    said = (
        f"No model 'nomodel': it is no folder here, and the Hugging Face hub gave: {reason}. Bundled models: minilm."
    )
    with pytest.raises(ModelError) as told:
        check_source("nomodel")
    assert str(told.value) == said


@pytest.mark.parametrize("name", ["http://localhost:8080/v1#m", "HTTPS://host/v1#m", "gone.npy", "v.PARQUET", "here"])
def test_what_is_no_name_of_a_model_is_looked_at_later(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.setattr("uncollapse.encoders.sources.find_source", lambda name: pytest.fail(f"looked for {name}"))
    check_source(name)
