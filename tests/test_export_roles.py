"""Models with a way for each role, exported as a graph a role; and exported models as what `evaluate` scores."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Router

from command_files import go_alone, write_words
from export_examples import PROMPTS
from test_export_stock import by_onnxruntime, by_openvino
from text_fix_examples import PLAN, retrieval, sentences
from tiny import save_tiny
from uncollapse import evaluate, export, load, parse
from uncollapse.checkpoints import fix
from uncollapse.cli import run
from uncollapse.encoders import CachedEncoder, ExportedEncoder, Role, SentenceEncoder, load_model
from uncollapse.encoders.sentence import ROLES
from uncollapse.encoders.sources import write_record
from uncollapse.errors import ArchitectureError, ModelError
from uncollapse.exporting import folder as exporting
from uncollapse.exporting import tracing
from uncollapse.exporting.parity import LIMITS
from uncollapse.pipelines.fitting import Unlabelled
from uncollapse.records import Result

WRITTEN = "centering(role) + whitening(0.3, role)"
CORPUS = Unlabelled(tuple(f"d{i}" for i in range(60)), sentences(60, 0), sentences(30, 1, 8))
TEXTS = ["a dog", "two dogs run over green grass. " * 5, "", "near water!", "x"]
FORMS = {"onnx": by_onnxruntime, "onnx-int8": by_onnxruntime, "openvino": by_openvino}
NAMES = {"onnx": "model_{}.onnx", "onnx-int8": "model_{}.onnx", "openvino": "openvino_model_{}.xml"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("routed")
    plain = SentenceTransformer(str(save_tiny(root / "plain", max_tokens=40)), device="cpu")
    SentenceTransformer(modules=list(plain), device="cpu", prompts=PROMPTS).save_pretrained(str(root / "stock"))
    (root / "stock/README.md").write_text("# Mine\n")
    fix(str(root / "stock"), parse(WRITTEN), root / "fixed", corpus=CORPUS)
    return root / "fixed"


@pytest.fixture(scope="module")
def exports(source: Path) -> Iterator[dict[str, Path]]:
    """In every format, traced once."""
    places = {form: source.parent / form for form in FORMS}
    export(str(source), places["onnx"], to="onnx")

    def copy(_: SentenceEncoder, folder: Path, __: Sequence[Role]) -> None:
        for file in places["onnx"].glob("*.onnx*"):
            shutil.copyfile(file, folder / file.name)

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(exporting, "trace_routes", copy)
        patching.setitem(LIMITS, "onnx-int8", 1.0)  # vectors of a random model lie too close together for 8 bits
        for form in ("onnx-int8", "openvino"):
            export(str(source), places[form], to=form)
        yield places


def stock_vectors(source: Path, role: Role) -> Any:
    model = SentenceTransformer(str(source), device="cpu")
    encode = {"query": model.encode_query, "document": model.encode_document, "text": model.encode}[role]
    return encode(TEXTS, show_progress_bar=False)


@pytest.mark.parametrize("form", FORMS)
def test_each_role_has_a_graph_that_stock_runtimes_open_and_that_gives_its_vectors(
    form: str, exports: dict[str, Path], source: Path
) -> None:
    found = {}
    for role in ROLES:
        wanted = stock_vectors(source, role)
        texts = [PROMPTS.get(role, "") + text for text in TEXTS]
        found[role] = FORMS[form](exports[form], texts, NAMES[form].format(role))
        assert np.abs(found[role] - wanted).max() <= (0.3 if form == "onnx-int8" else 1e-5)
        encoder = load(str(exports[form]))
        assert isinstance(encoder, ExportedEncoder)
        assert np.abs(encoder.as_role(role).vectors(TEXTS) - wanted).max() <= (0.3 if form == "onnx-int8" else 1e-5)
    assert np.abs(found["query"] - found["document"]).max() > 0.05, "a graph of its own"


def test_what_is_in_the_folder(exports: dict[str, Path]) -> None:
    names = {path.name for path in exports["onnx"].iterdir()}
    graphs = {f"model_{role}.onnx" for role in ROLES}
    beside = {"README.md", "export.json", "parity.json", "tokenizer.json", "tokenizer_config.json", "config.json"}
    assert names == {*graphs, "model.onnx.data", *beside}
    weights = (exports["onnx"] / "model.onnx.data").stat().st_size
    assert all((exports["onnx"] / name).stat().st_size < weights for name in graphs), "weights lie there once"
    for form, folder in exports.items():
        parity = json.loads((folder / "parity.json").read_text())
        assert parity["agrees"]
        assert [row["route"] for row in parity["rows"]] == [role for role in ROLES for _ in range(8)]
        assert json.loads((folder / "export.json").read_text())["routes"] == list(ROLES)
        card = (folder / "README.md").read_text()
        for role in ROLES:
            assert NAMES[form].format(role) in card
        assert "| queries | " in card
        assert "`'ask: '` |" in card
        assert (
            len(re.findall(r"^\| [\d-]+ \| \d+ \| (query|document|text), (alone|padded) \|", card, re.MULTILINE)) == 4
        )


def test_the_cards_own_lines_give_the_vectors_of_documents(
    exports: dict[str, Path], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exports["onnx"])
    (code,) = re.findall(r"^```python\n(.*?)^```", Path("README.md").read_text(), re.DOTALL | re.MULTILINE)
    found: dict[str, Any] = {}
    exec(code.replace("[...]", repr(TEXTS)), found)
    assert np.abs(found["vectors"] - stock_vectors(source, "document")).max() <= 1e-5


def test_graphs_of_swapped_roles_disagree(
    exports: dict[str, Path], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {"query": "document", "document": "query", "text": "text"}

    def swapped(_: SentenceEncoder, folder: Path, __: Sequence[Role]) -> None:
        shutil.copyfile(exports["onnx"] / "model.onnx.data", folder / "model.onnx.data")
        for role, other in others.items():
            shutil.copyfile(exports["onnx"] / f"model_{role}.onnx", folder / f"model_{other}.onnx")

    monkeypatch.setattr(exporting, "trace_routes", swapped)
    with pytest.raises(ModelError, match=r"differs by .* tokens \((query|document), (alone|padded); smallest cosine"):
        export(str(source), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out.disagrees"}


def test_a_missing_graph_is_told(exports: dict[str, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(exports["onnx"], tmp_path / "broken")
    (broken / "model_query.onnx").unlink()
    with pytest.raises(ModelError, match="Expected 'model_query.onnx' in the exported model"):
        load(str(broken))


def test_ways_that_no_graph_can_stand_for_are_refused(source: Path) -> None:
    encoder = load_model(str(source.parent / "stock"), device="cpu")
    encoder.model.append(Router({"document": [Dense(64, 64)]}))
    with pytest.raises(ArchitectureError, match=r"\(Router\) has no way for 'query', and its graphs are one a role"):
        tracing.check_exportable(encoder)
    encoder.model.pop(-1)
    ways = {"query": [Dense(64, 64)], "document": [Dense(64, 64)]}
    encoder.model.append(Router(ways, allow_empty_key=False))
    with pytest.raises(ArchitectureError, match="has no way for 'text'"):
        tracing.check_exportable(encoder)
    encoder.model.pop(-1)
    encoder.model.append(Router(ways, route_mappings={("query", None): "document"}))
    with pytest.raises(ArchitectureError, match="has rules of its own for who goes where"):
        tracing.check_exportable(encoder)
    encoder.model.pop(-1)
    encoder.model.append(Router({"query": [Router(ways)], "document": [Dense(64, 64)]}))
    with pytest.raises(ArchitectureError, match=r"a part for each role \(Router\) inside another module"):
        tracing.check_exportable(encoder)


def test_a_fix_on_texts_goes_along_by_name_and_one_that_needs_the_inside_is_refused(
    exports: dict[str, Path], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        exporting, "trace_routes", lambda _, folder, __: shutil.copytree(exports["onnx"], folder, dirs_exist_ok=True)
    )
    asking = shutil.copytree(source, tmp_path / "asking")
    write_record(asking, {"fix": "cover(20)", "text_fix": "cover(20)"})
    export(str(asking), tmp_path / "out")
    encoder = load(str(tmp_path / "out"))
    assert isinstance(encoder, ExportedEncoder)
    assert encoder.text_fix == "cover(20)"
    assert "asks for `cover(20)`: embed, search, encode, evaluate, compare and tune" in encoder.notes[-1]
    assert "**Not in the graph: `cover(20)`**" in (tmp_path / "out/README.md").read_text()
    scored = [evaluate(one, [retrieval()], plan=PLAN) for one in (encoder, load_model(str(asking), device="cpu"))]
    plainly = evaluate(load_model(str(source), device="cpu"), [retrieval()], plan=PLAN)
    ours, theirs, without = (score_of(result) for result in (*scored, plainly))
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert ours != pytest.approx(without, abs=1e-3)
    for asked in ("late_chunking(8)", "chunks(8, 0, norm)"):
        write_record(asking, {"fix": asked, "text_fix": asked})
        with pytest.raises(ArchitectureError, match="which needs more of the model than vectors"):
            tracing.check_exportable(load_model(str(asking), device="cpu"))


def score_of(result: Result, fix: str = "none") -> float:
    (row,) = (row for row in result.select(measure="ndcg@10", view="overall") if row.fix == fix)
    return float(row.value)


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_an_export_is_scored_like_its_source_under_fixes_on_texts_vectors_and_scores(
    form: str, exports: dict[str, Path], source: Path, tmp_path: Path
) -> None:
    fixes = [parse(one) for one in ("whitening(0.5)", "chunks(12)", "csls(3)", "best_chunk(12)")]
    encoders = (load_model(str(source), device="cpu"), load(str(exports[form])))
    results = [evaluate(one, [retrieval()], fixes, plan=PLAN, cache=tmp_path / "kept") for one in encoders]
    for one in ("none", *map(str, fixes)):
        scores = [score_of(result, one) for result in results]
        assert scores[0] == pytest.approx(scores[1], abs=1e-6), one
    assert results[1].about["model"]["format"] == form
    assert results[1].about["vectors"]["from the cache"] == results[0].about["vectors"]["from the cache"], (
        "nothing of it"
    )
    again = evaluate(encoders[1], [retrieval()], fixes, plan=PLAN, cache=tmp_path / "kept")
    assert again.about["vectors"]["encoded"] == 0
    assert score_of(again) == score_of(results[1])
    against = evaluate(encoders[0], [retrieval()], against=[encoders[1]], plan=PLAN)
    (gain,) = against.select(measure="ndcg@10_gain", view="overall")
    assert gain.value == pytest.approx(0, abs=1e-6)


def test_what_acts_inside_an_export_is_refused_by_name(exports: dict[str, Path]) -> None:
    encoder = load(str(exports["onnx"]))
    assert isinstance(encoder, ExportedEncoder)
    refused = {
        "temperature(0.8)": "`temperature.0.8.` acts inside a model, and of '.*' only vectors can be seen",
        "temperature(0.8) + whitening(0.3)": "`temperature.0.8.` acts inside a model",
        "chunks(8, 0, norm)": "gives no vectors from before the last step. Choose a fix that does not weigh by norms",
    }
    for written, said in refused.items():
        with pytest.raises(ModelError, match=said):
            evaluate(encoder, [retrieval()], [parse(written)], plan=PLAN)
    with pytest.raises(ArchitectureError, match="which was exported, gives none. Use chunks.128. instead"):
        evaluate(encoder, [retrieval()], [parse("late_chunking(8)")], plan=PLAN)
    with pytest.raises(ModelError, match="`temperature.0.8.` acts inside a model"):
        CachedEncoder(encoder, [parse("temperature(0.8)")])


def test_the_command_scores_an_export(
    exports: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go_alone(tmp_path, monkeypatch)
    words, model = str(write_words(tmp_path / "data")), str(exports["onnx"])
    assert run(["evaluate", words, "-m", model, "--fix", "whitening(0.3)", "-o", "out", "-q"]) == 0
    result = Result.from_json(Path("out/result.json").read_text())
    assert {row.fix for row in result.rows} == {"none", "whitening(0.3)"}
    refused = {
        ("--fix", "temperature(0.8)"): "`temperature(0.8)` acts inside a model",
        ("--device", "cpu"): "An exported model has no use for device: it runs on the processor",
        ("--mteb",): "mteb takes models that torch runs, and",
    }
    for options, said in refused.items():
        capsys.readouterr()
        assert run(["evaluate", words, "-m", model, *options, "-o", "x", "-q"]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
        assert not Path("x").exists()
