"""Temperature values and the notation of fixes."""

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncollapse.attention.modelfixes import FACTS
from uncollapse.attention.temperature import Temperature
from uncollapse.errors import NotationError
from uncollapse.fixes import FIXES, parse
from uncollapse.notation import Call, parse_calls

positive = st.floats(min_value=1e-6, max_value=1e6, allow_nan=False)
rows = st.lists(positive, min_size=1, max_size=4)
taus = (
    positive
    | rows
    | st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(positive, min_size=n, max_size=n), min_size=1))
)


@given(taus)
def test_notation_and_json_read_back_what_they_print(tau: object) -> None:
    temperature = Temperature(tau)
    assert parse(str(temperature)) == temperature
    assert Temperature.from_json(json.loads(json.dumps(temperature.to_json()))) == temperature


@given(taus)
def test_identity_is_exactly_all_ones(tau: object) -> None:
    temperature = Temperature(tau)
    values = str(temperature).removeprefix("temperature(").removesuffix(")").replace("[", " ").replace("]", " ")
    assert temperature.is_identity == all(float(value) == 1.0 for value in values.replace(",", " ").split())


@pytest.mark.parametrize("tau", [0, -1, -0.0, 10**400, math.nan, math.inf, [0.8, 0], [[0.8], [-1]]])
def test_tau_must_be_finite_and_positive(tau: object) -> None:
    with pytest.raises(NotationError, match=r"tau must be finite and > 0, got .* Use `temperature\(1.0\)`"):
        Temperature(tau)


@pytest.mark.parametrize("tau", [True, "0.8", None, ["a"], {"a": 1}])
def test_tau_must_be_a_number(tau: object) -> None:
    with pytest.raises(NotationError, match="tau must be a number > 0, got"):
        Temperature(tau)


@pytest.mark.parametrize("tau", [[0.8, [0.9]], [[[0.8]]], [[0.8, 0.9], 1.0]])
def test_ragged_shapes_are_refused(tau: object) -> None:
    with pytest.raises(NotationError, match="a number, one number a layer, or one list of numbers a layer"):
        Temperature(tau)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(NotationError, match="at least one number, got an empty list"):
        Temperature([])


@pytest.mark.parametrize("text", ["temperature(0)", "temperature(-1)", "temperature(nan)", "temperature(inf)"])
def test_notation_refuses_impossible_temperatures(text: str) -> None:
    with pytest.raises(NotationError, match="tau must be finite and > 0"):
        parse(text)


def test_unknown_fix_names_the_nearest() -> None:
    with pytest.raises(NotationError, match=r"No fix 'temprature'.*Did you mean 'temperature'\? Known fixes"):
        parse("temprature(0.8)")


@pytest.mark.parametrize("text", ["temperature()", "temperature(0.8, 0.9)", "temperature(t=0.8)"])
def test_wrong_arguments_say_what_is_expected(text: str) -> None:
    with pytest.raises(NotationError, match=r"Expected one number, or one list .* are a list: temperature\(\[0.9,"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("temperature(0,9)", "temperature(0.9)"),
        (" temperature( 0, 85 )", "temperature(0.85)"),
        ("temperature(0,05)", "temperature(0.05)"),
    ],
)
def test_a_decimal_comma_is_told_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(
        NotationError, match=f"Decimals have a point: write {re.escape(meant)}, not '{re.escape(text.strip())}'"
    ):
        parse(text)
    assert parse(meant).tau == float(meant[12:-1])
    with pytest.raises(NotationError, match=r"Decimals have a point: 0\.9, not 0,9"):
        parse("temperature([0,9, 0,8])")


@pytest.mark.parametrize(
    "text", ["", "0.8", "temperature(", "a.b(1)", "temperature(open('x'))", "a(1) - b(2)", "a(**{'b': 1})", "(" * 500]
)
def test_what_is_no_call_is_refused_and_nothing_is_evaluated(text: str) -> None:
    with pytest.raises(NotationError, match=r"Expected a fix such as 'temperature\(0.8\)'"):
        parse(text)


def test_several_fixes_are_not_silently_dropped() -> None:
    assert str(parse("temperature(0.8) + temperature(0.9)")) == "temperature(0.8) + temperature(0.9)"


def test_bare_words_are_strings() -> None:
    assert parse_calls("a(b, key=word) + c") == (Call("a", ("b",), {"key": "word"}), Call("c"))


def test_a_json_file_holds_a_fix(tmp_path: Path) -> None:
    path = tmp_path / "tau.json"
    path.write_text(json.dumps(Temperature([0.9, 0.8]).to_json()))
    assert parse(str(path)) == Temperature([0.9, 0.8])
    path.write_text(json.dumps(Temperature(0.9).to_json()), encoding="utf-8-sig")
    assert parse(str(path.rename(tmp_path / "TAU.JSON"))) == Temperature(0.9)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "Expected a file with a fix, got .*tau.json', which is not there"),
        ("", "Expected a JSON file with a fix"),
        ('{"fix": "temperature", "tau": 0,9}', "Expected a JSON file with a fix"),
        ('{"tau": 0.9}', "Expected a fix in .*tau.json', got '{\"tau\": 0.9}'"),
        ("[0.9, 0.8]", r"Expected a fix in .*got '\[0.9, 0.8\]'"),
        ('{"fix": []}', "Expected a fix in"),
        ('{"fix": 3}', "Expected a fix in"),
    ],
)
def test_a_file_without_a_fix_is_told_what_such_a_file_holds(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "tau.json"
    if content is not None:
        path.write_text(content)
    holds = r'.*Such a file holds {"fix": "temperature", "tau": 0\.9}, or one number a layer'
    with pytest.raises(NotationError, match=said + holds):
        parse(str(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"fix": "temperature", "t": 1}', r'tau\.json\': Expected {"fix": "temperature", "tau": \.\.\.}'),
        ('{"fix": "temperature", "tau": "0.9"}', r"tau\.json': .*tau must be a number > 0, got '0\.9'"),
        ('{"fix": "temperature", "tau": 0}', r"tau\.json': .*tau must be finite and > 0"),
    ],
)
def test_a_wrong_number_in_a_file_names_the_file(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "tau.json").write_text(content)
    with pytest.raises(NotationError, match=said):
        parse(str(tmp_path / "tau.json"))


def test_every_fix_is_in_the_table_under_its_own_notation() -> None:
    assert set(FIXES) >= {facts.name for facts in FACTS.values()}
    for kind, facts in FACTS.items():
        fix = parse(facts.example)
        assert type(fix) is kind
        assert str(fix).startswith(f"{facts.name}(")
        assert parse(str(fix)) == fix
        assert type(fix).from_json(json.loads(json.dumps(fix.to_json()))) == fix
        assert fix.kind == "model"
