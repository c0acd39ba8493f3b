"""Retrieval tasks from BEIR folders: what is written comes back, what cannot be used is named."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_files import json_lines, write
from task_files import (
    PAIRS,
    QRELS,
    QUERIES,
    pack,
    qrels,
    retrieval,
    tsv,
    write_beir,
    write_items,
    write_long_embed,
)
from uncollapse.corpora.texts import is_blank
from uncollapse.errors import CorpusError
from uncollapse.evaluation.reading.layouts import open_tasks

IDS = st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["C", "Z"]), min_size=1, max_size=4)
TEXTS = st.text(min_size=1, max_size=8).filter(lambda text: not is_blank(text))


@settings(max_examples=60, deadline=None)
@given(
    documents=st.dictionaries(IDS, TEXTS, min_size=1, max_size=5),
    queries=st.dictionaries(IDS, TEXTS, min_size=1, max_size=5),
    data=st.data(),
)
def test_a_beir_folder_comes_back(documents: dict[str, str], queries: dict[str, str], data: st.DataObject) -> None:
    pairs = st.tuples(st.sampled_from(sorted(queries)), st.sampled_from(sorted(documents)))
    grades = data.draw(st.dictionaries(pairs, st.integers(-1, 3), min_size=1))
    scored = {query for (query, _), grade in grades.items() if grade > 0}
    with tempfile.TemporaryDirectory() as place:
        folder = write_beir(Path(place, "set"), documents, queries, test=[(*pair, g) for pair, g in grades.items()])
        if not scored:
            with pytest.raises(CorpusError, match="at least one query"):
                open_tasks(folder)
            return
        task = retrieval(folder)
    assert (task.name, task.split, task.main) == ("set", "test", "ndcg@10")
    assert dict(zip(task.documents.ids, task.documents.texts, strict=True)) == {
        name: text.strip() for name, text in documents.items()
    }
    kept = {name: text for name, text in queries.items() if name in scored}
    assert list(zip(task.queries.ids, task.queries.texts, strict=True)) == list(kept.items())
    assert {(q, d): g for q, found in task.judgements.items() for d, g in found.items()} == {
        pair: grade for pair, grade in grades.items() if pair[0] in scored
    }


def test_the_notes_say_what_was_found(tmp_path: Path) -> None:
    task = retrieval(write_beir(tmp_path / "set"))
    assert task.notes == (
        "BEIR folder: 3 documents of corpus.jsonl.gz, 2 queries of queries.jsonl, "
        "3 judgements of qrels/test.tsv, 2 of them relevant",
    )


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"title": "A title", "text": " a text "}, "A title  a text"),
        ({"title": "", "text": " a text\n"}, "a text"),
        ({"title": None, "text": "a text"}, "a text"),
        ({"text": "a text"}, "a text"),
        ({"title": "A title", "text": ""}, "A title"),
        ({"title": "A title", "text": None}, "A title"),
    ],
)
def test_title_and_text_are_joined_as_mteb_does(record: dict[str, object], text: str, tmp_path: Path) -> None:
    folder = write_beir(tmp_path, test=[("q1", "d1", 1)])
    (folder / "corpus.jsonl.gz").unlink()
    write(folder / "corpus.jsonl", json_lines({"_id": "d1", **record}))
    assert retrieval(folder).documents.texts == (text,)


def test_numbers_as_ids_are_read_as_their_digits(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, test=[(7, 12, 1)])
    pack(folder / "corpus.jsonl.gz", json_lines({"_id": 12, "text": "a"}))
    write(folder / "queries.jsonl", json_lines({"_id": 7, "text": "b"}))
    assert retrieval(folder).judgements == {"7": {"12": 1}}


def test_trec_judgements_in_a_beir_folder_are_read(tmp_path: Path) -> None:
    folder = write_beir(tmp_path)
    before = retrieval(folder).judgements
    write(folder / "qrels/test.tsv", b"".join(b"%s 0 %s %d\n" % (q.encode(), d.encode(), g) for q, d, g in QRELS))
    assert retrieval(folder).judgements == before == {"q1": {"d1": 2, "d2": 0}, "q2": {"d3": 1}}


def test_test_is_the_default_split_and_all_are_where_there_is_none(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, train=QRELS, test=QRELS, dev=QRELS[:1])
    assert [task.split for task in open_tasks(folder)] == ["test"]
    assert [task.split for task in open_tasks(folder, split=["train", "dev", "train"])] == ["train", "dev"]
    assert [task.split for task in open_tasks(folder, split="dev")] == ["dev"]
    (folder / "qrels/test.tsv").unlink()
    assert [task.split for task in open_tasks(folder)] == ["dev", "train"]


def test_a_query_for_which_nothing_is_relevant_is_left_out_and_counted(tmp_path: Path) -> None:
    task = retrieval(write_beir(tmp_path, test=[("q1", "d1", 0), ("q1", "d2", -1), ("q2", "d3", 1), ("q2", "d1", 0)]))
    assert task.queries.ids == ("q2",)
    assert task.judgements == {"q2": {"d3": 1, "d1": 0}}
    assert "1 query left out: nothing relevant was judged, so no score exists" in task.notes


def test_ids_shared_by_queries_and_documents_are_counted(tmp_path: Path) -> None:
    task = retrieval(
        write_beir(tmp_path, {"1": "a", "2": "b", "3": "c"}, {"1": "x", "9": "y"}, test=[("1", "2", 1), ("9", "2", 1)])
    )
    assert "1 query has an id that a document has, too" in task.notes


def two_forms(folder: Path, split: str = "test", **others: Mapping[str, str]) -> Path:
    write_beir(folder, **{split: QRELS})
    for form, texts in others.items():
        write_items(folder / f"queries_{form}.jsonl.gz", texts)
    return folder


def test_another_form_of_the_queries_is_mentioned_and_can_be_chosen(tmp_path: Path) -> None:
    long = {name: f"{text} at length" for name, text in QUERIES.items()}
    folder = two_forms(tmp_path, all=long, some={"q1": "one"})
    task = retrieval(folder)
    assert task.queries.texts == ("one", "six")
    assert (
        "the same query ids, perhaps in another form: queries_all.jsonl.gz (--queries queries_all.jsonl.gz)"
        in task.notes
    )
    chosen = retrieval(folder, queries="queries_all.jsonl.gz")
    assert chosen.queries.texts == ("one at length", "six at length")
    assert "2 queries of queries_all.jsonl.gz" in chosen.notes[0]
    assert len(chosen.notes) == 1


def test_queries_named_after_the_split_come_before_the_usual_file(tmp_path: Path) -> None:
    other = {name: f"{text}?" for name, text in QUERIES.items()}
    for split in ("questions", "dev_questions"):
        task = retrieval(two_forms(tmp_path / split, split, questions=other), split=split)
        assert task.queries.texts == ("one?", "six?")
        assert "of queries_questions.jsonl.gz" in task.notes[0]
        assert "another form: queries.jsonl (--queries queries.jsonl)" in task.notes[1]


def test_a_split_whose_queries_are_in_another_file_finds_them(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, queries={"x": "other"})
    write_items(folder / "queries_more.jsonl", QUERIES)
    task = retrieval(folder)
    assert task.queries.texts == ("one", "six")
    assert len(task.notes) == 1


def test_a_query_file_that_does_not_exist_names_those_that_do(tmp_path: Path) -> None:
    folder = two_forms(tmp_path, all=QUERIES)
    with pytest.raises(
        CorpusError,
        match=r"expected the name of a query file, got 'queries_al.jsonl'\. Did you mean .*queries_all\.jsonl\.gz",
    ):
        open_tasks(folder, queries="queries_al.jsonl")


def test_candidates_are_the_documents_of_the_same_context_length(tmp_path: Path) -> None:
    tasks = open_tasks(write_long_embed(tmp_path, [1024, 256]))
    assert [(task.split, task.documents.ids, task.queries.ids, task.main) for task in tasks] == [
        ("test_256", ("256_d0", "256_d1"), ("256_q",), "ndcg@1"),
        ("test_1024", ("1024_d0", "1024_d1"), ("1024_q",), "ndcg@1"),
    ]
    assert "candidates are only the 2 documents whose context_length is 1,024" in tasks[1].notes[1]
    assert [task.split for task in open_tasks(tmp_path, split="test_1024")] == ["test_1024"]


def test_a_split_of_several_context_lengths_falls_into_a_task_each(tmp_path: Path) -> None:
    folder = write_long_embed(tmp_path, [512, 64], split="test")
    assert [task.split for task in open_tasks(folder)] == ["test:64", "test:512"]
    assert [task.split for task in open_tasks(folder, split=["test"])] == ["test:64", "test:512"]
    task = retrieval(folder, split="test:64")
    assert (task.split, task.documents.ids) == ("test:64", ("64_d0", "64_d1"))
    with pytest.raises(CorpusError, match=r"got 'test:6'\. Did you mean 'test:64'.*test:512"):
        open_tasks(folder, split="test:6")


def test_a_document_of_another_context_length_cannot_be_relevant(tmp_path: Path) -> None:
    folder = write_long_embed(tmp_path, [64, 512], split="test")
    write(folder / "qrels/test.tsv", qrels([("64_q", "64_d1", 1), ("512_q", "64_d1", 1)]))
    with pytest.raises(
        CorpusError, match=r"test\.tsv:3: expected a query and a document of one context_length, got 512"
    ):
        open_tasks(folder)


def test_a_context_length_that_queries_lack_narrows_nothing(tmp_path: Path) -> None:
    folder = write_long_embed(tmp_path, [64, 512])
    write(folder / "queries.jsonl", json_lines({"_id": "64_q", "text": "a"}, {"_id": "512_q", "text": "a"}))
    assert {(task.split, len(task.documents), task.main) for task in open_tasks(folder)} == {
        ("test_64", 4, "ndcg@10"),
        ("test_512", 4, "ndcg@10"),
    }


UNKNOWN = [("q1", "d1", 1), ("q9", "d3", 1), ("q9", "d8", 1), ("q2", "d7", 1), ("q2", "d3", 0)]


def test_unknown_ids_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, test=UNKNOWN)
    with pytest.raises(
        CorpusError,
        match=r"test\.tsv:3: expected judgements of what is in the files, got query 'q9', which is not in "
        r"queries\.jsonl\. In all 1 query id and 2 document ids unknown, in 3 of 5 judgements\. .*--lenient",
    ):
        open_tasks(folder)
    write(folder / "qrels/test.tsv", qrels([("q1", "d8", 1), ("q1", "d1", 1)]))
    with pytest.raises(CorpusError, match=r":2: .*got document 'd8', which is not in corpus\.jsonl\.gz"):
        open_tasks(folder)


def test_lenient_drops_unknown_ids_and_says_how_many(tmp_path: Path) -> None:
    task = retrieval(write_beir(tmp_path, test=UNKNOWN), lenient=True)
    assert task.judgements == {"q1": {"d1": 1}}
    assert "judgements left out: 1 query id and 2 document ids unknown, in 3 of 5 judgements" in task.notes
    assert "1 query left out: nothing relevant was judged, so no score exists" in task.notes


def test_leniency_does_not_help_where_nothing_is_known(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, test=[("a", "b", 1)])
    with pytest.raises(
        CorpusError, match=r"1 query id and 1 document id unknown, in 1 of 1 judgement\. Check .* together\.$"
    ):
        open_tasks(folder, lenient=True)


def test_nothing_relevant_at_all_is_refused(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, test=[("q1", "d1", 0), ("q2", "d1", -1)])
    with pytest.raises(CorpusError, match=r"test\.tsv: expected a relevant document .* got none for any of 2\. Check"):
        open_tasks(folder)


def test_judgements_that_contradict_each_other_are_refused_even_leniently(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, test=[("q1", "d1", 0), ("q1", "d1", 1)])
    with pytest.raises(CorpusError, match=r"test\.tsv:3: expected one grade"):
        open_tasks(folder, lenient=True)


def test_a_split_that_does_not_exist_names_those_that_do(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, test=QRELS, train=QRELS)
    with pytest.raises(
        CorpusError, match=r"a split that is there, got 'tset'\. Did you mean 'test'\? Splits there: test, train"
    ):
        open_tasks(folder, split=["train", "tset"])
    for name in ("test:256", "dev:256", ""):
        with pytest.raises(CorpusError, match=r"expected the name of a split that is there"):
            open_tasks(folder, split=name)
    with pytest.raises(CorpusError, match=r"expected the name of a split"):
        open_tasks(folder, split=[])


BAD_TEXTS = {
    "blank": (
        {"_id": "x", "text": " "},
        r":2: field 'text': expected a text, got a blank one\. Mend it, or leave .*--lenient",
    ),
    "number": ({"_id": "x", "text": 5}, r":2: field 'text': expected a string as text, got 5"),
    "no id": ({"text": "a"}, r":2: expected an id \(_id, id"),
    "list as id": ({"_id": [1], "text": "a"}, r":2: field 'text': expected a string or a number as id"),
    "no text": (
        {"_id": "x", "txet": "a"},
        r":2: expected a field 'text', got none of that name\. Did you mean 'txet'",
    ),
    "same id": ({"_id": "q1", "text": "a"}, r":2: expected an id of its own for each text, got 'q1' again"),
}


@pytest.mark.parametrize(("record", "message"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_texts_that_cannot_be_used_are_named_or_counted(
    record: dict[str, object], message: str, tmp_path: Path
) -> None:
    folder = write_beir(tmp_path, test=[("q1", "d1", 1)])
    write(folder / "queries.jsonl", json_lines({"_id": "q1", "text": "a"}, record))
    with pytest.raises(CorpusError, match=r"queries\.jsonl" + message):
        open_tasks(folder)
    task = retrieval(folder, lenient=True)
    assert "left out: 1 x " in task.notes[1]
    assert "queries.jsonl:2" in task.notes[1]
    assert task.queries.ids == ("q1",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{\n", r"queries\.jsonl:1: expected one JSON object a line.*Mend the line or take it out"),
        (b"\n", r"queries\.jsonl: expected texts, got none"),
    ],
)
def test_broken_lines_are_refused_even_leniently(content: bytes, message: str, tmp_path: Path) -> None:
    folder = write_beir(tmp_path)
    write(folder / "queries.jsonl", content)
    with pytest.raises(CorpusError, match=message) as caught:
        open_tasks(folder, lenient=True)
    assert "skip_bad" not in str(caught.value)


def test_files_that_a_beir_folder_lacks_are_named(tmp_path: Path) -> None:
    folder = write_beir(tmp_path)
    (folder / "qrels/test.tsv").rename(folder / "qrels/test.json")
    expected = r"expected judgements in qrels/<split>\.tsv\[\.gz\]"
    with pytest.raises(CorpusError, match=rf"{expected}, got none\. Did you mean 'test\.json'\? Names in .* Add such"):
        open_tasks(folder)
    (folder / "qrels").rename(folder / "qrel")
    missing = (
        rf"{expected}, but there is no folder '.*qrels'\. Did you mean 'qrel'\? Names in .*: qrel, corpus\.jsonl\.gz,"
    )
    with pytest.raises(CorpusError, match=rf"{missing} queries\.jsonl\. Rename the folder that holds them to qrels"):
        open_tasks(folder)
    for number in range(30):
        (folder / f"a{number}").touch()
    with pytest.raises(CorpusError, match=r"Did you mean 'qrel'\? Some names in [^:]*: qrel(, [\w.]+){11}\. Rename"):
        open_tasks(folder)
    (folder / "queries.jsonl").unlink()
    with pytest.raises(
        CorpusError, match=r"expected queries in queries\.jsonl\[\.gz\] beside corpus\.jsonl\.gz, got none"
    ):
        open_tasks(folder)


def test_two_files_of_one_split_are_refused(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "beir")
    pack(folder / "qrels/test.tsv.gz", qrels(QRELS))
    with pytest.raises(CorpusError, match=r"one file a split, got test\.tsv and test\.tsv\.gz in qrels\. Remove one"):
        open_tasks(folder)
    write(tmp_path / "sts/test.tsv", tsv(*PAIRS))
    write(tmp_path / "sts/test.jsonl", json_lines({"sentence1": "a", "sentence2": "b", "score": 1}))
    with pytest.raises(CorpusError, match=r"one file a split, got test\.jsonl, test\.tsv\. Remove one"):
        open_tasks(tmp_path / "sts")
