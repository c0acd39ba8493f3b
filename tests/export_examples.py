"""A tiny fixed model and its export, made once a process: writing a graph takes seconds."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense

from tiny import save_tiny
from uncollapse import export
from uncollapse.attention.temperature import Temperature
from uncollapse.checkpoints import fix
from uncollapse.exporting import folder as exporting

PROMPTS = {"query": "ask: ", "document": "say: "}


@functools.cache
def made_models() -> Path:
    """A folder with `stock` (prompts, mean pooling, a dense layer, normalisation), `fixed`, and its export `onnx`."""
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    plain = SentenceTransformer(str(save_tiny(root / "plain", max_tokens=40)), device="cpu")
    torch.manual_seed(0)
    modules = [plain[0], plain[1], Dense(64, 48), plain[2]]
    SentenceTransformer(modules=modules, device="cpu", prompts=PROMPTS).save_pretrained(str(root / "stock"))
    (root / "stock/LICENSE").write_text("as you like")
    (root / "stock/README.md").write_text("---\nlicence: mit\n---\n# Mine\n")
    fix(str(root / "stock"), Temperature(0.5), root / "fixed")
    export(str(root / "fixed"), root / "onnx")
    return root


def reuse_graph(patching: pytest.MonkeyPatch) -> None:
    """Let every export take the graph that was traced once."""
    graph = made_models() / "onnx/model.onnx"
    patching.setattr(exporting, "trace", lambda _, target: shutil.copyfile(graph, target))
