"""What a score means by length: closed forms, planted drift, two-sided intervals, and what cannot be told."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from score_examples import DIM, SOURCE, measure, pairs_of, rows, texts
from tolerances import FLOAT32, assert_close
from uncollapse.diagnosis.scores.cells import make_grid, measure_cells, tells
from uncollapse.diagnosis.scores.pairs import Pairs, Ranking, mean_and_spread, read, share_above, thresholds
from uncollapse.errors import UncollapseError
from uncollapse.records import Part
from uncollapse.reservoir import Kept


def repeated(values: np.ndarray, pairs: Pairs, replicate: int) -> np.ndarray:
    """The scores of one replicate, each pair as often as it is drawn."""
    drawn = pairs.queries.draws[replicate][:, None] * pairs.documents.draws[replicate][None, :]
    return np.repeat(values[~pairs.own], drawn[~pairs.own])


@pytest.fixture(scope="module")
def isotropic() -> Part:
    return measure(texts(400), texts(300, seed=1, name="q"), rates=(0.01, 0.1), replicates=128)


@pytest.fixture(scope="module")
def drifting() -> Part:
    return measure(texts(400, drift=0.2), texts(300, drift=0.1, seed=1, name="q"))


# --- closed forms and planted effects


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_thresholds_of_isotropic_vectors_are_those_of_the_cosine_distribution(isotropic: Part, rate: float) -> None:
    """(cosine + 1) / 2 of a random direction in d dimensions is Beta((d - 1) / 2, (d - 1) / 2)."""
    expected = 2 * beta.isf(rate, (DIM - 1) / 2, (DIM - 1) / 2) - 1
    for view, most_missed in (("scores_overall", 0), ("scores_by_document", 1), ("scores_by_query", 1), ("scores", 2)):
        found = rows(isotropic, f"threshold@{rate:g}", view)
        assert sum(not row.low <= expected <= row.high for row in found) <= most_missed
        assert all(abs(row.value - expected) < 0.06 for row in found)
        shares = rows(isotropic, f"false_positive_rate@{rate:g}", view)
        assert sum(not row.low <= rate <= row.high for row in shares) <= most_missed


def test_isotropic_scores_have_mean_0_and_the_spread_of_their_dimension(isotropic: Part) -> None:
    means, spreads = (rows(isotropic, name, "scores") for name in ("score_mean", "score_sd"))
    assert len(means) == len(spreads) == 20
    assert sum(not row.low <= 0 <= row.high for row in means) <= 2
    assert sum(not row.low <= DIM**-0.5 <= row.high for row in spreads) <= 2
    medians = rows(isotropic, "score_quantile@0.5", "scores")
    assert sum(not row.low <= 0 <= row.high for row in medians) <= 2


def test_where_length_has_no_effect_one_cut_off_is_not_called_bad(isotropic: Part) -> None:
    assert [finding.kind for finding in isotropic.verdict] == ["good", "good"]
    assert isotropic.verdict[0].title == "One threshold means the same for documents of every length"


def test_a_planted_drift_raises_the_threshold_with_length(drifting: Part) -> None:
    found = rows(drifting, "threshold@0.01", "scores_by_document")
    assert [row.bin for row in found] == sorted((row.bin for row in found), key=lambda label: int(label.split("-")[0]))
    assert [row.value for row in found] == sorted(row.value for row in found)
    assert found[0].high < found[-1].low
    shares = rows(drifting, "false_positive_rate@0.01", "scores_by_document")
    assert shares[0].high < 0.01 < shares[-1].low
    first = drifting.verdict[0]
    assert (first.title, first.kind) == ("One threshold lets more through by chance where documents are long", "bad")
    for row in (found[0], found[-1]):
        assert f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]" in first.sentence
        assert f"({row.bin} tokens)" in first.sentence
    assert f"n = {min(row.n for row in (shares[0], shares[-1]))} documents or more" in first.sentence
    assert f"queries: {SOURCE}" in first.sentence
    assert "use a threshold for each length" in first.sentence


def test_short_texts_are_named_where_they_score_higher() -> None:
    flipped = [replace(text, n_tokens=137 - text.n_tokens) for text in texts(400, drift=0.2)]
    part = measure(flipped, texts(300, drift=0.1, seed=1, name="q"))
    assert part.verdict[0].title == "One threshold lets more through by chance where documents are short"


def test_views_tell_the_same_pairs(drifting: Part) -> None:
    """A share over all queries is the mean of the cells' shares, weighted by their pairs."""
    pairs = {cell["bin"]: cell["n_pairs"] for cell in drifting.about["scores"]["cells"]}
    cells = {row.bin: row.value for row in rows(drifting, "false_positive_rate@0.01", "scores")}
    for row in rows(drifting, "false_positive_rate@0.01", "scores_by_document"):
        mine = [label for label in cells if label.endswith(f" x {row.bin}")]
        assert_close(row.value, np.average([cells[label] for label in mine], weights=[pairs[label] for label in mine]))
    total = sum(pairs.values())
    assert total == drifting.about["scores"]["overall"]["n_pairs"] == 300 * 400
    overall = sum(cells[label] * pairs[label] for label in cells) / total
    assert overall <= 0.01 < overall + 1 / total


def test_every_row_has_n_and_an_interval_around_its_value(drifting: Part) -> None:
    views = {"scores", "scores_overall", "scores_by_document", "scores_by_query"}
    assert {row.view for row in drifting.rows} == views
    for row in drifting.rows:
        assert row.n >= 50
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high, row
        assert (row.n_tokens > 0) == (row.view != "scores_overall")
    names = {row.measure for row in drifting.rows if row.view == "scores"}
    quantiles = {f"score_quantile@{share}" for share in ("0.05", "0.25", "0.5", "0.75", "0.95")}
    assert names == {"score_mean", "score_sd", "threshold@0.01", "false_positive_rate@0.01"} | quantiles


# --- what a pair is


def test_a_query_never_meets_its_own_document() -> None:
    documents = texts(120)
    queries = [
        replace(text, text=f"{text.text} beginning") for text in documents
    ]  # the same vectors: own pairs score 1
    part = measure(documents, queries)
    assert part.about["scores"]["overall"]["n_pairs"] == 120 * 119
    assert max(row.high for row in part.rows if row.measure == "threshold@0.01") < 0.9
    assert_close(rows(part, "score_mean", "scores")[0].value, _mean_off_diagonal(documents, part), FLOAT32)
    strangers = measure(documents, [replace(query, id=f"q{query.id}") for query in queries])
    assert strangers.about["scores"]["overall"]["n_pairs"] == 120 * 120
    assert max(row.high for row in strangers.rows if row.measure == "threshold@0.01") > 0.99


def _mean_off_diagonal(documents: Sequence[Kept], part: Part) -> float:
    pairs = pairs_of(documents, documents)
    edges = [part.about["scores"][f"{side}_edges"] for side in ("query", "document")]
    inside = [(side.n_tokens < edge[1]) for side, edge in zip((pairs.queries, pairs.documents), edges, strict=True)]
    return float(pairs.scores[np.outer(*inside) & ~pairs.own].mean())


def test_a_document_with_several_queries_counts_once_in_n() -> None:
    documents = texts(60)
    queries = [replace(text, text=f"{text.text} {i}") for i in range(4) for text in texts(30, seed=i + 1)]
    part = measure(documents, queries)
    assert {row.n for row in part.rows} == {30}
    assert part.about["scores"]["overall"] == {
        "bin": "", "n_queries": 120, "n_documents": 60, "n_pairs": 120 * 59, "n": 30,
    }  # fmt: skip


# --- figures under weights


@pytest.mark.parametrize("own", [0.0, 1.0])
def test_replicates_are_numpys_figures_of_the_repeated_pairs(own: float) -> None:
    queries = texts(40, own=own, seed=1)
    pairs = pairs_of(queries, texts(50, own=own))
    rates = (0.02, 0.3, 0.9)
    found, (mean, spread) = thresholds(pairs, rates), mean_and_spread(pairs)
    cut = found[1]
    reading = read(pairs, rates, [cut])
    for replicate in (0, 7, 63):
        scores = repeated(pairs.scores, pairs, replicate).astype(np.float64)
        assert pairs.drawn()[replicate] == len(scores)
        assert_close(mean.replicates[replicate], scores.mean())
        assert_close(spread.replicates[replicate], scores.std())
        expected = np.quantile(scores, [1 - rate for rate in rates], method="inverted_cdf")
        assert_close([one.replicates[replicate] for one in found], expected)
        assert_close([one.replicates[replicate] for one in reading.quantiles], expected)
        assert reading.above[0][1][replicate] == (scores > cut.replicates[replicate]).sum()
    scores = pairs.scores[~pairs.own].astype(np.float64)
    assert_close([one.value for one in found], np.quantile(scores, [0.98, 0.7, 0.1], method="inverted_cdf"))
    assert_close([mean.value, spread.value], [scores.mean(), scores.std()])
    assert reading.above[0][0] == (scores > cut.value).sum()


def test_equal_scores_are_on_one_side_of_the_threshold() -> None:
    same = [Kept(str(i), "", 9, np.array([1.0, i // 20], np.float32)) for i in range(60)]
    pairs = pairs_of(same, same)
    for rate in (0.05, 0.2, 0.5):
        (found,) = thresholds(pairs, [rate])
        scores = pairs.scores[~pairs.own]
        assert (scores > found.value).mean() <= rate < (scores >= found.value).mean()


def test_a_resample_without_a_pair_has_no_figures() -> None:
    pairs = pairs_of(texts(1, seed=1, name="q"), texts(2))
    empty = pairs.drawn() == 0
    (found,), (mean, spread) = thresholds(pairs, [0.5]), mean_and_spread(pairs)
    reading = read(pairs, [0.5], [found])
    assert 0 < empty.sum() < 64
    for estimate in (found, mean, spread, *reading.quantiles, share_above([reading], 0, n=1)):
        assert (np.isnan(estimate.replicates) == empty).all()


def test_the_ranked_top_gives_what_the_whole_ranking_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of(texts(60, own=1.0, seed=1), texts(80, own=1.0))
    calls: list[float] = []
    original = Ranking.of

    def counted(pairs: Pairs, share: float) -> Ranking:
        calls.append(share)
        return original(pairs, share)

    monkeypatch.setattr(Ranking, "of", counted)
    monkeypatch.setattr("uncollapse.diagnosis.scores.pairs.REACH", 100.0)
    whole = thresholds(pairs, [0.01])[0]
    monkeypatch.setattr("uncollapse.diagnosis.scores.pairs.REACH", 1.0)  # far too little for some resamples
    top = thresholds(pairs, [0.01])[0]
    assert calls == [1.0, 0.01, 1.0]
    assert (top.value, top.low, top.high) == (whole.value, whole.low, whole.high)


def test_a_higher_rate_has_a_lower_threshold() -> None:
    pairs = pairs_of(texts(60, own=1.0, seed=1), texts(80, own=1.0))
    found = thresholds(pairs, [0.01, 0.02, 0.05, 0.2, 0.5])
    for name in ("value", "low", "high"):
        levels = [getattr(one, name) for one in found]
        assert levels == sorted(levels, reverse=True)


def test_a_share_of_none_or_all_claims_no_certainty() -> None:
    pairs = pairs_of(texts(60, seed=1, name="q"), texts(60))
    lowest, highest = (replace(thresholds(pairs, [0.5])[0], value=v, replicates=np.full(64, v)) for v in (-1.0, 1.0))
    reading = read(pairs, [0.5], [lowest, highest])
    every, none = (share_above([reading], i, n=60) for i in (0, 1))
    assert (none.value, none.low, every.value, every.high) == (0.0, 0.0, 1.0, 1.0)
    assert 0.04 < none.high < 0.08
    assert every.low == pytest.approx(1 - none.high)
    assert none.note.startswith("no pair exceeds the threshold; the interval allows for what 60 pairs without")
    assert every.note.startswith("every pair exceeds")


@pytest.mark.parametrize("own", [0.0, 0.7])
def test_intervals_hold_the_truth_about_as_often_as_they_say(own: float) -> None:
    """95 % intervals over texts that have scores of their own, which a bootstrap over pairs would miss."""
    population = [vector for text in texts(1500, own=own, seed=9) if (vector := text.vector) is not None]
    units = np.stack(population) / np.linalg.norm(population, axis=1, keepdims=True)
    scores = (units[:750] @ units[750:].T).ravel()
    truth = [np.quantile(scores, 0.98), scores.mean(), scores.std()]
    hits = np.zeros(3)
    for seed in range(60):
        sample = [texts(60, own=own, seed=1000 + 2 * seed + side, name=f"{seed} {side} ") for side in (0, 1)]
        pairs = pairs_of(*sample, replicates=128, seed=seed)
        found = (*thresholds(pairs, [0.02]), *mean_and_spread(pairs))
        hits += [one.low <= true <= one.high for one, true in zip(found, truth, strict=True)]
    assert (hits / 60 >= 0.85).all(), hits
    if own:
        assert (hits < 60).any()  # an interval that always holds the truth is too wide to be of use


# --- the sample


def test_order_changes_nothing_and_the_seed_only_the_resamples() -> None:
    documents, queries = texts(150, drift=0.1), texts(120, seed=1)
    first, again = measure(documents, queries), measure(documents[::-1], queries[::-1])
    assert first == again
    other = measure(documents, queries, seed=1)
    assert [row.value for row in first.rows] == pytest.approx([row.value for row in other.rows])
    assert [row.low for row in first.rows] != [row.low for row in other.rows]


def test_more_than_enough_texts_are_sampled_by_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uncollapse.diagnosis.scores.measurement.MOST", 100)
    documents = texts(300)
    part = measure(documents, texts(120, seed=1, name="q"))
    assert part.about["scores"]["n_given"] == {"queries": 120, "documents": 300}
    assert part.about["scores"]["overall"]["n_pairs"] == 100 * 100
    assert measure(documents[::-1], texts(120, seed=1, name="q")).rows == part.rows


def test_bins_hold_fifty_texts_each_and_at_most_twenty_cells_there_are() -> None:
    for n, document_bins, query_bins in ((99, 1, 1), (160, 3, 3), (400, 5, 4)):
        scores = measure(texts(n), texts(n, seed=1, name="q")).about["scores"]
        assert (len(scores["document_edges"]) - 1, len(scores["query_edges"]) - 1) == (document_bins, query_bins)


# --- what cannot be told


def test_a_threshold_needs_ten_pairs_above_it() -> None:
    assert tells(1000, 0.01)
    assert not tells(999, 0.01)
    assert tells(100_000, 0.0001)
    part = measure(texts(110), texts(110, seed=1, name="q"), rates=(0.002,))
    assert len(rows(part, "threshold@0.002", "scores_overall")) == 1
    assert rows(part, "threshold@0.002", "scores") == []
    assert len(rows(part, "false_positive_rate@0.002", "scores")) == 4
    last = part.verdict[-1]
    assert (last.title, last.kind) == ("Some thresholds cannot be told", "unknown")
    assert "The score that 0.2 % of pairs exceed needs 5,000 pairs. 4 of 4 combinations" in last.sentence


def test_a_rate_that_all_pairs_together_cannot_tell_has_no_rows() -> None:
    part = measure(texts(110), texts(110, seed=1, name="q"), rates=(0.0001, 0.01))
    assert not any("0.0001" in row.measure for row in part.rows)
    assert len(rows(part, "threshold@0.01", "scores")) == 4
    assert part.verdict[0].title == "Too few pairs to tell a threshold"
    assert "needs 100,000 pairs" in part.verdict[0].sentence
    assert part.verdict[0].kind == "unknown"


@pytest.mark.parametrize(("documents", "queries"), [(20, 200), (200, 20)])
def test_under_thirty_documents_there_is_no_interval_and_a_note(documents: int, queries: int) -> None:
    part = measure(texts(documents), texts(queries, seed=1, name="q"))
    assert part.rows
    for row in part.rows:
        assert (row.low, row.high) == (None, None)
        assert row.n == 20
        assert "only 20 documents, fewer than 30" in row.note
    assert [finding.kind for finding in part.verdict] == ["unknown"]
    assert "needs at least 100 documents, and queries for 30 of them or of others" in part.verdict[0].sentence
    assert f"there are {documents} documents and {queries} queries" in part.verdict[0].sentence


@pytest.mark.parametrize(("documents", "queries"), [(0, 0), (5, 0), (0, 5), (1, 1)])
def test_without_a_pair_there_is_nothing_but_the_finding(documents: int, queries: int) -> None:
    part = measure(texts(documents), texts(queries))
    assert part.rows == ()
    assert [finding.kind for finding in part.verdict] == ["unknown"]


def test_texts_of_one_length_cannot_be_compared() -> None:
    part = measure([replace(text, n_tokens=64) for text in texts(120)])
    assert part.verdict[0].title == "What a score means by length cannot be told"
    assert "Half of the 120 documents or more are read at one length, so that 64 tokens is" in part.verdict[0].sentence


def test_an_interval_too_wide_for_a_verdict_says_so() -> None:
    part = measure(texts(100, own=1.0, drift=0.02, seed=5), texts(60, own=1.0, seed=6, name="q"))
    assert part.verdict[0].kind == "unknown"
    assert part.verdict[0].title == "Whether one threshold fits documents of every length cannot be told"


def test_a_small_difference_is_not_called_bad() -> None:
    part = measure(texts(1000, drift=0.02, seed=5), texts(1000, drift=0.06, seed=6, name="q"), rates=(0.1,))
    assert part.verdict[0].title == "One threshold means nearly the same for documents of every length"
    assert part.verdict[0].kind == "neutral"


# --- bad input


@pytest.mark.parametrize("rates", [(), (0.0,), (1.0,), (-0.1,), (float("nan"),), (0.01, 0.01)])
def test_rates_out_of_range_are_refused(rates: tuple[float, ...]) -> None:
    with pytest.raises(UncollapseError, match="rates must be different numbers above 0 and below 1, at least one"):
        measure(texts(60), rates=rates)


def test_texts_without_vectors_or_of_another_model_are_refused() -> None:
    documents = texts(60)
    with pytest.raises(UncollapseError, match="Scores need the vector of every text, but query '3' has none"):
        measure(documents, [replace(text, vector=None) if text.id == "3" else text for text in documents])
    with pytest.raises(UncollapseError, match="document '0' has none"):
        measure([replace(text, vector=None) for text in documents])
    with pytest.raises(UncollapseError, match=r"one length, got shapes \[\(12,\), \(24,\)\]"):
        measure(documents, texts(60, dim=12))
    with pytest.raises(UncollapseError, match="60 documents have only 59 different ids"):
        measure([*documents[:-1], documents[0]])


def test_progress_is_told_about_every_pair() -> None:
    done: list[float] = []

    class Counting:
        def track(self, what: str, total: float | None, unit: str) -> Any:
            done.append(-(total or 0))
            assert (what, unit) == ("scores of random pairs", "pairs")
            return nullcontext(done.append)

    measure(texts(120), progress=Counting())
    assert sum(done) == 0
    assert len(done) == 5


def test_the_grid_is_what_the_rows_are_made_of() -> None:
    grid = make_grid(pairs_of(texts(120), texts(120)), {"0.05": 0.05})
    cells = [cell for cell, _ in measure_cells(grid, lambda _: None).values()]
    assert cells[0].label == f"{grid.queries.labels[0]} x {grid.documents.labels[0]}"
    assert sum(cell.n_pairs for cell in cells) == grid.pairs.count == 120 * 119
    assert asdict(cells[0])["label"] == cells[0].describe()["bin"]
