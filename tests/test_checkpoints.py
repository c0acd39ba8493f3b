"""Fixed models on disk: exact, loadable by anyone, whole or not there."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from architectures import CONFIGS, LAYERS
from test_attention import fold_refuses
from tiny import save_tiny
from uncollapse import checkpoints
from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.checkpoints import fix
from uncollapse.encoders import load
from uncollapse.errors import ArchitectureError, ModelError, OutputError

TEXTS = ["a short text", "a text that is quite a bit longer than the short one", "x", "no 42: this, and that."]
NOT_TEXT_ONLY = {"neomme"}  # sentence-transformers wants an image processor for it


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def vectors_of(folder: Path) -> Any:
    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS, show_progress_bar=False)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "source")


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in NOT_TEXT_ONLY])
def test_stock_sentence_transformers_loads_every_fixed_family(name: str, tmp_path: Path) -> None:
    source, out = save_tiny(tmp_path / "source", name), tmp_path / "out"
    if refusal := fold_refuses(name, "scalar"):
        with pytest.raises(ArchitectureError, match=refusal):
            fix(str(source), Temperature(0.7), out)
        assert not out.exists()
        return
    stock = load(str(source), device="cpu")
    with patch(stock.model, Temperature(0.7)):
        patched = stock.vectors(TEXTS)
    report = fix(str(source), Temperature(0.7), out)
    assert np.abs(vectors_of(out) - patched).max() <= 1e-5
    assert np.abs(vectors_of(out) - vectors_of(source)).max() > 1e-3, "the fix must move the vectors"
    assert report.reload_difference <= 1e-5 * max(1.0, float(np.abs(patched).max()))


def test_only_weights_config_and_card_differ_from_the_source(tiny: Path, tmp_path: Path) -> None:
    (tiny / "README.md").write_text("---\nlicence: mit\n---\n# Mine\n")
    fix(str(tiny), Temperature(0.8), tmp_path / "out")
    before, after = files_of(tiny), files_of(tmp_path / "out")
    assert set(before) == set(after)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"model.safetensors", "config.json", "README.md"}
    config = json.loads(after["config.json"])
    assert config.pop("uncollapse") == {"fix": "temperature", "tau": 0.8}
    assert config == json.loads(before["config.json"])
    card = after["README.md"].decode()
    assert card.startswith("---\nlicence: mit\n---\n# Mine\n")
    assert "`temperature(0.8)` folded into its weights" in card


def test_only_queries_change_in_the_weights(tiny: Path, tmp_path: Path) -> None:
    fix(str(tiny), Temperature(0.8), tmp_path / "out")
    before, after = load_file(tiny / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {
        f"encoder.layer.{layer}.attention.self.query.{part}" for layer in range(LAYERS) for part in ("weight", "bias")
    }


def test_a_softcap_lands_in_config_json(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "source", "gemma2")
    fix(str(source), Temperature(0.5), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (
        config["attn_logit_softcapping"]
        == json.loads((source / "config.json").read_text())["attn_logit_softcapping"] * 2
    )


def test_per_layer_and_per_head_temperatures_are_written(tiny: Path, tmp_path: Path) -> None:
    temperature = Temperature([[0.6, 0.7, 0.8, 0.9]] * LAYERS)
    stock = load(str(tiny), device="cpu")
    with patch(stock.model, temperature):
        patched = stock.vectors(TEXTS)
    fix(str(tiny), temperature, tmp_path / "out")
    assert np.abs(vectors_of(tmp_path / "out") - patched).max() <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stored_precision_is_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "source", dtype=dtype)
    report = fix(str(source), Temperature(0.8), tmp_path / "out")
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {dtype}
    assert report.dtype == str(dtype).removeprefix("torch.")


def test_a_transformer_in_a_subfolder_is_replaced_there(tiny: Path, tmp_path: Path) -> None:
    inner = tiny / "0_Transformer"
    inner.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tiny / name).rename(inner / name)
    (tiny / "sentence_bert_config.json").rename(inner / "sentence_bert_config.json")
    modules = json.loads((tiny / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (tiny / "modules.json").write_text(json.dumps(modules))
    fix(str(tiny), Temperature(0.8), tmp_path / "out")
    assert set(files_of(tiny)) | {"README.md"} == set(files_of(tmp_path / "out"))
    assert np.isfinite(vectors_of(tmp_path / "out")).all()


def test_a_plain_transformers_folder_becomes_one_too(tiny: Path, tmp_path: Path) -> None:
    shutil.rmtree(tiny / "1_Pooling")
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (tiny / name).unlink()
    fix(str(tiny), Temperature(0.8), tmp_path / "out")
    assert np.isfinite(vectors_of(tmp_path / "out")).all()


def test_copies_of_the_unfixed_weights_stay_behind(tiny: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "model.gguf", "onnx/model.onnx", "openvino/openvino_model.xml"):
        (tiny / name).parent.mkdir(exist_ok=True)
        (tiny / name).write_bytes(b"stale weights")
    report = fix(str(tiny), Temperature(0.8), tmp_path / "out")
    assert set(report.left_out) == {"pytorch_model.bin", "model.gguf", "onnx", "openvino"}
    assert not any(b"stale weights" in content for content in files_of(tmp_path / "out").values())


def test_sharded_weights_are_replaced_whole(tiny: Path, tmp_path: Path) -> None:
    weights = load_file(tiny / "model.safetensors")
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in shards.items():
        save_file({key: weights[key] for key in keys}, tiny / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: file for file, keys in shards.items() for key in keys}}
    (tiny / "model.safetensors.index.json").write_text(json.dumps(index))
    (tiny / "model.safetensors").unlink()
    fix(str(tiny), Temperature(0.8), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.safetensors*")] == ["model.safetensors"]
    assert np.isfinite(vectors_of(tmp_path / "out")).all()


def test_fixing_twice_is_refused(tiny: Path, tmp_path: Path) -> None:
    fix(str(tiny), Temperature(0.8), tmp_path / "once")
    with pytest.raises(ArchitectureError, match=r"temperature\(0.8\) in its weights already"):
        fix(str(tmp_path / "once"), Temperature(0.9), tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_what_is_in_the_way_is_not_destroyed(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="exists and is not empty.*--force"):
        fix(str(tiny), Temperature(0.8), out)
    with pytest.raises(OutputError, match="is no model, so it is not replaced even with --force"):
        fix(str(tiny), Temperature(0.8), out, force=True)
    with pytest.raises(OutputError, match="is a file. Give a folder"):
        fix(str(tiny), Temperature(0.8), out / "thesis.txt")
    with pytest.raises(OutputError, match="is the source model itself"):
        fix(str(tiny), Temperature(0.8), tiny, force=True)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_is_used_and_a_model_replaced_by_force(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    fix(str(tiny), Temperature(0.8), out)
    (out / "old.txt").write_text("old")
    fix(str(tiny), Temperature(0.5), out, force=True)
    assert json.loads((out / "config.json").read_text())["uncollapse"]["tau"] == 0.5
    assert not (out / "old.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_a_full_disk_leaves_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "_edit_config", full)
    with pytest.raises(OutputError, match="No space left on device.* The disk is full. Nothing was left behind"):
        fix(str(tiny), Temperature(0.8), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_model_that_disagrees_after_reloading_is_not_kept(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(encoder: Any, before: Any, part: Path) -> Any:
        written = write(encoder, before, part)
        weights = load_file(part / "model.safetensors")
        weights["encoder.layer.0.attention.self.query.weight"] *= 1.01
        save_file(weights, part / "model.safetensors", {"format": "pt"})
        return written

    write = checkpoints._write
    monkeypatch.setattr(checkpoints, "_write", spoil)
    with pytest.raises(ModelError, match="must give the patched model's vectors, but differs by"):
        fix(str(tiny), Temperature(0.8), tmp_path / "out")
    assert not (tmp_path / "out").exists()


SLOW = """
import sys, time
from uncollapse import checkpoints
from uncollapse.attention.temperature import Temperature
edit = checkpoints._edit_config
def slow(*arguments):
    print("writing", flush=True)
    time.sleep(60)
checkpoints._edit_config = slow
checkpoints.fix(sys.argv[1], Temperature(0.8), sys.argv[2])
"""


def test_a_killed_run_leaves_no_model_and_the_next_one_cleans_up(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", SLOW, str(tiny), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        os.kill(process.pid, signal.SIGKILL)
    assert not out.exists()
    assert any(path.name.startswith(".out.partial-") for path in tmp_path.iterdir())
    started = time.time()
    fix(str(tiny), Temperature(0.8), out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
    assert time.time() - started < 60


@pytest.mark.real
def test_the_bundled_model(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = fix("minilm", Temperature(0.8), out)
    stock = load("minilm", device="cpu")
    texts = [*TEXTS, "Long texts drift together. " * 80]
    with patch(stock.model, Temperature(0.8)):
        patched = stock.vectors(texts)
    reloaded = SentenceTransformer(str(out), device="cpu").encode(texts, show_progress_bar=False)
    assert np.abs(reloaded - patched).max() <= 1e-5
    assert report.effect > 0.1
