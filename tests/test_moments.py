"""States of a bin merge to what one pass gives, in any split and order, and an error leaves them as they were."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from tolerances import FLOAT32, assert_close
from uncollapse.errors import ModelError, UncollapseError
from uncollapse.measures import uniformity
from uncollapse.moments import BinState, Moments, Sample, update_bins
from uncollapse.resampling import document_keys, poisson_weights, sampling_order

DIM, SIZE, B = 5, 16, 8


def make_rows(n, seed=0, dim=DIM):
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((n, dim)) + 0.5
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    n_tokens = generator.integers(1, 1000, n)
    keys = document_keys([f"{seed}-{i}" for i in range(n)])
    return {"vectors": vectors, "keys": keys, "n_tokens": n_tokens, "truncated": n_tokens > 500}


def take(rows, which):
    return {name: column[which] for name, column in rows.items()}


def make_state(rows, **changes):
    state = BinState(**{"dim": DIM, "replicates": B, "seed": 0, "sample_size": SIZE, **changes})
    state.update(**rows)
    return state


def assert_same(a, b):
    for name in ("count", "n_tokens", "truncated", "mean_tokens"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("weights", "squared_weights"):
        assert np.array_equal(getattr(a.moments, name), getattr(b.moments, name))
    assert np.array_equal(a.sample.keys, b.sample.keys)
    assert np.array_equal(a.sample.vectors, b.sample.vectors)
    assert_close(a.moments.total, b.moments.total)
    # products in float32: the rounding of a sum of n terms grows with n
    assert_close(a.moments.weighted_total, b.moments.weighted_total, FLOAT32 * max(1, a.count / 100))


ROWS = make_rows(300)


# --- merge is one pass


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 300), max_size=6), st.booleans())
def test_any_split_in_any_order_merges_to_one_pass(shuffle, cuts, as_chain):
    order = np.random.default_rng(shuffle).permutation(300)
    parts = [make_state(take(ROWS, part)) for part in np.split(order, sorted(cuts))]
    merged = BinState(DIM, B, 0, SIZE)
    if as_chain:
        for part in parts:
            merged = merged.merge(part)
    else:
        for part in reversed(parts):
            merged = part.merge(merged)
    assert_same(merged, make_state(ROWS))


@pytest.mark.parametrize("chunk", [1, 7, 299, 300])
def test_the_size_of_updates_changes_nothing(chunk):
    state = BinState(DIM, B, 0, SIZE)
    for first in range(0, 300, chunk):
        state.update(**take(ROWS, slice(first, first + chunk)))
    assert_same(state, make_state(ROWS))


def test_updates_beyond_the_inner_chunk_change_nothing(monkeypatch):
    whole = make_state(ROWS)
    monkeypatch.setattr("uncollapse.moments._ROWS", 64)
    assert_same(make_state(ROWS), whole)


def test_merging_changes_neither_part():
    a, b = make_state(take(ROWS, slice(100))), make_state(take(ROWS, slice(100, None)))
    before = pickle.dumps((a, b))
    merged = a.merge(b)
    merged.update(**make_rows(10, seed=1))
    assert pickle.dumps((a, b)) == before


def test_no_rows_change_nothing():
    state = make_state(ROWS)
    state.update(**take(ROWS, slice(0)))
    assert_same(state, make_state(ROWS))


def test_states_travel_between_processes():
    assert_same(pickle.loads(pickle.dumps(make_state(ROWS))), make_state(ROWS))  # noqa: S301 (our own bytes)


# --- what the sums are


def test_moments_are_the_sums_they_say():
    moments = make_state(ROWS).moments
    vectors, weights = ROWS["vectors"].astype(np.float64), poisson_weights(ROWS["keys"], B).astype(np.float64)
    assert moments.count == 300
    assert_close(moments.total, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).sum(axis=0))
    assert moments.weights.tolist() == weights.sum(axis=0).tolist()
    assert moments.squared_weights.tolist() == (weights**2).sum(axis=0).tolist()
    assert_close(moments.weighted_total, weights.T @ vectors, FLOAT32)


def test_rounding_of_the_norms_does_not_reach_the_sum():
    exact = Moments(DIM, B)
    exact.update(ROWS["vectors"], ROWS["keys"])
    scaled = Moments(DIM, B)
    scaled.update(ROWS["vectors"].astype(np.float64) * (1 + 5e-5), ROWS["keys"])
    assert_close(scaled.total, exact.total)


def test_tokens_and_truncation_are_counted():
    state = make_state(ROWS)
    assert state.n_tokens == ROWS["n_tokens"].sum()
    assert state.truncated == (ROWS["n_tokens"] > 500).sum()
    assert state.mean_tokens == pytest.approx(ROWS["n_tokens"].mean())
    assert BinState(DIM).mean_tokens == 0


# --- the sample


def test_the_sample_is_the_first_in_the_random_order():
    sample = make_state(ROWS).sample
    first = np.argsort(sampling_order(ROWS["keys"]))[:SIZE]
    assert np.array_equal(sample.keys, ROWS["keys"][first])
    assert np.array_equal(sample.vectors, ROWS["vectors"][first])


def test_a_small_bin_is_kept_whole():
    assert set(make_state(take(ROWS, slice(9))).sample.keys) == set(ROWS["keys"][:9])


def test_two_models_keep_the_same_documents():
    other = {**ROWS, "vectors": ROWS["vectors"][:, ::-1]}
    assert np.array_equal(make_state(ROWS).sample.keys, make_state(other).sample.keys)


def test_every_document_is_kept_equally_often():
    keys = document_keys([str(i) for i in range(40)])
    kept = np.zeros(40)
    for seed in range(400):
        sample = Sample(dim=1, size=10, seed=seed)
        sample.update(np.ones((40, 1), np.float32), keys)
        kept += np.isin(keys, sample.keys)
    assert abs(kept - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_head_gives_the_first_of_the_sample_with_their_own_weights():
    state = make_state(ROWS, seed=1)
    vectors, weights = state.head(4)
    assert np.array_equal(vectors, state.sample.vectors[:4])
    rows = [ROWS["keys"].tolist().index(key) for key in state.sample.keys[:4]]
    assert np.array_equal(weights, poisson_weights(ROWS["keys"], B, seed=1)[rows])


# --- bins


def test_rows_sent_by_bin_are_rows_given_to_each_bin():
    bins = np.random.default_rng(0).choice([0, 1, 3], 300)
    states = [BinState(DIM, B, 0, SIZE) for _ in range(4)]
    update_bins(states, bins, **ROWS)
    for number, state in enumerate(states):
        assert_same(state, make_state(take(ROWS, bins == number)))


@pytest.mark.parametrize("wrong", [-1, 2])
def test_a_bin_without_state_is_refused_before_anything_is_added(wrong):
    states = [BinState(DIM, B), BinState(DIM, B)]
    with pytest.raises(UncollapseError, match=r"numbers from 0 to 1, one for each state, got \S+ to \S+\. Make one"):
        update_bins(states, np.append(np.zeros(299, int), wrong), **ROWS)
    assert [state.count for state in states] == [0, 0]


# --- refusals


def spoiled(value, row=203):
    vectors = ROWS["vectors"].copy()
    vectors[row] *= value
    return {**ROWS, "vectors": vectors}


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 2.0, 1.001])
def test_vectors_without_norm_one_are_refused_and_nothing_is_added(value, monkeypatch):
    monkeypatch.setattr("uncollapse.moments._ROWS", 100)
    state = make_state(make_rows(20, seed=1))
    with pytest.raises(
        ModelError, match=r"norm 1, but row 203 \(counted from 0\) has norm .*measures.similarity.unit`"
    ):
        state.update(**spoiled(value))
    assert_same(state, make_state(make_rows(20, seed=1)))


def test_a_document_twice_is_refused_and_nothing_is_added():
    state = make_state(ROWS)
    kept = int(np.flatnonzero(ROWS["keys"] == state.sample.keys[-1])[0])
    match = rf"counts each document once, but the document with key {state.sample.keys[-1]:#018x} came twice\. Give"
    with pytest.raises(UncollapseError, match=match):
        state.update(**take(ROWS, [kept]))
    with pytest.raises(UncollapseError, match=match):
        make_state(take(ROWS, [kept, 0, kept]))
    assert_same(state, make_state(ROWS))


def test_a_document_twice_at_the_edge_of_the_sample_is_refused_in_one_update_and_in_two():
    first = np.argsort(sampling_order(ROWS["keys"]))[:SIZE]
    with pytest.raises(UncollapseError, match="came twice"):
        make_state(take(ROWS, [*first, first[-1]]))
    with pytest.raises(UncollapseError, match="came twice"):
        make_state(take(ROWS, first)).update(**take(ROWS, first[-1:]))


def test_a_part_merged_twice_is_refused():
    part = make_state(take(ROWS, slice(9)))
    with pytest.raises(UncollapseError, match="merge each part of a stream once"):
        part.merge(part)


@pytest.mark.parametrize("change", [{"replicates": 12}, {"seed": 1}, {"sample_size": 9}])
def test_states_built_differently_are_not_merged(change):
    name = {"sample_size": "size"}.get(next(iter(change)), next(iter(change)))
    with pytest.raises(UncollapseError, match=rf"built alike, got {name}=\d+ and {name}=\d+\. Build every part with"):
        make_state(ROWS).merge(make_state(make_rows(9, seed=1), **change))


@pytest.mark.parametrize("change", [{"replicates": 12}, {"seed": 1}])
def test_moments_built_differently_are_not_merged(change):
    name = next(iter(change))
    with pytest.raises(UncollapseError, match=rf"built alike, got {name}=\d+ and {name}=\d+"):
        Moments(**{"dim": 2, "replicates": 8, "seed": 0}).merge(
            Moments(**{"dim": 2, "replicates": 8, "seed": 0, **change})
        )


def test_states_of_two_models_are_not_merged():
    with pytest.raises(UncollapseError, match="got dim=5 and dim=6"):
        make_state(ROWS).merge(BinState(6, B, 0, SIZE))


@pytest.mark.parametrize(
    "change",
    [
        {"vectors": ROWS["vectors"][:, :4]},
        {"vectors": ROWS["vectors"][0]},
        {"keys": ROWS["keys"][:9]},
        {"n_tokens": ROWS["n_tokens"][:9]},
        {"truncated": ROWS["truncated"][:, None]},
    ],
)
def test_rows_that_do_not_fit_are_refused(change):
    with pytest.raises(ModelError, match=r"shape \[texts, 5\] with one key .*got vectors of shape \[.*Use one state"):
        make_state({**ROWS, **change})


def test_a_sample_of_nothing_is_refused():
    with pytest.raises(UncollapseError, match="at least 1 document, got size 0"):
        Sample(dim=1, size=0)


def test_more_than_the_sample_holds_is_refused():
    with pytest.raises(UncollapseError, match="holds 16 documents, but 17 were asked for"):
        make_state(ROWS).head(17)


def test_odd_replicates_are_refused_at_once():
    with pytest.raises(UncollapseError, match="multiple of 4, got 7"):
        BinState(dim=2, replicates=7)


def test_shapes_are_checked_while_testing():
    with pytest.raises(TypeCheckError):
        uniformity(np.eye(3), np.ones((2, 4)))
