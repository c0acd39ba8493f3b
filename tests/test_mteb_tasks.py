"""Our tasks as mteb's and mteb's as ours: nothing is lost on the way, and what cannot be had is said."""

from collections.abc import Callable

import pytest

from mteb_examples import (
    classification,
    clustering,
    labelled_pairs,
    one_of_each,
    plain,
    retrieval,
    similarity,
)
from uncollapse.errors import CorpusError
from uncollapse.evaluation.mteb import as_mteb_task, from_mteb
from uncollapse.evaluation.tasks import Clustering, Retrieval, SummaryEvaluation, Task, Texts


@pytest.mark.parametrize("task", one_of_each(), ids=lambda task: task.kind)
def test_there_and_back_nothing_is_lost(task: Task) -> None:
    theirs = as_mteb_task(task)
    assert [plain(found) for found in from_mteb(theirs)] == [plain(task)]
    theirs.unload_data()
    assert [plain(found) for found in from_mteb(theirs)] == [plain(task)], "loaded again"
    assert not theirs.data_loaded, "left as it was found"


@pytest.mark.parametrize("make", [retrieval, similarity, classification, clustering])
def test_splits_of_one_data_set_are_one_task_of_mteb_s(make: Callable[[str], Task]) -> None:
    test, dev = make("test"), make("dev")
    theirs = as_mteb_task(test, dev)
    assert list(theirs.eval_splits) == ["test", "dev"]
    assert [plain(found) for found in from_mteb(theirs)] == [plain(test), plain(dev)]
    assert [plain(found) for found in from_mteb(theirs, "dev")] == [plain(dev)]


def test_a_split_of_the_name_of_the_training_texts() -> None:
    task = classification("train")
    assert [plain(found) for found in from_mteb(as_mteb_task(task))] == [plain(task)]


def test_names_of_tasks_and_of_the_scores_that_count() -> None:
    shown = [as_mteb_task(task).metadata for task in one_of_each()]
    assert [one.name for one in shown] == [*["toys"] * 4, "toys-clustering", "toys-summary-evaluation"]
    assert [one.main_score for one in shown] == [
        "ndcg_at_10",
        "cosine_spearman",
        "cosine_ap",
        "accuracy",
        "v_measure",
        "cosine_spearman",
    ]
    for ours in ("ndcg@1", "rr@10", "recall@10", "recall@100", "ap"):
        task = Retrieval("t", "test", Texts(("d",), ("x",)), Texts(("q",), ("y",)), {"q": {"d": 1}}, ours)
        assert from_mteb(as_mteb_task(task))[0].main == ours


FIRST, SECOND = (("a", "b"), ("c",)), (("a",), ("b", "c"))


def test_other_data_have_another_revision() -> None:
    def revision(*tasks: Task) -> str:
        return as_mteb_task(*tasks).metadata.revision

    task = clustering()
    assert revision(task) == revision(clustering())
    moved = Clustering(task.name, task.split, task.texts, (task.labels[1], task.labels[0], *task.labels[2:]))
    parted = Clustering(task.name, task.split, (*task.texts[:-2], task.texts[-2] + task.texts[-1]), task.labels[:-1])
    articles = [SummaryEvaluation("t", "s", ("1", "2"), parts, parts, ((1.0,), (2.0,))) for parts in (FIRST, SECOND)]
    assert revision(articles[0]) != revision(articles[1]), "the same texts, but of other articles"
    others = [moved, parted, clustering("dev"), clustering(n=30), similarity()]
    assert len({revision(one) for one in (task, *others)} | {revision(task, clustering("dev"))}) == 7


@pytest.mark.parametrize(
    "others",
    [(similarity("dev"),), (retrieval("test"),), (Retrieval("other", "dev", Texts((), ()), Texts((), ()), {}),)],
)
def test_only_splits_of_one_data_set_go_together(others: tuple[Task, ...]) -> None:
    with pytest.raises(CorpusError, match=r"Expected different splits of one data set, got toys/test \(retrieval\), "):
        as_mteb_task(retrieval("test"), *others)


def test_splits_with_other_training_texts_do_not_go_together() -> None:
    other = classification("dev", labels=("no", "perhaps"))
    with pytest.raises(CorpusError, match="Expected splits of 'toys' with the same training texts, got others"):
        as_mteb_task(classification(), other)


def test_a_split_that_is_not_there() -> None:
    with pytest.raises(CorpusError, match="Expected a split of mteb's task 'toys', got 'tset'. Did you mean 'test'"):
        from_mteb(as_mteb_task(similarity()), "tset")


def test_a_single_pair_is_no_older_layout() -> None:
    task = labelled_pairs(1)
    assert [plain(found) for found in from_mteb(as_mteb_task(task))] == [plain(task)]
