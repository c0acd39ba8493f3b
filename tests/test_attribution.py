"""The split of a rise as pure numbers: it adds up, it is paired, and each step is what it says."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from tolerances import assert_close
from uncollapse.diagnosis.causes.attribution import (
    CAUSES,
    STEPS,
    PieceVectors,
    Positions,
    Split,
    causes_of,
    mean_product,
    split_rise,
    step_vectors,
)
from uncollapse.diagnosis.causes.findings import explain_reach, explain_split
from uncollapse.diagnosis.causes.reach import Reach
from uncollapse.errors import UncollapseError
from uncollapse.measures import unit
from uncollapse.resampling import Estimate, document_keys, poisson_weights

DIM = 12


def vectors(n: int = 40, *, counts: tuple[int, ...] = (2, 3, 5, 6), placed: bool = True) -> PieceVectors:
    """Random directions with something in common; documents of different numbers of pieces, half of them read."""
    rng = np.random.default_rng(0)
    sizes = np.resize(counts, n)
    documents = np.repeat(np.arange(n), sizes)
    numbers = np.concatenate([np.arange(size) for size in sizes])

    def directions(count: int) -> np.ndarray:
        return unit(rng.standard_normal((count, DIM)) + 0.8)

    return PieceVectors(
        tuple(f"d{row}" for row in range(n)),
        documents,
        numbers < (sizes[documents] + 1) // 2,
        directions(len(documents)),
        directions(len(documents)) if placed else None,
        directions(n),
    )


def shuffled(found: PieceVectors, order: np.ndarray) -> PieceVectors:
    """The same documents in another order."""
    pieces = np.concatenate([np.flatnonzero(found.documents == row) for row in order])
    sizes = np.bincount(found.documents)[order]
    return PieceVectors(
        tuple(found.ids[row] for row in order),
        np.repeat(np.arange(len(order)), sizes),
        found.read[pieces],
        found.alone[pieces],
        None if found.placed is None else found.placed[pieces],
        found.whole[order],
    )


@pytest.mark.parametrize("positions", Positions)
@pytest.mark.parametrize("n", [5, 40])
def test_causes_add_up_to_the_rise_in_the_value_and_in_every_replicate(positions: Positions, n: int) -> None:
    split = split_rise(vectors(n, placed=positions is Positions.SHIFTED), positions, replicates=64)
    assert_close(sum(cause.value for cause in split.causes.values()), split.rise.value, 1e-12)
    assert_close(sum(cause.replicates for cause in split.causes.values()), split.rise.replicates, 1e-12)
    assert_close(split.rise.value, split.steps["whole"].value - split.steps["start"].value, 1e-12)


def test_every_step_is_the_end_of_one_cause_and_the_start_of_the_next() -> None:
    for positions in Positions:
        chain = causes_of(positions)
        ends = [cause.after for cause in chain[:-1]]
        if positions is Positions.NO_TABLE:
            ends[-1] = "placed_pieces"  # which are the read pieces
        assert [cause.before for cause in chain[1:]] == ends
        assert (chain[0].before, chain[-1].after) == (STEPS[0], STEPS[-1])
    assert tuple(step_vectors(vectors())) == STEPS


def test_the_order_of_documents_does_not_matter() -> None:
    found = vectors()
    other = shuffled(found, np.random.default_rng(1).permutation(len(found.ids)))
    a, b = (split_rise(x, Positions.SHIFTED, replicates=64) for x in (found, other))
    for name in STEPS:
        assert_close(a.steps[name].value, b.steps[name].value, 1e-12)
        assert_close(a.steps[name].replicates, b.steps[name].replicates, 1e-12)


def test_a_rotation_of_the_space_changes_nothing() -> None:
    found = vectors()
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((DIM, DIM)))[0]
    assert found.placed is not None
    # Arrays of vectors may be float64, which shows the law beyond the rounding of float32.
    turned = replace(found, alone=found.alone @ turn, placed=found.placed @ turn, whole=found.whole @ turn)
    a, b = (split_rise(x, Positions.SHIFTED, replicates=64) for x in (found, turned))
    for name in CAUSES.keys() - {"inseparable"}:
        assert_close(a.causes[name].value, b.causes[name].value, 1e-12)


def test_the_same_seed_gives_the_same_and_another_seed_other_intervals() -> None:
    a, b, c = (split_rise(vectors(), Positions.SHIFTED, replicates=64, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(a.rise.replicates, b.rise.replicates)
    assert a.rise.value == c.rise.value
    assert not np.array_equal(a.rise.replicates, c.rise.replicates)


def test_the_mean_over_pairs_is_what_a_loop_over_pairs_gives() -> None:
    rng = np.random.default_rng(0)
    x, ids = rng.standard_normal((6, 3)), [f"d{row}" for row in range(6)]
    weights = poisson_weights(document_keys(ids), 8)
    estimate = mean_product(x, weights)
    pairs = list(combinations(range(6), 2))
    assert_close(estimate.value, np.mean([x[i] @ x[j] for i, j in pairs]))
    for column, replicate in zip(weights.T.astype(float), estimate.replicates, strict=True):
        times = [column[i] * column[j] for i, j in pairs]
        assert_close(replicate, np.average([x[i] @ x[j] for i, j in pairs], weights=times))


def test_each_step_is_its_formula() -> None:
    found = vectors()
    steps = step_vectors(found)
    for row in range(len(found.ids)):
        pieces = found.alone[found.documents == row].astype(float)
        k, mean = len(pieces), pieces.mean(axis=0)
        assert_close(steps["start"][row], pieces[0])
        assert_close(steps["pieces"][row], mean)
        neighbours = np.mean([pieces[j] @ pieces[j + 1] for j in range(k - 1)])
        every = np.mean([pieces[i] @ pieces[j] for i, j in combinations(range(k), 2)])
        length = max(mean @ mean + (1 - 1 / k) * (neighbours - every), 1 / k) ** 0.5 if k > 2 else np.linalg.norm(mean)
        assert_close(steps["one_topic"][row], mean / length, 1e-6)  # float32 vectors are of length 1 to 1e-7
        assert_close(steps["all_pieces"][row], mean / np.linalg.norm(mean))
        read = found.alone[(found.documents == row) & found.read].astype(float).mean(axis=0)
        assert_close(steps["read_pieces"][row], read / np.linalg.norm(read))
        assert found.placed is not None
        placed = found.placed[(found.documents == row) & found.read].astype(float).mean(axis=0)
        assert_close(steps["placed_pieces"][row], placed / np.linalg.norm(placed))
        assert_close(steps["whole"][row], found.whole[row])


def test_documents_of_one_or_two_pieces_have_no_topic_shift() -> None:
    split = split_rise(vectors(counts=(1, 2)), Positions.SHIFTED, replicates=64)
    assert (split.causes["topic_mix"].value, split.causes["topic_mix"].low) == (0.0, 0.0)


def test_pieces_equally_alike_in_every_pair_have_no_topic_shift() -> None:
    pieces = np.sqrt(0.4) * np.eye(6)[0] + np.sqrt(0.6) * np.eye(6)[1:]  # any two have the cosine 0.4
    n = 30
    found = PieceVectors(
        tuple(map(str, range(n))), np.repeat(np.arange(n), 5), np.ones(5 * n, bool), np.tile(pieces, (n, 1)), None,
        np.tile(pieces[:1], (n, 1)),
    )  # fmt: skip
    split = split_rise(found, Positions.NO_TABLE, replicates=64)
    assert_close(split.causes["topic_mix"].value, 0.0, 1e-12)
    assert split.causes["content_averaging"].value > 0.3


def test_neighbours_that_oppose_each_other_do_not_break_the_root() -> None:
    found = vectors(30, counts=(4,))
    found.alone[:] = unit(np.tile([[1.0, 0.1], [-1.0, 0.1]], (60, 1)) @ np.eye(2, DIM))
    steps = step_vectors(found)
    assert all(np.isfinite(step).all() for step in steps.values())
    assert_close(np.linalg.norm(steps["one_topic"], axis=1), np.linalg.norm(steps["pieces"], axis=1) * 2)


def test_pieces_that_cancel_have_no_direction() -> None:
    found = vectors(30, counts=(2,))
    found.alone[:] = np.tile([[1.0], [-1.0]], (30, 1)) * np.eye(1, DIM)
    steps = step_vectors(replace(found, read=np.ones(60, bool)))
    assert not steps["all_pieces"].any()


def test_a_model_that_gives_one_vector_for_everything_has_no_rise() -> None:
    found = vectors()
    for array in (found.alone, found.placed, found.whole):
        assert array is not None
        array[:] = np.eye(1, DIM)
    split = split_rise(found, Positions.SHIFTED, replicates=64)
    assert [split.rise.value, *(cause.value for cause in split.causes.values())] == pytest.approx([0.0] * 7, abs=1e-15)


def test_causes_are_paired() -> None:
    """What all documents share must not widen the interval of a cause."""
    found = vectors(60, placed=True)
    same = replace(found, placed=found.alone)
    split = split_rise(same, Positions.SHIFTED, replicates=64)
    step = split.steps["placed_pieces"]
    assert step.low is not None
    assert step.high is not None
    assert step.high - step.low > 0.01
    assert (split.causes["position"].low, split.causes["position"].high) == (0.0, 0.0)


def test_positions_that_cannot_be_shifted_are_said_to_be_so() -> None:
    relative = split_rise(vectors(placed=False), Positions.NO_TABLE, replicates=64)
    assert "position" not in relative.causes
    assert "part of attention" in relative.causes["attention"].note
    hidden = split_rise(vectors(placed=False), Positions.HIDDEN, replicates=64)
    assert {"position", "attention"}.isdisjoint(hidden.causes)
    assert "one number" in hidden.causes["inseparable"].note
    for split in (relative, hidden):
        assert split.steps["placed_pieces"].value == split.steps["read_pieces"].value
        assert "not shifted" in split.steps["placed_pieces"].note
    shifted = split_rise(vectors(), Positions.SHIFTED, replicates=64)
    assert not any(estimate.note for estimate in (*shifted.causes.values(), *shifted.steps.values()))


def test_few_documents_get_no_interval_and_a_note() -> None:
    split = split_rise(vectors(29), Positions.SHIFTED, replicates=64)
    for estimate in (*split.steps.values(), *split.causes.values(), split.rise):
        assert (estimate.low, estimate.high) == (None, None)
        assert "29 documents, fewer than 30" in estimate.note


def test_bad_pieces_are_refused() -> None:
    found = vectors()
    with pytest.raises(UncollapseError, match="id of its own"):
        replace(found, ids=("d0", *found.ids[:-1]))
    for documents in (found.documents[::-1], found.documents + 1, 2 * found.documents):
        with pytest.raises(UncollapseError, match="document by document"):
            replace(found, documents=documents)
    with pytest.raises(UncollapseError, match="first of each must be read"):
        replace(found, read=np.zeros(len(found.documents), bool))
    with pytest.raises(UncollapseError, match="A pair needs 2 documents, got 1"):
        mean_product(np.ones((1, 2)), np.ones((1, 4), np.float32))


# What is said of a split


def made(values: dict[str, tuple[float, float]], n: int = 50) -> Split:
    """A split of given causes, each a value and half the width of its interval, independent of each other."""
    rng = np.random.default_rng(0)
    names = [cause.name for cause in causes_of(Positions.SHIFTED)]
    causes = {}
    for name in names:
        value, half = values.get(name, (0.0, 0.0))
        causes[name] = Estimate.of(value, value + half / 2 * rng.standard_normal(256), n=n)
    rise = Estimate.of(
        sum(cause.value for cause in causes.values()),
        np.sum([cause.replicates for cause in causes.values()], axis=0),
        n=n,
    )
    zero = Estimate.of(0.0, np.zeros(256), n=n)
    return Split(dict.fromkeys(STEPS, zero), causes, rise)


def said(split: Split) -> list[str]:
    return [f"{finding.title}. {finding.sentence} ({finding.kind})" for finding in explain_split(split, (31, 505))]


def test_the_largest_cause_is_named_with_its_numbers() -> None:
    first, second, *others = said(made({"topic_mix": (0.2, 0.02), "attention": (0.1, 0.02)}))
    assert first.startswith("Why: texts change their subject. Most of the rise of +0.30 [+0.2")
    assert (
        "from the first piece (31 tokens) to the whole text (505; n = 50 documents as long as that, 95 % intervals) "
        "comes from texts that change" in first
    )
    assert first.endswith("verdict is another: it goes from the shortest window to the longest. (neutral)")
    assert second.startswith("Texts change their subject. +0.20 [+0.18, +0.22] of mean cosine. Neighbouring")
    assert "against it" not in first
    assert len(others) == 1
    assert 'Try a sharper attention: uncollapse evaluate DATA --fix "temperature(0.9)"' in others[0]


def test_less_than_half_is_not_called_most() -> None:
    causes = {"topic_mix": (0.12, 0.01), "attention": (0.09, 0.01), "position": (0.09, 0.01)}
    assert "The largest part of the rise" in said(made(causes))[0]


def test_causes_that_cannot_be_told_apart_are_both_named() -> None:
    first = said(made({"topic_mix": (0.2, 0.05), "attention": (0.19, 0.05)}))[0]
    assert first.startswith("Why: texts change their subject; attention over the whole text. Most of the rise")
    assert "which of them carries more cannot be told" in first


def test_a_cause_that_works_against_the_rise_is_told() -> None:
    first, _, against = said(made({"topic_mix": (0.3, 0.02), "attention": (-0.1, 0.02)}))
    assert "More than the whole rise of +0.20" in first
    assert "What the other causes add and take away makes up the difference." in first
    assert against.startswith("Attention over the whole text: works against the rise. -0.10 [-0.12, -0.08]")
    assert against.endswith("(neutral)")  # whether that is good, the cause does not say
    assert "temperature" not in against


def test_small_and_unsure_causes_are_not_spoken_of() -> None:
    causes = {
        "topic_mix": (0.3, 0.02),
        "position": (0.004, 0.001),
        "truncation": (0.02, 0.001),
        "attention": (0.1, 0.2),
    }
    assert len(said(made(causes))) == 2


def test_no_sure_cause_is_said_to_be_so() -> None:
    causes = {"topic_mix": (0.1, 0.15), "attention": (0.1, 0.15)}
    split = made(causes)
    sure = Estimate.of(0.2, np.full(256, 0.2), n=50)
    (only,) = said(replace(split, rise=sure))
    assert only.startswith("No cause of the rise is sure. Of the rise of +0.20 [+0.20, +0.20]")
    assert only.endswith("(unknown)")


def test_no_rise_needs_no_cause_but_what_cancels_is_told() -> None:
    (only,) = said(made({}))
    assert only == (
        "There is no rise to explain. The mean cosine of two texts changes by +0.00 [+0.00, +0.00] from the first "
        "piece (31 tokens) to the whole text (505; n = 50 documents as long as that, 95 % intervals), which is no "
        "sure rise. (neutral)"
    )
    (only,) = said(made({"content_averaging": (0.2, 0.02), "attention": (-0.2, 0.02)}))
    assert "longer texts saying more things (+0.20" in only
    assert "attention over the whole text (-0.20" in only


def test_too_few_documents_name_no_cause() -> None:
    split = split_rise(vectors(12), Positions.SHIFTED, replicates=64)
    (only,) = said(split)
    assert "Only 12 documents" in only
    assert "at least 30 of about 505 tokens" in only
    assert only.endswith("(unknown)")


def test_a_model_that_reads_all_it_says_gets_no_finding() -> None:
    assert not list(explain_reach(Reach(512, 512, 8), "m", "512 tokens"))
    (finding,) = explain_reach(Reach(512, 64, 8), "m", "512 tokens")
    assert finding.kind == "bad"
    assert finding.sentence.startswith("m says 512 tokens but reads only about 64")
    assert "none of 8 documents" in finding.sentence
    (finding,) = explain_reach(Reach(512, 64, 8), "m", "", "words")
    assert finding.title == "m reads only about 64 words"
    assert finding.sentence.startswith("m does not say how much of a text it reads, and reads only about 64: ")


def test_every_cause_says_what_it_means_and_what_to_do() -> None:
    for name, cause in CAUSES.items():
        assert name == cause.name
        assert all(text.endswith(".") or text.endswith('"') for text in (cause.meaning, cause.against))
        assert cause.remedy
