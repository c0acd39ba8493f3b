"""Sums over a stream are those of the whole, whatever its order and split, and say what a map would make of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fix_examples import DIM, MadeCorpus, everything, notations
from tolerances import FLOAT64, assert_close
from uncollapse.errors import FixError
from uncollapse.fixes import parse
from uncollapse.fixes.kinds import Kind
from uncollapse.fixes.maps import Curve, VectorMap
from uncollapse.fixes.statistics import FEWEST, Group, Statistics, Sums

MADE = MadeCorpus()
WHOLE = MADE.statistics()


def assert_same(one: Statistics, other: Statistics) -> None:
    pairs = list(zip(everything(one), everything(other), strict=True))
    for (name, left), (other_name, right) in pairs:
        assert name == other_name
        np.testing.assert_allclose(left, right, rtol=FLOAT64, atol=FLOAT64, err_msg=name)


@given(st.integers(0, 10**6), st.integers(0, 400), st.integers(0, 400))
def test_any_split_in_any_order_gives_the_whole(seed: int, one: int, other: int) -> None:
    order = np.random.default_rng(seed).permutation(400)
    a, b, c = (MADE.statistics(rows) for rows in np.split(order, sorted((one, other))))
    assert_same(a.merge(b).merge(c), WHOLE)
    assert_same(a.merge(b.merge(c)), WHOLE)
    assert_same(c.merge(b).merge(a), WHOLE)


def test_merging_changes_neither_part() -> None:
    halves = MADE.statistics(slice(200)), MADE.statistics(slice(200, 400))
    before = [{name: value.copy() for name, value in everything(half)} for half in halves]
    halves[0].merge(halves[1])
    for half, was in zip(halves, before, strict=True):
        for name, value in everything(half):
            np.testing.assert_array_equal(value, was[name])


@pytest.mark.parametrize("text", notations(Kind.VECTOR))
def test_a_fit_to_a_stream_is_the_fit_to_the_whole(text: str) -> None:
    rows = np.random.default_rng(1).permutation(400)
    streamed = Statistics(DIM)
    for few in np.array_split(rows, 13):
        streamed = streamed.merge(MADE.statistics(few))
    for name, array in parse(text).fit(streamed).arrays.items():
        assert_close(array, parse(text).fit(WHOLE).arrays[name], 1e-9)  # eigenvectors, of sums in another order


def test_moments_are_numpys() -> None:
    sums, vectors = WHOLE.documents, MADE.vectors[Group.DOCUMENTS]
    assert_close(sums.mean, vectors.mean(axis=0))
    assert_close(sums.covariance, np.cov(vectors.T, bias=True))
    assert_close(sums.second_moment, vectors.T @ vectors / 400)
    bins = np.rint(2 * np.log2(MADE.n_tokens[Group.DOCUMENTS]))
    inside = [vectors[bins == one] - vectors[bins == one].mean(axis=0) for one in np.unique(bins)]
    around = np.concatenate(inside)
    assert_close(sums.covariance_at_length, around.T @ around / (400 - len(inside)))


@pytest.mark.parametrize("text", ["centering(role)", "all_but_the_top(2)", "whitening(0.5)"])
def test_mapped_statistics_are_those_of_mapped_vectors(text: str) -> None:
    fitted = parse(text).fit(WHOLE)
    direct = Statistics(DIM)
    for group in Group:
        role = "query" if group is Group.QUERIES else "document"
        mapped = fitted.apply(MADE.vectors[group], MADE.n_tokens[group], role)
        direct.of(group).update(mapped, MADE.n_tokens[group])
    assert_same(WHOLE.mapped(fitted), direct)


def test_a_mean_that_moves_is_mapped_by_the_length_of_each_bin() -> None:
    curve = Curve(np.log([8.0, 512.0]), np.array([np.zeros(DIM), np.ones(DIM)]))
    fitted = VectorMap("test", np.eye(DIM), curve, curve)
    made = WHOLE.mapped(fitted).windows
    for number, one in WHOLE.windows.bins.items():  # every window of a bin has its length exactly
        assert_close(made.bins[number].mean, one.mean - curve.at(np.array([one.tokens]))[0])
    direct = fitted.apply(MADE.vectors[Group.WINDOWS], MADE.n_tokens[Group.WINDOWS], "document")
    assert_close(made.covariance, np.cov(direct.T, bias=True))


@pytest.mark.parametrize(
    ("vectors", "n_tokens", "message"),
    [
        (np.ones((3, 4)), [1, 1, 1], r"vectors of 2 dimensions, got shape \(3, 4\). They are of another model"),
        (np.ones(2), [1], r"vectors of 2 dimensions, got shape \(2,\)"),
        (np.array([[1, 2], [np.nan, 1], [np.inf, 1]]), [1, 1, 1], "finite, but 2 of 3 are not; the first is row 1"),
        (np.ones((3, 2)), [1, 1], "one token count a vector, got 2 for 3 vectors"),
    ],
)
def test_vectors_that_do_not_belong_are_refused_and_leave_no_trace(vectors, n_tokens, message: str) -> None:
    sums = Sums(2)
    with pytest.raises(FixError, match=message):
        sums.update(vectors, np.array(n_tokens))
    assert sums.count == 0
    assert not sums.outer.any()


def test_sums_of_two_models_do_not_merge() -> None:
    with pytest.raises(FixError, match="vectors of 2 dimensions, got 3. They are of two models"):
        Sums(2).merge(Sums(3))


@pytest.mark.parametrize(
    ("group", "least", "advice"),
    [
        (Group.DOCUMENTS, FEWEST, "Give more documents, or leave the fix out"),
        (Group.QUERIES, FEWEST, "Give queries, or more documents with sentences"),
        (Group.WINDOWS, 4 * FEWEST, "Give more documents, or longer ones"),
    ],
)
def test_too_few_vectors_are_refused_with_what_is_needed(group: Group, least: int, advice: str) -> None:
    seen = MADE.statistics(slice(least - 1))
    with pytest.raises(
        FixError, match=rf"`it` needs at least {least} {group} to be fitted, got {least - 1}. {advice}"
    ):
        seen.require("it", [group])
    MADE.statistics(slice(least)).require("it", [group])
