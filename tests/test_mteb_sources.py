"""The data of mteb's own tasks as ours, and what is said where they cannot be had."""

import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import mteb
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from mteb_examples import similarity, summaries
from tiny import save_tiny
from uncollapse.encoders import load
from uncollapse.errors import CorpusError
from uncollapse.evaluation.mteb import as_mteb_task, from_mteb, library, run_mteb
from uncollapse.evaluation.tasks import Texts


def test_names_that_mteb_does_not_know() -> None:
    with pytest.raises(
        CorpusError,
        match=r"task or benchmark of mteb's, got 'SciFacts'\. Did you mean 'SciFact'.*`mteb available-tasks`",
    ):
        from_mteb("SciFacts")


@pytest.mark.parametrize(
    "name", ["SciFact", "LEMBNeedleRetrieval", "LongEmbed", "STSBenchmark", "ImdbClassification.v2"]
)
def test_data_that_are_not_here_are_asked_for_at_once(name: str) -> None:
    start = time.monotonic()
    with pytest.raises(
        CorpusError, match=r"data of mteb's task .* on this machine or on the Hugging Face hub"
    ) as error:
        from_mteb(name)
    assert time.monotonic() - start < 5
    assert all(part in str(error.value) for part in ("HF_HUB_OFFLINE", "HF_HOME", "uncollapse evaluate FOLDER"))


def test_a_run_without_data_says_so_too(tmp_path: Path) -> None:
    encoder = load(str(save_tiny(tmp_path / "tiny")), device="cpu")
    with pytest.raises(CorpusError, match=r"data of mteb's task 'SciFact' .* \(mteb/scifact\).*ConnectionError"):
        run_mteb(encoder, "SciFact", output=tmp_path / "out")
    with pytest.raises(CorpusError, match="Expected a task on texts alone, got mteb's 'CIFAR10', which needs image"):
        run_mteb(encoder, "CIFAR10", output=tmp_path / "out")


def online(monkeypatch: pytest.MonkeyPatch, *, answers: bool) -> list[bool]:
    """A process that believes to be on-line; returns what a task found when it loaded its data."""
    seen: list[bool] = []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "getproxies", dict)

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        assert address == ("huggingface.co", 443)
        assert timeout <= 5
        if answers:
            return socket.socket()
        raise OSError("no route")

    def load_data(_: Any, **__: Any) -> None:
        seen.append(huggingface_hub.constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE)
        raise ConnectionError("gone")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(type(mteb.get_task("SciFact")), "load_data", load_data)
    return seen


@pytest.mark.parametrize("answers", [True, False])
def test_a_hub_that_does_not_answer_is_not_asked_again_and_again(
    monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    seen = online(monkeypatch, answers=answers)
    with pytest.raises(CorpusError, match="ConnectionError: gone"):
        from_mteb("SciFact")
    assert seen == [not answers]
    assert not huggingface_hub.constants.HF_HUB_OFFLINE
    assert not datasets.config.HF_HUB_OFFLINE


def test_behind_a_proxy_the_hub_is_believed_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = online(monkeypatch, answers=False)
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://proxy:3128"})
    with pytest.raises(CorpusError, match="gone"):
        from_mteb("SciFact")
    assert seen == [False]


def test_local_tasks_do_not_look_for_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    online(monkeypatch, answers=False)
    monkeypatch.setattr(library, "_answers", lambda _: 1 / 0)
    theirs = as_mteb_task(similarity())
    theirs.unload_data()
    assert from_mteb(theirs)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("CIFAR10", "image"),
        ("BornholmBitextMining", "AbsTaskBitextMining"),
        ("AskUbuntuDupQuestions", "AbsTaskReranking|AbsTaskRetrieval"),
    ],
)
def test_kinds_without_a_counterpart_are_refused(name: str, reason: str) -> None:
    with pytest.raises(CorpusError, match=f"of the kinds Retrieval, STS, .* got '{name}': .*({reason}).*run_mteb"):
        from_mteb(name)


def given(name: str, data: Any, **settings: Any) -> Any:
    """A task of mteb's own whose data are here."""
    task = mteb.get_task(name)
    for key, value in settings.items():
        setattr(task, key, value)
    task.dataset, task.data_loaded = data, True
    return task


LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


def long_rows() -> dict[str, list[dict[str, Any]]]:
    """Three queries a length, in the layout of LongEmbed's own data."""
    rows = [(f"{length}-{i}", length) for length in LENGTHS for i in range(3)]
    return {
        "queries": [{"qid": f"q{name}", "text": f"why {name}", "context_length": length} for name, length in rows],
        "corpus": [{"doc_id": f"d{name}", "text": f"since {name}", "context_length": length} for name, length in rows],
        "qrels": [{"qid": f"q{name}", "doc_id": f"d{name}", "context_length": length} for name, length in rows],
    }


class LongLoader:
    """Stands for the loader of mteb's own layout, in which two of the sets are."""

    def __init__(self, *, split: str, **_: Any) -> None:
        self.length = int(split.partition("_")[2] or 256)

    def load(self, **_: Any) -> dict[str, Any]:
        ids = [f"{self.length}-{i}" for i in range(3)]
        return {
            "corpus": Dataset.from_dict(
                {"id": [f"d{name}" for name in ids], "text": [f"since {name}" for name in ids]}
            ),
            "queries": Dataset.from_dict(
                {"id": [f"q{name}" for name in ids], "text": [f"why {name}" for name in ids]}
            ),
            "relevant_docs": {f"q{name}": {f"d{name}": 1} for name in ids},
            "top_ranked": None,
        }


def test_the_six_sets_of_longembed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = DatasetDict({name: Dataset.from_list(rows) for name, rows in long_rows().items()})
    monkeypatch.setattr(datasets, "load_dataset", lambda **_: data)
    monkeypatch.setattr(mteb.abstasks.retrieval, "RetrievalDatasetLoader", LongLoader)
    tasks = from_mteb("LongEmbed")
    counts = {task.name: len([one for one in tasks if one.name == task.name]) for task in tasks}
    assert counts == {
        "LEMBNarrativeQARetrieval": 1, "LEMBNeedleRetrieval": 8, "LEMBPasskeyRetrieval": 8, "LEMBQMSumRetrieval": 1,
        "LEMBSummScreenFDRetrieval": 1, "LEMBWikimQARetrieval": 1,
    }  # fmt: skip
    assert all(task.main == ("ndcg@1" if counts[task.name] == 8 else "ndcg@10") for task in tasks)
    for name in ("LEMBNeedleRetrieval", "LEMBPasskeyRetrieval"):
        (task,) = from_mteb(name, "test_512")
        assert (task.split, task.documents.ids) == ("test_512", ("d512-0", "d512-1", "d512-2"))
        assert task.queries.texts == ("why 512-0", "why 512-1", "why 512-2")
        assert task.judgements == {f"q512-{i}": {f"d512-{i}": 1} for i in range(3)}


def test_a_search_task_in_the_hub_s_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    place = tmp_path / "data"
    place.mkdir()
    files = {
        "corpus": [{"_id": "2", "title": "Title", "text": " body "}, {"_id": "7", "title": "", "text": "bare"}],
        "queries": [{"_id": "7", "text": "why"}, {"_id": "1", "text": "unjudged"}, {"_id": "5", "text": "bare one"}],
        "default": [
            {"query-id": "7", "corpus-id": "2", "score": 2},
            {"query-id": "7", "corpus-id": "99", "score": 1},
            {"query-id": "5", "corpus-id": "2", "score": 0},
        ],
    }
    header = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}.jsonl\n" for name in files
    )
    (place / "README.md").write_text(f"---\nconfigs:\n{header}---\n")
    for name, rows in files.items():
        Dataset.from_list(rows).to_json(place / f"{name}.jsonl")
    theirs = mteb.get_task("SciFact")
    theirs.metadata = theirs.metadata.model_copy(update={"dataset": {"path": str(place), "revision": "local"}})
    (task,) = from_mteb(theirs)
    assert task.documents == Texts(("2", "7"), ("Title  body", "bare"))
    assert (task.queries, task.judgements) == (Texts(("7",), ("why",)), {"7": {"2": 2}})
    assert task.notes == (
        "1 of mteb's judgements left out: no such query or document",
        "1 queries left out: nothing relevant was judged, and mteb counts them as 0",
    )
    assert not theirs.data_loaded


def search(**settings: Any) -> Any:
    corpus = Dataset.from_dict({"id": ["1", "2"], "text": ["what is it?", "that"]})
    queries = Dataset.from_dict({"id": ["1", "2"], "text": ["What is it?", "so?"]})
    data = {"corpus": corpus, "queries": queries, "relevant_docs": {"1": {"2": 1}, "2": {"1": 1}}, "top_ranked": None}
    return given("SciFact", {"default": {"test": data | settings.pop("data", {})}}, **settings)


def test_rules_for_queries_that_are_documents_are_compared() -> None:
    assert from_mteb(search(ignore_identical_ids=True))[0].notes == (
        "mteb hides from 1 queries a document that has their id but not their text; here it counts",
    )
    assert from_mteb(search())[0].notes == (
        "mteb lets 1 queries that are documents find themselves; here they do not",
    )


def test_instructions_follow_their_queries_and_conversations_are_refused() -> None:
    queries = {"id": ["1", "2"], "text": ["a", "b"], "instruction": ["find it", None]}
    (task,) = from_mteb(search(data={"queries": Dataset.from_dict(queries)}))
    assert task.queries.texts == ("a find it", "b")
    queries = {"id": ["1", "2"], "text": [["a", "b"], ["c"]]}
    with pytest.raises(CorpusError, match="Expected queries that are texts, got conversations in mteb's 'SciFact'"):
        from_mteb(search(data={"queries": Dataset.from_dict(queries)}))


def test_lists_to_be_ranked_anew_are_refused() -> None:
    with pytest.raises(CorpusError, match="Expected a search among all documents, got mteb's 'SciFact', which ranks"):
        from_mteb(search(data={"top_ranked": {"1": ["2"]}}))


def test_another_main_score_is_noted() -> None:
    theirs = search()
    theirs.metadata = theirs.metadata.model_copy(update={"main_score": "ndcg_at_20"})
    (task,) = from_mteb(theirs)
    assert (task.main, task.notes[0]) == ("ndcg@10", "mteb's main score is ndcg_at_20; here it is ndcg@10")


def test_subsets_are_tasks_of_their_own() -> None:
    pairs = Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "score": [1.5]})
    data = {name: DatasetDict(test=pairs) for name in ("en-en", "fr-en")}
    tasks = from_mteb(given("STS17", data, hf_subsets=["en-en", "fr-en"]))
    assert [(task.name, task.split, task.scores.tolist()) for task in tasks] == [
        ("STS17.en-en", "test", [1.5]), ("STS17.fr-en", "test", [1.5]),
    ]  # fmt: skip


def test_pairs_in_mteb_s_older_layout() -> None:
    rows = Dataset.from_dict({"sentence1": [["a", "b"]], "sentence2": [["c", "d"]], "labels": [[1, 0]]})
    (task,) = from_mteb(given("SprintDuplicateQuestions", DatasetDict(test=rows)))
    assert (task.first, task.second, task.labels.tolist()) == (("a", "b"), ("c", "d"), [1, 0])


def test_labels_have_their_names_where_the_data_have_them() -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    named = Dataset.from_dict({"text": ["x", "y"], "label": [1, 0]}, features=features)
    bare = Dataset.from_dict({"text": ["x", "y"], "label": [1, 0]})
    (task,) = from_mteb(given("ImdbClassification.v2", DatasetDict(train=named, test=bare)))
    assert (task.train_labels, task.labels, task.notes) == (("pos", "neg"), ("1", "0"), ())
    (task,) = from_mteb(given("Banking77Classification.v2", DatasetDict(train=bare, test=bare), samples_per_label=16))
    assert task.notes == ("mteb learns from 16 texts a label, here from 8: another figure",)


def test_one_set_for_training_and_trying_is_refused() -> None:
    data = DatasetDict(test=Dataset.from_dict({"text": ["x"], "label": [1]}))
    theirs = given("ImdbClassification.v2", data, is_cross_validation=True)
    with pytest.raises(CorpusError, match="Expected texts to train on and others to try, got only one set in mteb's"):
        from_mteb(theirs)


def test_what_mteb_has_superseded_is_noted() -> None:
    rows = {"human_summaries": [["a"]], "machine_summaries": [["b", "c"]], "relevance": [[1, 2]]}
    (task,) = from_mteb(given("SummEval", DatasetDict(test=Dataset.from_dict(rows))))
    assert task.notes == ("mteb has superseded it by SummEvalSummarization.v2",)


def test_sets_to_be_clustered_alone_are_tasks_of_their_own() -> None:
    rows = Dataset.from_dict({"sentences": [["a", "b"], ["c"]], "labels": [[0, 1], [2]]})
    tasks = from_mteb(given("TwentyNewsgroupsClustering", DatasetDict(test=rows)))
    assert [(task.name[-5:], task.texts, task.labels) for task in tasks] == [
        (".set0", ("a", "b"), ("0", "1")), (".set1", ("c",), ("2",)),
    ]  # fmt: skip


def test_levels_of_labels_are_tasks_of_their_own() -> None:
    labels = [["a", "a1"], ["b"], ["a", "a2"]]
    rows = Dataset.from_dict({"sentences": ["x", "y", "z"], "labels": labels})
    whole = {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": None}
    tasks = from_mteb(given("ArXivHierarchicalClusteringP2P", DatasetDict(test=rows), **whole))
    assert [(task.name[-7:], task.texts, task.labels) for task in tasks] == [
        (".level0", ("x", "y", "z"), ("a", "b", "a")), (".level1", ("x", "z"), ("a1", "a2")),
    ]  # fmt: skip


class Watched:
    """A model that keeps the texts it was given."""

    def __init__(self) -> None:
        self.mteb_model_meta = mteb.models.ModelMeta.create_empty()
        self.texts: list[str] = []

    def encode(self, inputs: Any, **_: Any) -> Any:
        texts = [text for batch in inputs for text in batch["text"]]
        self.texts += texts
        return np.random.default_rng(0).normal(size=(len(texts), 4)).astype(np.float32)

    def similarity(self, *_: Any) -> Any:
        raise AssertionError("clusters need none")

    similarity_pairwise = similarity


@pytest.mark.parametrize("size", [{"max_fraction_of_documents_to_embed": 0.3}, {"max_document_to_embed": 11}])
def test_the_texts_that_mteb_samples_are_those(size: dict[str, float]) -> None:
    settings = {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": None} | size
    settings |= {"max_documents_per_cluster": 20, "n_clusters": 1}
    rows = Dataset.from_dict(
        {"sentences": [f"t{i}" for i in range(40)], "labels": [-1 if i % 5 == 3 else i % 2 for i in range(40)]}
    )
    theirs = given("StackExchangeClustering.v2", DatasetDict(test=rows), **settings)
    (task,) = from_mteb(theirs)
    model = Watched()
    theirs.evaluate(model, "test", encode_kwargs={"batch_size": 8})
    assert task.texts == tuple(text for text in model.texts if int(text[1:]) % 5 != 3) != tuple(model.texts)
    assert task.notes[1] == f"the {len(model.texts)} of 40 texts that mteb samples"


def test_summaries_of_mteb_s_own() -> None:
    task = summaries(2)
    rows = {
        "human_summaries": [list(group) for group in task.references],
        "machine_summaries": [list(group) for group in task.summaries],
        "relevance": [list(group) for group in task.ratings],
    }
    (found,) = from_mteb(given("SummEvalSummarization.v2", DatasetDict(test=Dataset.from_dict(rows))))
    assert (found.ids, found.references, found.ratings) == (("1", "2"), task.references, task.ratings)
