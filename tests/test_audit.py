"""Truncation is counted exactly, in any order and split, and told in words that say no more than the numbers."""

import json
import math
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tiny import save_tiny
from tolerances import assert_close
from uncollapse.corpora import Text
from uncollapse.diagnosis.audit import (
    BEGINNING,
    MOST_TEXTS,
    OTHER_SOURCES,
    SERVERS,
    Audit,
    CutText,
    Limits,
    Sums,
    limit_to_hold,
    lost_beginning,
    measure_audit,
)
from uncollapse.encoders import load
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.errors import UncollapseError
from uncollapse.measures import MINIMUM
from uncollapse.resampling import document_keys, poisson_weights

LIMITS = Limits(256, 512, (16, 8192))
PAGE = Path(__file__).parents[1] / "docs" / "truncation.md"


class Model:
    """Words are tokens, two more are special."""

    name, n_special_tokens = "made up", 2

    def __init__(self, folder: int | None = 256, in_use: int = 512) -> None:
        self.folder_max_tokens, self.max_tokens = folder, in_use

    def spans(self, text):
        return np.array([word.span() for word in re.finditer(r"\S+", text)], np.int64).reshape(-1, 2)


def make_audit(full, *, sources=None, limits=LIMITS, replicates=16, chunk=1000, **more):
    """An audit of texts t0, t1, ... of these lengths, added in chunks."""
    full = np.asarray(full)
    ids, sources = [f"t{i}" for i in range(len(full))], sources or [""] * len(full)
    audit = Audit(limits, replicates=replicates, **more)
    for first in range(0, len(full), chunk):
        rows = slice(first, first + chunk)
        audit.add(ids[rows], sources[rows], full[rows])
    return audit


def random_lengths(n, seed=0, mean=5.5):
    return np.exp(np.random.default_rng(seed).normal(mean, 1.2, n)).astype(int) + 2


def state(audit):
    """Everything an audit holds, comparable with ==."""

    def plain(sums: Sums):
        return [np.asarray(getattr(sums, field.name)).tolist() for field in fields(sums)]

    groups = [{key: plain(sums) for key, sums in group.items()} for group in (audit.lengths, audit.sources)]
    return groups, audit.cells, audit.longest, audit.worst


def rows_of(part, view="overall", label=""):
    return {row.measure: row for row in part.rows if (row.view, row.bin) == (view, label)}


def first(audit, model="minilm"):
    return measure_audit(audit, model).verdict[0]


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


# --- intervals


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
        assert (row.value, row.low, row.high, row.note) == (0, 0, 0, "exact: follows from the lengths of the bin")
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
    assert row.note == "no interval: no document here loses a token"


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
    assert (few.low, few.note) == (None, "no interval: it takes 368 documents")
    assert enough.low < enough.value <= enough.high


def test_the_interval_of_the_limit_to_hold_covers_the_quantile():
    rng, truth = np.random.default_rng(0), 1 + math.floor(math.log(0.01) / math.log(1 - 0.01))
    held = []
    for _ in range(200):
        limits = limit_to_hold(make_audit(rng.geometric(0.01, 600), replicates=4))
        held.append(limits.low <= truth * 65 / 64 and truth <= limits.high)
    assert np.mean(held) >= 0.93


# --- the texts that lose most


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), chunk=st.integers(1, 70))
def test_the_greatest_losses_do_not_depend_on_the_order(seed, chunk):
    rng = np.random.default_rng(seed)
    full = rng.integers(200, 290, 70)  # many ties
    ids = [f"t{i}" for i in range(70)]
    audit = Audit(LIMITS, replicates=4)
    order = rng.permutation(70)
    for start in range(0, 70, chunk):
        rows = order[start : start + chunk]
        audit.add([ids[row] for row in rows], ["s"] * len(rows), full[rows])
    expected = sorted((256 - int(full[i]), ids[i]) for i in range(70) if full[i] > 256)[:MOST_TEXTS]
    assert [(-text.lost, text.id) for text in audit.worst] == expected
    assert all(text.n_tokens - 256 == text.lost for text in audit.worst)


def test_only_texts_that_enter_the_table_are_looked_into():
    asked = []

    def beginning(row):
        asked.append(row)
        return f"row {row}"

    audit = Audit(LIMITS, replicates=4)
    audit.add([f"a{i}" for i in range(100)], [""] * 100, np.arange(300, 400), beginning=beginning)
    assert sorted(asked) == list(range(80, 100))
    asked.clear()
    audit.add(["short", "fits", "long"], [""] * 3, np.array([350, 10, 999]), beginning=beginning)
    assert asked == [2]
    assert audit.worst[0] == CutText("long", "", 999, 743, "row 2")
    assert audit.worst[1].beginning == "row 99"


def test_an_error_while_looking_leaves_the_audit_as_it_was():
    audit = make_audit([300, 20])
    before = state(audit)

    def broken(row):
        raise UncollapseError(f"row {row} cannot be read")

    with pytest.raises(UncollapseError, match="row 0 cannot be read"):
        audit.add(["x"], [""], np.array([900]), beginning=broken)
    assert state(audit) == before


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("tiny") / "model", max_tokens=20)), max_tokens="model")


def test_the_lost_part_begins_where_the_model_stops(encoder):
    letters = np.random.default_rng(0).choice(list("abcdefghij"), 400)
    text = " ".join("".join(letters[i : i + 5]) for i in range(0, 400, 5))
    full = int(encoder.count([text])[0])
    lost = lost_beginning(encoder, text, 20, full)
    seen = encoder.prepare([text]).n_tokens[0]
    start = text.index(lost.removesuffix(" ..."))
    assert encoder.count([text[:start]])[0] == seen == 20
    assert lost_beginning(encoder, text, full, full) == ""
    assert len(lost) == BEGINNING + 4


def test_texts_of_a_corpus_are_added_with_what_they_lose(encoder):
    texts = [Text("long", "abc def. " * 40, source="a.txt"), Text("short", "abc", source="a.txt")]
    audit = Audit(Limits.of(encoder), replicates=4)
    audit.add_texts(encoder, texts, encoder.count([text.text for text in texts]))
    (cut,) = audit.worst
    assert (cut.id, cut.source, cut.n_tokens - cut.lost) == ("long", "a.txt", 20)
    assert cut.beginning == lost_beginning(encoder, texts[0].text, 20, cut.n_tokens) != ""


def test_without_token_positions_the_place_is_taken_in_proportion():
    text = " ".join(f"w{i}" for i in range(100))
    assert lost_beginning(Model(), text, 52, 102).startswith("w50 w51")
    assert lost_beginning(Model(), text, 102, 202).startswith("w50 w51")  # two tokens a word
    assert lost_beginning(Model(), "w0  w1\n\nw2", 4, 5) == "w2"


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


# --- words


def test_nothing_cut_off_is_good_news_with_its_bound():
    finding = first(make_audit([200] * 1000))
    assert (finding.title, finding.kind) == ("Nothing is cut off", "good")
    assert finding.sentence == (
        "All 1,000 texts fit into 256 tokens, the limit of the model's folder; the longest has 200. Of more texts "
        "like these, at most 0.4% are longer (95 % interval). This study reads 512 tokens, where nothing is lost."
    )


def test_a_model_without_a_limit_cuts_nothing():
    part = measure_audit(make_audit([90_000] * 40, limits=Limits(None, None)), "static")
    assert part.rows == ()
    assert [finding.title for finding in part.verdict] == ["Nothing is cut off"]
    assert part.verdict[0].sentence.startswith("static has no token limit: it reads all 40 texts to their end.")
    assert {server["texts"] for server in part.about["audit"]["servers"]} == {None}


def test_a_loss_is_told_with_where_it_is_and_what_to_do():
    full, sources = [100] * 80 + [900] * 20 + [300] * 10, ["notes.md"] * 80 + ["manual.pdf"] * 20 + ["notes.md"] * 10
    part = measure_audit(make_audit(full, sources=sources, replicates=64), "minilm")
    loss, remedy, service, named = part.verdict
    row = rows_of(part)["tokens_lost@256"]
    assert loss.title == f"{row.value:.1%} of the tokens are never seen, mostly in texts from manual.pdf"
    assert loss.kind == "bad"
    assert (
        "minilm reads 256 tokens of a text, the limit of the model's folder. 27.3% [19.8%, 36.3%] of 110"
        in loss.sentence
    )
    assert f"{row.value:.1%} [{row.low:.1%}, {row.high:.1%}] of all tokens" in loss.sentence
    assert "of what is lost is in texts of 512 to 1,023 tokens; " in loss.sentence
    assert "This study reads 512 tokens, where " in loss.sentence
    assert remedy.title == "A limit of 900 tokens would hold 99% of the texts"
    assert "(no interval: it takes 368 documents, n = 110)" in remedy.sentence
    assert "cut the texts into pieces of at most 256 tokens" in remedy.sentence
    assert "`uncollapse evaluate YOUR-DATA --model minilm --max-tokens 512`" in remedy.sentence
    assert remedy.sentence.endswith("Or: take a model with a window of 900 tokens.")
    assert "would cut 30 of these texts" in service.sentence
    assert "8,192 tokens (what-if): nothing" in named.sentence
    assert "the model was run with at most 512 tokens" in named.sentence


def test_the_length_is_named_where_no_source_holds_most():
    full = [100] * 80 + [900] * 40
    assert first(make_audit(full, replicates=64)).title.endswith(", mostly in texts of 512 to 1,023 tokens")
    spread = [100] * 60 + [300] * 40 + [600] * 17 + [1200] * 6 + [2500] * 2
    assert "mostly" not in first(make_audit(spread, replicates=64)).title


@pytest.mark.parametrize(("cut", "kind"), [(1, "neutral"), (60, "bad")])
def test_a_small_loss_is_no_alarm(cut, kind):
    assert first(make_audit([100] * (1000 - cut) + [260] * cut)).kind == kind


def test_raising_the_limit_is_advised_only_where_it_helps():
    short, long = make_audit([300] * 50), make_audit([90_000] * 50)
    assert "raise the limit" in measure_audit(short, "m").verdict[1].sentence
    assert "raise the limit" not in measure_audit(long, "m").verdict[1].sentence
    assert (
        "raise the limit"
        not in measure_audit(make_audit([300] * 50, limits=Limits(256, 256)), "m").verdict[1].sentence
    )


def test_a_limit_lowered_by_the_study_is_told_apart_from_the_folders():
    finding = first(make_audit([100] * 50, limits=Limits(256, 64)))
    assert finding.title == "Nothing is cut off"
    assert "This study reads 64 tokens, where 36.0% [36.0%, 36.0%] of the tokens are lost." in finding.sentence
    assert "the limit of this study" in first(make_audit([100] * 50, limits=Limits(None, 64))).sentence


@pytest.mark.parametrize("full", [[100] * 29, [300] * 29])
def test_too_few_texts_are_told_as_such(full):
    finding = first(make_audit(full))
    assert finding.kind == "unknown"
    assert "30" in finding.sentence


def test_a_share_that_is_not_none_is_not_printed_as_none():
    finding = first(make_audit([250] * 9_999 + [257]))
    assert finding.title.startswith("under 0.1% of the tokens are never seen")
    assert not re.search(r"(?<![\d\[])0\.0%", finding.sentence)


def test_a_command_quotes_a_name_with_spaces():
    part = measure_audit(make_audit([300] * 50), "my model")
    assert "--model 'my model' --max-tokens 512" in part.verdict[1].sentence


def test_texts_chosen_by_length_give_rows_with_a_note_and_no_verdict():
    part = measure_audit(make_audit([300] * 40), "m", representative=False)
    assert part.verdict == ()
    assert rows_of(part)["share_truncated@256"].note == "of texts chosen by their length, not of the corpus"
    assert rows_of(part, "audit_by_length", "256-511")["share_truncated@256"].note == ""


def test_limits_beyond_the_model_are_a_what_if():
    part = measure_audit(make_audit([300] * 40), "m")
    notes = {measure: row.note for measure, row in rows_of(part).items()}
    assert notes["share_truncated@8192"] == "what-if: the model was run with at most 512 tokens"
    assert notes["share_truncated@512"] == notes["share_truncated@16"] == ""
    unlimited = measure_audit(make_audit([300] * 40, limits=Limits(None, None, (100,))), "m")
    assert rows_of(unlimited)["share_truncated@100"].note == ""
    assert [finding.title for finding in unlimited.verdict] == ["Nothing is cut off", "What other limits would lose"]


# --- what goes with the numbers


def test_about_is_plain_json_with_texts_and_servers():
    about = measure_audit(make_audit([300] * 40 + [9] * 5), "m").about
    audit = json.loads(json.dumps(about, allow_nan=False))["audit"]
    assert audit["limits"] == {"folder": 256, "in_use": 512, "named": [16, 8192]}
    assert (audit["n_texts"], audit["n_tokens"], audit["longest"]) == (45, 12045, 300)
    assert len(audit["texts"]) == MOST_TEXTS
    assert set(audit["texts"][0]) == {"id", "source", "n_tokens", "lost", "beginning"}
    for server, entry in zip(SERVERS, audit["servers"], strict=True):
        assert entry["server"] == server.server
        assert entry["texts"] == (40 if server.cuts else 0)


def test_the_page_has_every_server_with_its_address_and_every_judgement():
    text = PAGE.read_text()
    for server in SERVERS:
        lines = [line for line in text.splitlines() if line.startswith(f"| {server.server} |")]
        assert len(lines) == 1, server.server
        assert server.address in text
        assert lines[0].split("|")[2].strip() == ("cuts" if server.cuts else "refuses")
        assert server.address.startswith("https://")


def test_texts_of_no_tokens_are_counted():
    part = measure_audit(make_audit([0] * 40 + [300]), "m")
    assert rows_of(part, "audit_by_length", "0")["share_truncated@256"].n == 40
    nothing = measure_audit(make_audit([0] * 40), "m")
    assert rows_of(nothing)["tokens_lost@256"].value == 0
    assert all(math.isfinite(row.value) for row in (*part.rows, *nothing.rows))


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


@pytest.mark.real
def test_the_bundled_model_is_cut_at_its_folders_limit():
    encoder = load("minilm", max_tokens="table")
    text = " ".join(f"Sentence number {i} says something else." for i in range(200))
    audit = Audit(Limits.of(encoder), replicates=4)
    audit.add_texts(encoder, [Text("a", text)], encoder.count([text]))
    assert (audit.limits.folder, audit.limits.in_use) == (256, 512)
    start = text.index(audit.worst[0].beginning.removesuffix(" ...")[:80])
    assert encoder.count([text[:start]])[0] == 256
