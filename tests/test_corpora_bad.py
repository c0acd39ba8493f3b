"""Bad input to corpora: each kind is named with its place and what to do, or counted when that is asked for."""

import codecs
import gzip
import io
import os
import re
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_files import json_lines, pairs, rows, write, write_parquet
from uncollapse.corpora import lines, open_corpus, texts
from uncollapse.corpora.formats import READERS
from uncollapse.corpora.sources import KINDS
from uncollapse.errors import CorpusError

GOOD = rows("good")
CSV = b"id,text\nt0,good\n"


def invalid_parquet_text() -> bytes:
    stream = io.BytesIO()
    column = pa.array([b"good", b"a\xffb", b"good too"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": ["t0", "t1", "t2"], "text": column}), stream)
    return stream.getvalue()


BAD = {
    "broken JSON": (
        "a.jsonl",
        GOOD + b'{"text": \n',
        "broken JSON",
        ":2",
        r"one JSON object a line, got '\{\"text\":'",
    ),
    "deep JSON": ("a.jsonl", GOOD + b"[" * 100_000 + b"\n", "broken JSON", ":2", "one JSON object a line"),
    "JSON list": ("a.jsonl", GOOD + b"[1]\n", "no JSON object", ":2", r"one JSON object a line, got '\[1\]'"),
    "number as text": ("a.jsonl", GOOD + json_lines({"text": 5}), "text is no string", ":2", r"got 5 \(int\)"),
    "no text": (
        "a.jsonl",
        GOOD + json_lines({"texts": "a"}),
        "missing field",
        ":2",
        "a field 'text'.*Did you mean 'texts'",
    ),
    "list as id": (
        "a.jsonl",
        GOOD + json_lines({"id": [1], "text": "a"}),
        "unusable id",
        ":2",
        r"as id, got \[1\] \(list\)",
    ),
    "true as id": ("a.jsonl", GOOD + json_lines({"id": True, "text": "a"}), "unusable id", ":2", r"got True \(bool\)"),
    "NaN as id": ("a.jsonl", GOOD + json_lines({"id": float("nan"), "text": "a"}), "unusable id", ":2", "got nan"),
    "surrogate": ("a.jsonl", GOOD + b'{"text": "a\\ud83d"}\n', "lone surrogate", ":2", "surrogate pair"),
    "surrogate id": ("a.jsonl", GOOD + b'{"id": "\\ud83d", "text": "a"}\n', "lone surrogate", ":2", "surrogate pair"),
    "long text": ("a.jsonl", GOOD + rows("x" * 101), "text too long", ":2", "at most 100 characters, got 101"),
    "long line": ("a.jsonl", GOOD + b'"' + b"x" * 2**21 + b'"\n', "text too long", ":2", "a line of 2,097,155 bytes"),
    "same id": ("a.jsonl", GOOD + rows("other"), "duplicate id", ":2", r"got 't0', also at \S*a.jsonl:1\."),
    "UTF-8 in JSON": (
        "a.jsonl",
        GOOD + b'{"text": "\xff"}\n',
        "invalid UTF-8",
        ":2",
        f"byte 0xff at byte offset {len(GOOD) + 10}",
    ),
    "UTF-8 in lines": ("a.txt", b"good\n\xe9t\xe9\n", "invalid UTF-8", ":2", "byte 0xe9 at byte offset 5.*iconv"),
    "UTF-8 in tsv": ("a.tsv", b"text\ngood\na\x80\n", "invalid UTF-8", ":3", "byte 0x80 at byte offset 11"),
    "UTF-8 in csv": ("a.csv", CSV + b't1,"a\nb\xffc\n"\n', "invalid UTF-8", ":4", f"byte offset {len(CSV) + 7}"),
    "UTF-8 in parquet": (
        "a.parquet",
        invalid_parquet_text(),
        "invalid UTF-8",
        ":2",
        "byte 0xff at byte offset 1 of a value",
    ),
    "short csv row": ("a.csv", CSV + b"t1\n", "wrong number of fields", ":3", "2 fields as in the header, got 1"),
    "long tsv row": (
        "a.tsv",
        b"text\ngood\na\tb\n",
        "wrong number of fields",
        ":3",
        "1 fields as in the header, got 2",
    ),
    "csv quote": ("a.csv", CSV + b't1,"a"b\n', "broken csv", ":3", "a csv record"),
    "csv open quote": ("a.csv", CSV + b't1,"a\nb\n', "broken csv", ":3", "unexpected end of data"),
    "cut gzip": ("a.txt.gz", gzip.compress(b"good\n" * 9)[:-9], "broken gzip", "", "whole.*cut off or damaged"),
    "damaged gzip": ("a.txt.gz", gzip.compress(b"good\n") + b"junk", "broken gzip", ":2", "gzip data that is whole"),
}
REST = {
    ".jsonl": rows("good too", start=2),
    ".txt": b"good too\n",
    ".tsv": b"good too\n",
    ".csv": b"t2,good too\n",
}


@pytest.mark.parametrize("case", BAD)
def test_bad_records_stop_or_are_counted(case: str, tmp_path: Path) -> None:
    name, content, reason, place, message = BAD[case]
    path = write(tmp_path / name, content)
    with pytest.raises(
        CorpusError, match=rf"(?s){re.escape(str(path) + place)}.*: expected .*{message}.*skip_bad=True"
    ):
        list(open_corpus(path, max_characters=100))

    survives = path.suffix in REST and case != "csv open quote"
    write(path, content + (REST[path.suffix] if survives else b""))
    corpus = open_corpus(path, max_characters=100, skip_bad=True)
    kept = [text.text for text in corpus]
    assert corpus.skipped.counts[reason] == 1
    assert corpus.skipped.examples[reason][0].startswith(f"{path}{place}")
    assert kept[0] == "good"
    assert not (survives or case == "UTF-8 in parquet") or kept == ["good", "good too"]


def test_an_overlong_csv_field_ends_its_file_only(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", CSV + b'"' + (b"x" * 1000 + b"\n") * 1100 + b"t1,lost\n")
    write(tmp_path / "b.csv", b"id,text\nt2,good too\n")
    with pytest.raises(CorpusError, match="a quote may never be closed"):
        list(open_corpus(tmp_path, max_characters=10))
    corpus = open_corpus(tmp_path, max_characters=10, skip_bad=True)
    assert [text.text for text in corpus] == ["good", "good too"]
    assert corpus.skipped.counts == {"overlong csv field": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            rows("a").replace(b"text", b"Text"),
            "expected a field with the text .*Did you mean 'Text'.*--text-field",
        ),
        (
            "a.csv",
            b"id,Text\n1,2\n",
            "a field with the text .text, body, content, passage, document.*Fields there: Text, id",
        ),
        (
            "a.tsv",
            b"sentence1\tsentence2\tscore\na\tb\t1\n",
            "a field with the text .*Fields there: sentence1, .*Pairs of sentences are for `uncollapse evaluate`",
        ),
        ("a.json", b'[\n{"text": "a"}]', "one JSON value over all its lines.*jq"),
        (
            "a.jsonl",
            codecs.BOM_UTF16_LE + "a".encode("utf-16-le"),
            "a.jsonl:1: expected UTF-8, got byte 0xff at byte offset 0, as UTF-16 begins.*iconv -f UTF-16",
        ),
        ("a.csv", "text\na\n".encode("utf-16"), "a.csv:1: .* as UTF-16 begins.*iconv -f UTF-16 -t UTF-8 FILE"),
        ("a.txt", codecs.BOM_UTF16_BE + b"\0a", "byte 0xfe at byte offset 0, as UTF-16 begins"),
        ("a.md", codecs.BOM_UTF16_LE + b"a\0", "a.md:1: .* byte 0xff at byte offset 0, as UTF-16 begins"),
        ("a.md", b"\xe9t\xe9", "got byte 0xe9 at byte offset 0. Convert .*iconv -f LATIN1"),
        (
            "a.md",
            b"line\nl\xffne",
            "a.md:2: expected UTF-8, got byte 0xff at byte offset 6. Convert .*iconv -f LATIN1",
        ),
        ("a.md", codecs.BOM_UTF8 + b"\xff", "a.md:1: expected UTF-8, got byte 0xff at byte offset 3"),
        ("a.txt", codecs.BOM_UTF8 + b"\xff", "a.txt:1: expected UTF-8, got byte 0xff at byte offset 3"),
        ("a.md", b"x" * 11, "expected at most 10 characters, got 11"),
        ("a.md", b"x" * 99, "expected a text within max_characters, got a file of 45 bytes"),
        ("a.md.gz", b"no gzip", "expected gzip data that is whole, got .Not a gzipped file"),
        ("a.parquet", b"PAR?", "a.parquet: expected a parquet file that is whole"),
        ("a.csv", b'"text\n', "a.csv:1: expected a csv record"),
    ],
)
def test_files_that_cannot_be_read_from_the_start_fail_when_opened(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(CorpusError, match=message):
        open_corpus(path, max_characters=10)
    write(tmp_path / "z.jsonl", rows("good"))
    corpus = open_corpus(tmp_path, max_characters=10, skip_bad=True)
    assert pairs(corpus)[-1] == ("t0", "good")
    assert corpus.skipped.total >= 1


def test_a_text_may_have_as_many_characters_as_allowed(tmp_path: Path) -> None:
    for name in ("a.md", "a.txt"):
        path = write(tmp_path / name, "\U0001f600".encode() * 10)
        assert pairs(open_corpus(path, max_characters=10))[0][1] == "\U0001f600" * 10


def test_missing_fields_name_the_nearest_first(tmp_path: Path) -> None:
    table = pa.table({"alpha": ["a"], "abstracts": ["b"], "zeta": ["c"]})
    pq.write_table(table, tmp_path / "a.parquet")
    nearest_first = (
        "expected a field 'abstract', got none. Did you mean 'abstracts'. Fields there: abstracts, alpha, zeta"
    )
    with pytest.raises(CorpusError, match=nearest_first):
        open_corpus(tmp_path / "a.parquet", text_field="abstract")
    with pytest.raises(CorpusError, match=r"expected a field 'zeto', got none. Did you mean 'zeta'"):
        open_corpus(tmp_path / "a.parquet", text_field="alpha", id_field="zeto")


def test_damaged_parquet_pages_are_found(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [(str(n), os.urandom(500).hex()) for n in range(500)])
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    late = len(content) * 3 // 4
    content[late : late + 600] = bytes(600)
    write(tmp_path / "a.parquet", bytes(content))
    with pytest.raises(CorpusError, match=r"a.parquet: expected a parquet file that is whole, got .*skip_bad"):
        list(open_corpus(tmp_path / "a.parquet"))
    corpus = open_corpus(tmp_path / "a.parquet", skip_bad=True)
    assert 0 < len(list(corpus)) < 500
    assert corpus.skipped.counts == {"broken parquet": 1}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_cut_gzip_file_gives_a_true_beginning_and_an_error(data: st.DataObject) -> None:
    some = [f"text number {n}" for n in range(300)]
    whole = gzip.compress("\n".join(some).encode())
    cut = data.draw(st.integers(1, len(whole) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "a.txt.gz"), whole[:cut])
        got = []
        with pytest.raises(CorpusError, match="cut off or damaged"):
            got.extend(text.text for text in open_corpus(path))
        assert got == some[: len(got)]


def test_a_file_that_goes_away_is_an_error_that_says_so(tmp_path: Path) -> None:
    for name in ("a.txt", "a.md", "a.parquet"):
        write_parquet(tmp_path / name, [("a", "b")]) if name == "a.parquet" else write(tmp_path / name, b"text")
        corpus = open_corpus(tmp_path / name)
        (tmp_path / name).unlink()
        with pytest.raises(CorpusError, match=f"{name}: expected a file that can be read, got 'No such file"):
            list(corpus)


@pytest.mark.parametrize("kind", sorted(set(KINDS.values()) | {"lines"}))
def test_a_file_that_cannot_be_opened_is_a_bad_record(kind: str, tmp_path: Path) -> None:
    [item] = READERS[kind](lines.DataFile(tmp_path / "gone", "gone", kind), texts.ReadingOptions())
    assert isinstance(item, texts.Bad)
    assert item.reason == "unreadable file"


def test_blank_texts_are_left_out_and_counted_always(tmp_path: Path) -> None:
    blank = json_lines({"text": ""}, {"text": " \t\u3000"}, {"text": None})
    corpus = open_corpus(write(tmp_path / "a.jsonl", blank + b"\n" + rows("one") + blank))
    assert pairs(corpus) == [("t0", "one")]
    assert corpus.skipped.counts == {"empty text": 6, "blank line": 1}
    first = ", ".join(f"{tmp_path}/a.jsonl:{n}" for n in (1, 2, 3))
    assert str(corpus.skipped) == f"6 x empty text ({first}, ...); 1 x blank line ({tmp_path}/a.jsonl:4)"


UNSEEN = ["\u200b", "\u200b \u200d\ufeff\u2060", "\x00", "\x07\x1b\x7f", "\u00ad\u200e"]


@pytest.mark.parametrize("text", UNSEEN)
def test_texts_of_which_nothing_shows_are_blank(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json_lines({"text": text}, {"text": f"{text}one"}))
    corpus = open_corpus(path)
    assert [found.text for found in corpus] == [f"{text}one"]
    assert corpus.skipped.counts == {"empty text": 1}
    alone = texts.check(texts.Found(texts.Place(path, "a", 1), text), 100)
    assert isinstance(alone, texts.Bad)
    assert alone.message == "expected a text, got a blank one. It has characters, but none that shows."


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.jsonl", "a.csv", "a.tsv"])
def test_nothing_to_read_is_an_error_that_says_what_was_looked_for(name: str, content: str, tmp_path: Path) -> None:
    header = "text\n" if name in ("a.csv", "a.tsv") else ""
    path = write(tmp_path / name, (f"\ufeff{header}" if content == "\ufeff" else header + content).encode())
    with pytest.raises(CorpusError, match=f"at least one text that is not blank, got none from {name}: .*Check that"):
        open_corpus(path)


def test_empty_files_do_not_hide_others(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.parquet", "c.csv", "d.md"):
        write(tmp_path / name, b"")
    write(tmp_path / "e.jsonl", rows("one"))
    corpus = open_corpus(tmp_path)
    assert pairs(corpus) == [("t0", "one")]
    assert corpus.skipped.counts == {"empty file": 4}


def test_nothing_but_bad_records_says_how_to_see_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b"[1]\n[2]\n")
    with pytest.raises(CorpusError, match=r"Left out: 2 x no JSON object .*a.jsonl:1, .*Run once without skip_bad"):
        open_corpus(path, skip_bad=True)


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"max_characters": 0}])
def test_limits_below_one_are_refused(options: dict[str, int], tmp_path: Path) -> None:
    [(name, value)] = options.items()
    with pytest.raises(CorpusError, match=f"{name} must be at least 1, got {value}. Leave it out"):
        open_corpus(write(tmp_path / "a.txt", b"one"), **options)


def test_a_hash_collision_is_no_duplicate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SameHash:
        def __init__(self, _data: bytes, digest_size: int) -> None:
            self.size = digest_size

        def digest(self) -> bytes:
            return bytes(self.size)

    monkeypatch.setattr(texts, "blake2b", SameHash)
    path = write(tmp_path / "a.jsonl", rows("one", "two", "three"))
    assert len(pairs(open_corpus(path))) == 3


def test_memory_for_ids_is_bounded_and_the_bound_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "IDS_REMEMBERED", 2)
    path = write(tmp_path / "a.jsonl", json_lines(*({"_id": name, "text": "some words"} for name in "abcc")))
    corpus = open_corpus(path)
    assert [text.id for text in corpus] == ["a", "b", "c", "c"]
    assert corpus.notes == ("duplicate ids were looked for among the first 2 ids only",)
    write(path, json_lines(*({"_id": name, "text": "some words"} for name in "abca")))
    with pytest.raises(CorpusError, match="expected an id of its own for each text, got 'a'"):
        list(open_corpus(path))


def test_duplicates_across_files_name_both_places(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", rows("one"))
    write(tmp_path / "b.csv", b"id,text\nt9,two\nt0,three\n")
    with pytest.raises(CorpusError, match=r"b.csv:3: expected an id of its own.* got 't0', also at .*a.jsonl:1\."):
        list(open_corpus(tmp_path))
    corpus = open_corpus(tmp_path, skip_bad=True)
    assert [text.id for text in corpus] == ["t0", "t9"]
    assert corpus.skipped.examples == {"duplicate id": [f"{tmp_path}/b.csv:3"]}


def test_only_the_beginning_of_a_file_can_be_that_of_utf_16(tmp_path: Path) -> None:
    first, later = (lines.invalid_utf8(texts.Place(tmp_path, "a.run", line), 0xFF, 0).message for line in (1, 2))
    assert "as UTF-16 begins" in first
    assert "UTF-16" not in later
    assert "iconv -f LATIN1" in later
