"""Tasks from records: pairs, labelled texts and rated summaries come back, and bad records are named by line."""

from pathlib import Path

import numpy as np
import pytest

from corpus_files import json_lines, write
from task_files import (
    NEWS,
    PAIRS,
    article,
    labelled,
    one,
    pack,
    said,
    tsv,
)
from uncollapse.errors import CorpusError
from uncollapse.evaluation.reading import files
from uncollapse.evaluation.reading.layouts import open_tasks
from uncollapse.evaluation.tasks import (
    Classification,
    Clustering,
    PairClassification,
    Similarity,
    SummaryEvaluation,
)

AS_JSON = json_lines(*({"sentence1": a, "sentence2": b, "score": score} for a, b, score in PAIRS))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((f"test.tsv{packed}", tsv(*PAIRS)) for packed in ("", ".gz")),
        *((f"test.csv{packed}", tsv(*PAIRS).replace(b"\t", b",")) for packed in ("", ".gz")),
        *((f"test.jsonl{packed}", AS_JSON) for packed in ("", ".gz")),
    ],
)
def test_pairs_with_scores_are_similarity(name: str, content: bytes, tmp_path: Path) -> None:
    path = pack(tmp_path / "sts" / name, content)
    for task in (one(path.parent), one(path)):
        assert isinstance(task, Similarity)
        assert (task.name, task.split, task.first, task.second) == (
            "sts",
            "test",
            ("a b", "c d", "f"),
            ("a", "e", "g"),
        )
        assert task.scores.dtype == np.float64
        assert task.scores.tolist() == [1, 0.5, 0]
        assert task.notes == (f"{name}: 3 pairs with score 0 to 1",)


def test_quotes_are_ordinary_characters_and_other_fields_are_named(tmp_path: Path) -> None:
    content = tsv(('"a', 'b"', 1, "x"), ('"', '""', 2, "y"), columns="sentence1 sentence2 score subset")
    task = one(write(tmp_path / "dev.tsv", content))
    assert (task.first, task.second) == (('"a', '"'), ('b"', '""'))
    assert task.notes[1] == "fields not used: subset"


def test_csv_has_quotes_around_commas_and_line_feeds(tmp_path: Path) -> None:
    content = b'sentence1,sentence2,score\r\n"a, b","two\nlines",1\r\n"say ""x""",d,2\r\n'
    task = one(write(tmp_path / "dev.csv", content))
    assert (task.first, task.second) == (("a, b", 'say "x"'), ("two\nlines", "d"))
    assert task.scores.tolist() == [1, 2]
    write(tmp_path / "bad" / "dev.csv", b'sentence1,sentence2,score\na,b,1\nc,"d"x,2\n')
    with pytest.raises(CorpusError, match=r"dev\.csv:3: expected .* Mend the line"):
        open_tasks(tmp_path / "bad")


def test_a_score_may_have_another_name(tmp_path: Path) -> None:
    path = write(tmp_path / "dev.tsv", tsv(*PAIRS, columns="sentence1 sentence2 relatedness"))
    assert one(path, score_field="relatedness").scores.tolist() == [1, 0.5, 0]
    with pytest.raises(
        CorpusError, match=r"dev\.tsv:2: expected a score in field 'related', got none\. Did you mean 'relatedness'"
    ):
        open_tasks(path, score_field="related")


@pytest.mark.parametrize("name", ["label", "labels"])
@pytest.mark.parametrize("values", [(1, 0, 1), ("1", "0", "1.0"), (True, False, True)])
def test_pairs_with_labels_are_pair_classification(name: str, values: tuple[object, ...], tmp_path: Path) -> None:
    records = ({"sentence1": f"a{i}", "sentence2": f"b{i}", name: value} for i, value in enumerate(values))
    task = one(write(tmp_path / "test.jsonl", json_lines(*records)))
    assert isinstance(task, PairClassification)
    assert (task.first, task.second) == (("a0", "a1", "a2"), ("b0", "b1", "b2"))
    assert (task.labels.dtype, task.labels.tolist()) == (np.int64, [1, 0, 1])
    assert task.notes == ("test.jsonl: 3 pairs, 2 of them with label 1",)


def test_kind_chooses_where_pairs_have_both(tmp_path: Path) -> None:
    rows = [("a", "b", 1, 0), ("c", "d", 2, 1)]
    path = write(tmp_path / "test.tsv", tsv(*rows, columns="sentence1 sentence2 score label"))
    assert isinstance(one(path), Similarity)
    for kind in ("pair classification", "pair-classification", "pair_classification"):
        assert isinstance(one(path, kind=kind), PairClassification)


def levels(folder: Path) -> Path:
    rows = [("a", "b", i, level) for i, level in enumerate(["long", "short", "long", "short"])]
    return write(folder / "test.tsv", tsv(*rows, columns="sentence1 sentence2 score level"))


def test_levels_are_tasks_of_their_own(tmp_path: Path) -> None:
    tasks = open_tasks(levels(tmp_path).parent)
    assert [(task.split, task.scores.tolist()) for task in tasks] == [("test:long", [0, 2]), ("test:short", [1, 3])]
    assert "one task for each value of the field 'level'" in tasks[0].notes
    assert [task.split for task in open_tasks(tmp_path, split=["test:short", "test:long"])] == [
        "test:long",
        "test:short",
    ]
    assert [task.split for task in open_tasks(tmp_path, split=["test:short"])] == ["test:short"]
    with pytest.raises(CorpusError, match=r"got 'test:shor'\. Did you mean 'test:short'"):
        open_tasks(tmp_path, split=["test:shor"])


BAD_PAIRS = {
    "text as score": (
        tsv(("a", "b", "high"), *PAIRS),
        r":2: expected a finite number in field 'score', got 'high'\. Mend",
        1,
    ),
    "no score": (tsv(*PAIRS, ("a", "b", "")), r":5: expected a finite number in field 'score', got ''", 1),
    "NaN": (tsv(*PAIRS, ("a", "b", "nan")), r":5: expected a finite number in field 'score', got 'nan'", 1),
    "infinity": (tsv(*PAIRS, ("a", "b", "-inf")), r":5: expected a finite number", 1),
    "blank": (
        tsv(*PAIRS, ("a", " ", 1)),
        r":5: field 'sentence2': expected a text, got a blank one\. Mend .*--lenient",
        1,
    ),
    "columns": (tsv(*PAIRS, ("a", "b")), r":5: expected 3 fields as in the header, got 2", None),
    "UTF-8": (tsv(*PAIRS) + b"a\xff\tb\t1\n", r":5: expected UTF-8, got byte 0xff", None),
    "one pair": (tsv(PAIRS[0]), r"test\.tsv: expected at least two pairs, got 1\. Add some", None),
    "constant": (
        tsv(("a", "b", 2), ("c", "d", 2)),
        r"test\.tsv: expected scores that differ, got 2 for every pair",
        None,
    ),
    "constant level": (
        tsv(("a", "b", 2, "x"), ("c", "d", 2, "x"), columns="sentence1 sentence2 score level"),
        r"test\.tsv, level 'x': expected scores that differ",
        None,
    ),
    "label": (
        tsv(("a", "b", 1), ("a", "b", 2), ("c", "d", 0), columns="sentence1 sentence2 label"),
        r":3: expected 0 or 1 as label in field 'label', got '2'",
        1,
    ),
    "one label": (
        tsv(("a", "b", 1), ("a", "b", 1), columns="sentence1 sentence2 label"),
        r"expected pairs with label 1 and pairs with label 0, got only 1",
        None,
    ),
}


@pytest.mark.parametrize(("content", "message", "dropped"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_bad_pairs_are_named_or_counted(content: bytes, message: str, dropped: int | None, tmp_path: Path) -> None:
    path = write(tmp_path / "test.tsv", content)
    with pytest.raises(CorpusError, match=message):
        open_tasks(path)
    if dropped is None:
        with pytest.raises(CorpusError, match=message):
            open_tasks(path, lenient=True)
    else:
        task = one(path, lenient=True)
        assert len(task.first) == content.count(b"\n") - 1 - dropped
        assert f"left out: {dropped} x" in said(task)


def test_a_record_that_lacks_the_field_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", AS_JSON + json_lines({"sentence1": "a", "sentence2": "b", "scor": 1}))
    with pytest.raises(
        CorpusError, match=r":4: expected a field 'score', got none of that name\. Did you mean 'scor'"
    ):
        open_tasks(path)


def test_train_and_test_are_classification_and_clustering(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", labelled(*NEWS))
    pack(tmp_path / "test.jsonl.gz", labelled(("d", "x"), ("e", "z"), ("f", "x")))
    both = open_tasks(tmp_path)
    learn, group = both
    assert isinstance(learn, Classification)
    assert isinstance(group, Clustering)
    assert (learn.train_texts, learn.train_labels) == (("a", "b", "c"), ("x", "y", "x"))
    assert (learn.texts, learn.labels) == (group.texts, group.labels) == (("d", "e", "f"), ("x", "z", "x"))
    assert (learn.split, group.split) == ("test", "test")
    assert "1 text of test with a label that train does not have: no classifier finds it" in learn.notes
    assert "test.jsonl.gz: 3 texts of 2 labels" in group.notes
    assert open_tasks(tmp_path, kind="classification") == (learn,)
    assert open_tasks(tmp_path, kind="clustering") == (group,)


def test_without_a_test_file_all_but_train_are_tried_on(tmp_path: Path) -> None:
    for name in ("train", "dev", "other"):
        write(tmp_path / f"{name}.jsonl", labelled(*NEWS))
    assert [(task.split, task.kind) for task in open_tasks(tmp_path)] == [
        (name, kind) for name in ("dev", "other") for kind in ("classification", "clustering")
    ]


def test_one_file_alone_is_clustering(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", labelled(*NEWS))
    write(tmp_path / "test.jsonl", labelled(*NEWS))
    for options in ({"path": tmp_path / "test.jsonl"}, {"path": tmp_path, "split": ["train"]}):
        assert isinstance(one(**options), Clustering)
    (tmp_path / "test.jsonl").unlink()
    task = one(tmp_path)
    assert isinstance(task, Clustering)
    assert task.split == "train"
    with pytest.raises(
        CorpusError, match=r"expected texts to learn from in train\.jsonl.* others to try on, got only train"
    ):
        open_tasks(tmp_path, kind="classification")


def test_labels_may_be_numbers_or_true_and_false(tmp_path: Path) -> None:
    for values in ((0, 1, 0), (True, False, True), ("0", "1", "0")):
        path = write(tmp_path / "a.jsonl", labelled(*zip("abc", values, strict=True), label="labels"))
        assert one(path).labels == tuple(map(str, values))


BAD_LABELS = {
    "one class": (
        (("a", "x"), ("b", "x")),
        r"test\.jsonl: expected texts of two labels or more, got only 'x', 2 times",
    ),
    "a class each": (
        (("a", "x"), ("b", "y")),
        r"expected labels that texts share, got another label for each of 2 texts",
    ),
    "list": (
        (*NEWS, ("d", ["x"])),
        r":4: expected a text or a number as label in field 'label', got \['x'\] \(list\)",
    ),
    "null": ((*NEWS, ("d", None)), r":4: expected a text or a number as label"),
    "blank": ((*NEWS, ("d", " ")), r":4: expected a text or a number as label"),
    "blank text": ((*NEWS, ("", "x")), r":4: field 'text': expected a text, got a blank one"),
    "unseen text": ((*NEWS, ("\u200b\u200b", "x")), r":4: field 'text': .* got a blank one\. It has characters, but"),
}


@pytest.mark.parametrize(("rows", "message"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels_are_named(rows: tuple[tuple[str, object], ...], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", labelled(*rows))
    with pytest.raises(CorpusError, match=message):
        open_tasks(path)
    if ":4:" in message:
        assert "left out: 1 x" in said(one(path, lenient=True))


def test_one_class_to_learn_from_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", labelled(*NEWS))
    write(tmp_path / "train.jsonl", labelled(("a", "x"), ("b", "x")))
    with pytest.raises(CorpusError, match=r"train\.jsonl: expected texts of two labels or more, got only 'x'"):
        open_tasks(tmp_path)
    assert isinstance(one(tmp_path, kind="clustering"), Clustering)


def test_rated_summaries_are_summary_evaluation(tmp_path: Path) -> None:
    records = [article("a", overall=[1, 2, 3], fluency=[3, 3, 3]), article("b", n=2, overall=[5, 5], fluency=[1, 2])]
    path = write(tmp_path / "test.jsonl", json_lines(*records))
    task = one(path)
    assert isinstance(task, SummaryEvaluation)
    assert task.ids == ("a", "b")
    assert task.references == (("said well",),) * 2
    assert task.summaries == (("said 0", "said 1", "said 2"), ("said 0", "said 1"))
    assert task.ratings == ((1, 2, 3), (5, 5))
    assert task.notes == (
        "test.jsonl: 2 articles with 5 summaries, rated by 'overall'",
        "1 article whose ratings are all equal: no correlation exists there",
        "other ratings there: fluency (--score-field fluency)",
    )
    assert one(path, score_field="fluency").ratings == ((3, 3, 3), (1, 2))


def test_the_only_rating_is_taken_and_of_several_one_is_to_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json_lines(article("a", fluency=[1, 2, 3], systems=["x", "y", "z"])))
    assert one(path).ratings == ((1, 2, 3),)
    write(path, json_lines(article("a", fluency=[1, 2, 3], style=[1, 2, 3], short=[1])))
    with pytest.raises(
        CorpusError,
        match=r"a\.jsonl:1: expected one field with scores, got fluency, style\. Choose one.*--score-field",
    ):
        open_tasks(path)
    with pytest.raises(CorpusError, match=r"expected a score in field 'stile', got none\. Did you mean 'style'"):
        open_tasks(path, score_field="stile")
    write(path, json_lines(article("a")))
    with pytest.raises(CorpusError, match=r"expected one field with scores, got none\. Add one"):
        open_tasks(path)


BAD_SUMMARIES = {
    "too few ratings": (
        article("b", overall=[1, 2]),
        r":2: expected a list of 3 numbers in field 'overall', got \[1, 2\]",
    ),
    "text as rating": (article("b", overall=[1, 2, "x"]), r":2: expected a finite number in field 'overall', got 'x'"),
    "blank summary": (
        {**article("b", overall=[1, 2, 3]), "machine_summaries": ["a", "", "b"]},
        r":2: field 'machine_summaries': expected a text, got a blank",
    ),
    "no reference": (
        {**article("b", overall=[1, 2, 3]), "human_summaries": []},
        r":2: expected a list of texts in field 'human_summaries', got \[\]",
    ),
    "text as references": (
        {**article("b", overall=[1, 2, 3]), "human_summaries": "a"},
        r":2: expected a list of texts in field 'human_summaries', got 'a'",
    ),
    "same id": (article("a", overall=[1, 2, 3]), r":2: expected an id of its own for each article, got 'a' again"),
}


@pytest.mark.parametrize(("record", "message"), BAD_SUMMARIES.values(), ids=BAD_SUMMARIES)
def test_bad_summaries_are_named_or_counted(record: dict[str, object], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json_lines(article("a", overall=[1, 2, 3]), record))
    with pytest.raises(CorpusError, match=r"a\.jsonl" + message):
        open_tasks(path)
    task = one(path, lenient=True)
    assert task.ids == ("a",)
    assert "left out: 1 x" in said(task)


def test_ratings_that_are_all_equal_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json_lines(article("a", overall=[2, 2, 2]), article("b", overall=[3, 3, 3])))
    with pytest.raises(
        CorpusError, match=r"a\.jsonl: expected articles with summaries whose 'overall' differs, got none such"
    ):
        open_tasks(path)


def test_a_text_and_its_rated_summary_are_similarity(tmp_path: Path) -> None:
    records = [
        {"id": i, "text": f"long {i}", "summary": f"s {i}", "consistency": i / 2, "votes": [1]} for i in range(3)
    ]
    task = one(write(tmp_path / "qags" / "xsum.jsonl", json_lines(*records)))
    assert isinstance(task, Similarity)
    assert (task.name, task.split) == ("qags", "xsum")
    assert (task.first, task.second) == (("long 0", "long 1", "long 2"), ("s 0", "s 1", "s 2"))
    assert task.scores.tolist() == [0, 0.5, 1]
    path = write(
        tmp_path / "two.jsonl", json_lines(*({**record, "fluency": 1 - record["consistency"]} for record in records))
    )
    with pytest.raises(
        CorpusError, match=r"two\.jsonl:1: expected one field with scores, got consistency, fluency\. Choose"
    ):
        open_tasks(path)
    assert one(path, score_field="fluency").scores.tolist() == [1, 0.5, 0]


def test_texts_and_lines_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "test.tsv", tsv(*PAIRS, ("x" * 50, "y", 1)))
    monkeypatch.setattr(files, "MAX_CHARACTERS", 49)
    with pytest.raises(
        CorpusError, match=r":5: field 'sentence1': expected texts of at most 49 characters, got a longer"
    ):
        open_tasks(path)
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 49)
    with pytest.raises(
        CorpusError, match=r":5: expected texts of at most 49 characters, got a longer one\. Mend the line"
    ):
        open_tasks(path)
