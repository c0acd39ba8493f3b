"""Vectors that exist already: read as they are, and given to their own texts only."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthetic import ListCorpus, PlantedEncoder, corpus
from tiny import tokenizer
from uncollapse.corpora import Text
from uncollapse.corpora.embedded import Columns, EmbeddedText
from uncollapse.diagnosis.profiling import profile, survey
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import profile_rows
from uncollapse.diagnosis.windows import window_lengths
from uncollapse.encoders import TextEncoder, VectorFile, inside, is_vector_file, load, load_model
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.errors import CorpusError, ModelError
from vector_examples import (
    COUNTS,
    IDS,
    MADE,
    RECORDS,
    TEXTS,
    N,
    Vectors,
    lists,
    read,
    whole,
    write_lines,
    write_parquet,
    write_tsv,
)


def numbers(encoder: Any, texts: Any, settings: Settings) -> list[Any]:
    found = profile(encoder, texts, settings, surveyed=survey(encoder, texts, settings))
    rows = [
        (row.view, row.bin, row.measure, row.n, row.value, row.low, row.high) for row in profile_rows(found, "none")
    ]
    return [*rows, found.lengths, [(point.id, point.n_tokens) for point in found.points]]


PARQUET: dict[str, Any] = {
    "list": pa.list_(pa.float32()),
    "large list": pa.large_list(pa.float32()),
    "fixed list": pa.list_(pa.float32(), 6),
    "double": pa.list_(pa.float64()),
    "half": pa.list_(pa.float16(), 6),
}


@pytest.mark.parametrize("kind", PARQUET)
@pytest.mark.parametrize("size", [None, 7])
def test_a_parquet_file_is_read_as_it_was_written(tmp_path: Path, kind: str, size: int | None) -> None:
    made = MADE.astype(np.float16).astype(np.float32) if kind == "half" else MADE
    path = write_parquet(
        tmp_path / "v.parquet", lists(made.tolist(), PARQUET[kind]), size=size, id=IDS, text=TEXTS, n_tokens=COUNTS
    )
    vectors = VectorFile(path)
    texts, found = read(vectors)
    assert found.dtype == np.float32
    assert np.array_equal(found, made)
    assert [(text.id, text.text, text.source) for text in texts] == [
        (i, t, "v.parquet") for i, t in zip(IDS, TEXTS, strict=True)
    ]
    assert vectors.count([text.text for text in texts]).tolist() == COUNTS
    assert (vectors.name, vectors.dim) == ("v.parquet", 6)


def test_a_tensor_column_is_read_as_its_numbers(tmp_path: Path) -> None:
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(MADE)
    found = read(VectorFile(write_parquet(tmp_path / "v.parquet", column, text=TEXTS)))[1]
    assert np.array_equal(found, MADE)


NPY: dict[str, Callable[[Vectors], Any]] = {
    "float32": lambda made: made,
    "float64": lambda made: made.astype(np.float64),
    "big-endian": lambda made: made.astype(">f4"),
    "by columns": np.asfortranarray,
}
SIDES: dict[str, Callable[[Path], Path]] = {
    "jsonl": lambda stem: write_lines(stem.with_suffix(".jsonl"), RECORDS),
    "jsonl.gz": lambda stem: write_lines(stem.with_suffix(".jsonl.gz"), RECORDS),
    "tsv": lambda stem: write_tsv(stem.with_suffix(".tsv")),
    "parquet": lambda stem: whole(stem.with_suffix(".parquet")),
}


@pytest.mark.parametrize("kind", NPY)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("named", [True, False])
def test_a_npy_file_is_read_with_the_texts_beside_it(tmp_path: Path, kind: str, side: str, named: bool) -> None:
    np.save(tmp_path / "v.npy", NPY[kind](MADE))
    beside = SIDES[side](tmp_path / ("other" if named else "v"))
    vectors = VectorFile(tmp_path / "v.npy", texts=beside if named else None)
    texts, found = read(vectors)
    assert np.array_equal(found, MADE)
    assert [(text.id, text.text) for text in texts] == list(zip(IDS, TEXTS, strict=True))
    assert vectors.prepare([text.text for text in texts]).n_tokens_full.tolist() == COUNTS


@pytest.mark.parametrize("settings", [Settings(windows=0, replicates=64), Settings(replicates=64, precision=0.02)])
def test_a_diagnosis_of_vectors_is_that_of_the_model_that_made_them(tmp_path: Path, settings: Settings) -> None:
    encoder, texts = PlantedEncoder(0.25, max_tokens=128), corpus(700)
    encoder.can_cut = False  # what a file cannot do, the model shall not do either
    strings, ids = [text.text for text in texts], [text.id for text in texts]
    path = write_parquet(
        tmp_path / "v.parquet",
        lists(encoder.vectors(strings)),
        id=ids,
        text=strings,
        n_tokens=encoder.count(strings),
    )
    vectors = VectorFile(path, max_tokens=128)
    ours = numbers(vectors, vectors.corpus, settings)
    theirs = numbers(encoder, ListCorpus([Text(text.id, text.text, None, path.name) for text in texts]), settings)
    assert ours == theirs
    assert len(ours) > 10


def test_equal_texts_keep_vectors_of_their_own(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "v.parquet", text=["same"] * N)
    assert np.array_equal(read(VectorFile(path))[1], MADE)


def test_every_pass_reads_the_same_and_a_limit_stops_it(tmp_path: Path) -> None:
    vectors = VectorFile(whole(tmp_path / "v.parquet"))
    first, again = list(vectors.corpus), list(vectors.corpus)
    assert first == again
    assert len(list(vectors.read(limit=5))) == 5
    assert "150 vectors of 6 dimensions" in vectors.corpus.description
    for _, _text in zip(range(3), vectors.corpus, strict=False):
        pass  # a pass that is left half-way leaves no file open


def test_it_is_an_encoder_that_cuts_no_text(tmp_path: Path) -> None:
    vectors = VectorFile(whole(tmp_path / "v.parquet"), max_tokens=9)
    assert isinstance(vectors, TextEncoder)
    texts = [text.text for text in vectors.corpus]
    found = vectors.encode(texts, IDS)
    assert found.ids == tuple(IDS)
    assert found.n_tokens.tolist() == [min(n, 9) for n in COUNTS]
    assert found.n_tokens_full.tolist() == COUNTS
    assert found.truncated.sum() == sum(n > 9 for n in COUNTS)
    assert vectors.spans("two  words").tolist() == [[0, 3], [5, 10]]
    assert (vectors.can_cut, vectors.n_special_tokens, window_lengths(vectors)) == (False, 0, ())
    with pytest.raises(ModelError, match=r"'v.parquet' holds vectors and no model, so texts cannot be cut to 8"):
        vectors.window(8)
    with pytest.raises(ModelError, match="token limit of 'v.parquet' must be at least 1, got 0"):
        VectorFile(tmp_path / "v.parquet", max_tokens=0)


def test_only_its_own_texts_have_vectors(tmp_path: Path) -> None:
    one, other = (VectorFile(whole(tmp_path / name)) for name in ("a.parquet", "b.parquet"))
    text = next(iter(one.corpus)).text
    assert isinstance(text, EmbeddedText)
    assert one.vectors([text[: len(text)], text[:], text[:99_999]]).tolist() == [MADE[0].tolist()] * 3
    for foreign in (str(TEXTS[0]), text[:3], text + "", next(iter(other.corpus)).text):
        for act in (one.vectors, one.prepare, one.count, one.encode):
            with pytest.raises(
                ModelError, match=r"'a.parquet' holds vectors of its own texts only, got 't.*a model or"
            ):
                act([foreign])


def test_tokens_are_counted_as_words_or_by_a_tokenizer_where_no_column_counts_them(tmp_path: Path) -> None:
    path = whole(tmp_path / "v.parquet", n_tokens=pa.nulls(N))
    with pytest.raises(CorpusError, match=r"v.parquet:1: expected a whole number from 1 up in 'n_tokens', got None"):
        list(VectorFile(path).corpus)
    path = write_parquet(tmp_path / "w.parquet", text=TEXTS)
    words = VectorFile(path)
    texts = [text.text for text in words.corpus]
    assert words.count(texts).tolist() == [len(text.split()) for text in TEXTS]
    assert any("counted in words" in note for note in words.notes)
    assert (words.unit, VectorFile(whole(tmp_path / "c.parquet")).unit) == ("words", "tokens")
    tokenizer().save_pretrained(tmp_path / "t")
    counted = VectorFile(path, tokenizer=tmp_path / "t")
    own = [text.text for text in counted.corpus]
    expected = [len(ids) for ids in tokenizer()(TEXTS)["input_ids"]]
    assert counted.count(own).tolist() == expected
    assert not any("counted in words" in note for note in counted.notes)
    with pytest.raises(ModelError, match="has token counts in its column 'n_tokens', so a tokenizer would do nothing"):
        VectorFile(whole(tmp_path / "v.parquet"), tokenizer=tmp_path / "t")
    with pytest.raises(ModelError, match="Expected a tokenizer.json or the folder of a model"):
        VectorFile(path, tokenizer=tmp_path / "nowhere")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="Expected a tokenizer that can be read"):
        VectorFile(path, tokenizer=tmp_path)


def test_without_texts_their_ids_stand_for_them(tmp_path: Path) -> None:
    for columns, ids in (({"id": IDS}, IDS), ({}, [f"v.parquet:{i + 1}" for i in range(N)])):
        vectors = VectorFile(write_parquet(tmp_path / "v.parquet", n_tokens=COUNTS, **columns))
        texts, found = read(vectors)
        assert [text.id for text in texts] == [text.text for text in texts] == ids
        assert np.array_equal(found, MADE)
        assert any("where a text would be shown, its id is" in note for note in vectors.notes)


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    vectors = VectorFile(whole(tmp_path / "v.parquet"))
    assert vectors.max_tokens == NO_LIMIT
    assert not vectors.knows_limit
    assert VectorFile(tmp_path / "v.parquet", max_tokens=8).knows_limit
    assert any("holds vectors and no model" in note for note in vectors.notes)
    assert any("not known, so every text counts with its full length" in note for note in vectors.notes)
    assert len(VectorFile(tmp_path / "v.parquet", max_tokens=8).notes) == 1


def test_blank_texts_are_left_out_and_the_others_keep_their_vectors(tmp_path: Path) -> None:
    texts = ["" if i % 3 else text for i, text in enumerate(TEXTS)]
    vectors = VectorFile(write_parquet(tmp_path / "v.parquet", text=texts))
    found = [text.text for text in vectors.corpus]
    assert np.array_equal(vectors.vectors(found), MADE[::3])
    assert vectors.corpus.skipped.counts == {"empty text": 100}


def test_columns_are_found_by_usual_names_or_named(tmp_path: Path) -> None:
    table = {"emb": lists(MADE), "body": TEXTS, "doc_id": IDS, "token_count": COUNTS, "other": TEXTS[::-1]}
    pq.write_table(pa.table(table), tmp_path / "v.parquet")
    vectors = VectorFile(tmp_path / "v.parquet")
    texts, found = read(vectors)
    assert [(text.id, text.text) for text in texts] == list(zip(IDS, TEXTS, strict=True))
    assert np.array_equal(found, MADE)
    assert vectors.count([text.text for text in texts]).tolist() == COUNTS
    named = VectorFile(tmp_path / "v.parquet", columns=Columns(text="other", id="body"))
    assert [(text.id, text.text) for text in named.corpus] == list(zip(TEXTS, TEXTS[::-1], strict=True))
    pq.write_table(pa.table({"ada": lists(MADE), "text": TEXTS}), tmp_path / "v.parquet")
    assert np.array_equal(read(VectorFile(tmp_path / "v.parquet"))[1], MADE)


@pytest.mark.parametrize("kind", ["parquet", "npy"])
def test_a_file_is_never_in_memory_as_a_whole(tmp_path: Path, kind: str) -> None:
    n, dim = 8_000, 512  # 16 MB in one row group
    matrix = np.random.default_rng(0).standard_normal((n, dim)).astype(np.float32)
    path = tmp_path / f"v.{kind}"
    if kind == "npy":
        np.save(path, matrix)
        write_lines(tmp_path / "v.jsonl", [{"n_tokens": 3}] * n)
    else:
        column = pa.FixedSizeListArray.from_arrays(matrix.ravel(), dim)
        write_parquet(path, column, n_tokens=[3] * n)
    expected = matrix.sum(axis=1, dtype=np.float64)
    del matrix
    vectors, before = VectorFile(path), pa.total_allocated_bytes()
    tracemalloc.start()
    sums, peak = np.empty(n), 0
    for row, text in enumerate(vectors.corpus):
        sums[row] = vectors.vectors([text.text]).sum(dtype=np.float64)
        peak = max(peak, pa.total_allocated_bytes() - before)
    traced = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.allclose(sums, expected)
    assert peak < 8e6
    assert traced < 4e6


def test_a_kept_text_holds_its_own_vector_and_no_other(tmp_path: Path) -> None:
    text = next(iter(VectorFile(whole(tmp_path / "v.parquet")).corpus)).text
    assert isinstance(text, EmbeddedText)
    assert text.vector.base is None


def test_a_report_can_say_what_it_is(tmp_path: Path) -> None:
    one = VectorFile(whole(tmp_path / "v.parquet"))
    assert one.about["name"] == "v.parquet"
    assert (one.about["dim"], one.about["architecture"]) == (6, "a file of vectors")
    other = VectorFile(whole(tmp_path / "w.parquet", text=TEXTS[::-1]))
    assert one.about["fingerprint"] != other.about["fingerprint"]
    assert json.dumps(one.about)


def test_load_opens_a_file_of_vectors_and_refuses_what_would_do_nothing(tmp_path: Path) -> None:
    path = str(whole(tmp_path / "v.parquet"))
    assert isinstance(load(path), VectorFile)
    assert load(path, max_tokens="table").max_tokens == NO_LIMIT
    assert load(path, max_tokens=7).max_tokens == 7
    for given in ({"device": "cpu"}, {"dtype": "float32"}, {"trust_remote_code": True}, {"batch_size": 4}):
        with pytest.raises(ModelError, match=f"A file of vectors has no use for {next(iter(given))}: only models"):
            load(path, **given)
    with pytest.raises(ModelError, match="A file of vectors has no use for cache: it keeps them itself"):
        load(path, cache=tmp_path)
    with pytest.raises(ModelError, match="token limit must be 'model', 'table' or a number, got 'all'"):
        load(path, max_tokens="all")
    (tmp_path / "folder.parquet").mkdir()
    assert not is_vector_file(str(tmp_path / "folder.parquet"))


def test_what_acts_inside_a_model_is_refused_by_name(tmp_path: Path) -> None:
    vectors = VectorFile(whole(tmp_path / "v.parquet"))
    with pytest.raises(ModelError, match="Expected a model that can run here.*got a file of vectors, which only"):
        load_model(str(vectors.path))
    with pytest.raises(
        ModelError, match=r"temperature\(0.8\) acts inside a model, and of 'v.parquet' only vectors can"
    ):
        inside(vectors, "temperature(0.8)")
