"""Our encoder as an mteb model: what it encodes, what it leaves behind, and where its results are filed."""

import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from mteb.models.models_protocols import EncoderProtocol, SearchProtocol
from mteb.types import PromptType
from sentence_transformers import SentenceTransformer

from mteb_examples import clustering, make_texts, retrieval, similarity
from tiny import save_tiny
from uncollapse.attention.patching import patch
from uncollapse.checkpoints import fix
from uncollapse.encoders import CachedEncoder, SentenceEncoder, fingerprint, load
from uncollapse.errors import (
    ArchitectureError,
    CorpusError,
    MissingExtraError,
    ModelError,
    OutputError,
    UncollapseError,
)
from uncollapse.evaluation.mteb import as_mteb_model, as_mteb_task, run_mteb
from uncollapse.fixes import parse
from uncollapse.progress import Advance

TEXTS = list(make_texts(9, seed=0))
SHARPER = parse("temperature(0.5)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=40)


@pytest.fixture
def encoder(folder: Path) -> SentenceEncoder:
    return load(str(folder), device="cpu")


def encode(model: Any, texts: list[str] = TEXTS, prompt_type: PromptType | None = None, **options: Any) -> Any:
    """As mteb calls it, in two batches."""
    metadata = as_mteb_task(clustering()).metadata
    batches = [{"text": texts[:5]}, {"text": texts[5:]}]
    return model.encode(
        batches, task_metadata=metadata, hf_split="test", hf_subset="default", prompt_type=prompt_type, **options
    )


def test_it_is_what_mteb_calls_an_encoder(encoder: SentenceEncoder) -> None:
    model = as_mteb_model(encoder)
    assert isinstance(model, EncoderProtocol)
    assert not isinstance(model, SearchProtocol)
    meta = model.mteb_model_meta
    assert (meta.name, meta.revision, meta.embed_dim, meta.max_tokens) == (
        "uncollapse/tiny", fingerprint(encoder.source), 64, 40,
    )  # fmt: skip


def test_vectors_are_those_of_plain_sentence_transformers(encoder: SentenceEncoder, folder: Path) -> None:
    plain = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, show_progress_bar=False)
    assert np.abs(encode(as_mteb_model(encoder)) - plain).max() <= 1e-6


def test_queries_and_documents_get_the_prompts_of_the_model(encoder: SentenceEncoder) -> None:
    encoder.model.prompts = {"query": "why: ", "document": "so: ", "plain": "hm: "}
    encoder.model.default_prompt_name = "plain"
    model = as_mteb_model(load_again(encoder))
    for prompt_type, prompt in ((PromptType.query, "why: "), (PromptType.document, "so: "), (None, "hm: ")):
        expected = encoder.model.encode([prompt + text for text in TEXTS], prompt="", show_progress_bar=False)
        assert np.abs(encode(model, prompt_type=prompt_type) - expected).max() <= 1e-6


def load_again(encoder: SentenceEncoder) -> SentenceEncoder:
    """Reads the model's prompts anew."""
    return encoder.as_role("document")


def test_a_fix_is_on_while_encoding_and_leaves_the_model_bit_for_bit(encoder: SentenceEncoder) -> None:
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    stock = encoder.vectors(TEXTS)
    with patch(encoder.model, SHARPER):
        expected = encoder.vectors(TEXTS)
    found = encode(as_mteb_model(encoder, SHARPER))
    assert np.abs(found - expected).max() <= 1e-6
    assert np.abs(found - stock).max() > 1e-3
    assert np.array_equal(encoder.vectors(TEXTS), stock)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.model.state_dict().items())
    assert not any(module._forward_hooks for module in encoder.model.modules())


def test_similarity_is_the_model_s_own(encoder: SentenceEncoder) -> None:
    encoder.model.similarity_fn_name = "dot"
    model, vectors = as_mteb_model(encoder), 3 * encoder.vectors(TEXTS)
    assert np.allclose(model.similarity(vectors, vectors), vectors @ vectors.T, atol=1e-5)
    assert np.allclose(model.similarity_pairwise(vectors, vectors), 9.0, atol=1e-5)
    assert model.mteb_model_meta.similarity_fn_name.value == "dot"


def test_the_batch_size_that_mteb_asks_for_is_used_on_our_own_copy(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    vectors = SentenceEncoder.vectors

    def watched(self: SentenceEncoder, texts: Any, n_tokens: Any = None) -> Any:
        sizes.append(self.batch_size)
        return vectors(self, texts, n_tokens)

    monkeypatch.setattr(SentenceEncoder, "vectors", watched)
    encode(as_mteb_model(encoder), batch_size=3)
    encode(as_mteb_model(encoder))
    assert (sizes, encoder.batch_size) == ([3, None], None)


def test_progress_is_told_what_and_how_far(encoder: SentenceEncoder) -> None:
    told: list[Any] = []

    class Told:
        @contextmanager
        def track(self, what: str, total: float | None, unit: str) -> Iterator[Advance]:
            told.append((what, total, unit))
            yield told.append

    encode(as_mteb_model(encoder, progress=Told()))
    assert told[0] == ("encode toys-clustering/test", sum(map(len, TEXTS)), "characters")
    assert sum(told[1:]) == sum(map(len, TEXTS))


def test_other_precisions_are_refused(encoder: SentenceEncoder) -> None:
    with pytest.raises(ModelError, match=r"Expected precision 'float32', got 'int8'\. Leave it out of mteb's"):
        encode(as_mteb_model(encoder), precision="int8")


def test_a_fix_that_the_model_cannot_take_is_refused_at_once(encoder: SentenceEncoder) -> None:
    with pytest.raises(ArchitectureError, match="attention layers"):
        as_mteb_model(encoder, parse("temperature([0.9])"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minilm", "uncollapse/minilm"),
        ("somebody/some-model_v1.5", "somebody/some-model_v1.5"),
        ("all-MiniLM-L6-v2", "uncollapse/all-MiniLM-L6-v2"),
        ("/no such/path to/my model/", "uncollapse/my-model"),
        ("/", "uncollapse/model"),
    ],
)
def test_the_name_is_the_hub_s_or_made_of_the_folder_s(encoder: SentenceEncoder, name: str, expected: str) -> None:
    encoder.name = name
    assert as_mteb_model(encoder).mteb_model_meta.name == expected


def files(folder: Path) -> list[str]:
    found = sorted(path for path in folder.rglob("*.json") if path.name != "model_meta.json")
    return [str(path.relative_to(folder)) for path in found]


def score(results: Any) -> float:
    (result,) = results.task_results
    return float(result.scores["test"][0]["main_score"])


def test_every_setting_is_filed_apart_in_mteb_s_own_layout(encoder: SentenceEncoder, tmp_path: Path) -> None:
    task, home = as_mteb_task(similarity()), f"results/uncollapse__tiny/{fingerprint(encoder.source)}"
    scores = [
        score(run_mteb(encoder, task, output=tmp_path)),
        score(run_mteb(encoder, task, output=tmp_path, fix=parse("temperature(0.9)"))),
        score(run_mteb(encoder, task, output=tmp_path, fix=parse("temperature([0.5, 0.9, 1.0])"))),
    ]
    encoder.model.max_seq_length = 7
    scores.append(score(run_mteb(encoder, task, output=tmp_path, fix=parse("temperature(0.9)"))))
    assert files(tmp_path) == [
        f"{home}/experiments/max_tokens_7__temperature_0.9/toys.json",
        f"{home}/experiments/temperature_0.9/toys.json",
        f"{home}/experiments/temperature_[0.5,0.9,1.0]/toys.json",
        f"{home}/toys.json",
    ]
    assert len(set(scores)) == 4


def test_another_number_format_is_filed_apart(encoder: SentenceEncoder) -> None:
    half = load(encoder.name, device="cpu", dtype="bfloat16")
    assert as_mteb_model(half).mteb_model_meta.experiment_name == "dtype_bfloat16"


def test_mteb_finds_the_results_and_their_settings(encoder: SentenceEncoder, tmp_path: Path) -> None:
    done = score(run_mteb(encoder, as_mteb_task(similarity()), output=tmp_path, fix=SHARPER))
    meta = as_mteb_model(encoder, SHARPER).mteb_model_meta
    found = mteb.ResultCache(tmp_path).load_task_result("toys", meta)
    assert found is not None
    assert found.get_score() == pytest.approx(done, abs=1e-6)  # mteb rounds
    assert meta.experiment_name == "temperature_0.5"


def test_a_folded_model_scores_as_the_patched_one_under_a_fingerprint_of_its_own(
    encoder: SentenceEncoder, folder: Path, tmp_path: Path
) -> None:
    fix(str(folder), SHARPER, tmp_path / "folded")
    folded = load(str(tmp_path / "folded"), device="cpu")
    task, output = as_mteb_task(similarity()), tmp_path / "out"
    patched = score(run_mteb(encoder, task, output=output, fix=SHARPER))
    assert score(run_mteb(folded, task, output=output)) == pytest.approx(patched, abs=1e-4)
    assert fingerprint(folded.source) != fingerprint(encoder.source)
    assert files(output)[0] == f"results/uncollapse__folded/{fingerprint(folded.source)}/toys.json"


def test_what_is_filed_is_not_computed_again(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score(run_mteb(encoder, as_mteb_task(similarity()), output=tmp_path))
    counted = []
    encode_texts = CachedEncoder.encode
    monkeypatch.setattr(CachedEncoder, "encode", lambda *a, **k: (counted.append(len(a[1])), encode_texts(*a, **k))[1])
    again = score(run_mteb(encoder, as_mteb_task(similarity()), output=tmp_path))
    assert (again, counted) == (pytest.approx(first, abs=1e-6), [])  # mteb rounds what it files
    assert score(run_mteb(encoder, as_mteb_task(similarity()), output=tmp_path, overwrite="always")) == first
    assert counted == [30, 30]
    other = run_mteb(encoder, as_mteb_task(similarity(n=20)), output=tmp_path)
    assert counted == [30, 30, 20, 20], "other data under the same name"
    assert score(other) != first


def test_vectors_are_taken_from_the_cache(encoder: SentenceEncoder, tmp_path: Path) -> None:
    for _ in range(2):
        run_mteb(encoder, as_mteb_task(similarity()), output=tmp_path, cache=tmp_path / "c", overwrite="always")
    model = as_mteb_model(encoder, cache=tmp_path / "c")
    encode(model, list(similarity().first))
    assert (model.encoder.encoded, model.encoder.reused) == (0, 30)


def test_several_tasks_in_one_run(encoder: SentenceEncoder, tmp_path: Path) -> None:
    other = as_mteb_task(similarity())
    other.metadata = other.metadata.model_copy(update={"name": "others"})
    done = run_mteb(encoder, [as_mteb_task(similarity()), other], output=tmp_path)
    assert [result.task_name for result in done.task_results] == ["toys", "others"]


def test_another_word_for_overwrite_is_refused(encoder: SentenceEncoder, tmp_path: Path) -> None:
    with pytest.raises(UncollapseError, match="`overwrite` must be one of its words, got 'allways'. Did you mean"):
        run_mteb(encoder, "SciFact", output=tmp_path, overwrite="allways")


def test_a_folder_that_cannot_be_made_is_named(encoder: SentenceEncoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Expected a folder for mteb's results, got '.*file'.* Name another"):
        run_mteb(encoder, as_mteb_task(similarity()), output=tmp_path / "file")


def test_what_fails_while_scoring_is_not_blamed_on_the_data(encoder: SentenceEncoder, tmp_path: Path) -> None:
    task = as_mteb_task(similarity())
    task._evaluate_subset = lambda *_, **__: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run_mteb(encoder, task, output=tmp_path)


def test_no_global_random_state_is_touched(encoder: SentenceEncoder, tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002 - what mteb seeds

    def seed() -> None:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002

    seed()
    expected = draw()
    seed()
    run_mteb(encoder, as_mteb_task(clustering()), output=tmp_path)
    assert draw() == expected


def test_mteb_that_is_not_installed_is_asked_for(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mteb")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for use in (lambda: as_mteb_model(encoder), lambda: as_mteb_task(similarity())):
        with pytest.raises(MissingExtraError, match=r"needs the package 'mteb'.*pip install 'uncollapse\[mteb\]'"):
            use()


ALONE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import uncollapse, uncollapse.evaluation.mteb as ours
assert "mteb" not in sys.modules, "imported before it is needed"
from mteb_examples import retrieval, summaries
from uncollapse.encoders import load
encoder = load({model!r}, device="cpu")
ours.run_mteb(encoder, ours.as_mteb_task(retrieval()), output=Path("out"))
ours.run_mteb(encoder, ours.as_mteb_task(summaries()), output=Path("out"))
assert ours.from_mteb(ours.as_mteb_task(retrieval()))
"""


def run_alone(folder: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """In a process, home and temporary folder of its own."""
    for name in ("home", "tmp", "work"):
        (place / name).mkdir()
    own = {
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        "HF_HUB_OFFLINE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    code = ALONE.format(tests=str(Path(__file__).parent), model=str(folder))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_", "MTEB"))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=place / "work", env=kept | own, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_nothing_is_written_but_the_results(folder: Path, tmp_path: Path) -> None:
    done = run_alone(folder, tmp_path)
    assert done.returncode == 0, done.stderr
    left = {str(path.relative_to(tmp_path)).split("/results/")[0] for path in tmp_path.rglob("*")}
    assert left == {"home", "tmp", "work", "work/out", "work/out/results"}


def test_a_home_in_which_mteb_cannot_make_its_folder_is_named(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        assert name == "mteb"
        (tmp_path / "made").mkdir()
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "made" / "cache"))
    monkeypatch.delitem(sys.modules, "mteb")
    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(
        OutputError, match="can make its cache folder '.*made/cache' when it is imported, got: .*denied"
    ):
        as_mteb_model(encoder)


def test_retrieval_runs_under_a_fix_without_touching_the_encoder(encoder: SentenceEncoder, tmp_path: Path) -> None:
    before = encoder.vectors(TEXTS)
    done = run_mteb(encoder, as_mteb_task(retrieval()), output=tmp_path, fix=SHARPER)
    assert 0.2 < score(done) < 1
    assert np.array_equal(encoder.vectors(TEXTS), before)


def test_no_task_at_all_is_refused(encoder: SentenceEncoder, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="Expected at least one of mteb's tasks, got none"):
        run_mteb(encoder, [], output=tmp_path)
