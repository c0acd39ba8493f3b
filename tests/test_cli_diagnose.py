"""The command `diagnose`: the whole of it, conditions that fail a run, limits, precision, and files of vectors."""

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from embedding_server import serving
from tiny import save_tiny
from uncollapse.cli import run
from uncollapse.diagnosis.scores import Thresholds
from uncollapse.encoders import load
from uncollapse.errors import UncollapseError
from uncollapse.gate import check_names, parse_condition
from uncollapse.measures import MEASURES
from uncollapse.records import Result, Row
from uncollapse.reporting.glossary import numbers_of_diagnosis
from uncollapse.reporting.words import VIEWS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=32))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, generator = tmp_path_factory.mktemp("corpora") / "texts.jsonl", np.random.default_rng(0)
    texts = [
        f"t{k} " + " ".join(generator.choice(list("abcdefgh"), int(generator.integers(3, 60)))) for k in range(150)
    ]
    path.write_text("\n".join(json.dumps({"_id": f"d{k}", "text": text}) for k, text in enumerate(texts)) + "\n")
    return path


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["uncollapse"])


def known(rows: Iterable[Row], names: Mapping[str, str]) -> set[str]:
    """The measures of the rows that a condition may name before the run."""
    taken: set[str] = set()
    for row in rows:
        condition = parse_condition(f"{row.measure}@{row.bin} in {row.view} > 0" if row.bin else f"{row.measure} > 0")
        with suppress(UncollapseError):
            check_names([condition], names, by_bin=MEASURES, views=VIEWS)
            taken.add(row.measure)
    return taken


def read(folder: str) -> Result:
    return Result.from_json(Path(folder, "result.json").read_text())


def test_the_whole_verdict_is_grouped_printed_and_ends_with_what_to_try(
    model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diagnose", str(corpus), "-m", model, "-o", "out"]) == 0
    printed, result = capsys.readouterr().out, read("out")
    assert sum(result.about["verdict_groups"].values()) == len(result.verdict)
    assert list(result.about["verdict_groups"])[:4] == ["The verdict", "What is cut off", "Why", "What it costs"]
    assert all(f"\n{heading}\n" in printed for heading in list(result.about["verdict_groups"])[1:])
    assert {"causes", "controls", "hubness", "scores_overall", "overall"} <= {row.view for row in result.rows}
    assert {row.measure for row in result.rows} == known(result.rows, numbers_of_diagnosis())
    assert {row.view for row in result.rows} <= set(VIEWS)
    causes = [row.value for row in result.select(measure="cause")]
    assert sum(causes) == pytest.approx(result.select(measure="rise")[0].value, abs=1e-9)
    thresholds = Thresholds.from_json(Path("out/thresholds.json").read_text())
    assert -1 <= thresholds.threshold(5, 40) <= 1


@pytest.mark.parametrize(
    ("condition", "code", "said"),
    [
        ("share_truncated@32 in overall > 0.01", 3, "met -> fail"),
        ("share_truncated@32 in overall > 0.99", 0, "ok"),
        ("no_such_number > 1", 2, "`no_such_number > 1`: There is no such number."),
        ("rise > 1", 2, "`rise > 1`: This run will have no rise: --quick leaves it out."),
        ("share_truncated@33 > 1", 2, "share_truncated has no bin '33' in this result."),
        ("mean_cosine@", 2, "Expected a condition"),
    ],
)
def test_a_condition_decides_the_exit_code(
    condition: str, code: int, said: str, model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["diagnose", str(corpus), "-m", model, "-o", "out", "-q", "--quick", "--windows", "0"]
    assert run([*common, "--fail-if", condition]) == code
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert Path("out/result.json").exists() == (condition.startswith("share_truncated@"))


def test_named_limits_are_rows_and_bad_ones_are_refused(
    model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["diagnose", str(corpus), "-m", model, "-o", "out", "-q", "--quick", "--windows", "0", "--force"]
    assert run([*common, "--limits", "16, 4096"]) == 0
    assert {row.measure for row in read("out").rows} == known(read("out").rows, numbers_of_diagnosis(quick=True))
    assert read("out").select(measure="share_truncated@16", view="overall")[0].value > 0.5
    assert read("out").select(measure="tokens_lost@4096", view="overall")[0].value == 0
    assert run([*common, "--limits", "16;32"]) == 2
    assert "--limits must be numbers of tokens" in capsys.readouterr().err


def test_a_precision_samples_and_a_wrong_one_is_refused(
    model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["diagnose", str(corpus), "-m", model, "-o", "out", "-q", "--quick", "--windows", "0", "--force"]
    assert run([*common, "--precision", "0.5"]) == 0
    for wrong in ("0", "2"):
        assert run([*common, "--precision", wrong]) == 2
        assert "half the width of an interval" in capsys.readouterr().err


def test_the_rate_of_thresholds_is_the_one_asked_for_or_refused(
    model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["diagnose", str(corpus), "-m", model, "-o", "out", "-q", "--windows", "0", "--force"]
    assert run([*common, "--false-positives", "0.05"]) == 0
    assert Thresholds.from_json(Path("out/thresholds.json").read_text()).rate == 0.05
    assert run([*common, "--false-positives", "1.5"]) == 2
    assert "share of unrelated pairs" in capsys.readouterr().err
    assert run([*common, "--quick", "--false-positives", "0.05"]) == 2
    assert "--false-positives would do nothing" in capsys.readouterr().err


def test_a_server_is_asked_once_for_each_text_with_the_tokenizer_and_the_cache_that_were_named(
    model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        common = ["diagnose", str(corpus), "-m", server.name, "--quick", "--windows", "0", "-q"]
        assert run([*common, "-o", "words", "--cache", "kept"]) == 0
        asked = len(server.seen)
        assert run([*common, "-o", "tokens", "--cache", "kept", "--tokenizer", model]) == 0
        assert asked > 0
        assert len(server.seen) == asked, "the vectors were kept where that was asked for"
        assert list(Path("kept").glob("*.sqlite"))
        assert run([*common, "-o", "x", "--tokenizer", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    words, tokens = (read(folder) for folder in ("words", "tokens"))
    assert (words.about["model"]["unit"], tokens.about["model"]["unit"]) == ("words", "tokens")
    own = load(model, max_tokens="table").count(["a b c d"])[0]
    assert own != 4
    counted = [pq.read_table(f"{folder}/texts.parquet")["n_tokens_full"].to_pylist() for folder in ("words", "tokens")]
    texts = [json.loads(line)["text"] for line in corpus.read_text().splitlines()]
    assert counted[0] == [len(text.split()) for text in texts]
    assert counted[1] == load(model, max_tokens="table").count(texts).tolist()


def test_an_interrupted_diagnosis_of_a_server_says_where_its_vectors_are_kept(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("uncollapse.diagnosis.study.profile", interrupt)
    with serving() as server:
        assert run(["diagnose", str(corpus), "-m", server.name, "--cache", "kept", "-o", "out"]) == 130
    said = " ".join(capsys.readouterr().err.split())
    assert "Nothing was written into 'out'. Vectors are kept in 'kept' as they are made." in said


def test_a_model_that_runs_here_has_no_use_for_a_tokenizer_or_a_cache(
    model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("tokenizer", "cache"):
        assert run(["diagnose", str(corpus), "-m", model, f"--{option}", "x", "-o", "out"]) == 2
        assert f"A model that runs here has no use for {option}" in capsys.readouterr().err.replace("\n", " ")
        assert not Path("out").exists()


def test_a_file_of_vectors_is_diagnosed_and_options_of_models_are_refused(
    model: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = np.random.default_rng(0).standard_normal((150, 8)).astype(np.float32)
    np.save("vectors.npy", vectors)
    common = ["diagnose", str(corpus), "-m", "vectors.npy", "-o", "out", "--force"]
    assert run(common) == 0
    assert "Causes and costs need a model" in capsys.readouterr().out
    assert read("out").about["model"]["dim"] == 8
    for option, value in (("--device", "cpu"), ("--dtype", "float32"), ("--cache", "kept")):
        assert run([*common, option, value]) == 2
        assert f"{option} would do nothing" in capsys.readouterr().err
    assert "Lengths are counted in words" in " ".join(read("out").about["notes"])
    assert run([*common, "--tokenizer", model]) == 0
    assert "Lengths are counted in words" not in " ".join(read("out").about["notes"])
    assert run([*common, "--fix", "temperature(0.9)"]) == 2
    assert "only vectors can be seen" in capsys.readouterr().err.replace("\n", " ")
