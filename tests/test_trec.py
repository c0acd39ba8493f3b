"""TREC files: what is written comes back, other people's tools agree, and bad lines are named."""

import gzip
import random
import re
import tempfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_files import write
from task_files import pack
from uncollapse.errors import CorpusError, OutputError
from uncollapse.evaluation.reading.judgements import (
    UNITS,
    read_lengths,
    read_qrels,
    read_unit,
    write_lengths,
    write_qrels,
)
from uncollapse.evaluation.reading.trec import BLANKS, Ranking, Run, read_run, write_run

IDS = st.text(min_size=1, max_size=5).filter(lambda name: not BLANKS.search(name) and not name.startswith("\ufeff"))
SCORES = st.floats(allow_nan=False, allow_infinity=False)
TIED = st.integers(-2, 2).map(float)


def runs(scores: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, dict[str, float]]]:
    return st.dictionaries(IDS, st.dictionaries(IDS, scores, min_size=1, max_size=6), min_size=1, max_size=4)


def plain(run: Run) -> tuple[str, dict[str, list[tuple[str, str]]]]:
    """A run as values that compare, floats by all their bits."""
    return run.name, {
        query: [(name, score.hex()) for name, score in zip(found.documents, found.scores.tolist(), strict=True)]
        for query, found in run.rankings.items()
    }


def lines_of(scores: dict[str, dict[str, float]]) -> list[str]:
    return [f"{q} Q0 {d} 1 {s!r} tag\n" for q, found in scores.items() for d, s in found.items()]


@pytest.mark.parametrize("name", ["a.trec", "a.run.gz"])
@settings(max_examples=60, deadline=None)
@given(scores=runs(SCORES), tag=IDS)
def test_a_run_that_is_written_comes_back_bit_for_bit(
    name: str, tag: str, scores: dict[str, dict[str, float]]
) -> None:
    run = Run.from_scores(tag, scores)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write_run(path, run)
        back = read_run(path)
        assert plain(back) == plain(run)
        assert back.notes == ()
        assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(IDS, st.dictionaries(IDS, st.integers(-2, 3), min_size=1), min_size=1))
def test_judgements_that_are_written_come_back(judgements: dict[str, dict[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.qrels", "a.qrels.gz"):
            write_qrels(Path(folder, name), judgements)
            assert read_qrels(Path(folder, name)) == judgements


@settings(max_examples=60, deadline=None)
@given(runs(TIED), st.randoms(use_true_random=False))
def test_the_order_of_lines_changes_no_ranking(scores: dict[str, dict[str, float]], shuffler: random.Random) -> None:
    lines = lines_of(scores)
    shuffler.shuffle(lines)
    with tempfile.TemporaryDirectory() as folder:
        shuffled = read_run(write(Path(folder, "a.trec"), "".join(lines).encode()))
    assert plain(shuffled)[1] == plain(Run.from_scores("", scores))[1]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abé漢😀", min_size=1), TIED, min_size=1, max_size=8), st.data())
def test_ties_are_broken_as_trec_eval_breaks_them(scores: dict[str, float], data: st.DataObject) -> None:
    relevant = data.draw(st.sampled_from(sorted(scores)))
    theirs = pytrec_eval.RelevanceEvaluator({"q": {relevant: 1}}, {"recip_rank"}).evaluate({"q": scores})
    place = Ranking.from_scores(scores).documents.index(relevant) + 1
    assert theirs["q"]["recip_rank"] == pytest.approx(1 / place)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(TIED, st.integers(-2, 4)), min_size=1, max_size=6))
def test_a_note_says_when_ranks_contradict_scores_and_only_then(rows: list[tuple[float, int]]) -> None:
    content = "".join(f"q Q0 d{i} {rank} {score} tag\n" for i, (score, rank) in enumerate(rows))
    naive = any((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in combinations(rows, 2))
    with tempfile.TemporaryDirectory() as folder:
        run = read_run(write(Path(folder, "a.trec"), content.encode()))
    assert run.notes == (
        ("in 1 of 1 queries the ranks contradict the scores; documents are ordered by score, as trec_eval does",)
        if naive
        else ()
    )


@pytest.mark.parametrize(
    "content",
    [
        b"q1 Q0 d1 1 2.5 bm25\nq1 Q0 d2 2 -1e-3 bm25\n",
        b"\xef\xbb\xbfq1\tQ0\td2\t2\t-0.001\tbm25\r\n\r\n  q1   0 d1 1 2.5 bm25",
    ],
)
@pytest.mark.parametrize("name", ["a.trec", "a.txt.gz"])
def test_white_space_a_byte_order_mark_and_gzip_change_nothing(content: bytes, name: str, tmp_path: Path) -> None:
    run = read_run(pack(tmp_path / name, content))
    assert plain(run) == ("bm25", {"q1": [("d1", (2.5).hex()), ("d2", (-0.001).hex())]})
    assert run.rankings["q1"].scores.dtype == np.float64


def test_a_second_tag_is_noted(tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "a.trec", b"q Q0 a 1 2 one\nq Q0 b 2 1 two\n"))
    assert run.name == "one"
    assert run.notes == ("the file holds 2 tags, of which 'one' comes first; they are read as one run",)


BAD_RUNS = {
    "five columns": (b"q Q0 d 1 2.0 tag\nq d 2 1.0 tag\n", r"a\.trec:2: expected the columns query Q0 document rank"),
    "seven columns": (b"q Q0 d x 1 2.0 tag\n", r":1: expected the columns .*got 'q Q0 d x 1 2.0 tag'.*no white space"),
    "header": (b"qid Q0 docid rank score tag\n", r":1: expected a whole number as rank.*got rank 'rank' and score"),
    "rank and score swapped": (b"q Q0 d 0.93 1 tag\n", r":1: expected a whole number as rank .*got rank '0\.93'"),
    "huge rank": (b"q Q0 d 99999999999999999999 1 tag\n", r"expected a whole number as rank .*got rank '9999"),
    "text as score": (b"q Q0 d 1 high tag\n", r"a finite number as score, got .* score 'high'. The columns are"),
    "NaN": (b"q Q0 d 1 1 t\nq Q0 e 2 nan t\n", r":2: .*a finite number as score, got rank '2' and score 'nan'"),
    "infinity": (b"q Q0 d 1 -inf tag\n", r"a finite number as score, got .* score '-inf'"),
    "twice": (
        b"p Q0 d 1 3 t\nq Q0 d 1 3 t\n\nq Q0 e 2 2 t\nq Q0 d 3 1 t\nq Q0 d 4 0 t\n",
        r":5: expected each document once a query, got document 'd' again for query 'q', which has it at line 2\.",
    ),
    "nothing": (b"\n \n", r"a\.trec: expected a TREC run \(query Q0 .*got no line\. Check the file"),
    "UTF-8": (b"q Q0 d\xff 1 1 tag\n", r":1: expected UTF-8, got byte 0xff at byte offset 1.*iconv"),
    "UTF-8 in a query": (b"q Q0 d 1 1 tag\n\xff Q0 d 1 1 tag\n", r":2: expected UTF-8, got byte 0xff"),
    "long line": (b"q Q0 d 1 1 " + b"t" * 70_000, r":1: expected the columns query .*got 'q Q0 d 1 1 ttt"),
}


@pytest.mark.parametrize(("content", "message"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_bad_runs_are_named_by_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.trec", content)
    with pytest.raises(CorpusError, match=message):
        read_run(path)
    with pytest.raises(CorpusError, match=message.replace(r"a\.trec", r"a\.trec\.gz")):
        read_run(pack(tmp_path / "a.trec.gz", content))


@pytest.mark.parametrize(
    ("read", "line"), [(read_run, b"q Q0 d%d 1 1 tag\n"), (read_qrels, b"q 0 d%d 1\n"), (read_lengths, b"d%d 1\n")]
)
def test_a_cut_gzip_file_is_refused(read: Callable[[Path], object], line: bytes, tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(line % i for i in range(999)))
    with pytest.raises(CorpusError, match=r"a\.gz:\d+: expected gzip data that is whole"):
        read(write(tmp_path / "a.gz", packed[:-9]))


@pytest.mark.parametrize("read", [read_run, read_qrels, read_lengths])
def test_a_file_that_is_not_there_names_those_near(read: Callable[[Path], object], tmp_path: Path) -> None:
    write(tmp_path / "run.trec", b"")
    with pytest.raises(
        CorpusError, match=r"Expected .*'.*run\.tre', of which there is none\. Did you mean 'run\.trec'"
    ):
        read(tmp_path / "run.tre")
    with pytest.raises(CorpusError, match=f"{re.escape(str(tmp_path))}: expected .*no regular file"):
        read(tmp_path)


ONE = {"q 1": {"d": 1}}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (Run.from_scores("my run", {"q": {"d": 1}}), r"the name of the run must be .*got 'my run'\. Rename it"),
        (Run.from_scores("", {"q": {"d": 1}}), "the name of the run must be .*got ''"),
        (Run.from_scores("t", ONE), "white space, so query ids must be .*got 'q 1'"),
        (Run.from_scores("t", {"q": {"d\u000b": 1}}), r"document ids \(query 'q'\) must be .*got 'd\\x0b'"),
        (Run.from_scores("t", {"q": {"\ud83d": 1}}), "must be Unicode text"),
        (Run.from_scores("t", {"\ufeffq": {"d": 1}}), r"query ids must be .*got '\\ufeffq'"),
        (Run.from_scores("t", {"q": {"d": float("nan")}}), "finite scores, but query 'q' has others"),
        (Run("t", {"q": Ranking(("d", "d"), np.ones(2))}), "each document once a query, but query 'q' has one twice"),
        (Run.from_scores("t", {"q": {}}), "at least one document, got none in 't'"),
    ],
)
def test_what_a_run_cannot_hold_is_refused_before_anything_is_written(run: Run, message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        write_run(tmp_path / "a.trec", run)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        (ONE, "query ids must be .*got 'q 1'"),
        ({"q": {"a b": 1}}, r"document ids \(query 'q'\) must be"),
        ({"q": {}}, "at least one judgement"),
    ],
)
def test_what_qrels_cannot_hold_is_refused(
    judgements: dict[str, dict[str, int]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=message):
        write_qrels(tmp_path / "a.qrels", judgements)
    assert not list(tmp_path.iterdir())


def test_a_ranking_out_of_order_is_written_in_order(tmp_path: Path) -> None:
    write_run(tmp_path / "a.trec", Run("t", {"q": Ranking(("a", "b", "c"), np.array([1.0, 3.0, 3.0]))}))
    assert (tmp_path / "a.trec").read_text() == "q Q0 c 1 3.0 t\nq Q0 b 2 3.0 t\nq Q0 a 3 1.0 t\n"


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Could not write"):
        write_run(tmp_path / "none" / "a.trec", Run.from_scores("t", {"q": {"d": 1}}))


QRELS_ALIKE = {
    "BEIR": b"query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n",
    "BEIR without a header": b"q1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n",
    "BEIR with decimals and CRLF": b"query-id\tcorpus-id\tscore\r\nq1\td1\t2.0\r\nq1\td2\t0.0\r\nq2\td1\t-1.00\r\n",
    "TREC": b"q1 0 d1 2\nq1 Q0 d2 0\nq2 0 d1 -1\n",
    "TREC with tabs": b"q1\t0\td1\t2\nq1\t0\td2\t0\nq2\t0\td1\t-1\n",
    "TREC with wide columns": b"\xef\xbb\xbfq1   0\td1 2\n\nq1   0 \td2 0\n q2 0 d1 -1 \n",
    "a line twice": b"q1\td1\t2\nq1\td2\t0\nq1\td1\t2\nq2\td1\t-1\n",
}


@pytest.mark.parametrize("content", QRELS_ALIKE.values(), ids=QRELS_ALIKE)
def test_judgements_of_all_forms_are_read_alike(content: bytes, tmp_path: Path) -> None:
    for name in ("a.tsv", "a.tsv.gz"):
        assert read_qrels(pack(tmp_path / name, content)) == {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": -1}}


def test_ids_with_blanks_are_read_where_tabs_part_columns(tmp_path: Path) -> None:
    assert read_qrels(write(tmp_path / "a.tsv", b"q 1\td 1\t1\n")) == {"q 1": {"d 1": 1}}


BAD_QRELS = {
    "two columns": (
        b"q d\n",
        r"a\.tsv:1: expected the columns query 0 document grade \(TREC\) or .*got 'q d'\. Check",
    ),
    "columns change": (b"q\td\t1\nq\t0\td\t1\n", r":2: expected the columns"),
    "empty id": (b"q\td\t1\nq\t\t1\n", r":2: expected the columns"),
    "a header further down": (
        b"q\td\t1\nquery\tdocument\tgrade\n",
        r":2: expected a whole number as grade, got 'grade'",
    ),
    "fraction": (b"q\td\t1\nq\te\t0.5\n", r":2: expected a whole number as grade, got '0\.5'\. The columns are"),
    "text": (b"q1\td1\tyes\n", r":1: expected a whole number as grade, got 'yes'"),
    "NaN is no header": (b"q\td\tnan\n", r":1: expected a whole number as grade, got 'nan'"),
    "contradiction": (
        b"q\td\t1\nq\td\t1\nq\td\t0\n",
        r":3: expected one grade for document 'd' and query 'q', got 0 and, on an earlier line, 1\. Keep one",
    ),
    "only a header": (b"query-id\tcorpus-id\tscore\n", r"a\.tsv: expected judgements .*got none"),
    "empty": (b"", r"a\.tsv: expected judgements .*got none"),
    "UTF-8": (b"q\td\xff\t1\n", r":1: expected UTF-8, got byte 0xff at byte offset 3"),
    "long line": (b"q\td\t1\n" + b"x" * 70_000, r":2: expected the columns .*a line of more than 65,536 bytes"),
}


@pytest.mark.parametrize(("content", "message"), BAD_QRELS.values(), ids=BAD_QRELS)
def test_bad_judgements_are_named_by_line(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        read_qrels(write(tmp_path / "a.tsv", content))


@pytest.mark.parametrize(
    "content",
    [b"d1\t3\nd 2\t40\n", b"docid\tlength\nd1\t3\nd 2\t40.0\n", b"\xef\xbb\xbfdocid\twords\r\nd1\t3\r\n\r\nd 2\t40"],
)
def test_lengths_of_all_forms_are_read_alike(content: bytes, tmp_path: Path) -> None:
    assert read_lengths(pack(tmp_path / "a.tsv.gz", content)) == {"d1": 3, "d 2": 40}


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        (b"docid\twords\n", "words"),
        (b"\n\xef\xbb\xbf", ""),
        (b"\xef\xbb\xbfid\tWord_Count\r\n", "words"),
        (b"id n_tokens\n", "tokens"),
        (b"id\tcharacters\n", "characters"),
        (b"tokens\tlength\n", ""),
        (b"words7\twords\n", ""),
        (b"", ""),
    ],
)
def test_the_header_says_what_lengths_are_counted_in(header: bytes, unit: str, tmp_path: Path) -> None:
    assert read_unit(pack(tmp_path / "a.tsv.gz", header + b"d1\t3\n")) == unit


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_written_lengths_are_read_back(name: str, unit: str, tmp_path: Path) -> None:
    lengths = {"d1": 3, "words": 0, "42": 10**6, "\N{GREEK SMALL LETTER ALPHA}": 1}
    write_lengths(tmp_path / name, lengths, unit)
    assert read_lengths(tmp_path / name) == lengths
    assert list(read_lengths(tmp_path / name)) == list(lengths)
    assert read_unit(tmp_path / name) == unit


def test_lengths_of_a_document_that_no_file_can_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="document ids must be Unicode text without any, got 'd 2'"):
        write_lengths(tmp_path / "a.tsv", {"d 2": 40})
    assert not (tmp_path / "a.tsv").exists()


def test_an_empty_document_has_length_zero(tmp_path: Path) -> None:
    assert read_lengths(write(tmp_path / "a.tsv", b"d1\t3\nd2\t0\nd3\t0.0\n")) == {"d1": 3, "d2": 0, "d3": 0}


def test_lengths_may_be_parted_by_blanks(tmp_path: Path) -> None:
    assert read_lengths(write(tmp_path / "a.txt", b"d1  3\nd2 4\n")) == {"d1": 3, "d2": 4}


BAD_LENGTHS = {
    "negative": (b"d1\t3\nd2\t-3\n", r"a\.tsv:2: expected a whole number of at least 0 as length, got '-3'.*empty"),
    "fraction": (b"d1\t2.5\n", r":1: expected a whole number .*got '2\.5'"),
    "text": (b"d1\tlong\n", r":1: expected a whole number .*got 'long'"),
    "infinity": (b"d\tinf\n", r":1: expected a whole number .*got 'inf'"),
    "twice": (b"d1\t3\nd2\t1\nd1\t3\n", r":3: expected each document once, got 'd1' again\. Keep one"),
    "columns": (b"d1\t3\nd2\t1\t5\n", r":2: expected the columns document length, got 'd2\\t1\\t5'"),
    "nothing": (b"docid\tlength\n", r"a\.tsv: expected lengths \(document, tab, length\), got none"),
}


@pytest.mark.parametrize(("content", "message"), BAD_LENGTHS.values(), ids=BAD_LENGTHS)
def test_bad_lengths_are_named_by_line(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        read_lengths(write(tmp_path / "a.tsv", content))
