"""Costs and scores hold for the model as it is served; the study of length may let it read further."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import planted
from synthetic import ListCorpus, PlantedEncoder
from tiny import save_tiny
from uncollapse.corpora import Text
from uncollapse.diagnosis.memory import Memory
from uncollapse.diagnosis.scores.thresholds import read_thresholds
from uncollapse.diagnosis.served import Served, explain_limit, read_as_served, reading_as_served
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import diagnose
from uncollapse.encoders import load
from uncollapse.fixes import parse
from uncollapse.records import Result, Row
from uncollapse.reporting import render_report
from uncollapse.reservoir import Kept

FAST = Settings(replicates=64)
PRICED = ("cost_overall", "cost_by_length", "cost_by_position", "cost_by_window", "cost_grid", "hubness")


def sentences(n: int = 160) -> ListCorpus:
    """Texts of 40 to 239 words in sentences of ten."""
    _, texts = planted.topics(n, 4, 240)
    words = [text.split()[: 40 + (7 * row) % 200] for row, text in enumerate(texts)]
    parts = [[" ".join(one[start : start + 10]) for start in range(0, len(one), 10)] for one in words]
    return ListCorpus([Text(f"d{row}", "\n\n".join(part)) for row, part in enumerate(parts)])


def encoder(max_tokens: int, *, studied: bool = False) -> PlantedEncoder:
    made = PlantedEncoder(0.2, max_tokens=max_tokens)
    made.folder_max_tokens, made.raised_to_study = 64, studied
    return made


def rows(result: Result, *, priced: bool) -> list[Row]:
    return [row for row in result.rows if (row.view in PRICED or row.view.startswith("scores")) == priced]


@pytest.fixture(scope="module")
def studied() -> Result:
    return diagnose(encoder(128, studied=True), sentences(), settings=FAST)


def test_costs_and_scores_are_those_of_a_diagnosis_at_the_folders_limit(studied: Result) -> None:
    own = diagnose(encoder(64), sentences(), settings=FAST)
    assert {"cost_overall", "hubness", "scores"} <= {row.view for row in rows(own, priced=True)}
    assert rows(studied, priced=True) == rows(own, priced=True)
    assert read_thresholds(studied) == read_thresholds(own)
    assert read_thresholds(studied).max_tokens == 64


def test_lengths_and_causes_are_those_of_a_diagnosis_at_the_limit_of_the_study(studied: Result) -> None:
    named = diagnose(encoder(128), sentences(), settings=FAST)
    assert rows(studied, priced=False) == rows(named, priced=False)
    assert rows(studied, priced=True) != rows(named, priced=True)
    assert read_thresholds(named).max_tokens == 128
    assert studied.points == named.points


def test_verdict_and_report_say_at_which_limit_they_hold(studied: Result) -> None:
    (told,) = [finding for finding in studied.verdict if "Costs and thresholds hold" in finding.title]
    assert told.title == "Costs and thresholds hold at 64 tokens"
    assert "causes above are measured at 128." in told.sentence
    assert told.sentence.endswith("--max-tokens 128.")
    about = {**studied.about, "model": {**studied.about["model"], "max_tokens": 128}}
    page = render_report(replace(studied, about=about))
    assert page.count("Measured on texts cut at 64 tokens, not at the 128 of lengths and causes.") == 3


def test_no_limit_is_told_of_costs_and_thresholds_that_were_not_measured() -> None:
    result = diagnose(encoder(128, studied=True), sentences(1), settings=FAST)
    assert not rows(result, priced=True)
    assert not [finding for finding in result.verdict if "Costs and thresholds hold" in finding.title]


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (Served(64, 64, 64), ""),
        (Served(None, None, None), ""),
        (Served(128, 128, None), ""),
        (Served(128, 128, 64), "the limit you named. The model's folder cuts texts at 64,"),
        (Served(64, 128, 64, studied=True), "For costs and thresholds at that limit: --max-tokens 128."),
        (Served(66, 66, 100, studied=True), "reach no further, although its folder cuts texts only at 100."),
        (Served(66, 66, 66, studied=True), ""),
    ],
)
def test_a_limit_is_spoken_of_where_there_are_two(served: Served, said: str) -> None:
    found = list(explain_limit(served))
    assert bool(found) == bool(said)
    assert all(said in finding.sentence for finding in found)


def test_only_a_limit_that_was_raised_to_study_length_is_taken_back() -> None:
    assert Served.of(encoder(128, studied=True)) == Served(64, 128, 64, studied=True)
    assert Served.of(encoder(128)) == Served(128, 128, 64)
    assert Served.of(encoder(128, studied=True), moved=True) == Served(128, 128, 128)  # the fixed folder reads so far
    assert Served.of(PlantedEncoder(0.2, max_tokens=10**9)) == Served(None, None, None)


def test_only_texts_that_are_cut_shorter_are_encoded_anew() -> None:
    model, served = encoder(128, studied=True), Served(64, 128, 64)
    texts = [" ".join([f"t{row}", *["w"] * (30 + row)]) for row in range(60)]
    before = [Kept(str(row), text, len(text.split()) + 2, model.vectors([text])[0]) for row, text in enumerate(texts)]
    model.encoded = 0
    with reading_as_served(model, served):
        after = read_as_served(model, before, served, Memory())
        assert model.max_tokens == 64
    assert model.max_tokens == 128
    long = [kept.n_tokens > 64 for kept in before]
    assert model.encoded == sum(long) > 0
    assert [kept.n_tokens for kept in after] == [min(kept.n_tokens, 64) for kept in before]
    assert [new is old for new, old in zip(after, before, strict=True)] == [not one for one in long]


def test_real_encoders_say_whether_their_limit_was_raised_to_study(tmp_path: Path) -> None:
    folder = str(save_tiny(tmp_path / "m", max_tokens=40))
    raised = {limit: Served.of(load(folder, device="cpu", max_tokens=limit)) for limit in ("model", "table", 50)}
    assert raised == {"model": Served(40, 40, 40), "table": Served(40, 66, 40, studied=True), 50: Served(50, 50, 40)}
    assert load(folder, device="cpu", max_tokens="table").as_role("query").raised_to_study


def test_a_folder_whose_limit_lies_beyond_the_positions_is_told_apart_from_a_limit_that_was_named(
    tmp_path: Path,
) -> None:
    folder = save_tiny(tmp_path / "m", max_tokens=40)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 100, "do_lower_case": False}))
    served = {limit: Served.of(load(str(folder), device="cpu", max_tokens=limit)) for limit in ("table", 50)}
    assert served == {"table": Served(66, 66, 100, studied=True), 50: Served(50, 50, 100)}
    said = {limit: [finding.sentence for finding in explain_limit(one)] for limit, one in served.items()}
    assert "named" not in said["table"][0]
    assert "set a limit of 66 wherever it is served" in said["table"][0]
    assert "the limit you named" in said[50][0]


def test_a_whole_diagnosis_leaves_the_limit_as_it_was(tmp_path: Path) -> None:
    model = load(str(save_tiny(tmp_path / "m", max_tokens=40)), device="cpu", max_tokens="table")
    result = diagnose(model, sentences(70), settings=FAST, fix=parse("temperature(0.8)"))
    assert model.max_tokens == 66
    assert [result.about[room]["max_tokens"] for room in ("costs", "scores")] == [40, 40]
    assert max(row.n_tokens for row in result.select(view="scores_by_document")) <= 40
    assert max(row.n_tokens for row in result.select(view="windows")) == 66
