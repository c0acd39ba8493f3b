"""The command line as a stranger meets it: what it writes, says, refuses, and how it leaves."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import uncollapse
from tiny import save_tiny
from uncollapse.cli import run
from uncollapse.records import Result


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=32))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpora") / "texts.jsonl"
    generator = np.random.default_rng(0)
    lines = []
    for number in range(160):
        letters = generator.choice(list("abcdefgh "), int(generator.integers(3, 120)))
        lines.append(json.dumps({"_id": f"d{number}", "body": f"t{number} " + "".join(letters)}))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["uncollapse"])


@pytest.mark.usefixtures("bars")
def test_diagnose_writes_report_result_and_rows(model: str, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", str(corpus), "-m", model, "-o", "out"]) == 0
    printed = capsys.readouterr()
    assert "Report: out/report.html" in printed.out
    assert "texts as they are" in printed.err
    result = Result.from_json(Path("out/result.json").read_text())
    assert result.about["corpus"]["n_texts"] == 160
    assert result.about["command"].startswith("uncollapse")
    table = pq.read_table("out/texts.parquet").to_pylist()
    assert [row["id"] for row in table] == [f"d{number}" for number in range(160)]
    assert all(0 < row["n_tokens"] <= 66 and -1 <= row["cosine_to_centroid"] <= 1 for row in table)
    assert Path("out/report.html").read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "report.html",
        "result.json",
        "texts.parquet",
        "thresholds.json",
    ]


def test_quiet_prints_nothing_and_json_prints_the_result_alone(
    model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diagnose", str(corpus), "-m", model, "-o", "a", "--quiet", "--windows", "0", "--quick"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(["diagnose", str(corpus), "-m", model, "-o", "b", "-q", "--json", "--windows", "0", "--quick"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert Result.from_json(printed.out).about["model"]["name"] == model


def test_options_reach_what_they_name(model: str, corpus: Path) -> None:
    common = ["diagnose", str(corpus), "-m", model, "-q", "--quick"]
    options = ["--limit", "100", "--bins", "equal:3", "--max-tokens", "60", "--seed", "7", "--stream"]
    assert run([*common, "-o", "a", *options, "--windows", "50", "--id-field", "_id", "--text-field", "body"]) == 0
    result = Result.from_json(Path("a/result.json").read_text())
    assert (result.about["corpus"]["n_texts"], result.about["seed"]) == (100, 7)
    assert result.about["model"]["max_tokens"] == 60
    bins = {row.bin for row in result.select(view="as_is") if row.bin}
    assert len(bins) == 3
    assert pq.read_table("a/texts.parquet")["cosine_to_centroid"].null_count == 100
    assert run([*common, "-o", "b", "--fix", "temperature(0.5)"]) == 0
    fixed = Result.from_json(Path("b/result.json").read_text())
    assert {row.fix for row in fixed.rows} == {"temperature(0.5)", "none"}
    assert {row.measure for row in fixed.select(fix="none")} == {"effective_rank_isotropic"}
    assert fixed.about["model"]["patched_fix"] == "temperature(0.5)"
    assert fixed.about["model"]["folded_fix"] == "none"


def test_a_fix_changes_the_numbers_and_leaves_the_model_alone(model: str, corpus: Path) -> None:
    common = ["diagnose", str(corpus), "-m", model, "-q", "--windows", "0", "--quick"]
    for name, extra in (("a", []), ("b", ["--fix", "temperature(0.3)"]), ("c", [])):
        assert run([*common, "-o", name, *extra]) == 0
    first, fixed, again = (Result.from_json(Path(f"{name}/result.json").read_text()) for name in "abc")
    assert first.rows == again.rows
    cosines = [[row.value for row in r.rows if row.measure == "mean_cosine"] for r in (first, fixed)]
    assert not np.allclose(*cosines, atol=1e-4)


def test_fix_writes_a_model_that_diagnose_loads(model: str, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fix", model, "temperature(0.8)", "-o", "fixed"]) == 0
    printed = capsys.readouterr()
    assert "temperature(0.8) in the weights, float32" in printed.out.replace("\n", " ")
    assert "reloading with stock sentence-transformers" in printed.err
    assert "It cuts texts at 32 tokens, as its source does" in printed.out.replace("\n", " ")
    assert "softens" not in printed.err
    assert run(["fix", model, "temperature(1.2)", "-o", "soft"]) == 0
    assert "a temperature above 1 softens attention" in capsys.readouterr().err.replace("\n", " ")
    assert run(["diagnose", str(corpus), "-m", "fixed", "-o", "out", "-q", "--quick"]) == 0
    about = Result.from_json(Path("out/result.json").read_text())
    assert {row.fix for row in about.select(measure="mean_cosine")} == {"temperature(0.8)"}
    assert about.about["model"]["folded_fix"] == "temperature(0.8)"
    again = ["diagnose", str(corpus), "-m", "fixed", "-o", "again", "--fix", "temperature(0.8)", "--quick"]
    assert run(again) == 2, "two temperatures would multiply"
    assert "in its weights already" in capsys.readouterr().err
    Path("tau.json").write_text('{"fix": "temperature", "tau": [0.9, 0.8, 0.7]}')
    assert run(["fix", model, "tau.json", "-o", "fixed", "--force", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["fix"], report["folder"]) == ("temperature([0.9, 0.8, 0.7])", "fixed")


WRONG = {
    "empty fix": (["diagnose", "CORPUS", "-m", "MODEL", "--fix", ""], "Expected a fix such as"),
    "no room": (
        ["diagnose", "CORPUS", "-m", "MODEL", "--max-tokens", "2"],
        "leave room for text beside the 2",
    ),
    "no device": (["diagnose", "CORPUS", "-m", "MODEL", "--device", "gpu"], "torch finds here (cpu"),
    "no corpus": (["diagnose", "nowhere.jsonl"], "Expected a file or folder, got 'nowhere.jsonl'"),
    "no field": (["diagnose", "CORPUS", "--text-field", "bdy"], "Did you mean 'body'?"),
    "no model": (["diagnose", "CORPUS", "-m", "minlm"], "Did you mean 'minilm'?"),
    "wrong fix": (["diagnose", "CORPUS", "-m", "MODEL", "--fix", "temperature(0)"], "tau must be finite and > 0"),
    "wrong layers": (["diagnose", "CORPUS", "-m", "MODEL", "--fix", "temperature([1, 1])"], "has 3 attention layers"),
    "wrong bins": (
        ["diagnose", "CORPUS", "-m", "MODEL", "--bins", "equal:1"],
        "--bins must be `powers`, or `equal:N`",
    ),
    "wrong limit": (["diagnose", "CORPUS", "-m", "MODEL", "--max-tokens", "many"], "--max-tokens must be `model`"),
    "beyond the table": (["diagnose", "CORPUS", "-m", "MODEL", "--max-tokens", "99"], "a number from 1 to 66"),
    "few windows": (
        ["diagnose", "CORPUS", "-m", "MODEL", "--windows", "3"],
        "50 documents, got windows=3 (--windows)",
    ),
    "unknown option": (["diagnose", "CORPUS", "--modle", "x"], "No such option"),
    "no folder to write": (["fix", "MODEL"], "Missing option"),
    "out is a file": (["diagnose", "CORPUS", "-m", "MODEL", "-o", "CORPUS"], "is a file. Give a folder with --out"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_answered_in_one_message_with_exit_code_2(
    case: str, model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = WRONG[case]
    given = [{"CORPUS": str(corpus), "MODEL": model}.get(argument, argument) for argument in arguments]
    assert run(given) == 2
    printed = capsys.readouterr()
    assert message in printed.err.replace("\n", " ")
    assert "Traceback" not in printed.err
    assert not list(Path.cwd().rglob("*.partial*"))


def test_a_broken_line_is_named_or_skipped_and_counted(
    model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path("broken.jsonl")
    broken.write_text(corpus.read_text() + '{"_id": "x", "body": \n')
    assert run(["diagnose", str(broken), "-m", model, "-o", "out"]) == 2
    assert "broken.jsonl:161" in capsys.readouterr().err.replace("\n", "")
    assert not Path("out").exists()
    assert run(["diagnose", str(broken), "-m", model, "-o", "out", "--skip-bad", "--windows", "0", "--quick"]) == 0
    assert "Left out. 1 x" in capsys.readouterr().out
    assert sum(Result.from_json(Path("out/result.json").read_text()).about["corpus"]["skipped"].values()) == 1


def test_foreign_files_in_the_output_folder_are_respected(model: str, corpus: Path) -> None:
    Path("out").mkdir()
    Path("out/thesis.txt").write_text("years of work")
    common = ["diagnose", str(corpus), "-m", model, "-o", "out", "-q", "--windows", "0", "--quick"]
    assert run(common) == 2
    assert run([*common, "--force"]) == 0
    assert Path("out/thesis.txt").read_text() == "years of work"
    assert run(common) == 2, "an earlier report is work, too"


def test_hostile_text_does_not_reach_the_report_unescaped(model: str) -> None:
    texts = [f"<script>window.pwned=1</script> text number {number} " + "a b " * number for number in range(60)]
    Path("hostile.txt").write_text("\n".join(texts))
    assert run(["diagnose", "hostile.txt", "-m", model, "-o", "out", "-q", "--windows", "0", "--quick"]) == 0
    assert "<script>window.pwned" not in Path("out/report.html").read_text()


@pytest.mark.parametrize("command", [[], ["diagnose"], ["fix"], ["demo"]])
def test_help_shows_examples_and_exit_codes(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Exit codes: 0 done" in shown
    assert not command or f"Examples: uncollapse {command[0]}" in shown


def test_importing_is_quick_and_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "plotly", "pyarrow", "scipy")
    code = f"import sys, uncollapse, uncollapse.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves_and_unknown_ones_are_told() -> None:
    for name in uncollapse.__all__:
        assert getattr(uncollapse, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'diagnos'; it has AttnScale, Calibration, Chosen, "):
        uncollapse.diagnos  # noqa: B018


@pytest.mark.real
def test_demo_shows_the_collapse_and_writes_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "-o", "shown", "--texts", "210", "--windows", "50", "-q", "--json"]) == 0
    result = Result.from_json(capsys.readouterr().out)
    rise = result.select(measure="mean_cosine_rise", view="windows", fix="none")[0]
    share = result.select(measure="share_recovered", fix="temperature(0.8)")[0]
    assert rise.low is not None
    assert rise.low > 0
    assert share.low is not None
    assert share.low > 0
    assert Path("shown/model/model.safetensors").exists()
    assert {row.fix for row in result.rows} == {"none", "temperature(0.9)", "temperature(0.8)", "temperature(0.65)"}
    keys = [(row.measure, row.view, row.bin, row.fix) for row in result.rows]
    assert len(keys) == len(set(keys))
