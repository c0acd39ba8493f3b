"""Every fix reads back what it prints, dials refuse what means nothing, compositions keep the order of kinds."""

import json
from pathlib import Path

import numpy as np
import pytest

from fix_examples import COMPOSITIONS, as_composition, notations
from uncollapse.attention.temperature import Temperature
from uncollapse.errors import FixError, NotationError
from uncollapse.fixes import FIXES, Composition, compose, parse
from uncollapse.fixes.kinds import Kind
from uncollapse.fixes.vectors import AllButTheTop, Centering, LengthSubspace, MeanProjection, Whitening


@pytest.mark.parametrize("text", [*notations(), *COMPOSITIONS])
def test_notation_reads_back_what_it_prints(text: str) -> None:
    fix = parse(text)
    assert parse(str(fix)) == fix
    assert str(parse(str(fix))) == str(fix)
    assert parse(str(Composition((fix,)))) == fix


def test_every_fix_has_a_name_a_kind_and_a_notation_that_begins_with_its_name() -> None:
    for text in notations():
        fix = parse(text)
        assert str(fix).startswith(f"{text.partition('(')[0]}(")
        assert fix.kind in list(Kind)
    assert {text.partition("(")[0] for text in notations()} == set(FIXES)


def test_numbers_from_numpy_print_as_numbers() -> None:
    assert str(Whitening(np.float64(0.5), "zero", np.float64(0.1))) == "whitening(0.5, zero, 0.1)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("centering(rol)", r"`centering`: by cannot be 'rol'. Did you mean 'role'\? Choices: role, all, length."),
        ("centering(3)", "`centering`: by cannot be 3. Choices: all, role, length."),
        ("mean_projection(1)", r"Expected mean_projection\(\), got 'mean_projection\(1\)'"),
        ("all_but_the_top(-1)", "`all_but_the_top`: k must be a whole number of at least 0, got -1."),
        ("all_but_the_top(1.0)", "`all_but_the_top`: k must be a whole number of at least 0, got 1.0."),
        ("length_subspace(0.5)", "`length_subspace`: k must be a whole number of at least 0, got 0.5."),
        ("whitening(1.1)", "`whitening`: g must be a number of at least 0 and at most 1, got 1.1."),
        ("whitening(nan)", "`whitening`: g must be a number of at least 0 and at most 1, got nan."),
        ("whitening(True)", "`whitening`: g must be a number of at least 0 and at most 1, got True."),
        ("whitening(0.2, median)", "`whitening`: around cannot be 'median'"),
        ("whitening(0.2, mean, 2)", "`whitening`: shrinkage must be a number of at least 0 and at most 1, got 2."),
        ("whitening(0.2, mean, lw)", "`whitening`: shrinkage must be a number of at least 0 and at most 1, got 'lw'."),
        ("cohort(lenght)", r"`cohort`: by cannot be 'lenght'. Did you mean 'length'\?"),
        ("cohort(document, 2)", "`cohort`: strength must be a number of at least 0 and at most 1, got 2."),
        ("cohort(document, 1, sd)", r"`cohort`: scale cannot be 'sd'. Did you mean 'spread'\?"),
        ("csls(0)", "`csls`: k must be a whole number of at least 1, got 0."),
        ("csls(5, nan)", "`csls`: strength must be a number of at least 0 and at most 1, got nan."),
        ("length_regression(-0.1)", "`length_regression`: strength must be a number of at least 0 and at most 1"),
        (
            "csls(5) + cohort()",
            r"Expected at most one fix on scores, got csls\(5\) \+ cohort\(document\). Choose one.",
        ),
        ("whitenin(0.2)", r"No fix 'whitenin' in 'whitenin\(0.2\)'. Did you mean 'whitening'\?"),
        ("whitening(0,25)", r"Decimals have a point: write whitening\(0.25\)"),
    ],
)
def test_dials_that_mean_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(NotationError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"fix": "whitening", "g": 0.5}, r"Expected the dials of 'whitening' in its notation, got 'g' beside it"),
        ({"fix": "whitening(0.5)", "tau": 1}, r"got 'tau' beside it, which would do nothing. Write \{"),
        ({"fix": "fix.json"}, r"Expected the notation of a fix, got 'fix.json', another file"),
    ],
)
def test_a_file_says_everything_of_a_fix_in_its_notation(
    held: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "fix.json").write_text(json.dumps(held))
    with pytest.raises(NotationError, match=message):
        parse(str(tmp_path / "fix.json"))


def test_a_file_may_hold_any_notation(tmp_path: Path) -> None:
    (tmp_path / "fix.json").write_text('{"fix": "cover(64) + whitening(0.5)"}')
    assert str(parse(str(tmp_path / "fix.json"))) == "cover(64) + whitening(0.5)"


def test_fixes_act_in_the_order_of_their_kinds_and_of_one_kind_in_the_order_given() -> None:
    mixed = Composition((Whitening(0.25), Temperature(0.8), Centering("all"), Temperature(0.9)))
    assert str(mixed) == "temperature(0.8) + temperature(0.9) + whitening(0.25) + centering(all)"
    assert mixed.model == (Temperature(0.8), Temperature(0.9))
    assert mixed.vectors == (Whitening(0.25), Centering("all"))
    assert mixed.kind == "model"
    assert Composition((mixed, MeanProjection())).parts == (*mixed.parts, MeanProjection())


def test_what_changes_nothing_is_printed_and_not_applied() -> None:
    idle = Composition((Whitening(0), LengthSubspace(0), Temperature(1.0)))
    assert str(idle) == "temperature(1.0) + whitening(0) + length_subspace(0)"
    assert idle.is_identity
    assert not idle.vectors
    assert not idle.is_fitted_to_corpus
    assert not Composition((idle, AllButTheTop(0))).is_identity


def test_nothing_is_a_composition_too() -> None:
    assert str(Composition(())) == "none"
    assert Composition(()).is_identity


def test_only_what_acts_inside_the_model_goes_into_it() -> None:
    assert as_composition("temperature(0.8)").inside("fold") == (Temperature(0.8),)
    with pytest.raises(FixError, match=r"`fold` takes fixes that act inside the model.*got whitening\(0.25\)"):
        as_composition("temperature(0.8) + whitening(0.25)").inside("fold")


def test_a_notation_in_the_place_of_a_fix_is_told_how_to_become_one() -> None:
    with pytest.raises(FixError, match=r"got the notation 'temperature\(0\.8\)'\. Give `uncollapse\.parse\("):
        compose("temperature(0.8)")  # type: ignore[arg-type]
