"""What is shipped, opened by the runtimes that people have: nothing of this package does the loading."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from uncollapse import export, parse
from uncollapse.checkpoints import fix
from uncollapse.encoders import CachedEncoder, load_model
from uncollapse.exporting import folder as exporting
from uncollapse.exporting.probes import SENTENCES, make_probes
from uncollapse.fixes import compose
from uncollapse.pipelines.fitting import Unlabelled, fit_pipeline

SPELLED = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def tokens_of(folder: Path, texts: list[str], inputs: list[str]) -> dict[str, Any]:
    """What the tokenizer.json of a folder makes of texts, cut and padded by itself."""
    found = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(texts)
    return {name: np.array([getattr(one, SPELLED[name]) for one in found], np.int64) for name in inputs}


def by_sentence_transformers(folder: Path, texts: list[str]) -> Any:
    return SentenceTransformer(str(folder), device="cpu").encode(texts, show_progress_bar=False)


def by_onnxruntime(folder: Path, texts: list[str], file: str = "model.onnx") -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
    (vectors,) = session.run(None, tokens_of(folder, texts, [one.name for one in session.get_inputs()]))
    return vectors


def by_openvino(folder: Path, texts: list[str], file: str = "openvino_model.xml") -> Any:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(folder / file), "CPU", settings)
    return model(tokens_of(folder, texts, [one.get_any_name() for one in model.inputs]))[0]


@pytest.mark.real
def test_temperature_and_whitening_on_the_bundled_model_agree_in_every_stock_runtime_at_every_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference is the fix itself: a temperature that is patched on, and whitening computed beside the model."""
    chosen = compose(parse("temperature(0.8) + whitening(0.25)"))
    generator = np.random.default_rng(0)
    documents = [" ".join(generator.permutation(SENTENCES)[: 1 + n % 8]) for n in range(60)]
    corpus = Unlabelled(tuple(map(str, range(60))), tuple(documents))
    stock = load_model("minilm", device="cpu")
    texts, bins = make_probes(stock)
    places = bins.assign(np.minimum(stock.prepare(texts).n_tokens, bins.edges[-1] - 1))
    wanted = fit_pipeline(CachedEncoder(stock, chosen.model), chosen, corpus).encode(texts, role="text").vectors
    fix("minilm", chosen, tmp_path / "folder", corpus=corpus)
    found = {"folder": by_sentence_transformers(tmp_path / "folder", texts)}
    for form, run in (("onnx", by_onnxruntime), ("openvino", by_openvino)):
        export(str(tmp_path / "folder"), tmp_path / form, to=form)
        found[form] = run(tmp_path / form, texts)
        graph = (tmp_path / "onnx/model.onnx").read_bytes()
        monkeypatch.setattr(exporting, "trace", lambda _, target, graph=graph: target.write_bytes(graph))
    for name, vectors in {**found, "unfixed": stock.vectors(texts)}.items():
        cosines = [float((vectors * wanted).sum(axis=1)[places == place].min()) for place in range(len(bins))]
        assert all((cosine > 1 - 1e-6) == (name != "unfixed") for cosine in cosines), (name, cosines)
