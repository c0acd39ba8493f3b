"""A race with planted effects: who wins, who is held back, and what is said where there is nothing to say."""

from dataclasses import replace

import numpy as np
import pytest

from race_examples import (
    CENTERING,
    FAMILIES,
    RULES,
    TEMPERATURE,
    WHITENING,
    Effect,
    Planted,
    chosen_blindly,
    judged,
    plain_task,
    run,
)
from uncollapse.errors import CorpusError, ModelError, NotationError, UncollapseError
from uncollapse.evaluation.tasks import Similarity
from uncollapse.fixes import FIXES, parse
from uncollapse.fixes.composition import compose
from uncollapse.fixes.texts.cover import Cover
from uncollapse.fixes.vectors import Centering, Whitening
from uncollapse.pipelines.automatic import STRENGTH
from uncollapse.pipelines.fitting import Unlabelled
from uncollapse.progress import Silent
from uncollapse.tuning.bench import STOCK, Measured
from uncollapse.tuning.contenders import CONTENDERS, NOT_RACED, START, Configuration, Contender, read_contenders
from uncollapse.tuning.probe import make_probe
from uncollapse.tuning.race import beside_labels, heat_facts, only_searches
from uncollapse.tuning.rows import BY_LENGTH, COSTS, RACE, WHOLE, heat_rows
from uncollapse.tuning.rules import Rules
from uncollapse.tuning.trials import Ledger, probe_blindly, race_task
from uncollapse.tuning.tune import merged

HARMFUL = {name: lambda n: np.where(n > 800, -0.06, 0.06) for name in TEMPERATURE.grid}


def test_a_family_that_helps_wins_with_its_dial_and_its_cost() -> None:
    result, verdict = judged(run(Planted({"whitening(0.25)": 0.05})))
    assert verdict[0].kind == "good"
    assert verdict[0].title == "Use whitening(0.25) on planted/test, as far as queries made out of it can tell"
    assert "In none of 5 length bins is it surely worse." in verdict[0].sentence
    assert "It costs one Dense layer (1.0 times the tokens to encode, 1.0 times" in verdict[0].sentence
    assert "fitted to 200 documents, without any label" in verdict[0].sentence
    assert result.about["races"][0]["winner"] == "whitening"


def test_without_any_effect_the_model_is_left_as_it_is() -> None:
    _, verdict = judged(run(Planted({})))
    assert verdict[0].title == "Leave minilm as it is on planted/test"
    assert "None of 3 families of fixes is surely better" in verdict[0].sentence
    assert "would be found in four of five such races" in verdict[0].sentence
    assert not [finding for finding in verdict if finding.kind in ("good", "bad")]


def test_a_family_that_hurts_at_one_length_is_not_recommended_however_much_it_gains() -> None:
    heat = run(Planted(HARMFUL), families=[TEMPERATURE, CENTERING])
    result, verdict = judged(heat)
    (gain,) = result.select(measure="ndcg@10_gain", view=RACE, fix="temperature")
    assert gain.low > 0
    assert verdict[0].title.startswith("Leave minilm as it is")
    assert "gains overall, but loses where documents are of 820-1015 tokens" in verdict[0].sentence
    (held_back,) = [finding for finding in verdict if finding.kind == "bad"]
    assert "That is why it is not recommended." in held_back.sentence


def test_a_smaller_gain_that_hurts_nowhere_beats_a_larger_one_that_does() -> None:
    effects = {**{name: lambda n: np.where(n > 800, -0.06, 0.15) for name in TEMPERATURE.grid}, "whitening(0.5)": 0.05}
    result, verdict = judged(run(Planted(effects)))
    assert verdict[0].title.startswith("Use whitening(0.5)")
    assert result.about["races"][0]["winner"] == "whitening"


def test_few_queries_say_that_nothing_can_be_told() -> None:
    _, verdict = judged(run(Planted({"whitening(0.25)": 0.3}), n=7))
    assert verdict[0].title == "Nothing can be told on planted/test"
    assert (
        verdict[0].sentence == "7 documents can be asked for, and 10 are needed before anything is tested. Give more."
    )
    blind = chosen_blindly(whitening="whitening(0.25)")
    _, verdict = judged(run(Planted({"whitening(0.25)": 0.3}), n=7, blind=blind))
    assert "It has 7 independent queries, and 10 are needed" in verdict[0].sentence
    assert len(verdict) == 1


def test_labels_and_their_absence_are_said() -> None:
    _, without = judged(run(Planted({})))
    assert without[-1].title == "No labels stand behind this"
    _, labelled = judged(run(Planted({}), blind=chosen_blindly(whitening="whitening(0.5)")))
    assert "No labels" not in " ".join(finding.title for finding in labelled)


def test_the_regret_of_a_blind_choice_is_what_it_loses() -> None:
    effects = {"whitening(0.25)": 0.05, "whitening(0.5)": 0.02}
    heat = run(Planted(effects, noise=1e-9), blind=chosen_blindly(whitening="whitening(0.5)"), families=[WHITENING])
    (row,) = [r for r in heat_rows(heat, RULES) if r.measure == "ndcg@10_regret" and r.fix == "whitening"]
    assert row.value == pytest.approx(0.03, abs=1e-6)
    assert "picked on the same queries" in row.note


def test_what_cannot_be_used_is_left_out_and_named() -> None:
    heat = run(Planted({}, bad=["centering(role)"]))
    assert [family.name for family in heat.families] == ["temperature", "whitening"]
    assert "needs at least 20 documents" in heat_facts(heat)["left_out"]["centering(role)"]
    nothing = run(Planted({}, bad=[name for family in FAMILIES for name in family.grid]))
    _, verdict = judged(nothing)
    assert verdict[0].title == "Nothing could be raced on planted/test"
    assert "needs at least 20 documents" in verdict[0].sentence


def test_the_budget_leaves_out_what_the_probe_likes_least() -> None:
    blind = chosen_blindly(temperature="temperature(0.8)")
    rules = Rules(replicates=200, resamples=500, repeats=2, encodes=2.06)
    # 1 as it is, 0.05 for the probe of each temperature, and what that left of one, 0.95
    heat = run(Planted({}), blind=blind, rules=rules, n=200)
    assert list(heat.families[0].measured) == ["temperature(0.8)"]
    assert "may encode the corpus 2.06 times at most" in heat.left_out["temperature(0.9)"]
    less = run(Planted({}), blind=blind, rules=replace(rules, encodes=2.04), n=200)
    assert {family.name for family in less.families} == {"whitening", "centering(role)"}
    assert {family.name for family in heat.families} == {"temperature", "whitening", "centering(role)"}


def test_the_budget_of_twenty_settings_is_six_encodes() -> None:
    grid = [one for contender in CONTENDERS for one in contender.configurations]
    assert len(grid) >= 20
    assert len({one.encoding for one in grid} | {("none", "")}) <= Rules().encodes - 1  # one is left for the probe


def test_every_known_fix_races_or_has_a_reason_why_not() -> None:
    raced = {str(part).partition("(")[0] for row in CONTENDERS for one in row.configurations for part in one.fix.parts}
    assert raced | set(NOT_RACED) == set(FIXES)
    assert not raced & set(NOT_RACED)
    assert all(NOT_RACED.values())


def test_a_probe_beside_labels_costs_about_one_encoding() -> None:
    ways = len({one.encoding for row in CONTENDERS for one in row.configurations} | {STOCK.encoding})
    for n in (500, 700, 900):
        assert beside_labels(n, CONTENDERS, Rules()) == max(100, n // ways)
    assert beside_labels(100_000, CONTENDERS, Rules()) == 200
    assert beside_labels(10, CONTENDERS, Rules(beside_labels=60)) == 60


def test_what_is_taken_without_labels_is_what_fix_auto_writes() -> None:
    assert START in {name for row in CONTENDERS for name in row.grid}
    assert f"{Cover(126)} + {Centering('role')} + {Whitening(STRENGTH, 'role')}" == START


@pytest.mark.parametrize(("better", "taken"), [(0.0, START), (0.2, "whitening(0.25)")])
def test_without_labels_the_frozen_pipeline_is_taken_unless_another_is_proven(better: Effect, taken: str) -> None:
    names = tuple(f"d{i:04}" for i in range(200))
    texts = tuple(f"Text {i} is here for all. " * 4 + f"It says the number {i} to those who ask." for i in range(200))
    probe = make_probe(Unlabelled(names, texts), "planted", most=200, seed=0)
    families = [WHITENING, Contender("auto", (START,), "two Dense layers")]
    blind = probe_blindly(probe, families, Planted({"whitening(0.25)": better}), Silent())
    assert blind.overall == taken
    together = Contender("all", (*WHITENING.grid, START), "")
    assert probe_blindly(probe, [together], Planted({"whitening(0.25)": better}), Silent()).overall == taken
    without = probe_blindly(probe, [WHITENING], Planted({"whitening(0.25)": better}), Silent())
    assert without.overall == "whitening(0.25)"


def test_a_race_on_documents_alone_recommends_what_is_proven_or_nothing() -> None:
    names = tuple(f"d{i:04}" for i in range(200))
    texts = tuple(f"Text {i} is here for all. " * 4 + f"It says the number {i} to those who ask." for i in range(200))
    task = make_probe(Unlabelled(names, texts), "planted", most=200, seed=0).task
    families = [WHITENING, Contender("auto", (START,), "two Dense layers")]

    def taken(**effects: Effect) -> tuple[str | None, str]:
        found = {"whitening(0.25)": effects["other"], START: effects["start"]}
        heat = race_task(task, families, Planted(found), RULES, blind=None, progress=Silent())
        _, verdict = judged(heat)
        return heat.taken, verdict[0].title

    assert taken(other=0.052, start=0.05)[0] == START
    assert taken(other=0.052, start=0.05)[1].startswith(f"Use {START} on planted")
    assert taken(other=0.0, start=0.0)[1] == "Leave minilm as it is on planted/known items"
    unproven = race_task(task, families, Planted({"whitening(0.25)": 0.2}), RULES, blind=None, progress=Silent())
    first = judged(replace(unproven, taken=START))[1][0]
    assert first.title.startswith("Leave minilm as it is")
    assert first.sentence.startswith(f"What would be taken without labels, {START}, is not surely better.")
    assert taken(other=0.2, start=0.05)[1].startswith("Use whitening(0.25) on planted")


def test_a_model_that_cannot_be_scored_is_told_by_its_reason() -> None:
    with pytest.raises(ModelError, match="The model as it is could not be scored: .* needs at least 20 documents"):
        run(Planted({}, bad=["none"]))


def test_what_is_encoded_alike_is_paid_once_and_only_beyond_what_came_before() -> None:
    names = ("none", "whitening(0.25)", "cover(126)", "cover(126) + whitening(0.25)", "temperature(0.9)")
    known = {name: Configuration(name, compose(parse(name) if name != "none" else None)) for name in names}
    ledger = Ledger(known)
    fresh = {"none": 800, "whitening(0.25)": 800, "temperature(0.9)": 800, names[2]: 2400, names[3]: 2400}
    ledger.enter({name: Measured(np.ones(1), 1, 1.0, 1, {}, tokens) for name, tokens in fresh.items()})
    ledger.enter({name: Measured(np.ones(1), 1, 1.0, 1, {}, 800) for name in names[:2]})
    assert ledger.fresh == {
        known[names[0]].encoding: 1600,
        known[names[2]].encoding: 2400,
        known[names[4]].encoding: 800,
    }
    prices = ledger.prices({"none": 20, names[1]: 20, names[2]: 10, names[3]: 10, names[4]: 10})
    assert prices == {"none": 1, names[1]: 1, names[2]: 3, names[3]: 3, names[4]: 1}


def test_a_race_depends_on_its_seed_alone() -> None:
    rows = [heat_rows(run(Planted({"whitening(0.25)": 0.02})), RULES) for _ in range(2)]
    assert rows[0] == rows[1]
    other = heat_rows(
        run(Planted({"whitening(0.25)": 0.02}), rules=Rules(replicates=200, resamples=1000, seed=1)), RULES
    )
    assert other != rows[0]


def test_every_row_has_an_interval_or_a_reason_and_every_gain_its_n() -> None:
    blind = chosen_blindly(whitening="whitening(0.5)")
    for row in heat_rows(run(Planted(HARMFUL), blind=blind), RULES):
        assert (row.low is None) == (row.high is None)
        assert row.low is not None or row.note, row
        assert row.n > 0


def test_p_values_are_corrected_over_families_and_over_the_bins_of_each() -> None:
    rows = heat_rows(run(Planted({"whitening(0.25)": 0.01})), RULES)
    families = [row for row in rows if row.view == RACE and row.measure == "ndcg@10_gain" and row.fix != WHOLE]
    smallest = min(families, key=lambda row: row.p)
    assert smallest.p_holm == pytest.approx(min(1, 3 * smallest.p))
    for name in ("whitening", "temperature"):
        bins = [row for row in rows if (row.view, row.fix) == (BY_LENGTH, name)]
        assert len(bins) == 5
        assert min(row.p_holm for row in bins) == pytest.approx(min(1, 5 * min(row.p for row in bins)))


def test_costs_are_against_the_model_as_it_is() -> None:
    rows = [row for row in heat_rows(run(Planted({})), RULES) if row.view == COSTS and row.fix == "whitening"]
    cost = {row.measure: row.value for row in rows}
    assert cost == {
        "encode_cost": 1.0, "storage_cost": 1.0, "vectors_per_document": 1.0, "dimensions": 384.0,
        "fitted_documents": 200.0,
    }  # fmt: skip


def test_several_data_sets_are_summed_up_first() -> None:
    good, nothing = run(Planted({"whitening(0.25)": 0.05}), name="a"), run(Planted({}, seed=5), name="b")
    _, verdict = judged(good, nothing)
    assert verdict[0].title == "whitening: better on 1 of 2 data sets, worse on none"
    hurts = run(Planted(dict.fromkeys(WHITENING.grid, -0.05)), name="c")
    _, verdict = judged(good, hurts)
    assert verdict[0].title == "Leave minilm as it is on 2 data sets together"


def test_a_cheaper_family_that_is_not_surely_behind_is_named() -> None:
    effects = {"temperature(0.8)": 0.05, "whitening(0.25)": 0.0499}
    _, verdict = judged(run(Planted(effects, noise=0.08, seed=3)))
    titles = [finding.title for finding in verdict]
    assert any(title.startswith("Use ") for title in titles)
    if titles[0].startswith("Use temperature"):
        assert "whitening(0.25) costs less and is not surely behind" in titles


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda one: one.name)
def test_every_row_of_the_table_parses_and_names_known_fixes(contender) -> None:  # type: ignore[no-untyped-def]
    for one in contender.configurations:
        assert str(one) in contender.grid, "written as it prints"
        assert not one.fix.is_identity
        assert {str(part).partition("(")[0] for part in one.fix.parts} <= set(FIXES)
    assert contender.cost
    assert len({one.name for one in CONTENDERS}) == len(CONTENDERS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whitenin", "Did you mean 'whitening'?"),
        ("whitening(2)", "whitening"),
        ("temperatur(0.9)", "Did you mean 'temperature'?"),
    ],
)
def test_unknown_contenders_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(NotationError, match=message.replace("(", r"\(").replace("?", r"\?")):
        read_contenders([text])


def test_notations_that_differ_in_a_number_are_one_family() -> None:
    families = read_contenders(["whitening(0.1)", "whitening", "whitening(0.3)", "centering(role)", "centering(all)"])
    assert [one.name for one in families] == ["whitening", "centering(role)", "centering(all)", "whitening, 2 dials"]


def test_rules_out_of_range_and_other_tasks_are_refused() -> None:
    with pytest.raises(UncollapseError, match="folds must be at least 2, got 1"):
        Rules(folds=1)
    pairs = Similarity("pairs", "test", ("a",), ("b",), np.ones(1))
    with pytest.raises(CorpusError, match="raced on retrieval, got tasks of kind: similarity"):
        only_searches([pairs])
    with pytest.raises(UncollapseError, match="Expected a fix to tune, got none"):
        merged([])


def test_a_task_of_its_own_is_scored_by_everyone_on_the_same_lines() -> None:
    heat = run(Planted({}), n=30)
    assert len(plain_task(30).queries) == len(heat.sheet) == len(heat.stock.scores)
    assert all(len(family.fit.scores) == 30 for family in heat.families)
