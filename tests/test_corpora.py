"""Corpora: what is written comes back with its id, in streams, from whatever a user may name."""

import codecs
import csv
import doctest
import gzip
import importlib
import io
import os
import re
import tempfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_files import WRITERS, json_lines, pairs, rows, write
from uncollapse.corpora import lines, open_corpus
from uncollapse.corpora.fields import ID_FIELDS, TEXT_FIELDS
from uncollapse.corpora.formats import READERS
from uncollapse.corpora.sources import KINDS
from uncollapse.corpora.texts import is_blank
from uncollapse.errors import CorpusError

DATA = Path(__file__).parents[2] / "shared/data"


TEXTS = st.text(min_size=1).filter(lambda text: not is_blank(text))


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=60, deadline=None)
@given(records=st.lists(st.tuples(st.text(min_size=1), TEXTS), min_size=1, max_size=5, unique_by=lambda r: r[0]))
def test_any_unicode_text_and_id_comes_back(name: str, records: list[tuple[str, str]]) -> None:
    if name == "a.tsv":
        records = [
            (re.sub(r"[\t\r\n]", "_", i) + str(n), re.sub(r"[\t\r\n]", "_", t)) for n, (i, t) in enumerate(records)
        ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        WRITERS[name](path, records)
        assert pairs(open_corpus(path)) == records


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS.map(lambda text: re.sub(r"[\r\n]", "", text)), min_size=1, max_size=5))
def test_lines_and_whole_files_come_back(some: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "a.txt"), "\r\n".join(some).encode())
        assert pairs(open_corpus(path)) == [(f"a.txt:{n}", text) for n, text in enumerate(some, 1)]
        whole = write(Path(folder, "b.md"), "\n".join(some).encode())
        assert pairs(open_corpus(whole)) == [("b.md", "\n".join(some))]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.jsonl", "a.csv", "a.tsv", "a.txt.gz", "a.csv.gz", "A.JSONL.GZ"])
def test_a_byte_order_mark_and_gzip_change_nothing(name: str, tmp_path: Path) -> None:
    content = {"txt": b"one \xc3\xa9", "md": b"one \xc3\xa9", "jsonl": rows("one é")}.get(name.lower().split(".")[1])
    content = codecs.BOM_UTF8 + (content or "text\none é".encode())
    path = write(tmp_path / name, gzip.compress(content) if name.lower().endswith("gz") else content)
    assert [text.text for text in open_corpus(path)] == ["one é"]


def test_csv_has_quotes_and_tsv_has_none(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", b'id,text\r\n1,"a ""b"", c\r\nd"\r\n2,e\r\n')
    assert pairs(open_corpus(table)) == [("1", 'a "b", c\r\nd'), ("2", "e")]
    tabs = write(tmp_path / "a.tsv", b'id\ttext\r\n1\t"a\r\n2\t"b"\r\n')
    assert pairs(open_corpus(tabs)) == [("1", '"a'), ("2", '"b"')]


def test_csv_fields_may_be_longer_than_the_module_allows_and_its_limit_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = write(tmp_path / "a.csv", b"text\n" + b"a" * (before + 1) + b"\nb\n")
    corpus = open_corpus(path)
    assert [len(text.text) for text in corpus] == [before + 1, 1]
    first = iter(corpus)
    next(first)
    assert csv.field_size_limit() == before


def test_parquet_columns_that_are_not_needed_are_not_read(tmp_path: Path) -> None:
    table = pa.table({"other": ["x" * 9999], "text": ["one"]})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False, write_page_checksum=True)
    content = (tmp_path / "a.parquet").read_bytes()
    write(tmp_path / "a.parquet", content.replace(b"x" * 5000, b"y" * 5000, 1))
    assert pairs(open_corpus(tmp_path / "a.parquet")) == [("a.parquet:1", "one")]
    with pytest.raises(CorpusError, match="CRC checksum verification failed"):
        open_corpus(tmp_path / "a.parquet", text_field="other")


def test_parquet_text_types(tmp_path: Path) -> None:
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"text": pa.array(["a", None, "a"], kind)}), tmp_path / "a.parquet")
        corpus = open_corpus(tmp_path / "a.parquet")
        assert pairs(corpus) == [("a.parquet:1", "a"), ("a.parquet:3", "a")]
        assert corpus.skipped.counts == {"empty text": 1}


@pytest.mark.parametrize("field", TEXT_FIELDS)
@pytest.mark.parametrize("id_field", ID_FIELDS)
def test_usual_fields_are_found(field: str, id_field: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json_lines({"other": "x", id_field: "i", field: "one"}))
    assert pairs(open_corpus(path)) == [("i", "one")]


def test_the_first_usual_field_wins_and_the_first_record_decides(tmp_path: Path) -> None:
    first = {name: name for name in reversed(TEXT_FIELDS + ID_FIELDS)}
    path = write(tmp_path / "a.jsonl", json_lines(first, {"body": "b", "_id": "2"}))
    corpus = open_corpus(path, skip_bad=True)
    assert pairs(corpus) == [("_id", "text")]
    assert corpus.skipped.counts == {"missing field": 1}


def test_fields_asked_for_win(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"text,id,summary,key\na,b,c,d\n")
    assert pairs(open_corpus(path, text_field="summary", id_field="key")) == [("d", "c")]
    assert pairs(open_corpus(path, text_field="id")) == [("b", "b")]


def test_numbers_become_strings_and_no_id_becomes_the_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json_lines(*({"id": i, "text": "x"} for i in (7, 1.5, 10**400, None, ""))))
    assert [text.id for text in open_corpus(path)] == ["7", "1.5", str(10**400), "a.jsonl:4", "a.jsonl:5"]
    lines_ = write(tmp_path / "b.csv", b'text\n"one\ntwo"\nthree\n')
    assert [text.id for text in open_corpus(lines_)] == ["b.csv:2", "b.csv:4"]


def test_a_folder_is_read_through_in_order_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    for name in (
        "b/two.md",
        "a.txt",
        "b/c/three.txt.gz",
        "README.md",
        ".hidden.md",
        ".git/x.md",
        "b/photo.png",
        "LICENSE",
    ):
        write(tmp_path / "docs" / name, gzip.compress(name.encode()) if name.endswith(".gz") else name.encode())
    corpus = open_corpus(tmp_path / "docs")
    assert pairs(corpus) == [(name, name) for name in ("README.md", "a.txt", "b/c/three.txt.gz", "b/two.md")]
    assert (corpus.name, corpus.description) == (
        "docs",
        "folder docs: 4 files (2 x .md, 2 x .txt); a .txt or .md file is one text",
    )
    assert corpus.notes == ("left out, being of another kind: LICENSE, .png",)
    assert repr(corpus).startswith("Corpus('docs': folder docs")


def test_a_folder_with_records_leaves_its_readme_out(tmp_path: Path) -> None:
    for name in ("README.md", "LICENSE.txt", "licence.md", "sub/readme.txt", "note.md"):
        write(tmp_path / name, b"about")
    write(tmp_path / "texts.jsonl.gz", gzip.compress(rows("one")))
    corpus = open_corpus(tmp_path)
    assert pairs(corpus) == [("note.md", "about"), ("t0", "one")]
    assert corpus.notes == ("left out, being about the corpus: LICENSE.txt, README.md, licence.md, readme.txt",)
    assert len(pairs(open_corpus(f"{tmp_path}/**/*.*"))) == 6


def test_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x/a.md", "x/b.txt", "x/y/c.md", "x/y/d.png", "z/y/y/e.md"):
        write(tmp_path / name, name.encode())
    monkeypatch.chdir(tmp_path)
    for pattern in ("x/**/*.md", f"{tmp_path}/x/**/*.md", "./x/**/**/*.md"):
        corpus = open_corpus(pattern)
        assert [text.id for text in corpus] == ["a.md", "y/c.md"]
        assert corpus.name == "x/" + pattern.partition("x/")[2]
    assert [text.text for text in open_corpus("x/[b-z]*")] == ["x/b.txt"]
    assert [text.id for text in open_corpus("z/**/y/**/*.md")] == ["y/y/e.md"]
    assert open_corpus("x/**").notes == ("left out, being of another kind: .png",)
    write(tmp_path / "[odd].md", b"a name with brackets")
    assert [text.text for text in open_corpus("[odd].md")] == ["a name with brackets"]


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_beir_folders(name: str, tmp_path: Path) -> None:
    content = json_lines(
        {"_id": "1", "title": "Title", "text": "text"},
        {"_id": "2", "title": "", "text": "text"},
        {"_id": "3", "title": " ", "text": "text"},
        {"_id": "4", "text": "text"},
        {"_id": "5", "title": "Title", "text": " "},
        {"_id": "6", "title": "Title", "text": None},
    )
    write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    write(tmp_path / "queries.jsonl", json_lines({"_id": "q", "text": "query"}))
    write(tmp_path / "qrels/test.tsv", b"query-id\tcorpus-id\tscore\nq\t1\t1\n")
    corpus = open_corpus(tmp_path)
    expected = [("1", "Title\ntext"), ("2", "text"), ("3", "text"), ("4", "text"), ("5", "Title"), ("6", "Title")]
    assert pairs(corpus) == expected
    assert corpus.description == f"BEIR folder {tmp_path.name}: {name}, titles before the texts"
    assert [text for _, text in pairs(open_corpus(tmp_path, text_field="text"))] == ["text"] * 4
    assert open_corpus(tmp_path, text_field="text").description == f"BEIR folder {tmp_path.name}: {name}"
    alone = open_corpus(tmp_path / name)
    assert [text for _, text in pairs(alone)] == ["text"] * 4
    assert alone.notes == ("titles are not read; open the folder to put them before the texts",)


def test_names_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "notes.jsonl", rows("one"))
    monkeypatch.chdir(tmp_path)
    for source in (tmp_path / "note.jsonl", "note.jsonl"):
        with pytest.raises(
            CorpusError, match=r"Expected a file or folder, got .*note.jsonl'.*Did you mean 'notes.jsonl'"
        ):
            open_corpus(source)
    with pytest.raises(CorpusError, match=f"Did you mean 'notes.jsonl'. Some names in {tmp_path}"):
        open_corpus(tmp_path / "notes.json" / "below")
    with pytest.raises(CorpusError, match="Did you mean 'docstrings'"):
        open_corpus("docstring")
    with pytest.raises(CorpusError, match=r"got '', of which there is none.*quoted glob"):
        open_corpus("")
    with pytest.raises(
        CorpusError, match=f"files that match 'x/.*.md', got none under {tmp_path}/x.*Quote the pattern"
    ):
        open_corpus("x/*.md")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match=r"pipe: expected a regular file or a folder, got a device or pipe. Save it"):
        open_corpus("pipe")


def test_kinds_that_are_not_read(tmp_path: Path) -> None:
    supported = r"Supported: .txt, .md, .jsonl, .json .one object a line., .csv, .tsv .*and .parquet"
    for name in ("paper.pdf", "table.parquet.gz", "noextension", "x.gz"):
        with pytest.raises(CorpusError, match=f"expected a file of a known kind, got '{name}'. {supported}"):
            open_corpus(write(tmp_path / name, b"x"))
    with pytest.raises(CorpusError, match=f"got only .*.pdf.*{supported}"):
        open_corpus(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=f"folder empty: .* got no file at all. {supported}"):
        open_corpus(tmp_path / "empty")


def test_every_kind_has_a_reader_and_is_named_as_supported(tmp_path: Path) -> None:
    assert set(KINDS.values()) | {"lines", "dataset"} == set(READERS)
    with pytest.raises(CorpusError) as caught:
        open_corpus(write(tmp_path / "a.xyz", b"x"))
    assert all(f"{suffix}" in str(caught.value) for suffix in KINDS)


def test_fields_are_refused_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="expected records with a field 'body', got plain text"):
        open_corpus(write(tmp_path / "a.txt", b"one"), text_field="body")
    with pytest.raises(CorpusError, match="'docstrings' has no fields to choose"):
        open_corpus("docstrings", id_field="id")


def test_each_pass_starts_again_and_counts_anew(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "a.jsonl", rows("", "one", "", "two", "three")))
    assert corpus.skipped.counts == {}
    assert pairs(corpus) == pairs(corpus)
    assert corpus.skipped.counts == {"empty text": 2}
    half = iter(corpus)
    assert next(half).text == "one"
    assert corpus.skipped.counts == {"empty text": 1}
    assert [text.text for text in corpus] == ["one", "two", "three"]
    assert [text.text for text in half] == ["two", "three"]


def test_limit_stops_before_what_comes_after(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows("", "one", "two") + b"broken\n")
    corpus = open_corpus(path, limit=2)
    assert [text.text for text in corpus] == ["one", "two"]
    assert len(list(open_corpus(write(tmp_path / "b.jsonl", rows("one")), limit=5))) == 1


class CountingFile(io.FileIO):
    """A file that says how many bytes were taken from it."""

    taken = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = super().readinto(buffer) or 0
        CountingFile.taken += size
        return size


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.tsv"])
def test_the_first_text_comes_before_the_rest_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json_lines({"text": "x" * 90}) if name == "a.jsonl" else b"x" * 90 + b"\n"
    write(tmp_path / name, (b"text\n" if name[-3:] in ("csv", "tsv") else b"") + content * 20_000)
    monkeypatch.setattr(lines.DataFile, "open", lambda file: io.BufferedReader(CountingFile(file.path)))
    monkeypatch.setattr(CountingFile, "taken", 0)
    texts_ = iter(open_corpus(tmp_path / name))
    assert next(texts_).text == "x" * 90
    assert 0 < CountingFile.taken <= 2 * io.DEFAULT_BUFFER_SIZE
    assert len(list(texts_)) == 20_000 - 1
    assert CountingFile.taken >= 20_000 * 90


@pytest.mark.parametrize("name", WRITERS)
def test_memory_does_not_grow_with_the_corpus(name: str, tmp_path: Path) -> None:
    records = [(f"id{n}", f"{n} " + "words " * 600) for n in range(3_000)]
    if name == "a.parquet":
        table = pa.table({"_id": [i for i, _ in records], "text": [t for _, t in records]})
        pq.write_table(table, tmp_path / name, row_group_size=200, use_dictionary=False)
    else:
        WRITERS[name](tmp_path / name, records)
    size = sum(len(text) for _, text in records)
    del records
    corpus = open_corpus(tmp_path / name)
    arrow = pa.default_memory_pool().bytes_allocated()
    tracemalloc.start()
    held = max(pa.default_memory_pool().bytes_allocated() for _ in corpus) - arrow
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 10_000_000
    assert peak < size / 10
    assert held < size / 4


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the evaluation data beside the checkout")
@pytest.mark.parametrize(
    ("name", "size"), [("length_pool", 2680), ("medquad", 6000), ("scifact", 5183), ("agnews", 7600), ("needle", 600)]
)
def test_real_folders(name: str, size: int) -> None:
    corpus = open_corpus(DATA / name)
    ids = [text.id for text in corpus]
    assert len(ids) == len(set(ids)) == size
    assert corpus.skipped.total == 0
    assert corpus.name == name


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the evaluation data beside the checkout")
def test_real_tsv_is_read_without_quotes() -> None:
    assert sum(1 for _ in open_corpus(DATA / "stsb/train.tsv", text_field="sentence1")) == 5749


@pytest.mark.parametrize("module", ["docstrings", "fields", "formats", "lines", "sources", "texts"])
def test_examples_in_the_documentation_run(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"uncollapse.corpora.{module}"))
    assert failed == 0
