"""Figures of length bias obey their laws and agree with plain loops."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankings import NEUTRAL, make, make_grades, make_lengths, naive, rank, values
from tolerances import assert_close
from uncollapse.evaluation.bias.figures import LengthBias, length_bias
from uncollapse.evaluation.bias.tallies import count_pairs, tail
from uncollapse.evaluation.rankings.ranked import Background, Judged, Ranked, draw_background
from uncollapse.records import LengthBins


def assert_same(a: LengthBias, b: LengthBias) -> None:
    """Equal numbers and intervals; labels of bins may differ."""
    assert a.missing == b.missing
    assert [name for name, _ in a.estimates] == [name for name, _ in b.estimates]
    for one, other in zip(a.estimates.values(), b.estimates.values(), strict=True):
        assert (one.n, one.note, one.low is None) == (other.n, other.note, other.low is None)
        assert_close(other.value, one.value)
        if one.low is not None:
            assert_close([other.low, other.high], [one.low, one.high])


# --- agreement with loops


def assert_agrees(ranked: Ranked, k: int) -> None:
    bias = length_bias(ranked, k=k, bins=3, replicates=4)
    if ranked.lengths.min() == ranked.lengths.max():
        assert not bias.estimates
        return
    edges = LengthBins.equal_count(ranked.lengths, 3).edges
    expected = naive(ranked, k, edges)
    starts = dict(zip(LengthBins(edges).labels, edges, strict=False))
    actual = {(name, starts[label]) if label else name: e.value for (name, label), e in bias.estimates.items()}
    actual = {name: value for name, value in actual.items() if name[0] != "share_of_corpus"}
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(actual[name], value, 1e-9)  # loops subtract means in another order


@pytest.mark.parametrize("run", [False, True])
@pytest.mark.parametrize("k", [1, 5, 100])
def test_figures_agree_with_loops(run: bool, k: int) -> None:
    assert_agrees(make(k, queries=12, documents=40, slope=-0.4, run=run, each=9), k)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_tiny_and_tied_rankings_agree_with_loops(seed: int, queries: int, documents: int, k: int, run: bool) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 6, documents)
    scores = rng.integers(0, 4, (queries, documents)).astype(float)
    grades = make_grades(rng, queries, documents, int(rng.integers(0, 6)), (-1, 0, 1, 2))
    width = int(rng.integers(0, documents + 3))
    assert_agrees(rank(scores, lengths, grades, width=width, background=4, run=run), k)


def test_judged_documents_without_scores_are_compared_by_rank() -> None:
    scored = make(queries=12, run=True)
    blank = dataclasses.replace(scored.judged, score=np.full(len(scored.judged), np.nan))
    by_rank = length_bias(dataclasses.replace(scored, judged=blank), replicates=4)
    assert values(by_rank)["short_wins"] == values(length_bias(scored, replicates=4))["short_wins"]


# --- laws


@pytest.mark.parametrize("run", [False, True])
def test_doubling_all_lengths_changes_nothing(run: bool) -> None:
    ranked = make(1, slope=-0.3, run=run)
    doubled = dataclasses.replace(ranked, lengths=2 * ranked.lengths)
    assert_same(length_bias(ranked, replicates=64), length_bias(doubled, replicates=64))


def test_an_order_of_queries_documents_and_judgements_changes_nothing() -> None:
    ranked = make(2, slope=-0.3)
    rng = np.random.default_rng(0)
    queries, documents = rng.permutation(len(ranked)), rng.permutation(len(ranked.lengths))
    new_query, new_document = np.argsort(queries), np.argsort(documents)
    order = rng.permutation(len(ranked.judged))
    moved = {
        "query": new_query[ranked.judged.query],
        "document": new_document[ranked.judged.document],
        **{name: getattr(ranked.judged, name) for name in ("grade", "rank", "score")},
    }
    permuted = Ranked(
        query_ids=tuple(ranked.query_ids[i] for i in queries),
        groups=tuple(ranked.groups[i] for i in queries),
        lengths=ranked.lengths[documents],
        top=new_document[ranked.top[queries]],
        judged=Judged(**{name: column[order] for name, column in moved.items()}),
        background=Background(new_document[ranked.background.documents[queries]], ranked.background.scores[queries]),
        document_ids=tuple(str(i) for i in documents),
    )
    assert_same(length_bias(ranked, replicates=64), length_bias(permuted, replicates=64))


def test_reversing_every_ranking_turns_every_win_into_a_loss() -> None:
    rng = np.random.default_rng(3)
    lengths, grades = make_lengths(rng, 60), make_grades(rng, 30, 60)
    scores = rng.integers(0, 9, (30, 60)) - np.log2(lengths).round()  # with ties
    up, down = (values(length_bias(rank(s, lengths, grades, width=60), replicates=4)) for s in (scores, -scores))
    for name in ("short_wins", "short_wins_wrongly", "long_wins_wrongly"):
        assert_close(down[name], 1 - up[name])
    assert up["short_wins"] > 0.6
    assert_close(down["length_slope"], -up["length_slope"])
    assert_close(down["length_slope_sd"], -up["length_slope_sd"])
    assert_close(down["length_explained"], up["length_explained"])


def test_scores_may_be_moved_by_query_and_scaled() -> None:
    ranked = make(4, slope=-0.3)
    level = np.random.default_rng(0).normal(0, 5, len(ranked))
    moved = dataclasses.replace(
        ranked,
        judged=dataclasses.replace(ranked.judged, score=3 * ranked.judged.score + level[ranked.judged.query]),
        background=Background(ranked.background.documents, 3 * ranked.background.scores + level[:, None]),
    )
    before, after = values(length_bias(ranked, replicates=4)), values(length_bias(moved, replicates=4))
    assert_close(after.pop("length_slope"), 3 * before.pop("length_slope"))
    assert_close(list(after.values()), list(before.values()))


def test_a_perfect_ranking_has_exactly_the_lengths_that_are_relevant() -> None:
    rng = np.random.default_rng(5)
    lengths, grades = make_lengths(rng, 50), make_grades(rng, 20, 50, grades=(1,))
    scores = rng.normal(size=(20, 50))
    scores[grades[0], grades[1]] += 100
    bias = length_bias(rank(scores, lengths, grades), replicates=64)
    for name in ("length_ratio@R", "short_surplus@R", "long_surplus@R"):
        assert_close(bias.estimates[name, ""].value, NEUTRAL[name])
    assert bias.estimates["length_ratio@R", ""].note.startswith("no interval: every resample gives 1,")
    assert bias.missing["beaten_by_shorter"].startswith("No relevant document has a non-relevant one above it")


def test_queries_of_one_group_count_as_one() -> None:
    ranked = make(6, slope=-0.3)
    judged = ranked.judged
    pairs = {name: np.tile(getattr(judged, name), 2) for name in ("document", "grade", "rank", "score")}
    twice = Ranked(
        query_ids=ranked.query_ids + tuple(f"{name} again" for name in ranked.query_ids),
        groups=ranked.groups * 2,
        lengths=ranked.lengths,
        top=np.tile(ranked.top, (2, 1)),
        judged=Judged(query=np.concatenate([judged.query, judged.query + len(ranked)]), **pairs),
        background=Background(np.tile(ranked.background.documents, (2, 1)), np.tile(ranked.background.scores, (2, 1))),
    )
    once, doubled = (length_bias(r, replicates=64).estimates for r in (ranked, twice))
    for key, estimate in once.items():
        assert doubled[key].n == estimate.n
        if key not in {("length_slope_sd", "")}:  # its degrees of freedom are the same share, twice
            assert_close(doubled[key].replicates, estimate.replicates)


def test_groups_of_queries_are_counted_and_drawn_whole_but_change_no_value() -> None:
    pairs = tuple(f"g{i // 2}" for i in range(40))
    alone, paired = (length_bias(make(6, groups=groups)).estimates for groups in (None, pairs))
    for key, estimate in alone.items():
        assert_close(paired[key].value, estimate.value)
    assert (alone["length_slope", ""].n, paired["length_slope", ""].n) == (40, 20)


def test_shares_of_bins_add_up_to_one_in_every_resample() -> None:
    bias = length_bias(make(7), bins=4, replicates=64)
    for name in ("share_of_corpus", "share_of_relevant", "share_of_top10"):
        shares = [estimate for (measure, _), estimate in bias.estimates.items() if measure == name]
        assert len(shares) == len(bias.n_tokens) == 4
        assert_close(sum(share.value for share in shares), 1.0)
        if name != "share_of_corpus":
            assert_close(sum(share.replicates for share in shares), np.ones(64))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_a_quarter_is_a_quarter_whatever_ties(numbers: list[int]) -> None:
    lengths = np.array(numbers)
    assert_close(tail(lengths).sum(), len(lengths) / 4)
    order = np.argsort(lengths)
    assert (np.diff(tail(lengths)[order]) <= 0).all()


def test_an_empty_document_is_as_long_as_one_token() -> None:
    ranked = make(8)
    shortest = ranked.lengths.argmin()
    lengths = ranked.lengths.copy()
    found = []
    for length in (0, 1):
        lengths[shortest] = length
        found.append(values(length_bias(dataclasses.replace(ranked, lengths=lengths.copy()), replicates=4)))
    assert found[0] == found[1]


def test_a_run_of_every_document_has_the_slope_of_all_scores() -> None:
    run, searched = (make(23, slope=-0.3, width=120, background=120, run=run) for run in (True, False))
    assert_same(length_bias(run, replicates=64), length_bias(searched, replicates=64))


# --- pairs that are too many, or unknown


def test_of_too_many_pairs_a_random_part_is_taken() -> None:
    ranked = make(14, queries=4, documents=400, each=300, slope=-0.3)
    whole, part = count_pairs(ranked), count_pairs(ranked, most=20_000)
    assert whole.share == 1
    assert 0.09 < part.share < 20_000 / (4 * 300 * 299 / 2) + 1e-9
    shares = [(pairs.wins / pairs.counts) for pairs in (whole, part)]
    assert abs(shares[0] - shares[1]).max() < 0.06
    assert_close(part.counts / part.counts.sum(), whole.counts / whole.counts.sum(), 0.05)  # a part drawn at random


def test_a_note_says_that_pairs_were_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_pairs, "__kwdefaults__", {"most": 100})
    note = length_bias(make(14), replicates=4).estimates["short_wins", ""].note
    assert re.fullmatch(r"over \d+ pairs of documents; a random \d+% of all pairs", note)


def test_pairs_that_no_search_returned_are_counted_and_left_out() -> None:
    judged = Judged(
        query=np.zeros(4, np.int64),
        document=np.arange(4),
        grade=np.ones(4, np.int64),
        rank=np.array([0, 0, 1, 0]),
        score=np.array([np.nan, np.nan, 1.0, np.nan]),
    )
    ranked = Ranked(("q",), ("q",), np.array([10, 20, 40, 80]), np.array([[2]]), judged)
    estimate = length_bias(ranked, replicates=4).estimates["short_wins", ""]
    assert estimate.value == pytest.approx(1 / 3)  # the retrieved one beats two shorter and one longer
    assert "over 3 pairs of documents, 3 more left out as neither document was retrieved" in estimate.note


def test_what_a_search_missed_stands_below_what_it_found_whatever_its_score() -> None:
    judged = Judged(np.zeros(2, np.int64), np.arange(2), np.ones(2, np.int64), np.array([0, 1]), np.array([9.0, 1.0]))
    ranked = Ranked(("q",), ("q",), np.array([10, 20]), np.array([[1]]), judged)
    assert length_bias(ranked, replicates=4).estimates["short_wins", ""].value == 0


# --- the random background


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40))
def test_a_background_has_no_document_twice(queries: int, documents: int, size: int) -> None:
    drawn = draw_background(queries, documents, size=size)
    assert drawn.shape == (queries, min(size, documents))
    assert all(len(set(row)) == len(row) for row in drawn.tolist())
    assert np.array_equal(drawn, draw_background(queries, documents, size=size))


def test_a_background_covers_the_corpus_evenly() -> None:
    counts = np.bincount(draw_background(4000, 50, size=10).ravel(), minlength=50)
    assert abs(counts - 800).max() < 6 * np.sqrt(800)
