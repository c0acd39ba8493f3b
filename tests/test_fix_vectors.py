"""Laws of the fixes on vectors: identities, invariances, inverses, and agreement with scikit-learn."""

from typing import Any

import numpy as np
import pytest
from sklearn.covariance import OAS
from sklearn.decomposition import PCA

from fix_examples import DIM, MadeCorpus, notations, rotation
from tolerances import assert_close
from uncollapse.errors import FixError
from uncollapse.fixes import FIXES, parse
from uncollapse.fixes.kinds import Kind, VectorFix
from uncollapse.fixes.maps import Affine, Curve, VectorMap, collapse
from uncollapse.fixes.statistics import Group, Statistics
from uncollapse.fixes.vectors import FLOOR, VECTOR_FIXES, Centering, LengthSubspace, Whitening, shrink

MADE = MadeCorpus()
SEEN = MADE.statistics()
DOCUMENTS, QUERIES = MADE.vectors[Group.DOCUMENTS], MADE.vectors[Group.QUERIES]
DOCUMENT_TOKENS, QUERY_TOKENS = MADE.n_tokens[Group.DOCUMENTS], MADE.n_tokens[Group.QUERIES]

ALL = notations(Kind.VECTOR)


def fitted(text: str, seen: Statistics = SEEN) -> VectorMap:
    fix: Any = parse(text)
    made: VectorMap = fix.fit(seen)
    return made


def test_every_vector_fix_keeps_the_contract() -> None:
    assert set(VECTOR_FIXES) <= set(FIXES)
    for text in ALL:
        fix = parse(text)
        assert isinstance(fix, VectorFix)
        assert fix.kind == Kind.VECTOR
        assert set(fix.needs) <= set(Group)


@pytest.mark.parametrize("text", ["whitening(0)", "length_subspace(0)"])
def test_a_dial_at_nothing_changes_no_bit(text: str) -> None:
    assert parse(text).is_identity
    assert fitted(text).apply(DOCUMENTS, DOCUMENT_TOKENS, "document").tobytes() == DOCUMENTS.tobytes()
    assert fitted(text, Statistics(DIM)).apply(QUERIES, QUERY_TOKENS, "query").tobytes() == QUERIES.tobytes()


@pytest.mark.parametrize("text", [text for text in ALL if not parse(text).is_identity])
def test_anything_else_changes_vectors(text: str) -> None:
    assert np.abs(fitted(text).apply(DOCUMENTS, DOCUMENT_TOKENS, "document") - DOCUMENTS).max() > 1e-3


@pytest.mark.parametrize("text", ALL)
def test_a_fit_reads_only_what_it_says_it_needs(text: str) -> None:
    fix: Any = parse(text)
    part = Statistics(DIM)
    for group in fix.needs:
        part.of(group).update(MADE.vectors[group], MADE.n_tokens[group])
    for name, array in fix.fit(part).arrays.items():
        np.testing.assert_array_equal(array, fitted(text).arrays[name])


@pytest.mark.parametrize("text", ALL)
def test_arrays_are_the_whole_map(text: str) -> None:
    made = fitted(text)
    again = VectorMap.from_arrays(made.fix, {name: array.copy() for name, array in made.arrays.items()})
    for role, vectors, n_tokens in (("document", DOCUMENTS, DOCUMENT_TOKENS), ("query", QUERIES, QUERY_TOKENS)):
        assert again.apply(vectors, n_tokens, role).tobytes() == made.apply(vectors, n_tokens, role).tobytes()
    assert again.fix == made.fix == text


@pytest.mark.parametrize("text", ALL)
def test_turned_vectors_are_fixed_as_turned(text: str) -> None:
    turn = rotation()
    turned = fitted(text, MadeCorpus(turn=turn).statistics())
    for role, vectors, n_tokens in (("document", DOCUMENTS, DOCUMENT_TOKENS), ("query", QUERIES, QUERY_TOKENS)):
        plain = fitted(text).apply(vectors, n_tokens, role)
        assert_close(turned.apply(vectors @ turn.T, n_tokens, role), plain @ turn.T, 1e-8)  # of eigenvectors


@pytest.mark.parametrize("text", ALL)
def test_one_matrix_and_one_offset_do_the_same(text: str) -> None:
    made = fitted(text)
    if text == "centering(length)":
        with pytest.raises(FixError, match=r"`centering\(length\)` subtracts another mean at every length"):
            made.as_affine("document")
        return
    for role in ("document", "query", "text"):
        affine = made.as_affine(role)
        direct = made.apply(DOCUMENTS, DOCUMENT_TOKENS, role)
        assert_close(DOCUMENTS @ affine.matrix.T + affine.offset, direct)


def test_affine_maps_follow_each_other() -> None:
    first, second = (fitted(text).as_affine("query") for text in ("centering(role)", "whitening(0.5)"))
    both: Affine = second.after(first)
    inner = QUERIES @ first.matrix.T + first.offset
    assert_close(QUERIES @ both.matrix.T + both.offset, inner @ second.matrix.T + second.offset)


def test_the_order_of_fixes_matters_and_is_kept() -> None:
    first = fitted("all_but_the_top(1)")
    second = fitted("whitening(1)", SEEN.mapped(first))
    by_hand = second.apply(first.apply(DOCUMENTS, DOCUMENT_TOKENS, "document"), DOCUMENT_TOKENS, "document")
    other = fitted("whitening(1)")
    swapped = fitted("all_but_the_top(1)", SEEN.mapped(other)).apply(
        other.apply(DOCUMENTS, DOCUMENT_TOKENS, "document"), DOCUMENT_TOKENS, "document"
    )
    assert np.abs(by_hand - swapped).max() > 0.1


@pytest.mark.parametrize("role", ["document", "query"])
def test_several_maps_are_one_matrix_and_curves(role) -> None:
    maps, seen, mapped = [], SEEN, DOCUMENTS
    for text in ("centering(length)", "whitening(0.5)", "centering(role)", "length_subspace(1)"):
        maps.append(fitted(text, seen))
        seen, mapped = seen.mapped(maps[-1]), maps[-1].apply(mapped, DOCUMENT_TOKENS, role)
    assert_close(collapse(maps, role).apply(DOCUMENTS, DOCUMENT_TOKENS), mapped)


def test_roles_have_means_of_their_own() -> None:
    made = fitted("centering(role)")
    assert_close(made.apply(DOCUMENTS, DOCUMENT_TOKENS, "document").mean(axis=0), np.zeros(DIM))
    assert_close(made.apply(QUERIES, QUERY_TOKENS, "query").mean(axis=0), np.zeros(DIM))
    np.testing.assert_array_equal(made.apply(QUERIES, QUERY_TOKENS, "text"), QUERIES)
    common = fitted("centering(all)")
    for role in ("query", "text"):
        assert_close(common.apply(QUERIES, QUERY_TOKENS, role), QUERIES - DOCUMENTS.mean(axis=0))


def test_whitening_by_role_is_for_searches_alone() -> None:
    made, other = fitted("whitening(0.3, role)"), fitted("whitening(0.3)")
    np.testing.assert_array_equal(made.apply(QUERIES, QUERY_TOKENS, "text"), QUERIES)
    np.testing.assert_array_equal(made.as_affine("text").matrix, np.eye(DIM))
    assert np.abs(made.apply(QUERIES, QUERY_TOKENS, "query") - QUERIES).max() > 1e-3
    assert np.abs(other.apply(QUERIES, QUERY_TOKENS, "text") - QUERIES).max() > 1e-3


def test_a_planted_drift_is_gone_at_every_length() -> None:
    made = MadeCorpus(size=2000)  # enough windows of every length that the drift itself is beyond doubt
    vectors, n_tokens = made.vectors[Group.WINDOWS], made.n_tokens[Group.WINDOWS]
    mapped = fitted("centering(length)", made.statistics()).apply(vectors, n_tokens, "document")
    for n in np.unique(n_tokens):
        here = n_tokens == n
        error = np.sqrt(vectors[here].var(axis=0).sum() / here.sum())
        assert np.linalg.norm(mapped[here].mean(axis=0)) < 2 * error
        assert np.linalg.norm(vectors[here].mean(axis=0)) > 2 * error


def test_the_length_subspace_is_what_the_mean_moves_along() -> None:
    rng, seen = np.random.default_rng(0), Statistics(DIM)
    along = rotation(3)[0]
    for n in (8, 32, 128, 512):
        vectors = np.log(n) * along + 0.01 * rng.standard_normal((100, DIM))
        seen.windows.update(vectors, np.full(100, n))
    matrix = fitted("length_subspace(1)", seen).matrix
    assert_close(matrix, np.eye(DIM) - np.outer(along, along), 1e-2)  # as far as 400 windows tell
    left = seen.mapped(fitted("length_subspace(1)", seen)).windows
    assert np.ptp([one.mean for one in left.bins.values()], axis=0).max() < 0.01


def test_of_a_straight_drift_one_direction_is_removed_whatever_is_asked() -> None:
    seen = Statistics(DIM)
    noise = np.random.default_rng(0).standard_normal((40, DIM))
    for n in (8, 64, 512):
        seen.windows.update(np.log(n) * np.eye(DIM)[0] + noise - noise.mean(axis=0), np.full(40, n))
    assert_close(fitted("length_subspace(2)", seen).matrix, np.diag([0.0, *[1.0] * (DIM - 1)]))


def test_a_projection_removes_the_mean_and_nothing_else() -> None:
    mean = DOCUMENTS.mean(axis=0) / np.linalg.norm(DOCUMENTS.mean(axis=0))
    mapped = fitted("mean_projection()").apply(DOCUMENTS, DOCUMENT_TOKENS, "document")
    assert_close(mapped, DOCUMENTS - np.outer(DOCUMENTS @ mean, mean))


@pytest.mark.parametrize("k", [0, 1, 3])
def test_all_but_the_top_is_what_pca_leaves(k: int) -> None:
    pca = PCA().fit(DOCUMENTS)
    left = (DOCUMENTS - pca.mean_) @ pca.components_[k:].T @ pca.components_[k:]
    assert_close(fitted(f"all_but_the_top({k})").apply(DOCUMENTS, DOCUMENT_TOKENS, "document"), left)


@pytest.mark.parametrize("rows", [30, 200, 2000])
def test_shrinkage_is_scikit_learns(rows: int) -> None:
    wide = np.random.default_rng(0).standard_normal((rows, 200)) * np.linspace(0.2, 3, 200)
    peer = OAS().fit(wide)
    assert 0.05 < peer.shrinkage_ < 1
    mine = shrink(np.cov(wide.T, bias=True), rows, "oas")
    assert_close(mine, peer.covariance_, 2 / 200)  # it leaves out the paper's 2 / dim


def test_full_whitening_makes_variances_equal() -> None:
    mapped = fitted("whitening(1, mean, 0)").apply(DOCUMENTS, DOCUMENT_TOKENS, "document")
    variance = np.trace(np.cov(DOCUMENTS.T, bias=True)) / DIM
    assert_close(np.cov(mapped.T, bias=True), variance * np.eye(DIM))


def test_around_zero_the_second_moment_is_whitened_and_at_length_the_spread_around_the_drift() -> None:
    mapped = fitted("whitening(1, zero, 0)").apply(DOCUMENTS, DOCUMENT_TOKENS, "document")
    assert_close(mapped.T @ mapped, np.trace(mapped.T @ mapped) / DIM * np.eye(DIM))
    left = SEEN.mapped(fitted("whitening(1, length, 0)")).documents.covariance_at_length
    assert_close(left, np.trace(left) / DIM * np.eye(DIM))


def test_strengths_add_up() -> None:
    half, whole = (fitted(f"whitening({g}, mean, 0)").matrix for g in (0.5, 1.0))
    assert_close(half @ half, whole)


def test_complete_shrinkage_leaves_nothing_to_whiten() -> None:
    assert_close(fitted("whitening(1, mean, 1)").matrix, np.eye(DIM))


def same_documents(count: int = 50) -> Statistics:
    """All with one vector."""
    seen = Statistics(DIM)
    for group in Group:
        seen.of(group).update(np.tile(DOCUMENTS[:1], (2 * count, 1)), np.arange(8, 8 + 2 * count))
    return seen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whitening(0.25)", "needs documents that differ, got 100 with the same vector"),
        ("all_but_the_top(1)", "needs documents that vary along more than 1 directions, got 0: nothing would be left"),
        ("length_subspace(1)", "needs a mean that moves with length, but that of the windows does not move"),
    ],
)
def test_documents_that_do_not_differ_are_refused(text: str, message: str) -> None:
    with pytest.raises(FixError, match=message):
        fitted(text, same_documents())


def test_a_mean_that_is_gone_cannot_be_projected_away() -> None:
    with pytest.raises(FixError, match=r"`mean_projection\(\)` needs documents with a mean of their own"):
        fitted("mean_projection()", SEEN.mapped(fitted("centering(role)")))


def test_dimensions_that_never_vary_do_not_blow_up() -> None:
    seen, vectors = Statistics(DIM), DOCUMENTS.copy()
    vectors[:, 2] = 0.7
    seen.documents.update(vectors, DOCUMENT_TOKENS)
    matrix = fitted("whitening(1, mean, 0)", seen).matrix
    assert_close(matrix[2], np.eye(DIM)[2] * FLOOR**-0.5)
    assert np.isfinite(matrix).all()
    with pytest.raises(FixError, match=r"vary along more than 5 directions, got 5"):
        fitted("all_but_the_top(5)", seen)


@pytest.mark.parametrize("text", [text for text in ALL if not parse(text).is_identity])
def test_too_few_vectors_are_refused(text: str) -> None:
    with pytest.raises(FixError, match=r"needs at least \d+ (documents|queries|windows) to be fitted, got 5"):
        fitted(text, MADE.statistics(slice(5)))


def test_a_subspace_needs_lengths_and_dimensions() -> None:
    seen = Statistics(DIM)
    seen.windows.update(DOCUMENTS, np.repeat([8, 64], 200))
    with pytest.raises(FixError, match="windows of at least 3 lengths .* got 2 lengths and 6 dimensions"):
        LengthSubspace(2).fit(seen)
    with pytest.raises(FixError, match="got 7 lengths and 6 dimensions"):
        LengthSubspace(6).fit(SEEN)


def test_vectors_of_another_model_are_refused() -> None:
    with pytest.raises(FixError, match=r"`whitening\(0.25\)` was fitted to vectors of 6 dimensions, got 3"):
        fitted("whitening(0.25)").apply(np.ones((1, 3)), np.ones(1, np.int64), "document")


def test_what_is_subtracted_depends_on_role_and_length() -> None:
    curve = Curve(np.log([10.0, 1000.0]), np.array([np.zeros(DIM), np.ones(DIM)]))
    made = VectorMap("test", 2 * np.eye(DIM), curve, Curve.constant(np.full(DIM, 3.0)))
    assert_close(made.apply(np.zeros((2, DIM)), np.array([100, 1000]), "text"), [[-1.0] * DIM, [-2.0] * DIM])
    assert_close(made.apply(np.zeros((1, DIM)), np.array([100]), "query"), [[-6.0] * DIM])


def test_values_compare_and_hash() -> None:
    assert Whitening(0.5) == Whitening(0.5) != Whitening(0.5, "zero")
    assert len({Centering("role"), Centering("role"), Centering("all")}) == 2
