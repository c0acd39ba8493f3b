"""Files of vectors that cannot be used: refused by name, and row by row."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from uncollapse.corpora.embedded import Columns
from uncollapse.encoders import VectorFile
from uncollapse.errors import CorpusError
from vector_examples import COUNTS, IDS, MADE, RECORDS, TEXTS, N, lists, read, write_lines, write_parquet

SPOILT: dict[str, tuple[Any, str]] = {
    "NaN": ([1, np.nan, 1, 1, 1, 1], "NaN, infinity"),
    "infinity": ([1, np.inf, 1, 1, 1, 1], "NaN, infinity"),
    "too large": ([1, 1e39, 1, 1, 1, 1], "too large for float32"),
    "zeros": ([0] * 6, "only zeros"),
    "missing number": ([1, None, 1, 1, 1, 1], "a missing number"),
    "missing": (None, "got none"),
    "short": ([1.0] * 5, "got 5"),
    "long": ([1.0] * 7, "got 7"),
    "empty": ([], "got 0"),
}


@pytest.mark.parametrize("what", SPOILT)
@pytest.mark.parametrize("row", [2, 100, N])
def test_an_unusable_vector_is_named_by_its_row(tmp_path: Path, what: str, row: int) -> None:
    spoilt, said = SPOILT[what]
    rows = [*MADE[: row - 1], spoilt, *MADE[row:]]
    path = write_parquet(tmp_path / "v.parquet", lists(rows, pa.list_(pa.float64())), text=TEXTS, id=IDS)
    vectors = VectorFile(path)
    with pytest.raises(
        CorpusError, match=rf"v.parquet:{row}: expected a vector of 6 finite numbers, got .*--skip-bad"
    ) as e:
        list(vectors.corpus)
    assert said in str(e.value)
    kept = vectors.read(skip_bad=True)
    texts = [text.text for text in kept]
    assert kept.skipped.counts == {"unusable vector": 1}
    assert np.array_equal(vectors.vectors(texts), np.delete(MADE, row - 1, axis=0))


def test_the_first_vector_that_is_there_decides_the_dimension(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "v.parquet", lists([None, [], *MADE[2:]]), text=TEXTS)
    assert VectorFile(path).dim == 6
    with pytest.raises(CorpusError, match="expected vectors in the column 'vector', got none in any row"):
        VectorFile(write_parquet(tmp_path / "v.parquet", lists([None] * N), text=TEXTS))


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e39])
def test_an_unusable_row_of_a_npy_file_is_named(tmp_path: Path, number: float) -> None:
    made = MADE.astype(np.float64)
    made[77, 3] = number
    np.save(tmp_path / "v.npy", made)
    write_lines(tmp_path / "v.jsonl", RECORDS)
    vectors = VectorFile(tmp_path / "v.npy")
    with pytest.raises(CorpusError, match=r"v.npy:78: expected a vector of 6 finite numbers, got NaN, infinity"):
        list(vectors.corpus)
    assert len(list(vectors.read(skip_bad=True))) == N - 1


@pytest.mark.parametrize("count", [0, -4, 2.5, True, "many", None, [1]])
def test_an_unusable_token_count_is_named(tmp_path: Path, count: Any) -> None:
    np.save(tmp_path / "v.npy", MADE)
    write_lines(tmp_path / "v.jsonl", [*RECORDS[:4], RECORDS[4] | {"n_tokens": count}, *RECORDS[5:]])
    with pytest.raises(CorpusError, match=r"v.jsonl:5: expected a whole number from 1 up in 'n_tokens', got"):
        list(VectorFile(tmp_path / "v.npy").corpus)


def test_text_that_is_no_unicode_is_named(tmp_path: Path) -> None:
    spoilt = pa.array([b"\xff\xfe" if i == 40 else text.encode() for i, text in enumerate(TEXTS)])
    path = tmp_path / "v.parquet"
    table = pa.table({"vector": lists(MADE), "text": spoilt.view(pa.string())})
    pq.write_table(table, path)
    with pytest.raises(CorpusError, match=r"v.parquet:41: expected a string as text, got b'"):
        list(VectorFile(path).corpus)


WRONG_COLUMNS: dict[str, tuple[dict[str, Any], Columns, str]] = {
    "no rows": ({"vector": lists(MADE[:0]), "text": TEXTS[:0]}, Columns(), "got a table without rows"),
    "no vectors": ({"text": TEXTS}, Columns(), r"expected a column of vectors .* Columns: text. Name the right one"),
    "two candidates": (
        {"one": lists(MADE), "two": lists(MADE), "text": TEXTS},
        Columns(),
        r"expected a column of vectors .* Columns: one, two, text",
    ),
    "wrong vectors": (
        {"emb": lists(MADE), "text": TEXTS},
        Columns(vector="enb"),
        r"column 'enb', got none. Did you mean 'emb'",
    ),
    "no lists": (
        {"vector": COUNTS, "text": TEXTS},
        Columns(),
        "expected lists of floats in the column 'vector', got int64",
    ),
    "whole numbers": (
        {"vector": pa.array([[1, 2]] * N, pa.list_(pa.int8())), "text": TEXTS},
        Columns(),
        r"lists of floats in the column 'vector', got list.* Quantised vectors must be made floats first",
    ),
    "nothing beside": (
        {"vector": lists(MADE), "name": TEXTS},
        Columns(),
        r"texts \(text, .* or token counts .*, got neither",
    ),
    "wrong text": (
        {"vector": lists(MADE), "text": TEXTS},
        Columns(text="tekst"),
        "expected texts in a column 'tekst', got none",
    ),
    "wrong id": (
        {"vector": lists(MADE), "text": TEXTS},
        Columns(id="key"),
        "expected ids in a column 'key', got none",
    ),
    "wrong count": (
        {"vector": lists(MADE), "text": TEXTS},
        Columns(n_tokens="n"),
        "expected token counts in a column 'n'",
    ),
}


@pytest.mark.parametrize("what", WRONG_COLUMNS)
def test_wrong_columns_are_answered_with_those_there_are(tmp_path: Path, what: str) -> None:
    table, columns, said = WRONG_COLUMNS[what]
    pq.write_table(pa.table(table), tmp_path / "v.parquet")
    with pytest.raises(CorpusError, match=said):
        VectorFile(tmp_path / "v.parquet", columns=columns)


class Trap:
    """A pickle that makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def save_objects(path: Path) -> None:
    np.save(path, np.array([[Trap(path.with_suffix(".trap"))]]), allow_pickle=True)


def save_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive, io.BytesIO() as raw:
        np.save(raw, MADE)
        archive.writestr("a.npy", raw.getvalue())


WRONG_NPY: dict[str, tuple[Callable[[Path], Any], str]] = {
    "objects": (
        lambda path: np.save(path, np.array([[Trap(path.with_suffix(".trap"))]]), allow_pickle=True),
        "pickled",
    ),
    "plain pickle": (lambda path: path.write_bytes(b"\x80\x04N."), "pickled"),
    "archive": (save_zip, "without pickled objects, got"),
    "cut off": (lambda path: (np.save(path, MADE), path.write_bytes(path.read_bytes()[:-9])), "whole"),
    "empty": (lambda path: path.write_bytes(b""), "whole"),
    "no rows": (lambda path: np.save(path, MADE[:0]), "got"),
    "no columns": (lambda path: np.save(path, MADE[:, :0]), "got"),
    "one row": (lambda path: np.save(path, MADE[0]), r"got shape \[6\] of float32"),
    "whole numbers": (lambda path: np.save(path, np.ones((N, 6), np.uint8)), r"of uint8. Quantised vectors must"),
    "complex": (lambda path: np.save(path, np.ones((N, 6), np.complex64)), "of complex64"),
}


@pytest.mark.parametrize("what", WRONG_NPY)
def test_a_npy_file_that_is_no_float_matrix_is_refused_and_never_unpickled(tmp_path: Path, what: str) -> None:
    write, said = WRONG_NPY[what]
    write(tmp_path / "v.npy")
    write_lines(tmp_path / "v.jsonl", RECORDS)
    with pytest.raises(CorpusError, match=f"v.npy: expected a matrix .*{said}"):
        VectorFile(tmp_path / "v.npy")
    assert not (tmp_path / "v.trap").exists()


def test_files_that_are_not_there_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", MADE)
    (tmp_path / "v.txt").write_text("")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    for name, said in (
        ("none.npy", "Expected a file of vectors, got .*none.npy', which is not there"),
        ("v.txt", "expected vectors as .parquet or .npy, got 'v.txt'"),
        ("broken.parquet", "broken.parquet: expected a parquet file that is whole, got"),
        (
            "v.npy",
            r"expected the texts or token counts of these vectors in a file beside it \(v.jsonl, .tsv or .parquet\)",
        ),
    ):
        with pytest.raises(CorpusError, match=said):
            VectorFile(tmp_path / name)
    with pytest.raises(CorpusError, match=r"Expected texts in a .jsonl.* file, got .*v.txt': a .txt file"):
        VectorFile(tmp_path / "v.npy", texts=tmp_path / "v.txt")
    with pytest.raises(CorpusError, match=r"Expected texts in a .jsonl.* file, got .*no.jsonl': nothing there"):
        VectorFile(tmp_path / "v.npy", texts=tmp_path / "no.jsonl")
    with pytest.raises(CorpusError, match=r"Expected texts in a .jsonl.* file, got .*: a folder"):
        VectorFile(tmp_path / "v.npy", texts=tmp_path)
    with pytest.raises(CorpusError, match="a .npy file has no columns, but a column 'x' came"):
        VectorFile(tmp_path / "v.npy", columns=Columns(vector="x"))
    (tmp_path / "v.jsonl").write_text("\n")
    with pytest.raises(CorpusError, match="expected a record for every vector, got an empty file"):
        VectorFile(tmp_path / "v.npy")


def test_damage_in_the_middle_of_a_parquet_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table({"vector": lists(MADE), "text": TEXTS}), path, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[400:2000] = b"x" * 1600
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="v.parquet: expected a parquet file that is whole, got"):
        list(VectorFile(path).corpus)


@pytest.mark.parametrize(("n", "said"), [(N - 1, "fewer"), (N + 2, "more")])
def test_as_many_texts_as_vectors_are_needed(tmp_path: Path, n: int, said: str) -> None:
    np.save(tmp_path / "v.npy", MADE)
    write_lines(tmp_path / "v.jsonl", [*RECORDS, {"id": "x", "text": "x", "n_tokens": 1}, {"id": "y"}][:n])
    with pytest.raises(
        CorpusError, match=f"as many vectors as records in v.jsonl, got 150 vectors and {said} records"
    ):
        list(VectorFile(tmp_path / "v.npy").corpus)


def test_texts_in_another_order_than_their_vectors_are_found_by_their_ids(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "v.parquet", id=IDS)
    texts = write_lines(tmp_path / "t.jsonl", RECORDS)
    assert np.array_equal(read(VectorFile(path, texts=texts))[1], MADE)
    write_lines(texts, [*RECORDS[:6], *RECORDS[5::-1], *RECORDS[12:]])
    with pytest.raises(CorpusError, match=r"t.jsonl:7: expected the id 'id6' of row 7 of v.parquet, got 'id5'"):
        list(VectorFile(path, texts=texts).corpus)


def test_a_broken_record_takes_its_vector_with_it_and_no_other(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", MADE)
    lines = [json.dumps(record) for record in RECORDS]
    lines[3] = '{"text": '
    lines[9] = '{"id": "no text"}'
    lines[20] += "\n"  # a blank line is no record
    (tmp_path / "v.jsonl").write_text("\n".join(lines) + "\n")
    vectors = VectorFile(tmp_path / "v.npy")
    with pytest.raises(CorpusError, match=r"v.jsonl:4: expected one JSON object a line"):
        list(vectors.corpus)
    kept = vectors.read(skip_bad=True)
    found = vectors.vectors([text.text for text in kept])
    assert np.array_equal(found, np.delete(MADE, [3, 9], axis=0))
    assert kept.skipped.counts == {"broken JSON": 1, "missing field": 1}
