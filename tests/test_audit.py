"""Truncation is counted exactly, in any order and split, as a whole and by length and source."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits import LIMITS, Model, make_audit, random_lengths, rows_of, state
from tolerances import assert_close
from uncollapse.diagnosis.audit import (
    OTHER_SOURCES,
    Audit,
    Limits,
    measure_audit,
)
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.errors import UncollapseError

# --- laws


@settings(max_examples=40, deadline=None)
@given(
    full=st.lists(st.integers(0, 5000), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    seed=st.integers(0, 99),
)
def test_any_split_in_any_order_is_one_pass(full, cuts, seed):
    rng = np.random.default_rng(seed)
    ids, sources = [f"t{i}" for i in range(len(full))], [f"s{n % 7}" for n in rng.integers(0, 50, len(full))]
    full = np.array(full)

    def audit_of(rows):
        audit = Audit(LIMITS, replicates=4, most_sources=3)
        audit.add([ids[row] for row in rows], [sources[row] for row in rows], full[rows])
        return audit

    order = rng.permutation(len(full))
    parts = [audit_of(rows) for rows in np.split(order, sorted(cut % len(full) for cut in cuts))]
    merged = parts[0]
    for part in parts[1:]:
        merged = part.merge(merged) if seed % 2 else merged.merge(part)
    assert state(merged) == state(audit_of(np.arange(len(full))))


def test_merging_changes_neither_side():
    a, b = make_audit([300, 9]), make_audit([4000])
    before = state(a), state(b)
    a.merge(b)
    assert (state(a), state(b)) == before


def test_numbers_are_those_of_a_plain_count():
    full = random_lengths(400)
    sources = [f"file {i % 3}" for i in range(400)]
    part = measure_audit(make_audit(full, sources=sources, chunk=37), "m")
    groups = {("overall", ""): range(400)}
    for i, tokens in enumerate(full.tolist()):
        low = 1 if tokens < 8 else 1 << (tokens.bit_length() - 1)
        high = 7 if tokens < 8 else 2 * low - 1
        groups.setdefault(("audit_by_length", f"{low}-{high}"), []).append(i)
        groups.setdefault(("audit_by_source", sources[i]), []).append(i)
    assert {(row.view, row.bin) for row in part.rows} == set(groups)
    for (view, label), members in groups.items():
        found = rows_of(part, view, label)
        tokens = sum(int(full[i]) for i in members)
        for limit in (16, 256, 512, 8192):
            longer = [int(full[i]) for i in members if full[i] > limit]
            share, lost = found[f"share_truncated@{limit}"], found[f"tokens_lost@{limit}"]
            assert share.n == lost.n == len(members)
            assert_close(
                [share.value, lost.value], [len(longer) / len(members), (sum(longer) - limit * len(longer)) / tokens]
            )
            assert share.n_tokens == (round(tokens / len(members), 2) if label else 0.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50), st.integers(1, 9000), st.integers(1, 9000))
def test_lost_and_kept_are_all_and_a_higher_limit_never_loses_more(full, one, other):
    low, high = sorted((one, other))
    audit = make_audit(full, limits=Limits(low, high))
    kept = sum(min(tokens, low) for tokens in full)
    assert int(audit.total.lost[0]) + kept == audit.total.tokens == sum(full)
    for sums in [audit.total, *audit.lengths.values(), *audit.sources.values()]:
        assert sums.lost[-1] <= sums.lost[0]
        assert sums.truncated[-1] <= sums.truncated[0]
        assert (sums.weighted[-1] <= sums.weighted[1]).all()


def test_a_limit_beyond_the_longest_loses_nothing():
    full = random_lengths(200)
    audit = make_audit(full, limits=Limits(int(full.max()), int(full.max())))
    assert audit.longest == full.max()
    assert {row.value for row in measure_audit(audit, "m").rows} == {0.0}
    assert audit.worst == ()
    assert make_audit(full, limits=Limits(int(full.max()) - 1, None)).total.truncated.tolist() == [1]


def test_groups_add_up_to_the_total():
    audit = make_audit(random_lengths(300), sources=[f"s{i % 9}" for i in range(300)], most_sources=4)
    for groups in (audit.lengths, audit.sources):
        for name in ("texts", "tokens", "truncated", "lost", "weighted"):
            total = sum(np.asarray(getattr(sums, name)) for sums in groups.values())
            assert np.array_equal(total, getattr(audit.total, name))


def test_texts_of_no_tokens_are_counted():
    part = measure_audit(make_audit([0] * 40 + [300]), "m")
    assert rows_of(part, "audit_by_length", "0")["share_truncated@256"].n == 40
    nothing = measure_audit(make_audit([0] * 40), "m")
    assert rows_of(nothing)["tokens_lost@256"].value == 0
    assert all(math.isfinite(row.value) for row in (*part.rows, *nothing.rows))


# --- sources


def test_a_single_source_is_no_view():
    for sources in (["a"] * 40, [""] * 40):
        part = measure_audit(make_audit([300] * 40, sources=sources), "m")
        assert {row.view for row in part.rows} == {"overall", "audit_by_length"}
        assert part.about["audit"]["notes"] == []


def test_sources_without_a_name_have_one():
    part = measure_audit(make_audit([300] * 40, sources=["", "a"] * 20), "m")
    assert {row.bin for row in part.rows if row.view == "audit_by_source"} == {"(no source)", "a"}


def test_one_text_a_source_is_no_view_and_noted():
    part = measure_audit(make_audit([300] * 40, sources=[f"{i}.txt" for i in range(40)]), "m")
    assert not [row for row in part.rows if row.view == "audit_by_source"]
    assert part.about["audit"]["notes"][0].startswith("every source holds one text")


def test_many_sources_are_counted_together_beyond_the_first():
    sources = [f"s{i % 50}" for i in range(500)]
    part = measure_audit(make_audit(random_lengths(500), sources=sources, most_sources=5), "m")
    rows = {row.bin: row.n for row in part.rows if row.view == "audit_by_source"}
    assert len(rows) == 6
    assert rows[OTHER_SOURCES] == 450
    assert sum(rows.values()) == 500
    assert "5 sources, drawn by their names" in part.about["audit"]["notes"][0]
    assert "the 450 texts of all others" in part.about["audit"]["notes"][0]


def test_sources_stand_in_order_of_their_losses():
    part = measure_audit(
        make_audit([300] * 40 + [900] * 40 + [9] * 40, sources=["a"] * 40 + ["b"] * 40 + ["c"] * 40), "m"
    )
    assert list(dict.fromkeys(row.bin for row in part.rows if row.view == "audit_by_source")) == ["b", "a", "c"]


# --- bad input


@pytest.mark.parametrize("limit", [2, 0, -5, True, 12.5, "512"])
def test_a_limit_without_room_for_text_is_refused(limit):
    with pytest.raises(
        UncollapseError, match=rf"above the 2 special and prompt tokens of 'made up', got {limit!r}\. Name"
    ):
        Limits.of(Model(), [256, limit])


def test_named_limits_are_sorted_and_said_once():
    assert Limits.of(Model(), [3, 8192, 256, 3]) == Limits(256, 512, (3, 256, 8192))
    assert Limits.of(Model(), [3, 8192, 256, 3]).every == (3, 256, 512, 8192)
    assert Limits.of(Model(None, NO_LIMIT)) == Limits(None, None)
    assert Limits.of(Model(None, 128)).main == 128


def test_too_many_limits_are_refused():
    with pytest.raises(UncollapseError, match="At most 12 limits can be named, got 13"):
        Limits.of(Model(), range(10, 23))


def test_columns_must_agree_and_counts_be_possible():
    audit = Audit(LIMITS, replicates=4)
    with pytest.raises(UncollapseError, match="got 1 ids, 1 sources and 2 counts"):
        audit.add(["a"], [""], np.array([1, 2]))
    with pytest.raises(UncollapseError, match="counts from -1 on"):
        audit.add(["a"], [""], np.array([-1]))
    audit.add([], [], np.array([], int))
    assert audit.total.texts == 0


def test_an_audit_of_nothing_is_refused():
    with pytest.raises(UncollapseError, match="needs at least one text, got none"):
        measure_audit(Audit(LIMITS), "m")


def test_only_like_audits_merge():
    with pytest.raises(
        UncollapseError, match="States can be merged only if they were built alike, got seed=0 and seed=1"
    ):
        Audit(LIMITS).merge(Audit(LIMITS, seed=1))
    with pytest.raises(UncollapseError, match="positive multiple of 4, got 6"):
        Audit(LIMITS, replicates=6)
