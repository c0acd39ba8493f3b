"""Small corpora, written to disk in every format that is read."""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from uncollapse.corpora import Corpus

Records = list[tuple[str, str]]


def json_lines(*records: object, ascii_only: bool = True) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records).encode()


def rows(*texts: str, start: int = 0) -> bytes:
    """JSON lines with the ids t0, t1, ..."""
    return json_lines(*({"id": f"t{n}", "text": text} for n, text in enumerate(texts, start)))


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pairs(corpus: Corpus) -> Records:
    return [(text.id, text.text) for text in corpus]


def write_json(path: Path, records: Records) -> None:
    content = json_lines(*({"_id": i, "text": t} for i, t in records), ascii_only=len(records) % 2 == 0)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_csv(path: Path, records: Records) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("_id", "text"), *records])


def write_tsv(path: Path, records: Records) -> None:
    path.write_bytes("".join(f"{i}\t{t}\n" for i, t in [("_id", "text"), *records]).encode())


def write_parquet(path: Path, records: Records) -> None:
    columns = {"_id": [i for i, _ in records], "other": [0] * len(records), "text": [t for _, t in records]}
    pq.write_table(pa.table(columns), path, row_group_size=200, use_dictionary=False, write_page_checksum=True)


def write_dataset(folder: Path, records: Records) -> None:
    save(folder, {"_id": [i for i, _ in records], "other": [0] * len(records), "text": [t for _, t in records]})


def save(folder: Path, columns: Mapping[str, Sequence[object]], **how: int) -> None:
    """What the library `datasets` itself saves of some columns."""
    made(columns).save_to_disk(folder, **how)


def made(columns: Mapping[str, Sequence[object]]) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.Dataset.from_dict(dict(columns))


WRITERS = {
    "a.jsonl": write_json,
    "a.jsonl.gz": write_json,
    "a.json": write_json,
    "a.csv": write_csv,
    "a.tsv": write_tsv,
    "a.parquet": write_parquet,
    "a.saved": write_dataset,
}
