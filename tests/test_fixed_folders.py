"""Whole pipelines written as model folders: stock modules, what only this package applies, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from text_fix_examples import PLAN, retrieval, sentences, unit
from tiny import save_tiny
from uncollapse.checkpoints import fix
from uncollapse.encoders import CachedEncoder, load_model
from uncollapse.encoders.sources import read_record
from uncollapse.errors import FixError, ModelError
from uncollapse.evaluation.tasks import Similarity
from uncollapse.evaluation.trial import evaluate
from uncollapse.fixes import compose, parse
from uncollapse.fixes.maps import Affine
from uncollapse.modules import Linear
from uncollapse.pipelines.fitting import Unlabelled, fit_pipeline

CORPUS = Unlabelled(tuple(f"d{i}" for i in range(60)), sentences(60, 0), sentences(30, 1, 8))
TEXTS = list(sentences(12, 7))
ONE_MAP = ["centering(all)", "whitening(0.3)", "all_but_the_top(1)", "mean_projection()", "length_subspace(1)"]
TWO_MAPS = ["centering(role)", "centering(role) + whitening(0.3, role)", "temperature(0.7) + centering(role)"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "source")


@pytest.fixture(scope="module")
def stock(source):
    return load_model(str(source), device="cpu")


def expected(stock, written, role):
    chosen = compose(parse(written))
    return fit_pipeline(CachedEncoder(stock, chosen.model), chosen, CORPUS).encode(TEXTS, role=role).vectors


@pytest.mark.parametrize("written", ONE_MAP + TWO_MAPS)
def test_stock_sentence_transformers_gives_the_vectors_of_the_pipeline(source, stock, written, tmp_path):
    report = fix(str(source), parse(written), tmp_path / "out", corpus=CORPUS)
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    for role, encode in (("query", model.encode_query), ("document", model.encode_document), ("text", model.encode)):
        np.testing.assert_allclose(encode(TEXTS), expected(stock, written, role), atol=2e-6)
    assert report.reload_difference < 2e-6
    assert report.vector_effect > 1e-3
    assert any(path.endswith("Router") for path in report.modules) == (written in TWO_MAPS)


@pytest.mark.parametrize("written", ["centering(role)", "centering(role) + whitening(0.3, role)"])
def test_texts_that_are_compared_as_equals_keep_their_vectors(source, stock, written, tmp_path):
    fix(str(source), parse(written), tmp_path / "out", corpus=CORPUS)
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(model.encode(TEXTS), unit(stock.as_role("text").vectors(TEXTS)), atol=1e-6)
    first, second = model.encode_document(TEXTS), model.encode(TEXTS)
    assert np.abs(first - second).max() > 1e-3
    task = Similarity("pairs", "test", sentences(15, 8), sentences(15, 9), np.arange(15.0))
    result = evaluate(stock, [task], [parse(written)], plan=PLAN)
    assert {row.value for row in result.select(measure="spearman_gain")} == {0.0}
    assert any("compared as equals as they are" in note for note in result.about["notes"])


def test_modules_are_named_so_that_old_releases_find_them(source, tmp_path):
    fix(str(source), parse("centering(role)"), tmp_path / "out", corpus=CORPUS)
    before, after = (json.loads((folder / "modules.json").read_text()) for folder in (source, tmp_path / "out"))
    assert after[: len(before)] == before
    added = [one["type"].rpartition(".") for one in after[len(before) :]]
    assert {module for module, _, _ in added} == {"sentence_transformers.models"}
    assert [name for _, _, name in added][-2:] == ["Router", "Normalize"]
    assert [one["idx"] for one in after] == list(range(len(after)))


def test_weights_that_no_fix_concerns_are_the_same_file(source, tmp_path):
    fix(str(source), parse("whitening(0.3)"), tmp_path / "out", corpus=CORPUS)
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()


def test_the_folder_says_what_it_is(source, tmp_path):
    written = "temperature(0.8) + cover(8) + centering(role)"
    fix(str(source), parse(written), tmp_path / "out", corpus=CORPUS)
    record = read_record(tmp_path / "out")
    assert record["fix"] == written
    assert record["text_fix"] == "cover(8)"
    assert record["fitted"]["documents"] == 60
    assert record["fitted"]["queries"] == 30
    card = (tmp_path / "out" / "README.md").read_text()
    for said in ("temperature(0.8)", "`cover(8)`", "60 documents", "30 queries", "model.encode_query("):
        assert said in card
    model = load_model(str(tmp_path / "out"), device="cpu")
    assert (model.folded_fix, model.text_fix) == (written, "cover(8)")


def test_the_card_says_what_was_learned_from_and_nothing_else(source, tmp_path):
    fix(str(source), parse("whitening(0.3)"), tmp_path / "out", corpus=CORPUS)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "fitted, without labels, to 60 documents;" in card
    assert "queries" not in card.partition("fitted, without labels")[2].partition("they may hurt")[0]


def test_what_was_in_the_weights_before_is_still_said(source, tmp_path):
    fix(str(source), parse("temperature(0.8)"), tmp_path / "sharp")
    fix(str(tmp_path / "sharp"), parse("centering(all)"), tmp_path / "out", corpus=CORPUS)
    model = load_model(str(tmp_path / "out"), device="cpu")
    assert model.folded_fix == "temperature(0.8) + centering(all)"
    card = (tmp_path / "out" / "README.md").read_text()
    holds, _, before = card.partition("## History: the card of the model it was made from\n")
    assert "with `centering(all)`. `temperature(0.8)` was in its source before, and still is." in holds
    assert f"texts that it was fitted to: {read_record(tmp_path / 'out')['fitted']['fingerprint']}." in holds
    assert "> ## Fixed with uncollapse" in before
    assert "encode_query" not in holds


def test_a_corpus_that_nothing_is_fitted_to_is_refused(source, tmp_path):
    with pytest.raises(
        FixError, match=r"`temperature\(0.8\) \+ cover\(8\)` learns nothing from texts, so a corpus wo"
    ):
        fix(str(source), parse("temperature(0.8) + cover(8)"), tmp_path / "out", corpus=CORPUS)
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_of_the_folder_equals_one_of_the_pipeline(source, stock, tmp_path):
    task, written = retrieval(), "cover(8) + centering(role) + whitening(0.3, role)"
    corpus = Unlabelled(task.documents.ids, task.documents.texts, task.queries.texts)
    fix(str(source), parse(written), tmp_path / "out", corpus=corpus)
    fixed = evaluate(load_model(str(tmp_path / "out"), device="cpu"), [task], plan=PLAN)
    patched = evaluate(stock, [task], [parse(written)], plan=PLAN)
    keys = {"measure": "ndcg@10", "view": "overall"}
    (of_folder,) = fixed.select(**keys)
    of_pipeline = next(row for row in patched.select(**keys) if row.fix == written)
    assert of_folder.value == pytest.approx(of_pipeline.value, abs=1e-9)


@pytest.mark.parametrize(
    ("written", "corpus", "message"),
    [
        ("centering(role)", None, r"`centering\(role\)` is fitted to texts. Name the corpus"),
        ("csls(3)", CORPUS, r"`csls\(3\)` corrects scores by one more dimension .* no model folder"),
        ("centering(length)", CORPUS, r"subtracts another mean at every length, which no Dense module can"),
        ("centering(role)", Unlabelled(("a",), ("one text",)), r"needs at least 20 documents to be fitted, got 1"),
    ],
)
def test_what_no_folder_can_hold_is_refused_and_nothing_is_left(source, written, corpus, message, tmp_path):
    with pytest.raises(FixError, match=message):
        fix(str(source), parse(written), tmp_path / "out", corpus=corpus)
    assert list(tmp_path.iterdir()) == []


def test_a_fixed_model_is_not_fixed_again(source, tmp_path):
    fix(str(source), parse("centering(role)"), tmp_path / "one", corpus=CORPUS)
    with pytest.raises(FixError, match=r"was fixed with `centering\(role\)` already.*Start from the original model"):
        fix(str(tmp_path / "one"), parse("whitening(0.3)"), tmp_path / "two", corpus=CORPUS)


def test_a_module_that_disagrees_is_not_kept(source, tmp_path, monkeypatch):
    """A matrix that is not the fitted one is found when the folder is reloaded."""
    spoilt = Linear.of
    monkeypatch.setattr(
        Linear,
        "of",
        classmethod(lambda cls, maps: _turned(spoilt(maps))),  # noqa: ARG005 - as it is called
    )
    with pytest.raises(ModelError, match="must give the patched model's vectors, but differs by"):
        fix(str(source), parse("centering(role)"), tmp_path / "out", corpus=CORPUS)
    assert list(tmp_path.iterdir()) == []


def _turned(linear: Linear) -> Linear:
    return Linear(linear.document, Affine(-linear.query.matrix, linear.query.offset), linear.text)


def test_a_record_of_another_layout_is_refused(tmp_path: Path):
    (tmp_path / "uncollapse.json").write_text('{"schema": "uncollapse.model/9"}')
    with pytest.raises(ModelError, match="Expected a record of schema 'uncollapse.model/1' in .*, got 'uncollapse"):
        read_record(tmp_path)
    (tmp_path / "uncollapse.json").write_text("{")
    with pytest.raises(ModelError, match="Expected JSON in "):
        read_record(tmp_path)
