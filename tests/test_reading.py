"""Tasks from files: what a folder holds is found from the files; shared sets open with the counts of their table."""

import json
from pathlib import Path

import pytest

from corpus_files import json_lines, write
from task_files import (
    NEWS,
    PAIRS,
    labelled,
    one,
    retrieval,
    said,
    tsv,
    write_beir,
)
from uncollapse.errors import CorpusError
from uncollapse.evaluation.reading.layouts import KINDS, LAYOUTS, open_tasks
from uncollapse.evaluation.tasks import (
    Classification,
    Clustering,
    Retrieval,
    Similarity,
    SummaryEvaluation,
)

DATA = Path(__file__).parents[2] / "shared/data"


def test_a_layout_that_is_not_known_lists_those_that_are_and_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "texts.jsonl", json_lines({"_id": 1, "text": "a"}))
    write(tmp_path / "empty.tsv", b"")
    with pytest.raises(CorpusError) as caught:
        open_tasks(tmp_path)
    message = str(caught.value)
    assert "expected a known layout, got empty.tsv (no record); texts.jsonl (_id, text)." in message
    assert "corpus.jsonl, queries.jsonl and qrels/<split>.tsv" in message
    assert all(layout.shape in message for layout in LAYOUTS)


def test_a_folder_without_such_files_says_what_is_in_it(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b.txt", b"x")
    write(tmp_path / "c.xls", b"x")
    with pytest.raises(CorpusError, match=r"expected a known layout, got a/; c\.xls\. Known"):
        open_tasks(tmp_path)
    with pytest.raises(CorpusError, match=r"expected a known layout, got c\.xls\. .*Files end in \.jsonl"):
        open_tasks(tmp_path / "c.xls")


@pytest.mark.parametrize("name", ["queries.jsonl", "corpus.jsonl.gz", "qrels/test.tsv", "qrels"])
def test_a_part_of_a_beir_folder_says_to_open_the_folder(name: str, tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set")
    with pytest.raises(CorpusError, match=r"It belongs to the BEIR folder \S+set: open that"):
        open_tasks(folder / name)


def test_files_of_several_layouts_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "sts.tsv", tsv(*PAIRS))
    write(tmp_path / "news.jsonl", labelled(*NEWS))
    write(tmp_path / "texts.jsonl", json_lines({"text": "a"}))
    with pytest.raises(
        CorpusError, match=r"files of one layout, got several: .*\(news\.jsonl\); .*\(sts\.tsv\)\. Name one"
    ):
        open_tasks(tmp_path)
    assert isinstance(one(tmp_path / "news.jsonl"), Clustering)


def test_files_that_were_not_read_are_noted(tmp_path: Path) -> None:
    write(tmp_path / "test.tsv", tsv(*PAIRS))
    write(tmp_path / "texts.jsonl", json_lines({"text": "a", "words": 1}))
    write(tmp_path / "README.md", b"x")
    assert one(tmp_path).notes[-1] == "not read: texts.jsonl (text, words)"


def test_a_path_that_does_not_exist_names_those_near(tmp_path: Path) -> None:
    write_beir(tmp_path / "scifact")
    with pytest.raises(
        CorpusError, match=r"Expected a folder or a file with tasks, got '.*scifat', .* Did you mean 'scifact'"
    ):
        open_tasks(tmp_path / "scifat")
    with pytest.raises(CorpusError, match=r"Expected a folder or a file with tasks, got ''"):
        open_tasks("")


def test_options_that_belong_to_other_kinds_are_refused(tmp_path: Path) -> None:
    beir, sts = write_beir(tmp_path / "beir"), write(tmp_path / "sts/test.tsv", tsv(*PAIRS))
    news = write(tmp_path / "news.jsonl", labelled(*NEWS))
    with pytest.raises(
        CorpusError, match=r"kind: expected a kind of task, got 'cluster'\. Did you mean 'clustering'\?"
    ):
        open_tasks(beir, kind="cluster")
    with pytest.raises(
        CorpusError, match=r"expected files for clustering, got a folder with corpus.*which makes: retrieval"
    ):
        open_tasks(beir, kind="clustering")
    with pytest.raises(
        CorpusError, match=r"expected files for retrieval, got sentence1.*which makes: similarity\. Leave kind"
    ):
        open_tasks(sts, kind="retrieval")
    for path in (beir, news):
        with pytest.raises(
            CorpusError, match=r"score_field \(--score-field\) chooses among scores, got 'x' for .*Leave it out"
        ):
            open_tasks(path, score_field="x")
    for path in (sts, news):
        with pytest.raises(
            CorpusError, match=r"queries \(--queries\) chooses among the query files .*got 'x' for .*Leave it"
        ):
            open_tasks(path, queries="x")


def test_every_kind_is_made_by_a_layout() -> None:
    assert {kind for layout in LAYOUTS for kind in layout.kinds} | {Retrieval.kind} == set(KINDS)


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not on this machine")

SETS = {
    "chroma_mixed_chunks": (496, {"test": 472}),
    "cisi": (1460, {"test": 76}),
    "claims_wiki": (1019, {"test": 1351, "train": 1033}),
    "cranfield": (1398, {"test": 225}),
    "leval_mixed": (213, {"test": 1108}),
    "liveqa_med": (1935, {"test": 96}),
    "medline": (1033, {"test": 30}),
    "medquad": (6000, {"dev": 300, "test": 1000}),
    "nfcorpus": (3395, {"dev": 324, "test": 323}),
    "qmsum": (197, {"questions": 1332, "test": 1527}),
    "qmsum_dev": (35, {"questions": 244, "test": 281}),
    "scifact": (5183, {"test": 300, "train": 809}),
    "scitldr": (3223, {"dev": 619, "test": 618}),
    "squality": (
        127,
        {"dev": 86, "dev_summaries": 500, "test": 177, "test_summaries": 1040, "train": 169, "train_summaries": 1000},
    ),
}


@needs_data
@pytest.mark.parametrize("name", SETS)
def test_shared_retrieval_sets(name: str) -> None:
    documents, splits = SETS[name]
    tasks = [task for task in open_tasks(DATA / name, split=list(splits)) if isinstance(task, Retrieval)]
    assert {task.split: len(task.queries) for task in tasks} == splits
    assert {len(task.documents) for task in tasks} == {documents}
    assert {task.name for task in tasks} == {name}


@needs_data
@pytest.mark.parametrize(("name", "lengths"), [("needle", 6), ("passkey", 8)])
def test_shared_sets_of_long_embed(name: str, lengths: int) -> None:
    tasks = [task for task in open_tasks(DATA / name) if isinstance(task, Retrieval)]
    assert [task.split for task in tasks] == [f"test_{256 * 2**i}" for i in range(lengths)]
    assert {(len(task.documents), len(task.queries), task.main) for task in tasks} == {(100, 50, "ndcg@1")}
    for task in tasks:
        prefix = task.split.removeprefix("test_") + "_"
        assert all(name.startswith(prefix) for name in (*task.documents.ids, *task.queries.ids))


@needs_data
def test_shared_queries_come_from_the_file_meant() -> None:
    for name, split, file in (
        ("qmsum_dev", "questions", "queries_questions.jsonl"),
        ("qmsum_dev", "test", "queries.jsonl"),
        ("squality", "dev_summaries", "queries_summaries.jsonl"),
        ("nfcorpus", "dev", "queries.jsonl"),
    ):
        task = retrieval(DATA / name, split=split)
        assert f"queries of {file}" in task.notes[0]
        texts = dict(zip(task.queries.ids, task.queries.texts, strict=True))
        lines = (json.loads(line) for line in (DATA / name / file).read_bytes().split(b"\n") if line)
        assert texts == {record["_id"]: record["text"] for record in lines if record["_id"] in texts}
    assert "queries_all.jsonl.gz" in said(retrieval(DATA / "nfcorpus"))
    assert "queries_summaries.jsonl" in said(retrieval(DATA / "liveqa_med"))


@needs_data
def test_shared_graded_judgements_keep_what_is_not_relevant() -> None:
    grades = [grade for found in retrieval(DATA / "liveqa_med").judgements.values() for grade in found.values()]
    assert (len(grades), sum(grade > 0 for grade in grades), set(grades)) == (2147, 945, {0, 1, 2, 3})


PAIRED = {
    "sick": {"dev": 500, "test": 4927, "train": 4500},
    "sts14": {"test": 3750},
    "sts15": {"test": 3000},
    "sts16": {"test": 1186},
    "stsb": {"dev": 1500, "test": 1379, "train": 5749},
    "qags": {"cnndm": 235, "xsum": 239},
    "clss": {
        f"{split}:{level}": 500
        for split in ("test", "train")
        for level in ("paragraph2sentence", "sentence2phrase", "phrase2word")
    },
}


@needs_data
@pytest.mark.parametrize("name", PAIRED)
def test_shared_pairs(name: str) -> None:
    splits = list(dict.fromkeys(split.partition(":")[0] for split in PAIRED[name]))
    tasks = [task for task in open_tasks(DATA / name, split=splits) if isinstance(task, Similarity)]
    assert {task.split: len(task.scores) for task in tasks} == PAIRED[name]


@needs_data
@pytest.mark.parametrize(
    ("name", "train", "test", "labels"),
    [("agnews", 3800, 3800, 4), ("movie_reviews", 1400, 600, 2), ("newsgroups20", 4001, 2998, 20)],
)
def test_shared_labelled_texts(name: str, train: int, test: int, labels: int) -> None:
    learn, group = open_tasks(DATA / name)
    assert isinstance(learn, Classification)
    assert isinstance(group, Clustering)
    assert (len(learn.train_texts), len(learn.texts), len(group.texts)) == (train, test, test)
    assert {len(set(found)) for found in (learn.train_labels, learn.labels, group.labels)} == {labels}


@needs_data
def test_shared_rated_summaries() -> None:
    task = one(DATA / "squality_eval")
    assert isinstance(task, SummaryEvaluation)
    assert len(task.ids) == 100
    assert {tuple(map(len, parts)) for parts in zip(task.references, task.summaries, task.ratings, strict=True)} == {
        (3, 3, 3)
    }


@needs_data
@pytest.mark.parametrize("name", ["length_pool", "pg_essays"])
def test_shared_texts_without_judgements_are_no_task(name: str) -> None:
    with pytest.raises(CorpusError, match="expected a known layout, got texts.jsonl.gz"):
        open_tasks(DATA / name)
