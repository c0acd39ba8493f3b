"""The file of thresholds by length: written whole, read back, applied by lookup, refused where it is none."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from score_examples import SOURCE, measure, rows, texts
from uncollapse.diagnosis.scores import Threshold, Thresholds, export_thresholds
from uncollapse.errors import OutputError, UncollapseError
from uncollapse.records import Part, Result, Row
from uncollapse.schemas import schema


@pytest.fixture(scope="module")
def drifting() -> Part:
    return measure(texts(400, drift=0.2), texts(300, drift=0.1, seed=1, name="q"))


def test_the_file_holds_every_threshold_and_reads_back(drifting: Part, tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    export_thresholds(drifting, path, model="m")
    data = json.loads(path.read_text())
    Draft202012Validator(schema(data["schema"])).validate(data)
    found = Thresholds.from_json(path.read_text())
    assert (found.model, found.fix, found.rate, found.queries) == ("m", "none", 0.01, SOURCE)
    assert Thresholds.from_json(found.to_json()) == found
    by_bin = {row.bin: row for row in rows(drifting, "threshold@0.01", "scores")}
    assert sum(len(line) for line in found.cells) == len(by_bin) == 20
    for text in texts(200, seed=7):
        query, document = 8 + int(text.id) % 100, text.n_tokens
        label = next(label for label in by_bin if _inside(label, query, document))
        assert found.threshold(query, document) == by_bin[label].value
    (overall,) = rows(drifting, "threshold@0.01", "scores_overall")
    assert found.overall == Threshold(overall.value, overall.low, overall.high, 300, 300 * 400)
    assert sum(cell.n_pairs for line in found.cells for cell in line) == found.overall.n_pairs


def _inside(label: str, *tokens: int) -> bool:
    bounds = [[int(edge) for edge in part.split("-")] for part in label.split(" x ")]
    return all(edges[0] <= count <= edges[-1] for edges, count in zip(bounds, tokens, strict=True))


def test_what_lies_outside_the_measured_lengths_takes_the_nearest_bin(drifting: Part, tmp_path: Path) -> None:
    export_thresholds(drifting, tmp_path / "t.json", model="m")
    found = Thresholds.from_json((tmp_path / "t.json").read_text())
    assert found.threshold(1, 1) == found.cells[0][0].threshold
    assert found.threshold(10**6, 10**6) == found.cells[-1][-1].threshold


def test_a_result_names_its_model_and_corpus(drifting: Part, tmp_path: Path) -> None:
    labelled = tuple(replace(row, model="minilm", dataset="notes", fix="temperature(0.8)") for row in drifting.rows)
    result = Result(rows=(Row("mean_cosine", 0.1, 0.0, 0.2, 9, "windows"), *labelled), about=drifting.about)
    export_thresholds(Result.from_json(result.to_json()), tmp_path / "t.json")
    found = Thresholds.from_json((tmp_path / "t.json").read_text())
    assert (found.model, found.dataset, found.fix) == ("minilm", "notes", "temperature(0.8)")


def test_a_threshold_that_was_not_told_is_null_and_says_why(tmp_path: Path) -> None:
    part = measure(texts(110), texts(110, seed=1, name="q"), rates=(0.002, 0.01))
    export_thresholds(part, tmp_path / "t.json", rate=0.002, model="m")
    data = json.loads((tmp_path / "t.json").read_text())
    Draft202012Validator(schema(data["schema"])).validate(data)
    found = Thresholds.from_json((tmp_path / "t.json").read_text())
    assert found.overall.threshold is not None
    cell = found.cells[0][0]
    assert (cell.threshold, cell.low, cell.high) == (None, None, None)
    assert (cell.n_pairs, cell.note) == (cell.n_pairs, f"{cell.n_pairs:,} pairs are too few to tell it")
    with pytest.raises(UncollapseError, match="no threshold for queries of 9 and documents of 9 tokens: .* too few"):
        found.threshold(9, 9)


def test_an_export_that_cannot_be_made_leaves_the_old_file(drifting: Part, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("old")
    several = replace(
        drifting, rows=(*drifting.rows, *(replace(row, fix="temperature(0.8)") for row in drifting.rows))
    )
    for part, keys, message in (
        (Part(), {}, "There are no thresholds to export"),
        (measure(texts(1)), {}, "There are no thresholds to export"),
        (drifting, {}, "Pass `model`"),
        (drifting, {"rate": 0.05, "model": "m"}, "rate that was measured, got `rate` 0.05. Measured: 0.01."),
        (several, {"model": "m"}, "one model, fix and corpus, but this result has 2"),
    ):
        with pytest.raises(UncollapseError, match=message):
            export_thresholds(part, path, **keys)
    two = measure(texts(60), rates=(0.01, 0.1))
    with pytest.raises(UncollapseError, match="got `rate` None. Measured: 0.01, 0.1."):
        export_thresholds(two, path, model="m")
    assert path.read_text() == "old"
    with pytest.raises(OutputError, match="Could not write"):
        export_thresholds(drifting, tmp_path / "none" / "t.json", model="m")
    assert [child.name for child in tmp_path.iterdir()] == ["t.json"]


def _changed(data: dict[str, Any], **changes: Any) -> str:
    return json.dumps({**data, **changes})


def test_a_file_that_is_none_is_refused(drifting: Part, tmp_path: Path) -> None:
    export_thresholds(drifting, tmp_path / "t.json", model="m")
    data = json.loads((tmp_path / "t.json").read_text())
    bare = {key: value for key, value in data.items() if key != "rate"}
    odd = {**data["overall"], "threshold": "0.4"}
    for text, message in (
        ("{", "Expected the JSON of a file of thresholds, got something else"),
        (_changed(data, overall={**data["overall"], "threshold": float("nan")}), "NaN is no number of JSON"),
        ("[1]", "Expected thresholds of schema 'uncollapse.thresholds/1', got 'list'"),
        (_changed(data, schema="uncollapse.result/1"), "got 'uncollapse.result/1'"),
        (json.dumps(bare), "a field missing or of another kind: 'rate'"),
        (_changed(data, overall=odd), "a score must be a number or null, got '0.4'"),
        (_changed(data, overall={**data["overall"], "more": 1}), "unexpected keyword argument 'more'"),
        (
            _changed(data, cells=data["cells"][:-1]),
            r"edges make 4 x 5 cells, but the file has rows of \[5, 5, 5\]",
        ),
        (_changed(data, query_edges=[9, 3]), "rising edges"),
        (_changed(data, max_tokens="256"), "`max_tokens` must be a whole number above 0 or null, got '256'"),
        (_changed(data, max_tokens=0), "`max_tokens` must be a whole number above 0 or null, got 0"),
    ):
        with pytest.raises(UncollapseError, match=message):
            Thresholds.from_json(text)


def test_the_limit_of_the_texts_is_told_and_files_without_it_are_read(drifting: Part, tmp_path: Path) -> None:
    scores = drifting.about["scores"]
    export_thresholds(
        replace(drifting, about={"scores": {**scores, "max_tokens": 256}}), tmp_path / "t.json", model="m"
    )
    data = json.loads((tmp_path / "t.json").read_text())
    Draft202012Validator(schema(data["schema"])).validate(data)
    assert data["max_tokens"] == Thresholds.from_json(json.dumps(data)).max_tokens == 256
    assert "cuts at `max_tokens` tokens" in data["apply"]
    data.pop("max_tokens")
    Draft202012Validator(schema(data["schema"])).validate(data)
    assert Thresholds.from_json(json.dumps(data)).max_tokens is None


@pytest.mark.parametrize(("record", "described"), [(Thresholds, None), (Threshold, "Threshold")])
def test_every_field_of_the_file_is_in_its_schema(record: Any, described: str | None) -> None:
    found = schema("uncollapse.thresholds/1")
    part = found["$defs"][described] if described else found
    names = [*(() if described else ("schema", "apply")), *(field.name for field in fields(record))]
    assert list(part["properties"]) == names
    assert part["required"] == [name for name in names if name != "max_tokens"]  # files of before are files still
