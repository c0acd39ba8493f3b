"""`uncollapse compare` and `uncollapse tune`, as a stranger meets them."""

import json
from pathlib import Path

import jsonschema
import pytest

from command_files import WORDS, go_alone, write_words
from tiny import save_tiny
from uncollapse.cli import run
from uncollapse.records import Result
from uncollapse.schemas import schema

FIXES = ["--fix", "whitening", "--fix", "centering(role)"]


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
def notes() -> Path:
    """Documents of five sentences each, without any label."""
    said = "The {} {} number {} likes {} things."
    lines = [
        {"text": " ".join(said.format(WORDS[i % 10], WORDS[j], i, WORDS[i // 10]) for j in range(5))}
        for i in range(80)
    ]
    path = Path("notes.jsonl")
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.mark.usefixtures("bars")
def test_compare_on_labels_writes_a_report_and_a_verdict(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", str(folder), "-m", model, *FIXES, "-o", "out"]) == 0
    printed = capsys.readouterr()
    assert "data/test, 6 settings" in printed.err
    assert "Report: out/report.html" in printed.out
    assert "gains are on queries that had no say" in " ".join(printed.out.split())
    result = Result.from_json(Path("out/result.json").read_text())
    jsonschema.validate(json.loads(result.to_json()), schema("uncollapse.result/1"))
    assert [family["name"] for family in result.about["races"][0]["families"]] == ["whitening", "centering(role)"]
    assert result.about["races"][0]["labelled"]
    assert any("without their answers" in note for note in result.about["notes"])
    page = Path("out/report.html").read_text()
    assert "Which fix pays on data/test?" in page
    assert "What each family adds, by what it costs" in page


def test_compare_without_labels_says_that_none_stand_behind_it(
    model: str, notes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", str(notes), "-m", model, *FIXES, "-o", "out", "--json"]) == 0
    printed = capsys.readouterr()
    assert "no labels, so queries are made out of the documents" in " ".join(printed.err.split())
    result = Result.from_json(printed.out)
    assert not result.about["races"][0]["labelled"]
    assert result.verdict[-1].title == "No labels stand behind this"


def test_a_second_race_takes_all_vectors_from_the_cache_and_gives_the_same(model: str, folder: Path) -> None:
    for name in ("a", "b"):
        assert run(["compare", str(folder), "-m", model, *FIXES, "-o", name, "-q"]) == 0
    first, again = (json.loads(Path(name, "result.json").read_text()) for name in ("a", "b"))
    assert first["about"]["vectors"]["encoded"] > 0
    assert again["about"]["vectors"]["encoded"] == 0
    assert first["rows"] == again["rows"]


def test_tune_with_and_without_labels(
    model: str, folder: Path, notes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", str(folder), "-m", model, "--fix", "whitening", "-o", "labels"]) == 0
    assert "is the best dial on data/test" in " ".join(capsys.readouterr().out.split())
    labelled = Result.from_json(Path("labels/result.json").read_text())
    assert labelled.about["chosen"] == labelled.about["chosen_with_labels"]
    assert run(["tune", str(notes), "-m", model, "--fix", "whitening", "-o", "blind"]) == 0
    assert "Without labels: whitening(" in " ".join(capsys.readouterr().out.split())
    blind = Result.from_json(Path("blind/result.json").read_text())
    assert (
        blind.about["chosen"]
        == blind.about["chosen_without_labels"]
        in {f"whitening({g})" for g in (0.15, 0.25, 0.4, 0.6, 1)}
    )
    assert blind.select(view="tune_check")[0].n > 10
    jsonschema.validate(json.loads(blind.to_json()), schema("uncollapse.result/1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "nowhere"], "nowhere"),
        (["compare", "data", "--fix", "whitenin"], "Did you mean 'whitening'?"),
        (["compare", "data", "--split", "tset"], "Did you mean 'test'?"),
        (["compare", "data", "--learn-from", "labels"], "--learn-from must be `task` or `sentences`, got 'labels'"),
        (["compare", "data", "--text-field", "text"], "--text-field would do nothing: a BEIR folder says"),
        (["compare", "notes.jsonl", "--split", "test"], "--split would do nothing: documents without labels"),
        (["compare", "data", "--no-labels", "--queries", "q"], "--queries would do nothing"),
        (["compare", "data", "--documents", "60"], "so it would do nothing. Leave it out, or take --no-labels"),
        (["tune", "data", "--fix", "whitening", "--documents", "60"], "so it would do nothing. Leave it out, or take"),
        (["compare", "notes.jsonl", "--encodes", "3"], "so it would do nothing on documents alone"),
        (["compare", "data", "--cache", "kept", "--no-cache"], "so --cache would do nothing"),
        (["compare", "data", "--no-labels", "--no-cache"], "has 30 words or more, and four in a row"),
        (["compare", "mteb:SciFact", "--no-labels"], "--no-labels would do nothing: mteb itself says"),
        (["compare", "mteb:SciFact", "--queries", "q"], "--queries would do nothing: mteb itself says"),
        (["tune", "mteb:SciFact", "--fix", "whitening", "--text-field", "t"], "--text-field would do nothing: mteb"),
        (["compare", "data", "--max-tokens", "\N{SUPERSCRIPT TWO}"], "--max-tokens must be `model`, `table` or a num"),
        (["tune", "data"], "Missing option '--fix'"),
        (["tune", "notes.jsonl", "--fix", "temperature(0)"], "tau"),
    ],
)
@pytest.mark.usefixtures("folder", "notes")
def test_wrong_usage_leaves_with_2_and_says_what_to_do(
    model: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run([*arguments, "-m", model]) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not any(path.name == "report.html" for path in Path.cwd().rglob("*"))
