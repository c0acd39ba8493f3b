"""A saved pipeline gives the same vectors bit for bit, belongs to its model, and is there whole or not at all."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fix_examples import COMPOSITIONS, as_composition, notations
from pipeline_examples import made_corpus
from tiny import save_tiny
from uncollapse.encoders import CachedEncoder, SentenceEncoder, load
from uncollapse.errors import FixError, OutputError
from uncollapse.fixes import Composition
from uncollapse.fixes.kinds import Kind
from uncollapse.pipelines.encoder import FixedEncoder
from uncollapse.pipelines.fitting import fit_pipeline
from uncollapse.pipelines.storage import load_pipeline, save_pipeline

CORPUS = made_corpus()
MAGIC = (
    '{"schema": "uncollapse.pipeline/1", "fix": "magic(1)", "model": {}, "learned_from": {}, "seed": 0, "arrays": ""}'
)
ROTATED = ("rope(", "self_extend(")  # of models that rotate positions, which the tiny one does not
LAYERS = {"temperature([0.9, 0.8])": "temperature([0.9, 0.8, 0.7])"}  # the tiny model has three


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    loaded = load(str(save_tiny(tmp_path_factory.mktemp("model"), max_tokens=64)))
    assert isinstance(loaded, SentenceEncoder)
    return loaded


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def fitted(encoder: SentenceEncoder, text: str, cache: Path) -> FixedEncoder:
    fix = as_composition(LAYERS.get(text, text))
    return fit_pipeline(CachedEncoder(encoder, fix.model, folder=cache), fix, CORPUS, seed=3)


@pytest.fixture
def saved(encoder: SentenceEncoder, cache: Path, tmp_path: Path) -> Path:
    return save_pipeline(tmp_path / "saved", fitted(encoder, "centering(role) + cohort(document)", cache))


@pytest.mark.parametrize("text", [one for one in (*notations(), *COMPOSITIONS) if not one.startswith(ROTATED)])
def test_saved_and_loaded_it_gives_the_same_vectors(text, encoder, cache, tmp_path) -> None:
    fixed = fitted(encoder, text, cache)
    save_pipeline(tmp_path / "saved", fixed)
    again = load_pipeline(tmp_path / "saved", CachedEncoder(encoder, folder=cache))
    assert again.fix == fixed.fix
    assert again.base.fixes == fixed.base.fixes
    for role in ("document", "query", "text"):
        one, other = (pipeline.encode_several(CORPUS.queries, role=role).flat.vectors for pipeline in (fixed, again))
        assert one.tobytes() == other.tobytes()
        assert one.shape == other.shape


def test_a_model_without_a_fix_is_saved_too(encoder, cache, tmp_path) -> None:
    save_pipeline(tmp_path / "saved", FixedEncoder(CachedEncoder(encoder, folder=cache), Composition(())))
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["fix.json"]
    assert load_pipeline(tmp_path / "saved", CachedEncoder(encoder)).fix == Composition(())


@pytest.mark.parametrize("text", notations(Kind.MODEL))
def test_what_is_fitted_to_nothing_has_no_arrays(text, encoder, cache, tmp_path) -> None:
    save_pipeline(tmp_path / "saved", fitted(encoder, text, cache))
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["fix.json"]


def test_the_description_says_what_it_belongs_to(saved: Path, encoder: SentenceEncoder) -> None:
    about = json.loads((saved / "fix.json").read_text())
    assert about["fix"] == "centering(role) + cohort(document)"
    assert about["learned_from"] == {"documents": 50, "queries": 30}
    assert about["seed"] == 3
    assert about["model"]["dim"] == encoder.dim
    assert {"created", "versions"} <= set(about)


def test_saving_again_replaces_a_pipeline_and_nothing_else(saved: Path, encoder, cache) -> None:
    save_pipeline(saved, fitted(encoder, "temperature(0.8)", cache))
    assert [path.name for path in saved.iterdir()] == ["fix.json"]
    (saved / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"which holds 'mine.txt' and would be replaced. Give another"):
        save_pipeline(saved, fitted(encoder, "temperature(0.8)", cache))
    assert (saved / "mine.txt").read_text() == "precious"


def test_a_file_in_the_way_is_refused(tmp_path: Path, encoder, cache) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="which is a file. Give another name"):
        save_pipeline(tmp_path / "file", fitted(encoder, "temperature(0.8)", cache))


def test_a_failure_leaves_what_was_there(saved: Path, encoder, cache, monkeypatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    monkeypatch.setattr("uncollapse.pipelines.storage.json.dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_pipeline(saved, fitted(encoder, "whitening(0.5)", cache))
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_another_model_of_the_same_size_is_refused_by_name(saved: Path, tmp_path: Path) -> None:
    other = load(str(save_tiny(tmp_path / "other", "electra", max_tokens=64)))
    with pytest.raises(
        FixError, match=r"belongs to the model .*, got .*other.*, whose weights differ. Load the model"
    ):
        load_pipeline(saved, CachedEncoder(other))


def test_another_tokenizer_is_refused(saved: Path, encoder: SentenceEncoder, tmp_path: Path) -> None:
    shutil.copytree(encoder.source, tmp_path / "copy")
    same = load(str(tmp_path / "copy"))
    load_pipeline(saved, CachedEncoder(same))
    (tmp_path / "copy" / "vocab.txt").write_text("other")
    with pytest.raises(FixError, match=r"whose files \(configs or tokenizer\) differ"):
        load_pipeline(saved, CachedEncoder(same))


def test_another_dimension_is_refused(saved: Path, encoder: SentenceEncoder) -> None:
    change(saved, lambda about: about["model"].update(dim=384))
    with pytest.raises(FixError, match="with vectors of 384 dimensions, got .* with 64. Load the model"):
        load_pipeline(saved, CachedEncoder(encoder))


def test_a_model_with_another_fix_inside_is_refused(saved: Path, encoder: SentenceEncoder) -> None:
    inside = as_composition("temperature(0.5)").model
    with pytest.raises(FixError, match=r"but the model has `temperature\(0.5\)` inside. Give it the model without"):
        load_pipeline(saved, CachedEncoder(encoder, inside))


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:-8])])
def test_arrays_that_are_not_those_saved_are_refused(saved: Path, encoder: SentenceEncoder, spoil) -> None:
    spoil(saved / "arrays.safetensors")
    with pytest.raises(FixError, match="is missing, was changed or was cut short. Copy the whole folder again"):
        load_pipeline(saved, CachedEncoder(encoder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Could not read the pipeline .* Save it anew"),
        ("[]", r"Expected a pipeline of schema 'uncollapse.pipeline/1' in .*, got \[\]"),
        ('{"schema": "uncollapse.pipeline/9"}', "got 'uncollapse.pipeline/9'. Save it anew"),
        ('{"schema": "uncollapse.pipeline/1", "fix": "magic(1)"}', "does not say its 'model'. Save"),
        (MAGIC, "cannot be read: No fix 'magic'"),
    ],
)
def test_a_description_that_says_nothing_is_refused(saved: Path, encoder, text: str, message: str) -> None:
    (saved / "fix.json").write_text(text)
    with pytest.raises(FixError, match=message):
        load_pipeline(saved, CachedEncoder(encoder))


def test_a_pipeline_of_a_version_that_kept_less_is_refused_by_name(
    saved: Path, encoder: SentenceEncoder, cache: Path
) -> None:
    arrays = load_file(saved / "arrays.safetensors")
    for name in arrays:
        save_file({other: array for other, array in arrays.items() if other != name}, saved / "arrays.safetensors")
        about = json.loads((saved / "fix.json").read_text())
        about["arrays"] = hashlib.sha256((saved / "arrays.safetensors").read_bytes()).hexdigest()
        (saved / "fix.json").write_text(json.dumps(about))
        with pytest.raises(
            FixError, match=f"has no '{name.partition('.')[2]}'.*another version.*Fit the pipeline anew"
        ):
            load_pipeline(saved, CachedEncoder(encoder, folder=cache))


def test_a_folder_without_a_pipeline_is_refused(tmp_path: Path, encoder: SentenceEncoder) -> None:
    with pytest.raises(FixError, match=r"Expected a folder with a saved pipeline, got .*, which has no fix.json"):
        load_pipeline(tmp_path, CachedEncoder(encoder))


def change(folder: Path, edit) -> None:
    about = json.loads((folder / "fix.json").read_text())
    edit(about)
    (folder / "fix.json").write_text(json.dumps(about))


def test_vectors_are_those_of_the_fix_and_not_of_the_model(saved: Path, encoder: SentenceEncoder, cache: Path) -> None:
    again = load_pipeline(saved, CachedEncoder(encoder, folder=cache))
    plain = CachedEncoder(encoder, folder=cache).encode(CORPUS.documents).vectors
    assert np.abs(again.encode(CORPUS.documents).vectors[:, :-1] - plain).max() > 1e-3
