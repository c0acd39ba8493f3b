"""A whole trial with a tiny model: every kind of task, by length, paired, cached, and told in words."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from tiny import save_tiny
from uncollapse.encoders import CachedEncoder, load
from uncollapse.errors import ArchitectureError, UncollapseError
from uncollapse.evaluation.comparison import Plan
from uncollapse.evaluation.rankings.retrieval import as_run, judgements_of
from uncollapse.evaluation.reading.trec import Run
from uncollapse.evaluation.scoring import score_task, texts_of
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.evaluation.statistics.significance import holm
from uncollapse.evaluation.tasks import (
    Classification,
    Clustering,
    PairClassification,
    Retrieval,
    Similarity,
    SummaryEvaluation,
    Texts,
)
from uncollapse.evaluation.trial import evaluate, evaluate_runs, label
from uncollapse.fixes import parse
from uncollapse.records import Result
from uncollapse.tables import ItemTable

PLAN = Plan(bins=3, cells=2, replicates=200, resamples=400)
FIXES = [parse("temperature(0.7)"), parse("temperature(0.5)")]
WORDS = ("a", "man", "plays", "the", "flute", "two", "dogs", "run", "over", "green", "grass", "near", "old", "water")


def sentences(n, seed):
    rng = np.random.default_rng(seed)
    return tuple(" ".join(rng.choice(WORDS, rng.integers(2, 30))) for _ in range(n))


def retrieval() -> Retrieval:
    documents = sentences(80, 0)
    asked = tuple(" ".join(text.split()[:3]) + f" {i}" for i, text in enumerate(documents[:40]))
    judged = {f"q{i}": {f"d{i}": 2, f"d{(i + 41) % 80}": i % 2} for i in range(40)}
    names = tuple(f"d{i}" for i in range(80))
    return Retrieval("docs", "test", Texts(names, documents), Texts(tuple(judged), asked), judged)


def tasks():
    texts, labels = sentences(60, 1), tuple("ab"[i % 2] for i in range(60))
    first, second = sentences(50, 2), sentences(50, 3)
    gold = np.random.default_rng(4).uniform(0, 5, 50)
    groups = [sentences(4, 100 + i) for i in range(12)]
    return (
        retrieval(),
        Similarity("sts", "test", first, second, gold),
        PairClassification("pairs", "test", first, second, (gold > 2).astype(np.int64)),
        Classification("news", "test", texts, labels, texts[:40], labels[:40]),
        Clustering("news", "test", texts, labels),
        SummaryEvaluation(
            "summ", "test", tuple(f"a{i}" for i in range(12)), tuple((g[0],) for g in groups),
            tuple(tuple(g[1:]) for g in groups),
            tuple((1.0, 1.0, 1.0) if i == 0 else (1.0, 2.0 + i % 2, 3.0) for i in range(12)),  # one says nothing
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def result(encoder, tmp_path_factory):
    return evaluate(encoder, tasks(), FIXES, plan=PLAN, cache=tmp_path_factory.mktemp("cache"))


def test_every_task_has_its_main_score_for_every_setting_and_a_gain_for_every_fix(result):
    for task in tasks():
        keys = {"dataset": label(task), "view": "overall"}
        assert {row.fix for row in result.select(measure=task.main, **keys)} == {"none", *map(str, FIXES)}
        assert {row.fix for row in result.select(measure=f"{task.main}_gain", **keys)} == set(map(str, FIXES))


def test_every_number_has_n_and_an_interval_or_says_why_not(result):
    assert len(result.rows) > 200
    for row in result.rows:
        assert row.n > 0 or row.note, row
        assert row.note or (row.low is not None and row.low <= row.value <= row.high), row
        assert row.dataset
        assert row.model


def test_a_gain_is_the_difference_of_the_two_scores(result):
    for row in result.rows:
        metric = row.measure.removesuffix("_gain")
        if metric in METRICS and metric != row.measure:
            keys = {"measure": metric, "dataset": row.dataset, "view": row.view, "bin": row.bin}
            (before,), (after,) = (result.select(**keys, fix=fix) for fix in ("none", row.fix))
            assert row.value == pytest.approx(after.value - before.value, abs=1e-12)


def test_p_values_are_corrected_within_their_family(result):
    for dataset, metric in (("docs/test", "ndcg@10"), ("sts/test", "spearman")):
        for view in ("overall", "by_document_length", "by_query_length"):
            family = [row for row in result.select(measure=f"{metric}_gain", dataset=dataset, view=view) if row.p]
            assert len(family) >= 2
            np.testing.assert_allclose([row.p_holm for row in family], holm([row.p for row in family]))


def test_truncation_stands_beside_every_score(result, encoder):
    for task in tasks():
        rows = result.select(measure="share_truncated", dataset=label(task))
        assert rows
        counted = [encoder.as_role(role).prepare(texts) for role, texts in texts_of(task)]
        cut = sum(int((one.n_tokens_full > one.n_tokens).sum()) for one in counted)
        assert sum(round(row.value * row.n) for row in rows) == cut
        assert sum(row.n for row in rows) == sum(len(one.texts) for one in counted)


SINGLY = "n counts {} taken singly, though most are linked through what they share"


def linked(kind):
    """A task of 40 items, most of which share a text."""
    if kind == "pairs":
        first, second = sentences(40, 2), sentences(40, 3)
        return Similarity("sts", "test", ("a man",) * 30 + first[30:], second, np.arange(40.0) % 7)
    one = retrieval()
    return replace(one, judgements={query: {**grades, "d79": 1} for query, grades in one.judgements.items()})


@pytest.mark.parametrize("kind", ["queries", "pairs"])
def test_rows_say_where_linked_items_are_taken_singly(encoder, kind):
    found = evaluate(encoder, [linked(kind)], FIXES[:1], plan=PLAN)
    (task,) = found.about["tasks"]
    assert any("cannot be grouped" in note for note in task["notes"])
    assert "n_groups" not in task
    of_groups = [row for row in found.rows if row.measure not in ("share_truncated", "share_of_corpus")]
    assert len(of_groups) > 10
    assert all(SINGLY.format(kind) in row.note.split("; ") for row in of_groups)
    assert not any("takes them as independent" in row.note for row in of_groups if row.low is None)
    ways = ("times as wide", "takes them as independent", "both resampled")
    assert all(any(way in row.note for way in ways) for row in of_groups if row.low is not None)
    said = [one.sentence for one in found.verdict if "n = 40" in one.sentence]
    assert said
    assert all("n = 40, not independent" in one for one in said), said
    assert {row.n for row in of_groups if row.view == "overall" and row.measure.endswith("_gain")} == {40}
    others = [row for row in found.rows if row not in of_groups]
    assert others
    assert not any("singly" in row.note for row in others)


def test_rows_of_runs_say_it_too_and_rows_of_groups_do_not(result):
    one = linked("queries")
    lengths = {name: len(text) for name, text in zip(one.documents.ids, one.documents.texts, strict=True)}
    scores = {query: {name: 1.0 / n for n, name in enumerate(grades, 1)} for query, grades in one.judgements.items()}
    run = Run.from_scores("a", scores)
    found = evaluate_runs([run], one.judgements, lengths, name="x", plan=PLAN)
    (row,) = found.select(measure="ndcg@10", view="overall")
    assert SINGLY.format("queries") in row.note
    assert not any("singly" in row.note for row in result.rows)


@pytest.mark.parametrize("named", ["euclidean", "manhattan"])
def test_a_model_that_compares_distances_is_told_to_be_ranked_by_cosine(encoder, monkeypatch, named):
    said = f"the model names {named} as its similarity; here documents are ranked by cosine"
    plain = score_task(retrieval(), CachedEncoder(encoder))
    monkeypatch.setattr(encoder.model, "similarity_fn_name", named)
    found = score_task(retrieval(), CachedEncoder(encoder))
    assert [note for note in found.notes if note.startswith(said)]
    np.testing.assert_array_equal(found.ranked.top, plain.ranked.top)
    task = evaluate(encoder, [retrieval()], plan=PLAN).about["tasks"][0]
    assert [note for note in task["notes"] if note.startswith(said)]


@pytest.mark.parametrize("named", ["cosine", "dot"])
def test_nothing_is_said_of_a_similarity_that_is_used(encoder, monkeypatch, named):
    monkeypatch.setattr(encoder.model, "similarity_fn_name", named)
    assert not [note for note in score_task(retrieval(), CachedEncoder(encoder)).notes if "similarity" in note]


def test_documents_that_cannot_be_told_apart_are_said(encoder, monkeypatch):
    said = "document vectors are the same, so documents are ranked by their ids"
    assert not [note for note in score_task(retrieval(), CachedEncoder(encoder)).notes if said in note]
    monkeypatch.setattr(type(encoder), "vectors", lambda _, texts, *__: np.ones((len(texts), encoder.dim), np.float32))
    assert [note for note in score_task(retrieval(), CachedEncoder(encoder)).notes if said in note]


def test_length_bias_is_given_for_rankings_with_its_change(result):
    names = {row.measure for row in result.select(dataset="docs/test")}
    assert {"length_ratio@10", "length_ratio@10_change"} <= names
    assert {"beaten_by_shorter", "length_slope", "share_of_top10"} <= names
    assert "length_ratio@10" not in {row.measure for row in result.select(dataset="sts/test")}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another model: it reads less of a text, and counts more tokens in it."""
    return load(str(save_tiny(tmp_path_factory.mktemp("other"), "mpnet", max_tokens=16)))


def test_another_model_is_compared_over_the_same_items_in_the_bins_of_the_first(encoder, other, monkeypatch):
    monkeypatch.setattr(other.model, "prompts", {"query": "the old man ", "document": "the green water near "})
    found = evaluate(encoder, tasks(), FIXES[:1], against=[other], plan=PLAN)
    assert found.about["fixes"] == ["none", str(FIXES[0]), other.name]
    for task in tasks():
        for view in ("overall", "by_document_length", "by_query_length", "grid"):
            keys = {"dataset": label(task), "view": view}
            mine, fixed, theirs = (found.select(measure=task.main, fix=fix, **keys) for fix in found.about["fixes"])
            assert [(row.bin, row.n_tokens) for row in theirs] == [(row.bin, row.n_tokens) for row in mine]
            gains = found.select(measure=f"{task.main}_gain", fix=other.name, **keys)
            assert len(gains) == len(theirs) == len(fixed)
            for gain, before, after in zip(gains, mine, theirs, strict=True):
                assert gain.value == pytest.approx(after.value - before.value, abs=1e-12)
    bins = [{row.bin for row in found.select(measure="share_of_top10", fix=fix)} for fix in ("none", other.name)]
    assert bins[0] == bins[1]


def test_every_model_has_its_own_score_whichever_comes_first(encoder, other):
    one = [task for task in tasks() if task.kind in ("retrieval", "similarity")]
    there = evaluate(encoder, one, against=[other], plan=PLAN)
    back = evaluate(other, one, against=[encoder], plan=PLAN)
    for task in one:
        keys = {"dataset": label(task), "view": "overall"}
        (gain,), (loss,) = (found.select(measure=f"{task.main}_gain", **keys) for found in (there, back))
        assert gain.value == pytest.approx(-loss.value)
        assert gain.value != 0
        assert (gain.low, gain.high) == pytest.approx((-loss.high, -loss.low), rel=0.05)
        (alone,) = evaluate(other, [task], plan=PLAN).select(measure=task.main, view="overall")
        (beside,) = there.select(measure=task.main, fix=other.name, **keys)
        assert (alone.value, alone.low, alone.high) == (beside.value, beside.low, beside.high)


def test_what_each_model_cuts_off_is_told(encoder, other):
    found = evaluate(encoder, [retrieval()], FIXES[:1], against=[other], plan=PLAN)
    shares = {row.fix: row.value for row in found.select(measure="share_truncated", bin="documents")}
    assert shares.keys() == {"none", other.name}
    assert shares["none"] < shares[other.name]
    cut = [finding for finding in found.verdict if "of the documents" in finding.title]
    for finding, one, limit in zip(cut, (encoder, other), (60, 16), strict=True):
        assert finding.title.endswith(f"are cut off by {one.name}")
        assert f"longer than the {limit} tokens the model reads" in finding.sentence
    pushed = [finding.title for finding in found.verdict if "push" in finding.title]
    assert [title.rpartition("ranked by ")[2] for title in pushed] == [encoder.name, other.name]


def test_a_note_on_one_model_names_it(encoder, other, monkeypatch):
    monkeypatch.setattr(other.model, "similarity_fn_name", "euclidean")
    found = evaluate(encoder, [retrieval()], against=[other], plan=PLAN)
    (note,) = [note for note in found.about["tasks"][0]["notes"] if "euclidean" in note]
    assert note.startswith(f"{other.name}: the model names euclidean")


def test_a_model_is_compared_once_under_a_name_of_its_own(encoder, other):
    for against in ([encoder], [other, other]):
        with pytest.raises(UncollapseError, match="given twice"):
            evaluate(encoder, [retrieval()], against=against)


def test_the_result_survives_json(result):
    assert Result.from_json(result.to_json()) == replace(result, about=json.loads(json.dumps(result.about)))


def test_items_hold_each_query_under_every_setting(result):
    items = [item for item in result.items if item.dataset == "docs/test"]
    assert len(items) == 40
    by_query = {item.id: item.values for item in items}
    scores = {fix: np.mean([values[fix] for values in by_query.values()]) for fix in ("none", *map(str, FIXES))}
    for fix, mean in scores.items():
        (row,) = result.select(measure="ndcg@10", dataset="docs/test", view="overall", fix=fix)
        assert row.value == pytest.approx(mean)


def test_the_second_run_encodes_nothing_and_finds_the_same(encoder, tmp_path):
    first, again = (evaluate(encoder, [retrieval()], FIXES[:1], plan=PLAN, cache=tmp_path) for _ in range(2))
    assert first.about["vectors"]["encoded"] > 0
    assert again.about["vectors"]["encoded"] == 0
    assert first.rows == again.rows


def test_the_model_is_left_bit_for_bit(encoder):
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    evaluate(encoder, [retrieval()], FIXES, plan=PLAN)
    assert all((tensor == before[name]).all() for name, tensor in encoder.model.state_dict().items())


def test_a_temperature_of_one_changes_nothing_and_is_told(encoder):
    found = evaluate(encoder, [retrieval()], [parse("temperature(1)")], plan=PLAN)
    (row,) = found.select(measure="ndcg@10_gain", view="overall")
    assert (row.value, row.low, row.high) == (0, 0, 0)
    assert "changes nothing" in found.verdict[0].title


def test_a_fix_given_twice_and_no_task_are_refused(encoder):
    with pytest.raises(UncollapseError, match="given twice"):
        evaluate(encoder, [retrieval()], [FIXES[0], FIXES[0]])
    with pytest.raises(UncollapseError, match="got 0 tasks"):
        evaluate(encoder, [])
    with pytest.raises(UncollapseError, match="'docs/test' twice"):
        evaluate(encoder, [retrieval(), retrieval()])


def test_a_fix_the_model_cannot_take_is_refused_before_anything_is_encoded(encoder, monkeypatch):
    monkeypatch.setattr(type(encoder), "vectors", lambda *_: pytest.fail("encoded"))
    with pytest.raises(ArchitectureError):
        evaluate(encoder, [retrieval()], [parse("temperature([0.9, 0.8, 0.7, 0.6, 0.5])")])


def test_with_few_queries_it_says_that_nothing_can_be_told(encoder):
    one = retrieval()
    few = {query: one.judgements[query] for query in one.queries.ids[:5]}
    small = replace(one, queries=Texts(one.queries.ids[:5], one.queries.texts[:5]), judgements=few)
    found = evaluate(encoder, [small], FIXES[:1], plan=PLAN)
    (row,) = found.select(measure="ndcg@10_gain", view="overall")
    assert (row.low, row.high, row.p, row.p_holm) == (None, None, None, None)
    assert "fewer than 10" in row.note or "too few" in row.note
    assert found.verdict[0].kind == "unknown"
    assert "Too little data" in found.verdict[0].title


def test_a_run_of_the_same_ranking_scores_the_same_without_a_model(encoder, result):
    one = retrieval()
    scored = score_task(one, CachedEncoder(encoder))
    lengths = dict(zip(one.documents.ids, scored.ranked.lengths.tolist(), strict=True))
    run = as_run(scored.ranking, "mine")
    found = evaluate_runs([run], judgements_of(scored.ranking), lengths, name="docs", plan=PLAN)
    for measure in ("ndcg@10", "rr@10", "ap", "found@10", "length_ratio@10", "share_of_top10"):
        mine = result.select(measure=measure, dataset="docs/test", fix="none")
        theirs = found.select(measure=measure, fix="none")
        wanted = [row for row in mine if row.view in ("overall", "by_document_length")]
        assert [(row.value, row.low, row.high, row.n) for row in theirs] == [
            (row.value, row.low, row.high, row.n) for row in wanted
        ]


def test_item_rows_hold_every_score_of_every_item(encoder, tmp_path):
    with ItemTable(tmp_path / "items.parquet", runs=tmp_path / "runs") as table:
        found = evaluate(encoder, tasks(), FIXES[:1], plan=PLAN, sink=table)
    rows = pq.read_table(tmp_path / "items.parquet").to_pandas()
    for task in tasks():
        part = rows[(rows.dataset == label(task)) & (rows.fix == "none")]
        assert len(part)
    ndcg = rows[(rows.measure == "ndcg@10") & (rows.fix == "none")]
    (row,) = found.select(measure="ndcg@10", view="overall", fix="none")
    assert ndcg.value.mean() == pytest.approx(row.value)
    assert rows[rows.measure == "correct"].experiment.nunique() == 10
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    runs = ["docs-test.none.trec", "docs-test.qrels", "docs-test.temperature-0.7.trec"]
    assert names == ["docs-test.lengths.tsv", *runs]
