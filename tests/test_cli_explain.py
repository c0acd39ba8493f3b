"""`uncollapse explain` as a user calls it, on a tiny model."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from tiny import save_tiny
from uncollapse.attention.temperature import Temperature
from uncollapse.cli import run
from uncollapse.records import Result


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("model"), max_tokens=40))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(18):
        (folder / f"{number:02d}.txt").write_text(" ".join("abcdefghij"[(number * k) % 10] for k in range(1, 80)))
    return str(folder)


def test_it_writes_a_report_the_numbers_heads_and_temperatures(
    model: str, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["explain", corpus, "-m", model, "-o", str(out), "--temperatures", "0.7", "--n0", "16"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "heads.parquet", "report.html", "result.json", "temperatures.json",
    ]  # fmt: skip
    result = Result.from_json((out / "result.json").read_text())
    assert {row.fix for row in result.select(measure="filter_rate", view="all heads")} == {"none", "temperature(0.7)"}
    assert result.about["explanation"]["n0"] == 16
    solved = json.loads((out / "temperatures.json").read_text())
    assert solved["n0"] == 16
    Temperature.from_json(solved["keeps"]["entropy"]["64"]["temperature"])
    assert pq.read_table(out / "heads.parquet").num_rows > 1000
    assert "Theory beside measurement" in capsys.readouterr().out


def test_a_quick_look_writes_no_temperatures(model: str, corpus: str, tmp_path: Path) -> None:
    assert run(["explain", corpus, "-m", model, "-o", str(tmp_path / "out"), "--quick", "-q"]) == 0
    assert not (tmp_path / "out" / "temperatures.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--quick", "--n0", "16"], "would do nothing"),
        (["--quick", "--temperatures", "0.9"], "would do nothing"),
        (["--temperatures", "warm"], "numbers with commas between, got 'warm'"),
        (["--temperatures", "-1"], "finite and > 0"),
        (["--documents", "3"], "at least 16 documents"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: list[str], said: str, model: str, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", corpus, "-m", model, "-o", str(tmp_path / "out"), *options]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_static_model_is_refused_by_name(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "static"
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=8)], device="cpu").save(str(folder))
    assert run(["explain", corpus, "-m", str(folder), "-o", str(tmp_path / "out")]) == 2
    assert "static" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_half_precision_is_run_in_float32_and_said(
    corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny(tmp_path / "half", max_tokens=16, dtype=torch.bfloat16)
    assert (
        run(["explain", corpus, "-m", str(folder), "-o", str(tmp_path / "out"), "--quick", "--documents", "16"]) == 0
    )
    said = "kept in bfloat16; here they are taken to float32"
    assert said in " ".join(capsys.readouterr().err.split())
    assert said in (tmp_path / "out" / "report.html").read_text()


def test_weights_that_are_no_numbers_are_refused_by_name(
    corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(save_tiny(tmp_path / "nan", max_tokens=16) / "model.safetensors")
    weights["encoder.layer.1.attention.self.query.weight"][0] = torch.nan
    save_file(weights, tmp_path / "nan" / "model.safetensors", metadata={"format": "pt"})
    assert run(["explain", corpus, "-m", str(tmp_path / "nan"), "-o", str(tmp_path / "out")]) == 2
    assert "BertModel gives NaN or infinity for a few tokens" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
