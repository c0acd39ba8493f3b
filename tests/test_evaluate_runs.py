"""Runs of search engines, scored without a model."""

import numpy as np
import pytest

from uncollapse.errors import CorpusError
from uncollapse.evaluation.comparison import Plan
from uncollapse.evaluation.reading.trec import Ranking, Run
from uncollapse.evaluation.trial import evaluate_runs

PLAN = Plan(bins=3, cells=2, replicates=200, resamples=400)


@pytest.mark.parametrize(("depth", "defined"), [(50, True), (49, False)])
def test_only_runs_of_all_documents_are_told_to_have_a_slope(depth, defined):
    rng = np.random.default_rng(0)
    names = tuple(f"d{i}" for i in range(50))
    judged = {f"q{i}": {names[i]: 1} for i in range(30)}
    scores = {q: dict(zip(names[:depth], rng.standard_normal(depth).tolist(), strict=True)) for q in judged}
    lengths = {name: 10 + i for i, name in enumerate(names)}
    found = evaluate_runs([Run.from_scores("a", scores)], judged, lengths, name="x", plan=PLAN)
    assert any("twice the length" in finding.sentence for finding in found.verdict) == defined
    assert bool(found.select(measure="length_slope_sd")) == defined
    task = found.about["tasks"][0]
    assert ("run that ends before the last document" in task["undefined"].get("length_slope_sd", "")) != defined
    assert any(note.startswith("the run holds at most 49") for note in task["notes"]) != defined


def test_two_runs_are_compared_in_pairs():
    rng = np.random.default_rng(0)
    names = tuple(f"d{i}" for i in range(50))
    judged = {f"q{i}": {names[i]: 1} for i in range(30)}
    lengths = {name: 10 + i for i, name in enumerate(names)}

    def run(name, boost):
        scores = {q: rng.standard_normal(50) + boost * np.eye(50)[i] for i, q in enumerate(judged)}
        return Run.from_scores(name, {q: dict(zip(names, s.tolist(), strict=True)) for q, s in scores.items()})

    found = evaluate_runs([run("weak", 0.0), run("strong", 9.0)], judged, lengths, name="x", plan=PLAN)
    (row,) = found.select(measure="ndcg@10_gain", view="overall")
    assert row.fix == "strong"
    assert row.low > 0.5
    assert row.p_holm < 0.05
    assert found.verdict[0].title == "strong is better than weak on x"


@pytest.mark.parametrize(
    ("runs", "judged", "message"),
    [
        ([], {"q": {"a": 1}}, "got 0 runs"),
        (["a"], {"q": {"a": 0}}, "0 such queries among 1"),
        (["a", "b", "b"], {"q": {"a": 1}}, "'b' is the tag of two of 3 runs"),
    ],
)
def test_runs_that_cannot_be_scored_are_refused(runs, judged, message):
    made = [Run(name, {"q": Ranking(("a",), np.array([1.0]))}) for name in runs]
    with pytest.raises(CorpusError, match=message):
        evaluate_runs(made, judged, {"a": 3}, name="x")


def test_a_figure_that_only_one_run_lacks_is_said_of_that_run_alone():
    rng, names = np.random.default_rng(0), tuple(f"d{i}" for i in range(50))
    judged = {f"q{i}": {names[i]: 1} for i in range(30)}
    lengths = {name: 10 + i for i, name in enumerate(names)}

    def ranked(name: str, depth: int) -> Run:
        scores = {q: dict(zip(names[:depth], rng.standard_normal(depth).tolist(), strict=True)) for q in judged}
        return Run.from_scores(name, scores)

    found = evaluate_runs([ranked("all", 50), ranked("cut", 20)], judged, lengths, name="x", plan=PLAN)
    assert {row.fix for row in found.select(measure="length_slope_sd")} == {"none"}
    assert found.about["tasks"][0]["undefined"]["length_slope_sd"].startswith("cut alone: Not defined for a run")
