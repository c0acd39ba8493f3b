"""What a command finds where it is called: a folder of data, and runs with judgements and lengths."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from uncollapse.encoders import cache

WORDS = ("red", "blue", "green", "dog", "cat", "house", "tree", "river", "stone", "cloud")


def go_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be called in a folder of one's own, with a cache of one's own."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["uncollapse"])
    monkeypatch.setattr(cache, "default_folder", lambda: folder / "cache")


def load_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a model is loaded."""
    for name in ("load", "load_model", "load_scorable"):
        monkeypatch.setattr(f"uncollapse.encoders.{name}", lambda *_, **__: pytest.fail("a model was loaded"))


def write_words(folder: Path) -> Path:
    """A BEIR folder of 60 documents, of which the first 30 answer a query each."""
    rng = np.random.default_rng(0)
    (folder / "qrels").mkdir(parents=True)
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 20))) for _ in range(60)]
    corpus = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    queries = [json.dumps({"_id": f"q{i}", "text": text[:20]}) for i, text in enumerate(texts[:30])]
    (folder / "corpus.jsonl").write_text("\n".join(corpus))
    (folder / "queries.jsonl").write_text("\n".join(queries))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(30))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_rankings() -> list[str]:
    """Two runs over 12 queries, a.trec and b.trec, and the options that name their judgements and lengths."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_trec(f"{name}.trec", name, {f"q{i}": rng.permutation(12) for i in range(12)})
    Path("qrels.tsv").write_text("".join(f"q{i}\t0\td{i}\t1\n" for i in range(12)))
    Path("lengths.tsv").write_text("".join(f"d{i}\t{10 + i}\n" for i in range(12)))
    return ["--qrels", "qrels.tsv", "--lengths", "lengths.tsv"]


def write_trec(path: str, tag: str, found: dict[str, list[int]]) -> None:
    lines = [f"{q} Q0 d{d} {i} {20 - i} {tag}\n" for q, documents in found.items() for i, d in enumerate(documents)]
    Path(path).write_text("".join(lines))
