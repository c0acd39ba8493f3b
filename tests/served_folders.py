"""Small fixed folders that older libraries and servers read too, and the vectors that they shall give."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sentence_transformers import SentenceTransformer

from text_fix_examples import sentences
from tiny import save_tiny
from uncollapse.checkpoints import fix
from uncollapse.covering.folder import export_long_texts
from uncollapse.fixes import compose, parse
from uncollapse.pipelines.fitting import Unlabelled

CORPUS = Unlabelled(tuple(f"d{i}" for i in range(60)), sentences(60, 0), sentences(30, 1, 8))
TEXTS = ["short", *sentences(10, 7), "a text beyond the limit " * 20, "ünïcödé, 文, and a line\nbreak"]
"""Of several lengths."""

WEIGHTS, VECTORS = "temperature(0.8)", "temperature(0.8) + whitening(0.25)"
OFFSET, ROLES = "centering(all) + whitening(0.25)", "centering(role) + whitening(0.3, role)"
"""Fixes in the weights, as a Dense without an offset, as one with an offset, and as a Router."""

LONG = "centering(all) + whitening(0.25) + cover(20)"
"""A fix that folders hold as code of their own."""


def fixed_folder(root: Path, written: str, name: str = "fixed") -> Path:
    """A tiny model with a fix, in `root / name`."""
    source = root / "source"
    if not source.exists():
        save_tiny(source)
        tokenizer = source / "tokenizer_config.json"
        settings = {**json.loads(tokenizer.read_text()), "tokenizer_class": "PreTrainedTokenizerFast"}
        tokenizer.write_text(json.dumps(settings))  # the name of the class that transformers 4 has, too
    chosen = compose(parse(written))
    fix(str(source), chosen, root / name, corpus=CORPUS if chosen.vectors else None)
    return root / name


def long_folder(root: Path, written: str, name: str = "long") -> Path:
    """A tiny model with a fix, and code of its own for long texts, in `root / name`."""
    export_long_texts(str(fixed_folder(root, written, f"{name} fixed")), root / name)
    return root / name


def wanted(folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors of the texts in each role, by the sentence-transformers that runs the tests."""
    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=(folder / "long_texts.py").exists())
    return {
        "text": model.encode(TEXTS),
        "document": model.encode_document(TEXTS),
        "query": model.encode_query(TEXTS),
    }
