"""Small task folders, written to disk in every layout that is read."""

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path

from corpus_files import json_lines, write
from uncollapse.evaluation.reading.layouts import open_tasks
from uncollapse.evaluation.tasks import Retrieval, Task

DOCUMENTS = {"d1": "one two three", "d2": "four five", "d3": "six"}
QUERIES = {"q1": "one", "q2": "six", "q3": "never judged"}
QRELS = (("q1", "d1", 2), ("q1", "d2", 0), ("q2", "d3", 1))
NEWS = (("a", "x"), ("b", "y"), ("c", "x"))
PAIRS = (("a b", "a", 1.0), ("c d", "e", 0.5), ("f", "g", 0))


def pack(path: Path, content: bytes) -> Path:
    """Write bytes, gzip where the name ends in .gz."""
    return write(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_items(path: Path, texts: Mapping[str, str], **fields: object) -> Path:
    """JSON lines with _id and text."""
    return pack(path, json_lines(*({"_id": name, "text": text, **fields} for name, text in texts.items())))


def qrels(rows: Iterable[tuple[object, ...]], header: bool = True) -> bytes:
    lines = [("query-id", "corpus-id", "score")] if header else []
    return "".join("\t".join(map(str, row)) + "\n" for row in [*lines, *rows]).encode()


def write_beir(
    folder: Path,
    documents: Mapping[str, str] = DOCUMENTS,
    queries: Mapping[str, str] = QUERIES,
    **splits: Iterable[tuple[object, ...]],
) -> Path:
    """A BEIR folder; without a split the judgements QRELS are `test`."""
    write_items(folder / "corpus.jsonl.gz", documents)
    write_items(folder / "queries.jsonl", queries)
    for split, rows in (splits or {"test": QRELS}).items():
        write(folder / "qrels" / f"{split}.tsv", qrels(rows))
    return folder


def write_long_embed(folder: Path, lengths: Iterable[int], split: str = "test_{}") -> Path:
    """Two documents and one query of each context length, LongEmbed's layout."""
    documents, queries, judged = [], [], {}
    for n in lengths:
        documents += [{"_id": f"{n}_d{i}", "text": f"text {i}", "context_length": n} for i in range(2)]
        queries.append({"_id": f"{n}_q", "text": "text", "context_length": n})
        judged.setdefault(split.format(n), []).append((f"{n}_q", f"{n}_d1", 1))
    write(folder / "corpus.jsonl", json_lines(*documents))
    write(folder / "queries.jsonl", json_lines(*queries))
    for name, rows in judged.items():
        write(folder / "qrels" / f"{name}.tsv", qrels(rows))
    return folder


def tsv(*rows: Iterable[object], columns: str = "sentence1 sentence2 score") -> bytes:
    return "".join("\t".join(map(str, row)) + "\n" for row in [columns.split(), *rows]).encode()


def labelled(*rows: tuple[str, object], label: str = "label") -> bytes:
    """JSON lines with text and label."""
    return json_lines(*({"text": text, label: value} for text, value in rows))


def article(name: str, n: int = 3, **ratings: list[float]) -> dict[str, object]:
    """A record in the layout of MTEB's SummEval."""
    summaries = {"human_summaries": ["said well"], "machine_summaries": [f"said {i}" for i in range(n)]}
    return {"id": name, "text": "long", **summaries, **ratings}


def one(path: Path, **options: object) -> Task:
    """The only task there."""
    (task,) = open_tasks(path, **options)
    return task


def retrieval(path: Path, **options: object) -> Retrieval:
    """The only task there, which is retrieval."""
    task = one(path, **options)
    assert isinstance(task, Retrieval)
    return task


def said(task: Task) -> str:
    return "\n".join(task.notes)
