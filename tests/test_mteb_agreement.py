"""mteb's figure and ours for the same data are the same to four decimals."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mteb_examples import classification, clustering, labelled_pairs, retrieval, similarity, summaries
from tiny import save_tiny
from uncollapse.encoders import CachedEncoder, SentenceEncoder, load
from uncollapse.evaluation.mteb import as_mteb_task, run_mteb
from uncollapse.evaluation.mteb.tasks import SCORES
from uncollapse.evaluation.reading.layouts import open_tasks
from uncollapse.evaluation.scoring import score_task
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.evaluation.tasks import Classification, Retrieval, Similarity, Task, Texts
from uncollapse.fixes import Fix, compose, parse

DATA = Path(__file__).parents[2] / "shared/data"
FOUR_DECIMALS = 5e-5

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not on this machine")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    return load(str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=60)), device="cpu")


def theirs(encoder: SentenceEncoder, task: Any, output: Path, fix: Fix | None = None) -> dict[str, Any]:
    """mteb's scores of the only split."""
    (result,) = run_mteb(encoder, task, output=output, fix=fix, overwrite="always").task_results
    ((scores,),) = result.scores.values()
    return dict(scores)


def ours(encoder: SentenceEncoder, task: Task, fix: Fix | None = None) -> dict[str, float]:
    """Every metric that the task's first sheet has columns for, the first experiment of clusterings only."""
    sheet = score_task(task, CachedEncoder(encoder, compose(fix).model)).sheets[0]
    columns = {name: column[:, :1] if name == "cluster" else column for name, column in sheet.columns.items()}
    return {
        name: float(np.mean(metric.value(*(columns[column] for column in metric.columns), np.ones((len(sheet), 1)))))
        for name, metric in METRICS.items()
        if set(metric.columns) <= set(columns)
    }


@pytest.mark.parametrize("fix", [None, parse("temperature(0.6)")], ids=str)
def test_rankings(encoder: SentenceEncoder, tmp_path: Path, fix: Fix | None) -> None:
    task = retrieval()
    found, expected = ours(encoder, task, fix), theirs(encoder, as_mteb_task(task), tmp_path, fix)
    assert set(SCORES) <= set(found)
    for name, same in SCORES.items():
        assert found[name] == pytest.approx(expected[same], abs=FOUR_DECIMALS), name
    assert 0.2 < found["ndcg@10"] < 0.8, "a task on which a mistake would show"


@pytest.mark.parametrize(
    ("task", "metric", "same"),
    [
        (similarity(), "spearman", "cosine_spearman"),
        (labelled_pairs(), "average_precision", "cosine_ap"),
        (classification(), "accuracy", "accuracy"),
        (classification(), "f1", "f1"),
        (classification(labels=("a", "b", "c")), "f1", "f1"),
        (clustering(), "v_measure", "v_measure"),
        (summaries(), "summary_spearman", "cosine_spearman"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_other_kinds(encoder: SentenceEncoder, tmp_path: Path, task: Task, metric: str, same: str) -> None:
    expected = theirs(encoder, as_mteb_task(task), tmp_path)[same]
    assert ours(encoder, task)[metric] == pytest.approx(expected, abs=FOUR_DECIMALS)
    assert 0.01 < abs(expected) < 0.99, "a task on which a mistake would show"


def assert_agreement(encoder: SentenceEncoder, task: Retrieval, output: Path) -> None:
    found, expected = ours(encoder, task), theirs(encoder, as_mteb_task(task), output)
    for name, same in SCORES.items():
        assert found[name] == pytest.approx(expected[same], abs=FOUR_DECIMALS), name


def with_documents(task: Retrieval, more: dict[str, str]) -> Retrieval:
    """More documents, which answer nothing."""
    documents = Texts((*task.documents.ids, *more), (*task.documents.texts, *more.values()))
    return replace(task, documents=documents)


def test_a_query_that_is_a_document_does_not_find_itself(encoder: SentenceEncoder, tmp_path: Path) -> None:
    plain = retrieval()
    own = dict(zip(plain.queries.ids[:10], plain.queries.texts[:10], strict=True))
    task = with_documents(plain, own)
    assert_agreement(encoder, task, tmp_path)
    shown = as_mteb_task(task)
    assert shown.ignore_identical_ids
    hidden = theirs(encoder, shown, tmp_path)["ndcg_at_10"]
    shown.ignore_identical_ids = False
    assert theirs(encoder, shown, tmp_path)["ndcg_at_10"] < hidden - 0.01, "mteb's default lets it find itself"


def test_an_id_in_common_means_nothing_by_itself(encoder: SentenceEncoder, tmp_path: Path) -> None:
    plain = retrieval()
    others = {query: f"another text {query}" for query in plain.queries.ids[:10]}
    task = with_documents(plain, others)
    task = replace(
        task, judgements={query: {**grades, query: 3} for query, grades in task.judgements.items() if query in others}
    )
    task = replace(task, queries=Texts(task.queries.ids[:10], task.queries.texts[:10]))
    assert not as_mteb_task(task).ignore_identical_ids
    assert_agreement(encoder, task, tmp_path)
    own = dict(zip(plain.queries.ids[:3], plain.queries.texts[:3], strict=True))
    mixed = replace(task, documents=with_documents(plain, others | own).documents)
    assert as_mteb_task(mixed).ignore_identical_ids
    assert_agreement(encoder, mixed, tmp_path)


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    return load("minilm", device="cpu")


def few_of(task: Retrieval, *, queries: int, documents: int) -> Retrieval:
    """The first queries, what was judged for them, and other documents."""
    names = task.queries.ids[:queries]
    wanted = {name for query in names for name in task.judgements[query]}
    wanted |= set([name for name in task.documents.ids if name not in wanted][: documents - len(wanted)])
    kept = [i for i, name in enumerate(task.documents.ids) if name in wanted]
    texts = Texts(tuple(task.documents.ids[i] for i in kept), tuple(task.documents.texts[i] for i in kept))
    asked = Texts(names, task.queries.texts[:queries])
    return replace(task, documents=texts, queries=asked, judgements={name: task.judgements[name] for name in names})


@pytest.mark.real
@needs_data
def test_real_rankings(minilm: SentenceEncoder, tmp_path: Path) -> None:
    (whole,) = open_tasks(DATA / "scifact", split="test")
    assert isinstance(whole, Retrieval)
    task, fix = few_of(whole, queries=30, documents=200), parse("temperature(0.9)")
    found, expected = ours(minilm, task, fix), theirs(minilm, as_mteb_task(task), tmp_path, fix)
    for name, same in SCORES.items():
        assert found[name] == pytest.approx(expected[same], abs=FOUR_DECIMALS), name


@pytest.mark.real
@needs_data
def test_real_pairs(minilm: SentenceEncoder, tmp_path: Path) -> None:
    (whole,) = open_tasks(DATA / "stsb", split="test")
    assert isinstance(whole, Similarity)
    task = replace(whole, first=whole.first[::5], second=whole.second[::5], scores=whole.scores[::5])
    expected = theirs(minilm, as_mteb_task(task), tmp_path)["cosine_spearman"]
    assert ours(minilm, task)["spearman"] == pytest.approx(expected, abs=FOUR_DECIMALS)
    assert expected > 0.75


@pytest.mark.real
@needs_data
def test_real_labels(minilm: SentenceEncoder, tmp_path: Path) -> None:
    whole = open_tasks(DATA / "agnews", split="test", kind="classification")[0]
    assert isinstance(whole, Classification)
    task = replace(
        whole, train_texts=whole.train_texts[:80], train_labels=whole.train_labels[:80],
        texts=whole.texts[:100], labels=whole.labels[:100],
    )  # fmt: skip
    found, expected = ours(minilm, task), theirs(minilm, as_mteb_task(task), tmp_path)
    assert [found["accuracy"], found["f1"]] == pytest.approx([expected["accuracy"], expected["f1"]], abs=FOUR_DECIMALS)
