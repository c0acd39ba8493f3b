"""Truncation is told in words that say no more than the numbers."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from audits import first, make_audit, rows_of
from uncollapse.diagnosis.audit import (
    MOST_TEXTS,
    SERVERS,
    Limits,
    measure_audit,
)

PAGE = Path(__file__).parents[1] / "docs" / "truncation.md"


def test_nothing_cut_off_is_good_news_with_its_bound():
    finding = first(make_audit([200] * 1000))
    assert (finding.title, finding.kind) == ("Nothing is cut off", "good")
    assert finding.sentence == (
        "All 1,000 texts fit into 256 tokens, the limit of the model's folder; the longest has 200. Of more texts "
        "like these, at most 0.4% are longer (95 % interval). All that follows was measured with 512 "
        "tokens read, where nothing is lost."
    )


def test_a_model_without_a_limit_cuts_nothing():
    part = measure_audit(make_audit([90_000] * 40, limits=Limits(None, None)), "static")
    assert part.rows == ()
    assert [finding.title for finding in part.verdict] == ["Nothing is cut off"]
    assert part.verdict[0].sentence.startswith("static has no limit: it reads all 40 texts to their end.")
    assert {server["texts"] for server in part.about["audit"]["servers"]} == {None}


def test_a_folder_that_asks_for_texts_to_be_read_on_is_told_apart_from_its_model():
    asking = replace(make_audit([]).limits, text_fix="cover(126)")
    loss, service, _ = measure_audit(make_audit([100] * 80 + [900] * 30, limits=asking), "fixed").verdict
    assert loss.kind == "neutral"
    assert "are never seen by the model alone, mostly in texts of" in loss.title
    assert "in no vector of the model alone (95 % intervals). That is the model without `cover(126)`" in loss.sentence
    assert service.title == "Which servers cut without a word"


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
    assert "All that follows was measured with 512 tokens read, where " in loss.sentence
    assert remedy.title == "A limit of 900 tokens would hold 99% of the texts"
    assert "(no interval: it would take 368 documents; n = 110)" in remedy.sentence
    assert "cut the texts into pieces of at most 256 tokens" in remedy.sentence
    assert "`uncollapse evaluate YOUR-DATA --model minilm --max-tokens 512`" in remedy.sentence
    assert remedy.sentence.endswith(
        "Or: take a model with a window of 900 tokens, whose one vector has to hold all of a text."
    )
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
    assert (
        "All that follows was measured with 64 tokens read, where 36.0% [36.0%, 36.0%] of the tokens are lost."
        in finding.sentence
    )
    assert "the limit of this study" in first(make_audit([100] * 50, limits=Limits(None, 64))).sentence


CASES = {
    "nothing lost": ([200] * 1000, Limits(256, 512)), "no limit": ([900] * 40, Limits(None, None)),
    "not known": ([900] * 40, Limits(None, None, known=False)), "lost": ([100] * 40 + [900] * 40, Limits(256, 512)),
    "named": ([300] * 40, Limits(256, 512, (16, 8192))), "lowered": ([100] * 50, Limits(256, 64)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_words_take_the_place_of_tokens_where_words_are_counted(case):
    full, limits = CASES[case]
    tokens, counted = (
        measure_audit(make_audit(full, limits=replace(limits, unit=unit)), "m").verdict for unit in ("tokens", "words")
    )
    for said, plain in zip(tokens, counted, strict=True):
        expected = [
            text.replace(" (those that the model adds count too)", "")
            .replace("token", "word")
            .replace("--max-words", "--max-tokens")
            for text in (said.title, said.sentence)
        ]
        assert [plain.title, plain.sentence] == expected
    assert any(" words" in finding.sentence for finding in counted)


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
