"""Result files are what their JSON Schema says, to the last field, and nothing else passes."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

from synthetic import PlantedEncoder, corpus
from tiny import save_tiny
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import diagnose
from uncollapse.encoders import load
from uncollapse.errors import UncollapseError
from uncollapse.evaluation.comparison import Plan
from uncollapse.evaluation.tasks import Retrieval, Similarity, Texts
from uncollapse.evaluation.trial import evaluate
from uncollapse.fixes import parse
from uncollapse.records import SCHEMA, Finding, Item, LengthCount, Point, Result, Row
from uncollapse.schemas import schema

ROW = Row("mean_cosine", 0.4, 0.3, 0.5, 9)


def check(text: str) -> None:
    Draft202012Validator(schema(SCHEMA)).validate(json.loads(text))


@pytest.fixture(scope="module")
def diagnosed() -> Result:
    return diagnose(PlantedEncoder(0.2), corpus(200), settings=Settings(replicates=64))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Result:
    texts = tuple(f"{word} {'word ' * length}" for length, word in enumerate(("man", "dog", "water", "grass") * 8))
    names = tuple(f"d{i}" for i in range(len(texts)))
    judged = {f"q{i}": {f"d{i}": 1} for i in range(12)}
    queries = Texts(tuple(judged), tuple(text[:9] for text in texts[:12]))
    gold = np.random.default_rng(0).uniform(0, 5, len(texts))
    tasks = (
        Retrieval("docs", "test", Texts(names, texts), queries, judged),
        Similarity("sts", "test", texts, texts[::-1], gold),
    )
    encoder = load(str(save_tiny(tmp_path_factory.mktemp("model"))))
    return evaluate(
        encoder, tasks, [parse("temperature(0.7)")], plan=Plan(bins=2, cells=2, replicates=40, resamples=40)
    )


def test_the_schemas_are_sound_and_named_after_what_they_describe() -> None:
    for name in (SCHEMA, "uncollapse.thresholds/1"):
        Draft202012Validator.check_schema(schema(name))
        assert schema(name)["properties"]["schema"]["const"] == name
        assert schema(name)["$id"] == "urn:" + name.replace(".", ":").replace("/", ":")


def test_a_diagnosis_fits(diagnosed: Result) -> None:
    assert diagnosed.rows
    assert diagnosed.points
    assert diagnosed.lengths
    assert diagnosed.verdict
    check(diagnosed.to_json())


def test_an_evaluation_fits(evaluated: Result) -> None:
    assert evaluated.items
    assert {item.n_query_tokens is None for item in evaluated.items} == {False}
    assert any(row.p is not None for row in evaluated.rows)
    check(evaluated.to_json())


@pytest.mark.parametrize("record", [Row, Finding, Point, LengthCount, Item])
def test_every_field_of_a_record_is_in_the_schema_and_required(record: Any) -> None:
    names = [field.name for field in fields(record)]
    described = schema(SCHEMA)["$defs"][record.__name__]
    assert list(described["properties"]) == names
    assert described["required"] == names
    assert described["additionalProperties"] is False


def test_every_field_of_a_result_is_in_the_schema_and_required() -> None:
    names = ["schema", *(field.name for field in fields(Result))]
    assert list(schema(SCHEMA)["properties"]) == names
    assert schema(SCHEMA)["required"] == names


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(extra=1), "'extra' was unexpected"),
        (lambda data: data["rows"][0].pop("n"), "'n' is a required property"),
        (lambda data: data["rows"][0].update(n=2.5), "2.5 is not of type 'integer'"),
        (lambda data: data["rows"][0].update(source="a"), "'source' was unexpected"),
        (lambda data: data["rows"][0].update(value=None), "None is not of type 'number'"),
        (lambda data: data["rows"][0].update(low=None, high=None), "'' should be non-empty"),
        (lambda data: data["rows"][0].update(low=None, note="few"), "0.5 is not of type 'null'"),
        (lambda data: data["rows"][0].update(high=None), "None is not of type 'number'"),
        (lambda data: data["rows"][0].update(p=1.5), "1.5 is greater than the maximum of 1"),
        (lambda data: data["verdict"][0].update(kind="ugly"), "'ugly' is not one of"),
        (lambda data: data.pop("items"), "'items' is a required property"),
        (lambda data: data.update(schema="uncollapse.result/2"), "'uncollapse.result/1' was expected"),
    ],
)
def test_what_is_not_a_result_fails(change: Change, message: str) -> None:
    data = json.loads(Result(rows=(ROW,), verdict=(Finding("a", "b"),)).to_json())
    check(json.dumps(data))
    change(data)
    with pytest.raises(ValidationError, match=message):
        check(json.dumps(data))


def test_about_is_open_and_a_row_without_an_interval_says_why() -> None:
    row = replace(ROW, low=None, high=None, note="few")
    item = Item("t1", "a text", 7, None, "accuracy", {"none": 1.0})
    check(Result(rows=(row,), items=(item,), about={"anything": {"at": ["all"]}}).to_json())


def test_an_unknown_schema_is_refused_by_name() -> None:
    with pytest.raises(UncollapseError, match=r"no schema 'uncollapse.result/9'. Did you mean 'uncollapse.result/1'"):
        schema("uncollapse.result/9")
