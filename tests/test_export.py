"""Models for other runtimes: the vectors of their source, loadable without this package, refused where they differ."""

import errno
import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from export_examples import made_models, reuse_graph
from tiny import save_tiny, tokenizer
from uncollapse import export, load, open_corpus
from uncollapse.attention.temperature import Temperature
from uncollapse.checkpoints import fix
from uncollapse.cli.exporting import Kind
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import diagnose
from uncollapse.embedding import embed
from uncollapse.encoders import ExportedEncoder, TextEncoder, load_model
from uncollapse.encoders.exported import Export
from uncollapse.encoders.identity import tensor_digest
from uncollapse.encoders.runtimes import FORMATS, onnx_graphs, openvino_graphs
from uncollapse.encoders.sources import write_record
from uncollapse.errors import ArchitectureError, MissingExtraError, ModelError, OutputError, UncollapseError
from uncollapse.exporting import folder as exporting
from uncollapse.exporting import tracing
from uncollapse.exporting.parity import LIMITS, Agreement, agreement, worst_by_bin
from uncollapse.exporting.probes import make_probes

TEXTS = [
    "a short text",
    "a text that is quite a bit longer than the short one, " * 3,
    "",
    "no 42: this, and that.",
    "x",
]


@pytest.fixture(scope="module")
def source() -> Path:
    return made_models() / "fixed"


@pytest.fixture(scope="module")
def onnx() -> Path:
    return made_models() / "onnx"


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    reuse_graph(monkeypatch)


@pytest.fixture(scope="module")
def exports(source: Path, onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patching:
        reuse_graph(patching)
        # Vectors of a random model lie so close together that 8 bits are rightly refused.
        patching.setitem(LIMITS, "onnx-int8", 1.0)
        places = {"onnx": onnx}
        for form in ("onnx-int8", "openvino"):
            places[form] = tmp_path_factory.mktemp("exports") / form
            export(str(source), places[form], to=form)
    return places


def stock_vectors(source: Path, texts: list[str], role: str = "document") -> Any:
    return SentenceTransformer(str(source), device="cpu").encode(texts, prompt_name=role, show_progress_bar=False)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


TOLERANCE = {"onnx": 1e-5, "openvino": 1e-5, "onnx-int8": 0.15}


@pytest.mark.parametrize("form", FORMATS)
def test_the_cards_own_lines_give_the_vectors_of_stock_sentence_transformers(
    form: str, exports: dict[str, Path], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the runtime, numpy and tokenizers."""
    monkeypatch.chdir(exports[form])
    (code,) = re.findall(r"^```python\n(.*?)^```", Path("README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert "uncollapse" not in code
    assert "import torch" not in code
    found: dict[str, Any] = {}
    exec(code.replace("[...]", repr(TEXTS)), found)
    wanted = stock_vectors(source, TEXTS)
    assert found["vectors"].shape == (5, 48)
    assert 0 < np.abs(found["vectors"] - wanted).max() <= TOLERANCE[form]


@pytest.mark.parametrize("form", FORMATS)
def test_any_number_of_texts_of_any_length(form: str, exports: dict[str, Path], source: Path) -> None:
    encoder = load(str(exports[form]))
    assert isinstance(encoder, ExportedEncoder)
    assert isinstance(encoder, TextEncoder)
    for texts in ([TEXTS[1]], TEXTS, TEXTS * 5, ["ab " * n for n in range(1, 18)]):
        wanted = stock_vectors(source, texts)
        assert np.abs(encoder.encode(texts).vectors - wanted).max() <= TOLERANCE[form]
    assert np.abs(encoder.as_role("query").vectors(TEXTS) - stock_vectors(source, TEXTS, "query")).max() < 0.15
    assert np.abs(encoder.as_role("query").vectors(TEXTS) - encoder.vectors(TEXTS)).max() > 0.01


def test_counts_and_windows_are_those_of_the_source(onnx: Path, source: Path) -> None:
    ours, theirs = load(str(onnx)), load(str(source), device="cpu")
    assert (ours.max_tokens, ours.n_special_tokens, ours.dim) == (40, theirs.n_special_tokens, 48)
    assert ours.count(TEXTS).tolist() == theirs.count(TEXTS).tolist()
    assert ours.prepare(TEXTS).n_tokens.tolist() == theirs.prepare(TEXTS).n_tokens.tolist()
    for text in TEXTS:
        assert ours.spans(text).tolist() == theirs.spans(text).tolist()
    with ours.window(12), theirs.window(12):
        assert ours.max_tokens == 12
        np.testing.assert_allclose(ours.vectors(TEXTS), theirs.vectors(TEXTS), atol=1e-5)
    assert ours.max_tokens == 40
    with pytest.raises(ModelError, match="at most 40 tokens, got 41"), ours.window(41):
        pass
    longer = load(str(onnx), max_tokens="table")
    assert longer.max_tokens == 66
    assert "checked up to there. Here the limit is 66" in longer.notes[0]
    assert load(str(onnx), max_tokens=20).max_tokens == 20
    with pytest.raises(ModelError, match="a number from 1 to 66"):
        load(str(onnx), max_tokens=67)
    with pytest.raises(ModelError, match="leave room for text beside the 6 special"):
        load(str(onnx), max_tokens=6)


@pytest.mark.parametrize("form", FORMATS)
def test_parity_says_how_near_by_length_alone_and_padded(form: str, exports: dict[str, Path]) -> None:
    assert names(exports[form]) >= {"README.md", "LICENSE", "export.json", "parity.json", "tokenizer.json"}
    parity = json.loads((exports[form] / "parity.json").read_text())
    assert (parity["schema"], parity["format"]) == ("uncollapse.parity/1", form)
    assert (parity["agrees"], parity["tokens_equal"], parity["longest"]) == (True, True, 40)
    bins = [(row["bin"], row["batching"]) for row in parity["rows"]]
    assert bins == [(label, how) for how in ("alone", "padded") for label in ("1-7", "8-15", "16-31", "32-40")]
    assert sum(row["n"] for row in parity["rows"]) == 2 * parity["n_texts"]
    assert parity["limit"] == (1.0 if form == "onnx-int8" else LIMITS[form])
    assert all(0 < row["largest_error"] <= parity["limit"] for row in parity["rows"])
    assert parity["speed"]["low"] <= parity["speed"]["ratio"] <= parity["speed"]["high"]
    graph = [path for path in exports[form].iterdir() if path.suffix in (".onnx", ".xml", ".bin")]
    assert parity["size_bytes"] == sum(path.stat().st_size for path in graph)
    card = (exports[form] / "README.md").read_text()
    assert card.startswith("---\nlicence: mit\n---\n## Exported with uncollapse ")
    assert card.endswith("\n> > # Mine\n")
    assert "- How the fix was chosen, and what it gains on which texts" in card
    assert all(line.startswith("> ") for line in card.splitlines() if "Fixed with" in line or "SentenceTr" in line)
    shown = re.findall(r"^\| ([\d-]+) \| \d+ \| (alone|padded) \|", card, re.MULTILINE)
    assert shown == [(row["bin"], row["batching"]) for row in worst(parity["rows"])]


def worst(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By sorting: of each bin the row of the largest error, the first of equals."""
    labels = list(dict.fromkeys(row["bin"] for row in rows))
    return [sorted((r for r in rows if r["bin"] == one), key=lambda r: -r["largest_error"])[0] for one in labels]


def test_a_reader_is_shown_the_worst_way_of_each_length() -> None:
    errors = {"1-7": (0.1, 0.3, 0.2), "8-15": (0.3, 0.1, 0.1), "16-31": (0.9, None, 0.1)}
    ways = [("query", "alone"), ("query", "padded"), ("document", "alone")]
    rows = [
        Agreement(label, batching, 3, 1.0, 1.0, 0.1, errors[label][place], route)
        for place, (route, batching) in enumerate(ways)
        for label in errors
    ]
    shown = worst_by_bin(rows)
    assert [(row.bin, row.how, row.largest_error) for row in shown] == [
        ("1-7", "query, padded", 0.3), ("8-15", "query, alone", 0.3), ("16-31", "query, padded", None),
    ]  # fmt: skip
    assert worst_by_bin(shown) == shown
    assert worst_by_bin([]) == ()


@pytest.mark.usefixtures("traced")
def test_a_cosine_near_1_is_not_enough_where_all_vectors_lie_together(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"smallest cosine 0.9[89].*, and 0.3 is allowed.* Use --format onnx"):
        export(str(source), tmp_path / "out", to="onnx-int8")
    parity = json.loads((tmp_path / "out.disagrees/parity.json").read_text())
    assert min(row["min_cosine"] for row in parity["rows"]) > 0.98
    assert parity["spread"] < 0.5


def test_int8_is_smaller_and_no_copy(exports: dict[str, Path]) -> None:
    sizes = {form: (exports[form] / "model.onnx").stat().st_size for form in ("onnx", "onnx-int8")}
    assert sizes["onnx-int8"] < 0.5 * sizes["onnx"]


def test_the_graph_holds_no_place_of_the_machine_that_made_it(exports: dict[str, Path]) -> None:
    for folder in exports.values():
        for path in folder.iterdir():
            assert b"site-packages" not in path.read_bytes(), path
            assert b"modeling_" not in path.read_bytes(), path


def test_probes_reach_every_bin_up_to_the_limit(source: Path) -> None:
    encoder = load_model(str(source), device="cpu")
    texts, bins = make_probes(encoder)
    prepared = encoder.prepare(texts)
    assert set(bins.assign(prepared.n_tokens).tolist()) == set(range(len(bins)))
    assert texts[0] == ""
    assert (prepared.n_tokens_full > 40).sum() == 1, "what reaches the limit is longer than it"
    assert texts == make_probes(encoder)[0]
    assert texts != make_probes(encoder, seed=1)[0]


def test_errors_are_told_in_units_of_the_spread_and_what_is_not_finite_is_none() -> None:
    wanted = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    same = agreement(wanted, wanted, label="1-7", batching="alone", spread=0.5)
    assert (same.mean_cosine, same.min_cosine, same.largest_difference, same.largest_error) == (1, 1, 0, 0)
    moved = agreement(wanted + np.float32([0, 0.3]), wanted, label="1-7", batching="alone", spread=0.5)
    assert moved.largest_error == pytest.approx(0.6)
    assert moved.largest_difference == pytest.approx(0.3)
    assert moved.min_cosine == pytest.approx(1 / np.sqrt(1.09))
    broken = agreement(np.full_like(wanted, np.nan), wanted, label="1-7", batching="alone", spread=0.5)
    assert (broken.mean_cosine, broken.min_cosine, broken.largest_error) == (None, None, None)


@pytest.mark.usefixtures("traced")
def test_a_graph_that_disagrees_is_kept_apart_and_what_was_there_stays(
    source: Path, onnx: Path, tmp_path: Path
) -> None:
    shutil.copytree(onnx, tmp_path / "out")
    other = shutil.copytree(source, tmp_path / "other")
    model = SentenceTransformer(str(other), device="cpu")
    model[0].model.embeddings.word_embeddings.weight.data *= 1.1
    model.save_pretrained(str(other))
    before = (tmp_path / "out/parity.json").read_bytes()
    said = r"differs by .* of their spread at .* tokens \(.*\), and 0.001 is allowed. It was kept as '.*out.disagrees'"
    for _ in range(2):
        with pytest.raises(ModelError, match=said):
            export(str(other), tmp_path / "out", force=True)
    assert (tmp_path / "out/parity.json").read_bytes() == before
    kept = json.loads((tmp_path / "out.disagrees/parity.json").read_text())
    assert (kept["agrees"], kept["speed"]) == (False, None)
    assert names(tmp_path) == {"out", "out.disagrees", "other"}


@pytest.mark.usefixtures("traced")
def test_a_tokenizer_that_disagrees_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shorter(stock: Any, part: Path) -> None:
        stock.model.max_seq_length = 39
        write(stock, part)
        stock.model.max_seq_length = 40

    write = exporting.write_tokenizer
    monkeypatch.setattr(exporting, "write_tokenizer", shorter)
    with pytest.raises(ModelError, match="but its tokenizer cuts probe texts into other tokens"):
        export(str(source), tmp_path / "out")
    assert names(tmp_path) == {"out.disagrees"}


def test_tracing_leaves_the_model_as_it_came(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_model(str(source), device="cpu")
    inner = encoder.model[0].model
    before, attention = tensor_digest(encoder.model), inner.config._attn_implementation
    seen = []

    def refuse(*_: Any, **__: Any) -> None:
        seen.append(inner.config._attn_implementation)
        raise RuntimeError("outer") from ValueError("no such\noperation")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ArchitectureError, match=r"\(BertModel\) cannot be exported: .* ValueError: no such operation"):
        tracing.trace(encoder, tmp_path / "model.onnx")
    assert seen == ["eager"] != [attention]
    assert inner.config._attn_implementation == attention
    assert tensor_digest(encoder.model) == before


def test_what_no_graph_can_hold_is_refused_by_name(source: Path, tmp_path: Path) -> None:
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer().backend_tokenizer, embedding_dim=8)])
    static.save_pretrained(str(tmp_path / "static"))
    with pytest.raises(ArchitectureError, match="first module is a StaticEmbedding, and only a Transformer"):
        export(str(tmp_path / "static"), tmp_path / "out")
    encoder = load_model(str(source), device="cpu")
    encoder.model[1].include_prompt = False
    with pytest.raises(ArchitectureError, match="pooling leaves out the prompt"):
        tracing.check_exportable(encoder)
    encoder.model.prompts.clear()
    tracing.check_exportable(encoder)
    asking = shutil.copytree(source, tmp_path / "asking")
    write_record(asking, {"fix": "late_chunking(8)", "text_fix": "late_chunking(8)"})
    with pytest.raises(ArchitectureError, match=r"asks for `late_chunking\(8\)`, which needs more of the model"):
        tracing.check_exportable(load_model(str(asking), device="cpu"))
    padding, encoder.model.tokenizer.pad_token = encoder.model.tokenizer.pad_token, None
    with pytest.raises(ArchitectureError, match="its tokenizer has no padding token, with which texts of several"):
        tracing.check_exportable(encoder)
    encoder.model.tokenizer.pad_token = padding
    encoder.model[0].modality_config["message"] = {}
    with pytest.raises(ArchitectureError, match="puts texts into a chat template"):
        tracing.check_exportable(encoder)
    assert not (tmp_path / "out").exists()


MISSING = {
    "onnxscript": ("onnx", "Writing an ONNX graph needs the package 'onnxscript'", "onnx"),
    "onnx": ("onnx", "Writing an ONNX graph needs the package 'onnx'", "onnx"),
    "onnxruntime": ("onnx-int8", "Running an ONNX model needs the package 'onnxruntime'", "onnx"),
    "openvino": ("openvino", "Writing or running an OpenVINO model needs the package 'openvino'", "openvino"),
}


@pytest.mark.parametrize("package", MISSING)
def test_missing_packages_are_told_with_the_command_before_any_work(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, said, extra = MISSING[package]
    imported = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return imported(name, *rest)

    for module in (tracing, onnx_graphs, openvino_graphs):
        monkeypatch.setattr(module.importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=re.escape(said)) as error:
        export("there is no such model", tmp_path / "out", to=form)
    assert f"pip install 'uncollapse[{extra}]'" in str(error.value)


@pytest.mark.usefixtures("traced")
def test_places_that_cannot_be_written(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UncollapseError, match="No format 'onxx'. Did you mean 'onnx'"):
        export(str(source), tmp_path / "out", to="onxx")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file. Give a folder"):
        export(str(source), tmp_path / "file")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is not empty. Give another folder, or replace it"):
        export(str(source), tmp_path / "work")
    with pytest.raises(OutputError, match="is no exported model, so it is not replaced even with"):
        export(str(source), tmp_path / "work", force=True)
    with pytest.raises(OutputError, match="lie one in the other"):
        export(str(source), source / "onnx")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "trace", full)
    with pytest.raises(OutputError, match="disk is full: make room"):
        export(str(source), tmp_path / "out")
    assert names(tmp_path) == {"file", "work"}


def test_a_folder_that_is_not_whole_is_told(onnx: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(onnx, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="Expected a model that onnxruntime opens"):
        load(str(broken))
    (broken / "model.onnx").unlink()
    with pytest.raises(ModelError, match="Expected 'model.onnx' in the exported model"):
        load(str(broken))
    about = json.loads((broken / "export.json").read_text())
    with pytest.raises(ModelError, match="schema 'uncollapse.export/1', got 'uncollapse.export/7'"):
        Export.from_json(json.dumps({**about, "schema": "uncollapse.export/7"}))
    with pytest.raises(ModelError, match="No format 'gguf'. Known formats: onnx"):
        Export.from_json(json.dumps({**about, "format": "gguf"}))
    assert Export.from_json(json.dumps(about)).to_json() == json.dumps(about, indent=2)


def test_options_without_use_and_inner_work_are_refused(onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="An exported model has no use for device: it runs on the processor"):
        load(str(onnx), device="cpu")
    with pytest.raises(ModelError, match="no use for dtype: it runs on the processor, in what it was exported in"):
        load(str(onnx), dtype="bfloat16")
    with pytest.raises(ModelError, match="no use for tokenizer: it has a tokenizer"):
        load(str(onnx), tokenizer="x")
    with pytest.raises(ModelError, match="which was exported: it can be diagnosed, evaluated and embedded with"):
        fix(str(onnx), Temperature(0.8), tmp_path / "out")


def test_an_export_is_diagnosed_and_embedded_with_like_its_source(source: Path, onnx: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(n), "text": "ab cd " * (1 + n % 7) + str(n)}) for n in range(70)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    corpus = open_corpus(tmp_path / "texts.jsonl")
    values = []
    for encoder in (load(str(onnx)), load(str(source), device="cpu")):
        result = diagnose(encoder, corpus, settings=Settings(windows=50, deep=False))
        values.append([row.value for row in result.select(measure="mean_cosine") if row.fix == "temperature(0.5)"])
    np.testing.assert_allclose(*values, atol=1e-4)
    assert len(values[0]) >= 3
    assert embed(load(str(onnx)), corpus, tmp_path / "out").padding_share is not None


def test_the_fix_in_the_weights_goes_along(source: Path, onnx: Path) -> None:
    encoder = load(str(onnx))
    assert encoder.about["folded_fix"] == "temperature(0.5)"
    assert "The graph holds the fix `temperature(0.5)`" in (onnx / "README.md").read_text()
    assert np.abs(encoder.vectors(TEXTS) - stock_vectors(source, TEXTS)).max() <= 1e-5
    assert np.abs(encoder.vectors(TEXTS) - stock_vectors(source.parent / "stock", TEXTS)).max() > 1e-3


def test_a_table_of_relative_positions_is_traced(tmp_path: Path) -> None:
    """T5's is the kind of attention that the exporter does not take in any other than its plain form."""
    source = save_tiny(tmp_path / "source", "t5", max_tokens=40)
    assert export(str(source), tmp_path / "out").parity.agrees
    vectors = load(str(tmp_path / "out")).vectors(TEXTS)
    plain = SentenceTransformer(str(source), device="cpu").encode(TEXTS, show_progress_bar=False)
    assert np.abs(vectors - plain).max() <= 1e-5


def test_the_command_offers_what_the_table_has() -> None:
    assert list(FORMATS) == list(LIMITS)
    assert [kind.value for kind in Kind] == [*FORMATS, "sentence-transformers"], "which is no graph"
