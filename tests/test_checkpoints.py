"""Fixed models on disk: exact, loadable by anyone, whole or not there."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from architectures import CONFIGS, LAYERS
from test_attention import fold_refuses
from tiny import save_tiny
from uncollapse import checkpoints, writing
from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.checkpoints import fix
from uncollapse.encoders import load
from uncollapse.errors import ArchitectureError, ModelError, OutputError
from uncollapse.weights import replace_weights

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
    assert card.startswith("---\nlicence: mit\n---\n## Fixed with uncollapse ")
    assert card.endswith("\n> # Mine\n")
    assert "with `temperature(0.8)`." in card
    new, old = (load(str(folder)).about["fingerprint"] for folder in (tmp_path / "out", tiny))
    assert f"Fingerprint of weights, configs and tokenizer: {new}; of the source's: {old}." in card
    for said in ("How the fix was chosen is not recorded", "Its benefit is not known", "- Versions: uncollapse "):
        assert said in card
    assert "It cuts texts at 60 tokens." in card
    assert "In the weights, with no code and at no cost: " in card


def test_only_queries_change_in_the_weights(tiny: Path, tmp_path: Path) -> None:
    fix(str(tiny), Temperature(0.8), tmp_path / "out")
    before, after = load_file(tiny / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {
        f"encoder.layer.{layer}.attention.self.query.{part}" for layer in range(LAYERS) for part in ("weight", "bias")
    }


def test_heads_prefixes_and_mixed_precision_survive(tiny: Path, tmp_path: Path) -> None:
    """Names, extra tensors and the precision of each tensor are the source's, not what a class would save."""
    weights = {f"bert.{k}": v for k, v in load_file(tiny / "model.safetensors").items() if "pooler" not in k}
    norm = "bert.encoder.layer.0.output.LayerNorm.weight"
    weights = {key: value if key == norm else value.bfloat16() for key, value in weights.items()}
    weights["cls.predictions.bias"] = torch.arange(99.0)
    save_file(weights, tiny / "model.safetensors", {"format": "pt", "made": "by me"})
    report = fix(str(tiny), Temperature(0.8), tmp_path / "out")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert {key: value.dtype for key, value in after.items()} == {key: value.dtype for key, value in weights.items()}
    changed = {key for key in weights if not torch.equal(weights[key], after[key])}
    assert changed == {f"bert.{name}" for name in report.changed}
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as stored:
        assert stored.metadata() == {"format": "pt", "made": "by me"}


def test_fused_layouts_stay_fused(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "source", "nomic_bert")
    fix(str(source), Temperature(0.8), tmp_path / "out")
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert set(before) == set(after)
    fused = [key for key in before if "qkv" in key.lower()]
    assert len(fused) == LAYERS
    for key in fused:
        query = torch.arange(len(before[key])) < len(before[key]) // 3
        assert torch.equal(before[key][~query], after[key][~query])
        assert torch.allclose(before[key][query] / 0.8, after[key][query])


def test_weights_in_an_unknown_layout_are_refused(tiny: Path) -> None:
    stored = load_file(tiny / "model.safetensors")
    save_file(stored, tiny / "model.safetensors", {"format": "pt"})
    before = {"query": torch.ones(2)}
    with pytest.raises(ModelError, match="Expected one tensor 'query' in the weights of .*, found 0"):
        replace_weights(tiny, before, {"query": torch.zeros(2)})
    name = "encoder.layer.0.attention.self.query.bias"
    with pytest.raises(ModelError, match=r"floating point of shape \[2\], got torch.float32 of shape \[64\]"):
        replace_weights(tiny, {name: torch.ones(2)}, {name: torch.zeros(2)})


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
    assert report.reload_difference < 0.25 * report.vector_effect


def test_unfixed_weights_in_half_precision_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_tiny(tmp_path / "source", dtype=torch.bfloat16)
    monkeypatch.setattr(checkpoints, "replace_weights", lambda *_: torch.bfloat16)
    with pytest.raises(ModelError, match="must give the patched model's vectors, but differs by"):
        fix(str(source), Temperature(0.9), tmp_path / "out")


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


def test_folders_of_the_source_are_kept_and_links_that_never_end_are_not_followed(tiny: Path, tmp_path: Path) -> None:
    (tiny / "scratch").mkdir()
    (tiny / "scratch" / "notes.txt").write_text("of the author")
    (tiny / "same").symlink_to("scratch")
    (tiny / "again").symlink_to(".")
    (tiny / "scratch" / "above").symlink_to(tmp_path)
    fix(str(tiny), Temperature(0.8), tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    assert {name for name in found if "scratch" in name} == {"scratch", "scratch/notes.txt"}
    assert (tmp_path / "out" / "same" / "notes.txt").read_text() == "of the author"
    assert {"again", "same/above"}.isdisjoint(found)


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
    names = {path.name for path in (tmp_path / "out").glob("*.safetensors*")}
    assert names == {*shards, "model.safetensors.index.json"}
    assert np.abs(vectors_of(tmp_path / "out") - vectors_of(tiny)).max() > 1e-3


@pytest.mark.parametrize("name", ["{elsewhere}/model.safetensors", "../elsewhere/model.safetensors", ".."])
def test_an_index_that_names_weights_elsewhere_does_not_get_them_rewritten(
    name: str, tiny: Path, tmp_path: Path
) -> None:
    elsewhere = save_tiny(tmp_path / "elsewhere")
    before, out = files_of(elsewhere), tmp_path / "out"
    weights = load_file(tiny / "model.safetensors")
    (tiny / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, name.format(elsewhere=elsewhere))}
    (tiny / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"names of files beside it|loads, got"):
        fix(str(tiny), Temperature(0.8), out)
    assert files_of(elsewhere) == before
    assert not out.exists()
    with pytest.raises(
        ModelError, match=r"Expected names of files beside it in the model's .*index.json, got .* lies elsewhere"
    ):
        replace_weights(tiny, {"query": torch.ones(2)}, {"query": torch.zeros(2)})


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
    others = {"config.json": ('{"port": 8080}', "[]", "{"), "modules.json": ("{}", "[1]", '[{"type": "module"}]')}
    for name, said in ((name, said) for name, all_said in others.items() for said in all_said):
        (out / name).write_text(said)
        with pytest.raises(OutputError, match="is no model, so it is not replaced even with --force"):
            checkpoints.check_output(out, force=True)
        (out / name).unlink()
    with pytest.raises(OutputError, match="is a file. Give a folder"):
        fix(str(tiny), Temperature(0.8), out / "thesis.txt")
    with pytest.raises(OutputError, match="is the source model itself"):
        fix(str(tiny), Temperature(0.8), tiny, force=True)
    with pytest.raises(OutputError, match="lie one in the other"):
        fix(str(tiny), Temperature(0.8), tiny / "fixed")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(OutputError, match="lie one in the other"):
        fix(str(tiny), Temperature(0.8), tmp_path, force=True)
    assert (tiny / "model.safetensors").exists()
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


LIMITED = """
import resource, sys
from uncollapse.cli import run
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize("limit", [10_000, 300_000])
def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing(limit: int, tiny: Path, tmp_path: Path) -> None:
    """A limit on file size stops the writing half-way, as a full disk does."""
    command = [sys.executable, "-c", LIMITED, str(limit), "fix", str(tiny), "temperature(0.8)", "-o", "out", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Could not write 'out'" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_swap_that_fails_gives_the_old_model_back(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    fix(str(tiny), Temperature(0.8), out)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if ".partial-" in path.name:
            raise OSError(errno.EIO, "broken", str(target))
        return rename(path, target)

    monkeypatch.setattr(writing, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="broken"):
        fix(str(tiny), Temperature(0.5), out, force=True)
    assert json.loads((out / "config.json").read_text())["uncollapse"]["tau"] == 0.8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_a_read_only_source_gives_a_writable_model(tiny: Path, tmp_path: Path) -> None:
    for path in (*tiny.rglob("*"), tiny):
        path.chmod(0o555 if path.is_dir() else 0o444)
    fix(str(tiny), Temperature(0.8), tmp_path / "out")
    for path in (*tiny.rglob("*"), tiny):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / "out").rglob("*"))


def test_a_model_that_disagrees_after_reloading_is_not_kept(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(folder: Path, *tensors: Any) -> torch.dtype:
        replaced = replace_weights(folder, *tensors)
        weights = load_file(folder / "model.safetensors")
        weights["encoder.layer.0.attention.self.query.weight"] *= 1.01
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return replaced

    monkeypatch.setattr(checkpoints, "replace_weights", spoil)
    with pytest.raises(ModelError, match="must give the patched model's vectors, but differs by"):
        fix(str(tiny), Temperature(0.8), tmp_path / "out")
    assert not (tmp_path / "out").exists()


SLOW = """
import sys, time
from uncollapse import checkpoints, writing
from uncollapse.attention.temperature import Temperature
def slow(*arguments):
    print("writing", flush=True)
    time.sleep(60)
checkpoints.edit_config = slow
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
    fix(str(tiny), Temperature(0.8), out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


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
