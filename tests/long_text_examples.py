"""Tiny models and folders of theirs that read long texts, made once a process."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sentence_transformers import SentenceTransformer

from export_examples import PROMPTS
from text_fix_examples import sentences
from tiny import save_tiny
from uncollapse import encode as package_encode
from uncollapse import export_long_texts, fix, load, parse
from uncollapse.covering.folder import LongTextsReport
from uncollapse.encoders.sentence import Role
from uncollapse.fixes import compose
from uncollapse.pipelines.fitting import Unlabelled

LIMIT = 40
CORPUS = Unlabelled(tuple(f"d{i}" for i in range(60)), sentences(60, 0), sentences(30, 1, 8))
LONG = [" ".join(sentences(4, seed, 60)) for seed in (11, 12)]
TEXTS = [
    "a dog",
    "",
    *LONG,
    "   ",
    "near water! " * 30,
    "x",
    "ünïcödé, 文,\na line " * 9,
    "aaaaaaaaaaaa" * 30,
    "two dogs",
]
WRITTEN = {
    "alone": "cover(12)",
    "as large as the model reads": "cover(30)",
    "with a temperature": "temperature(0.7) + cover(20)",
    "with one map": "centering(all) + whitening(0.25) + cover(16)",
    "with a map a role": "centering(role) + whitening(0.3, role) + cover(16)",
}


@functools.cache
def made_root() -> Path:
    """A folder with `stock`, which has prompts and makes vectors of norm 1, and `inner`, which compares by inner
    product and does not."""
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    plain = SentenceTransformer(str(save_tiny(root / "plain", max_tokens=LIMIT)), device="cpu")
    SentenceTransformer(modules=list(plain), device="cpu", prompts=PROMPTS).save_pretrained(str(root / "stock"))
    raw = SentenceTransformer(modules=[plain[0], plain[1]], device="cpu", similarity_fn_name="dot")
    raw.save_pretrained(str(root / "inner"))
    (root / "stock/README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    (root / "stock/LICENSE").write_text("as you like")
    return root


def write(root: Path, written: str, name: str, source: str = "stock") -> LongTextsReport:
    chosen = compose(parse(written))
    fix(str(root / source), chosen, root / f"{name} fixed", corpus=CORPUS if chosen.vectors else None)
    return export_long_texts(str(root / f"{name} fixed"), root / name)


@functools.cache
def made_reports() -> dict[str, LongTextsReport]:
    """Folders with code of their own, by name, beside the models that they were made from."""
    return {name: write(made_root(), written, name) for name, written in WRITTEN.items()}


def stock(folder: Path, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", trust_remote_code=True, **options)


def encode(model: SentenceTransformer, texts: list[str], role: Role, **options: Any) -> npt.NDArray[np.float32]:
    by_role = {"document": model.encode_document, "query": model.encode_query, "text": model.encode}
    found: npt.NDArray[np.float32] = by_role[role](texts, show_progress_bar=False, **options)
    return found


def by_package(folder: Path, texts: list[str], role: Role) -> npt.NDArray[np.float32]:
    return package_encode(load(str(folder)), texts, role=role).vectors
