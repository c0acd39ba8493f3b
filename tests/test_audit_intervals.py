"""How sure an audit is: intervals that hold what was planted, or none and the reason."""

import math

import numpy as np
import pytest
from scipy import stats

from audits import LIMITS, make_audit, random_lengths, rows_of
from tolerances import assert_close
from uncollapse.diagnosis.audit import (
    Audit,
    Limits,
    limit_to_hold,
    measure_audit,
)
from uncollapse.measures import MINIMUM
from uncollapse.resampling import document_keys, poisson_weights


def test_replicates_are_those_of_the_document_weights():
    full = random_lengths(50)
    audit = make_audit(full, replicates=8, seed=3)
    weights = poisson_weights(document_keys([f"t{i}" for i in range(50)]), 8, seed=3).astype(float)
    lost = np.maximum(full - 256, 0)
    column = LIMITS.every.index(256)
    assert audit.total.weighted[0].tolist() == (full @ weights).tolist()
    assert audit.total.weighted[1 + column].tolist() == (lost @ weights).tolist()


def test_the_interval_of_the_loss_covers_a_planted_share():
    rng = np.random.default_rng(4)
    lengths, chances = np.array([100, 300, 1000]), np.array([0.6, 0.3, 0.1])
    truth = (chances @ np.maximum(lengths - 256, 0)) / (chances @ lengths)
    held = []
    for trial in range(300):
        audit = Audit(Limits(256, 256), replicates=128, seed=trial)
        audit.add([str(i) for i in range(150)], [""] * 150, rng.choice(lengths, 150, p=chances))
        row = rows_of(measure_audit(audit, "m"))["tokens_lost@256"]
        held.append(row.low <= truth <= row.high)
    assert 0.90 <= np.mean(held) <= 0.99  # 300 trials: a standard error of 1.3 %


def test_shares_have_wilsons_interval_at_every_n():
    for n in (3, 200):
        row = rows_of(measure_audit(make_audit([300] * 2 + [9] * (n - 2)), "m"))["share_truncated@256"]
        expected = stats.binomtest(2, n).proportion_ci(method="wilson")
        assert_close([row.low, row.high], [expected.low, expected.high])
        assert row.note == ("" if n >= MINIMUM else f"only {n} documents, fewer than {MINIMUM}")


def test_what_follows_from_the_bin_is_exact_and_has_no_spread():
    part = measure_audit(make_audit([20] * 40 + [300] * 40 + [600] * 40), "m")
    below, astride, above = (rows_of(part, "audit_by_length", label) for label in ("16-31", "256-511", "512-1023"))
    for row in (below["share_truncated@256"], below["tokens_lost@256"]):
        assert (row.value, row.low, row.high, row.note) == (
            0,
            0,
            0,
            "exact, since it follows from the lengths of the bin",
        )
    assert (above["share_truncated@256"].low, above["share_truncated@256"].high) == (1, 1)
    assert astride["share_truncated@256"].low < 1  # all are longer here, and one of 256 tokens would not be
    assert above["tokens_lost@256"].note == ""


def test_a_limit_at_the_last_length_of_a_bin_cuts_none_of_it():
    found = rows_of(measure_audit(make_audit([511] * 40, limits=Limits(511, 512)), "m"), "audit_by_length", "256-511")
    assert [(row.value, row.low, row.high) for row in found.values()] == [(0, 0, 0)] * 4


@pytest.mark.parametrize(("tokens", "at_most"), [(255, 0), (256, 0), (257, 1)])
def test_a_text_is_cut_from_one_token_beyond_the_limit(tokens, at_most):
    assert make_audit([tokens], limits=Limits(256, 256)).total.truncated.tolist() == [at_most]


def test_few_texts_have_no_bootstrap_and_say_so():
    row = rows_of(measure_audit(make_audit([300] * 29), "m"))["tokens_lost@256"]
    assert (row.low, row.high, row.n) == (None, None, 29)
    assert row.note == "no interval: only 29 documents, fewer than 30"
    assert rows_of(measure_audit(make_audit([300] * 30), "m"))["tokens_lost@256"].low is not None


def test_no_loss_at_all_gives_no_false_certainty():
    row = rows_of(measure_audit(make_audit([100] * 50), "m"))["tokens_lost@256"]
    assert (row.value, row.low, row.high) == (0.0, None, None)
    assert row.note == "no interval: no document here is cut off"


# --- the limit that holds the texts


@pytest.mark.parametrize("n", [40, 99, 100, 1000, 5000])
def test_the_limit_to_hold_is_the_quantile_up_to_rounding(n):
    full = random_lengths(n)
    held = limit_to_hold(make_audit(full))
    exact = sorted(full.tolist())[math.ceil(0.99 * n) - 1]
    assert exact <= held.value <= min(exact * (1 + 1 / 64) + 1, full.max())
    assert np.mean(full <= held.value) >= 0.99
    assert held.n == n


def test_the_limit_to_hold_has_an_interval_from_368_texts_on():
    few, enough = limit_to_hold(make_audit(random_lengths(367))), limit_to_hold(make_audit(random_lengths(368)))
    assert (few.low, few.note) == (None, "no interval: it would take 368 documents")
    assert enough.low < enough.value <= enough.high


def test_the_interval_of_the_limit_to_hold_covers_the_quantile():
    rng, truth = np.random.default_rng(0), 1 + math.floor(math.log(0.01) / math.log(1 - 0.01))
    held = []
    for _ in range(200):
        limits = limit_to_hold(make_audit(rng.geometric(0.01, 600), replicates=4))
        held.append(limits.low <= truth * 65 / 64 and truth <= limits.high)
    assert np.mean(held) >= 0.93
