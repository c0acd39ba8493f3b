"""Folders whose own code reads texts to their end: the vectors of this package, in plain sentence-transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.model import BaseModel

from export_examples import PROMPTS
from long_text_examples import LIMIT, LONG, TEXTS, WRITTEN, by_package, encode, made_reports, made_root, stock, write
from uncollapse import encode as package_encode
from uncollapse.covering.folder import LongTextsReport
from uncollapse.covering.long_texts import LongTexts
from uncollapse.encoders import load_model
from uncollapse.encoders.sentence import ROLES, Role


@pytest.fixture(scope="module")
def root() -> Path:
    return made_root()


@pytest.fixture(scope="module")
def reports() -> dict[str, LongTextsReport]:
    return made_reports()


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("role", ROLES)
def test_it_gives_the_vectors_of_this_package(
    name: str, role: Role, reports: dict[str, LongTextsReport], root: Path
) -> None:
    """Texts of all lengths in one call, prompts, white space, a word of many tokens."""
    found = encode(stock(root / name), TEXTS, role)
    np.testing.assert_allclose(found, by_package(root / f"{name} fixed", TEXTS, role), atol=2e-6)
    assert reports[name].largest_error < 1e-5
    assert reports[name].longest == 6 * LIMIT + 6, "as long as the longest probe, with its prompt"


def test_vectors_that_have_a_norm_keep_it(root: Path) -> None:
    """A model that compares by inner product makes none of norm 1."""
    write(root, "cover(12)", "raw", "inner")
    found = encode(stock(root / "raw"), TEXTS, "document")
    np.testing.assert_allclose(found, by_package(root / "raw fixed", TEXTS, "document"), rtol=1e-5, atol=1e-6)
    assert np.ptp(np.linalg.norm(found, axis=1)) > 0.01


@pytest.mark.parametrize(("name", "kinds", "width"), [("no norm", 2, None), ("cut", 3, 16), ("cut no norm", 2, 16)])
def test_vectors_that_are_compared_by_direction_get_norm_1(
    name: str, kinds: int, width: int | None, root: Path
) -> None:
    """Whether or not the model makes it, and also where its folder keeps only the first numbers of a vector."""
    modules = list(SentenceTransformer(str(root / "plain"), device="cpu"))[:kinds]
    source = SentenceTransformer(modules=modules, device="cpu", truncate_dim=width, prompts=PROMPTS)
    source.save_pretrained(str(root / f"{name} source"))
    write(root, "cover(12)", name, f"{name} source")
    for role in ROLES:
        found, wanted = encode(stock(root / name), TEXTS, role), by_package(root / f"{name} fixed", TEXTS, role)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=2e-6)


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("name", ["alone", "with a map a role"])
def test_what_fits_and_every_query_has_the_vector_of_the_ordinary_folder_inside(name: str, root: Path) -> None:
    long, plain = stock(root / name), SentenceTransformer(str(root / name / "model"), device="cpu")
    short = [text for text in TEXTS if len(text) < 20]
    np.testing.assert_array_equal(encode(long, short, "document"), encode(plain, short, "document"))
    for text in TEXTS:
        np.testing.assert_array_equal(encode(long, [text], "query"), encode(plain, [text], "query"))
    changed = np.abs(encode(long, LONG, "document") - encode(plain, LONG, "document")).max()
    assert changed > 1e-3


@pytest.mark.usefixtures("reports")
def test_what_only_the_end_says_counts(root: Path) -> None:
    texts = [LONG[0] + " water " * 40, LONG[0] + " dogs " * 40]
    found = encode(stock(root / "alone"), texts, "document")
    cut = encode(SentenceTransformer(str(root / "alone/model"), device="cpu"), texts, "document")
    np.testing.assert_array_equal(cut[0], cut[1])
    assert np.linalg.norm(found[0] - found[1]) > 1e-3


@pytest.mark.usefixtures("reports")
def test_company_in_a_batch_changes_nothing(root: Path) -> None:
    model = stock(root / "with a map a role")
    together = encode(model, TEXTS, "document")
    np.testing.assert_allclose(encode(model, TEXTS, "document", batch_size=1), together, atol=1e-6)
    first: Any = model[0]
    first.at_once = 1
    np.testing.assert_allclose(encode(model, TEXTS, "document"), together, atol=1e-6)
    np.testing.assert_array_equal(encode(model, TEXTS[::-1], "document")[::-1], encode(model, TEXTS, "document"))


@pytest.mark.usefixtures("reports")
def test_it_is_saved_and_loaded_like_any_model(root: Path, tmp_path: Path) -> None:
    model = stock(root / "with a map a role")
    model.save_pretrained(str(tmp_path / "again"))
    again = stock(tmp_path / "again")
    for role in ROLES:
        np.testing.assert_array_equal(encode(again, TEXTS, role), encode(model, TEXTS, role))
    assert load_model(str(tmp_path / "again")).text_fix == "cover(16)"
    assert (tmp_path / "again/config.json").read_text() == (tmp_path / "again/model/config.json").read_text()


@pytest.mark.usefixtures("reports")
def test_it_is_a_model_with_a_tokenizer_a_limit_and_a_width(root: Path) -> None:
    model = stock(root / "alone")
    assert (model.max_seq_length, model.get_embedding_dimension(), model.prompts["document"]) == (LIMIT, 64, "say: ")
    assert model.tokenizer("a")["input_ids"]
    model.max_seq_length = 24
    assert model.max_seq_length == 24
    shorter = load_model(str(root / "alone fixed"), max_tokens=24)
    wanted = package_encode(shorter, TEXTS).vectors
    np.testing.assert_allclose(encode(model, TEXTS, "document"), wanted, atol=2e-6)
    model.max_seq_length = 12
    with pytest.raises(ValueError, match="Chunks of 12 tokens need a longer limit than 12: set max_seq_length"):
        encode(model, TEXTS, "document")


@pytest.mark.usefixtures("reports")
def test_whatever_replaces_its_transformer_runs(root: Path) -> None:
    """Servers put a compiled or a rounded transformer in its place."""
    model = stock(root / "alone")
    first: Any = model[0]
    calls = []

    class Counted(torch.nn.Module):
        def __init__(self, real: Any) -> None:
            super().__init__()
            self.real, self.config = real, real.config

        def forward(self, *given: Any, **named: Any) -> Any:
            calls.append(1)
            return self.real(*given, **named)

    before = encode(model, TEXTS, "document")
    first.auto_model = Counted(first.auto_model)
    np.testing.assert_array_equal(encode(model, TEXTS, "document"), before)
    assert calls
    assert isinstance(first.auto_model, Counted)


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("name", ["alone", "with a map a role"])
def test_it_runs_in_half_precision(name: str, root: Path) -> None:
    exact = encode(stock(root / name), TEXTS, "document")
    half = stock(root / name).bfloat16()
    found = encode(half, TEXTS, "document", convert_to_numpy=False, convert_to_tensor=True)
    assert found.dtype == torch.bfloat16  # type: ignore[comparison-overlap]
    assert np.abs(found.float().numpy() - exact).max() < 0.1  # type: ignore[attr-defined]


@pytest.mark.usefixtures("reports")
def test_it_learns_in_half_precision(root: Path) -> None:
    model = stock(root / "alone").half().train()
    model(model.preprocess(TEXTS))["sentence_embedding"].float()[:, :3].sum().backward()
    assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)


@pytest.mark.usefixtures("reports")
def test_texts_in_several_threads_do_not_undo_the_cut_of_one_another(root: Path) -> None:
    """A tokenizer keeps whether it cuts; what the model reads and what is counted must not share it."""
    model = stock(root / "alone")
    encode(model, LONG, "document")
    first, kept = model[0], model.tokenizer.backend_tokenizer
    before = kept.truncation
    assert before["max_length"] == LIMIT
    assert len(list(LongTexts._marked(first, LONG, "say: "))) == 2  # type: ignore[arg-type]
    assert kept.truncation == before


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("what", [("a", "pair"), {"text": "a"}, 3])
def test_what_is_no_text_is_refused(what: Any, root: Path) -> None:
    with pytest.raises(ValueError, match="Expected texts, got something else: this model reads text alone"):
        stock(root / "alone").encode([what], prompt_name="document")


@pytest.mark.usefixtures("reports")
def test_releases_before_5_call_no_load_and_are_told_the_same(root: Path) -> None:
    """They make a first module with these arguments; a number format must not be lost, nor must trust."""
    hub = {"token": None, "revision": None, "local_files_only": True, "trust_remote_code": True}
    given: dict[str, Any] = {"cache_dir": None, "backend": "torch", "tokenizer_args": hub, "config_args": hub}
    made = LongTexts(str(root / "alone"), model_args={**hub, "dtype": torch.bfloat16}, **given)
    assert {one.dtype for one in made.parameters()} == {torch.bfloat16}
    assert (made.chunk, made.directed, made.about["remote_code"]) == (12, True, False)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        LongTexts(str(root / "alone"), model_args={**hub, "trust_remote_code": False}, **given)


@pytest.mark.usefixtures("reports")
def test_a_prompt_that_cannot_be_told_from_the_text_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases before 5.4 put it before the text, and say only how many tokens it has."""
    first = stock(root / "alone")[0]
    features: dict[str, Any] = first.preprocess(["say: a dog"])
    monkeypatch.delattr(BaseModel, "preprocess")
    assert first({**features, "prompt_length": 1})["sentence_embedding"].shape == (1, 64), "an empty one"
    with pytest.raises(ValueError, match=r"put a prompt before texts from sentence-transformers 5\.4 on"):
        first({**features, "prompt_length": 6})
