"""Controls: a planted effect is found with its sign, and the laws of attention hold inside a model."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import processors

from planted_words import (
    DIM,
    Words,
    documents,
    effect,
    numbers_of,
    rows_of,
)
from tiny import save_tiny, tokenizer
from tolerances import FLOAT32, assert_close
from uncollapse.diagnosis.causes.controls import CONTROLS, measure_controls, measurement
from uncollapse.diagnosis.causes.controls.static import input_embeddings, static_vectors
from uncollapse.diagnosis.causes.controls.words import STOP_WORDS
from uncollapse.encoders import SentenceEncoder, load
from uncollapse.errors import ModelError
from uncollapse.reservoir import Kept

# Laws of a model without attention or positions


def test_for_an_average_of_words_order_and_repetition_change_exactly_nothing() -> None:
    part = measure_controls(Words(), documents())
    for name in ("shuffle", "repeat_2", "repeat_full"):
        row = effect(part, name)
        assert (row.value, row.low, row.high) == (0.0, 0.0, 0.0), name
    whole = effect(part, "whole")
    assert whole.value != 0


def test_for_an_average_of_words_the_mean_of_pieces_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    row = effect(measure_controls(Words(), documents()), "chunk_mean")
    assert_close([row.value, row.low or 0, row.high or 0], 0, FLOAT32)
    # Not because all pieces are equally long: without their weights it is another vector.
    monkeypatch.setattr(measurement, "chunk_means", lambda materials: materials.vectors.mean(axis=1))
    assert abs(effect(measure_controls(Words(), documents()), "chunk_mean").value) > 10 * FLOAT32


def test_more_tokens_alone_are_seen_by_repetition() -> None:
    part = measure_controls(Words(late=3.0), documents())
    twice, full = effect(part, "repeat_2"), effect(part, "repeat_full")
    assert twice.low is not None
    assert 0 < twice.low < twice.value < full.value
    titles = [finding.title for finding in part.verdict]
    assert "More tokens pull texts together even if nothing new is said" in titles


def leaning(content: float, stop: float) -> Callable[[str], npt.NDArray[np.float64]]:
    """Words lean to one side by `content`, stop words are that side and nothing else, by `stop`."""
    side = np.eye(DIM)[0]
    return lambda word: stop * side if word in STOP_WORDS else numbers_of(word) + content * side


@pytest.mark.parametrize(("content", "stop", "sign"), [(0, 0, 0), (0, 2, 1), (1, 2, 1), (2, -0.2, -1)])
def test_filler_does_what_its_words_do(content: float, stop: float, sign: int) -> None:
    row = effect(measure_controls(Words(leaning(content, stop)), documents(), names=["filler"]), "filler")
    assert row.low is not None
    assert row.high is not None
    if sign:
        assert min(sign * row.low, sign * row.high) > 0.1
    else:  # words that say nothing to the model at all
        assert max(abs(row.low), abs(row.high)) < FLOAT32


def test_beginnings_that_are_alike_are_seen_by_a_deep_piece() -> None:
    def greeting(word: str) -> npt.NDArray[np.float64]:
        place = int(re.findall(r"\d+", word)[1])
        return numbers_of(word) + (3 * np.eye(DIM)[0] if place < 8 else 0)

    row = effect(measure_controls(Words(greeting), documents(), names=["deep"]), "deep")
    assert row.high is not None
    assert row.high < -0.1


# Inside a model


def letters(document: int) -> str:
    """Text of the tiny tokenizer, whose tokens are letters: words of one letter, other ones in every document."""
    generator = np.random.default_rng(document)
    return " ".join(generator.choice(list("abcdefghijklmnopqrstuvwxyz"), 80).tolist())


def letter_documents(n: int = 34) -> list[Kept]:
    return [Kept(f"id{i}", letters(i), 82) for i in range(n)]


def open_tiny(folder: Path, name: str = "bert", *, positions: bool = True, special: bool = True) -> SentenceEncoder:
    encoder = load(str(save_tiny(folder / "tiny", name)), device="cpu")
    if not positions:
        encoder.model[0].model.embeddings.position_embeddings.weight.data.zero_()
    if not special:
        bare = processors.TemplateProcessing(single="$A", special_tokens=[])
        encoder.model.tokenizer.backend_tokenizer.post_processor = bare
    return encoder


@pytest.mark.parametrize(("positions", "special"), [(False, False), (True, False), (False, True)])
def test_without_positions_and_special_tokens_attention_cannot_see_repetition(
    tmp_path: Path, positions: bool, special: bool
) -> None:
    """softmax over k copies of every key gives each copy 1/k of its weight, so every token has the same output."""
    encoder = open_tiny(tmp_path, positions=positions, special=special)
    part = measure_controls(encoder, letter_documents(), names=["repeat_2", "repeat_full"])
    repeated = effect(part, "repeat_full")
    if positions or special:
        assert abs(repeated.value) > 1e-3
    else:
        assert_close([repeated.value, effect(part, "repeat_2").value], 0, FLOAT32)


def test_the_last_positions_are_those_of_the_model(tmp_path: Path) -> None:
    encoder = open_tiny(tmp_path)
    part = measure_controls(encoder, letter_documents(), names=["shifted"])
    row = rows_of(part)["mean_cosine", "shifted"]
    bert, texts = encoder.model[0].model, [" ".join(document.text.split()[:13]) for document in letter_documents()]
    batch = encoder.model.tokenizer(texts, return_tensors="pt")
    places = torch.cat([torch.tensor([0]), torch.arange(46, 60)])  # the first special token stays; 60 is the limit
    with torch.no_grad():
        pooled = bert(**batch, position_ids=places.expand(len(texts), -1)).last_hidden_state.mean(dim=1)
    units = torch.nn.functional.normalize(pooled).double()
    n = len(units)
    assert_close(row.value, float((units.sum(dim=0).square().sum() - n) / (n * (n - 1))), FLOAT32)
    assert abs(effect(part, "shifted").value) > 1e-3
    assert row.n_tokens == 15


def test_positions_that_say_nothing_shift_nothing(tmp_path: Path) -> None:
    row = effect(
        measure_controls(open_tiny(tmp_path, positions=False), letter_documents(), names=["shifted"]), "shifted"
    )
    assert_close([row.value, row.low or 0], 0, FLOAT32)


def test_a_model_of_rotary_positions_is_measured_without_a_shift(tmp_path: Path) -> None:
    part = measure_controls(open_tiny(tmp_path, "modernbert"), letter_documents())
    assert "shifted" not in {row.bin for row in part.rows}
    assert "no table of positions" in part.about["controls"]["left_out"]["shifted"]
    assert "static_long" in {row.bin for row in part.rows}


def test_static_vectors_are_the_mean_of_the_input_embeddings(tmp_path: Path) -> None:
    encoder = open_tiny(tmp_path)
    tokens = encoder.model.tokenizer("a b c", add_special_tokens=False)["input_ids"]
    assert len(tokens) == 3
    expected = encoder.model[0].model.embeddings.word_embeddings.weight[tokens].mean(dim=0).detach().numpy()
    once, thrice, turned = static_vectors(encoder, ["a b c", "a b c a b c a b c", "c a b"])
    for vector in (once, thrice, turned):
        assert_close(vector, expected, FLOAT32)
    with pytest.raises(ModelError, match="A text without tokens"):
        static_vectors(encoder, [""])
    with pytest.raises(ModelError, match="'planted' shows no table of input embeddings"):
        static_vectors(Words(), ["a"])  # type: ignore[arg-type]


def test_the_static_control_reads_content_alone(tmp_path: Path) -> None:
    encoder = open_tiny(tmp_path)
    found = rows_of(measure_controls(encoder, letter_documents(), names=["static_long"]))
    assert set(found) == {
        ("mean_cosine", "static_short"),
        ("mean_cosine", "static_long"),
        ("control_effect", "static_long"),
    }
    assert found["mean_cosine", "static_short"].n_tokens == 13
    assert found["mean_cosine", "static_long"].n_tokens == 4 * 13
    texts = [" ".join(document.text.split()[: 4 * 13]) for document in letter_documents()]
    units = static_vectors(encoder, texts).astype(np.float64)
    units /= np.linalg.norm(units, axis=1)[:, None]
    cosines = (units @ units.T)[~np.eye(len(units), dtype=bool)]
    assert_close(found["mean_cosine", "static_long"].value, cosines.mean(), FLOAT32)


def test_a_static_model_is_its_own_static_control(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(99, 8)) + 1
    static = StaticEmbedding(tokenizer()._tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    encoder = load(str(tmp_path / "static"), device="cpu")
    assert not encoder.can_cut
    names = [name for name in CONTROLS if name != "filler"]  # its words have several tokens, which this one hides
    part = measure_controls(encoder, letter_documents(), names=names)
    found = rows_of(part)
    assert found["mean_cosine", "whole"].n_tokens == found["mean_cosine", "static_long"].n_tokens == 64
    assert_close(found["mean_cosine", "static_long"].value, found["mean_cosine", "whole"].value, FLOAT32)
    for name in ("chunk_mean", "repeat_full", "repeat_2"):
        assert_close(effect(part, name).value, 0, FLOAT32)
    # One sentence a text: shuffling changes nothing, and the row says so.
    assert effect(part, "shuffle").note == "34 of 34 texts are those of whole"
    assert set(part.about["controls"]["left_out"]) == {"shifted", "repeat_4"}


def test_a_routed_model_shows_no_input_embeddings() -> None:
    hidden = SentenceEncoder.__new__(SentenceEncoder)
    hidden.model = [SimpleNamespace()]  # type: ignore[assignment]
    assert input_embeddings(hidden) is None
