"""Folders whose own code reads texts to their end: the vectors of this package, in plain sentence-transformers."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.model import BaseModel
from transformers.utils import HF_MODULES_CACHE

from export_examples import PROMPTS
from text_fix_examples import sentences
from tiny import save_tiny
from uncollapse import encode as package_encode
from uncollapse import export_long_texts, fix, load, parse
from uncollapse.cli import run
from uncollapse.covering import folder as covering
from uncollapse.covering.folder import LongTextsReport
from uncollapse.covering.long_texts import LongTexts
from uncollapse.encoders import load_model
from uncollapse.encoders.sentence import ROLES, Role
from uncollapse.encoders.sources import find_source
from uncollapse.errors import ArchitectureError, FixError, ModelError, OutputError
from uncollapse.fixes import compose
from uncollapse.pipelines.fitting import Unlabelled

LIMIT = 40
CORPUS = Unlabelled(tuple(f"d{i}" for i in range(60)), sentences(60, 0), sentences(30, 1, 8))
LONG = [" ".join(sentences(4, seed, 60)) for seed in (11, 12)]
TEXTS = [
    "a dog",
    "",
    *LONG,
    "   ",
    "near water! " * 30,
    "x",
    "ünïcödé, 文,\na line " * 9,
    "aaaaaaaaaaaa" * 30,
    "two dogs",
]
WRITTEN = {
    "alone": "cover(12)",
    "as large as the model reads": "cover(30)",
    "with a temperature": "temperature(0.7) + cover(20)",
    "with one map": "centering(all) + whitening(0.25) + cover(16)",
    "with a map a role": "centering(role) + whitening(0.3, role) + cover(16)",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`stock` has prompts and makes vectors of norm 1; `inner` compares by inner product and does not."""
    root = tmp_path_factory.mktemp("long")
    plain = SentenceTransformer(str(save_tiny(root / "plain", max_tokens=LIMIT)), device="cpu")
    SentenceTransformer(modules=list(plain), device="cpu", prompts=PROMPTS).save_pretrained(str(root / "stock"))
    raw = SentenceTransformer(modules=[plain[0], plain[1]], device="cpu", similarity_fn_name="dot")
    raw.save_pretrained(str(root / "inner"))
    (root / "stock/README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    (root / "stock/LICENSE").write_text("as you like")
    return root


def write(root: Path, written: str, name: str, source: str = "stock") -> LongTextsReport:
    chosen = compose(parse(written))
    fix(str(root / source), chosen, root / f"{name} fixed", corpus=CORPUS if chosen.vectors else None)
    return export_long_texts(str(root / f"{name} fixed"), root / name)


@pytest.fixture(scope="module")
def reports(root: Path) -> dict[str, LongTextsReport]:
    return {name: write(root, written, name) for name, written in WRITTEN.items()}


def stock(folder: Path, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", trust_remote_code=True, **options)


def encode(model: SentenceTransformer, texts: list[str], role: Role, **options: Any) -> npt.NDArray[np.float32]:
    by_role = {"document": model.encode_document, "query": model.encode_query, "text": model.encode}
    found: npt.NDArray[np.float32] = by_role[role](texts, show_progress_bar=False, **options)
    return found


def by_package(folder: Path, texts: list[str], role: Role) -> npt.NDArray[np.float32]:
    return package_encode(load(str(folder)), texts, role=role).vectors


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


@pytest.mark.usefixtures("reports")
def test_its_code_runs_only_where_it_is_trusted(root: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        SentenceTransformer(str(root / "alone"), device="cpu")
    with pytest.raises(
        ValueError, match=r"Read it, then load with trust_remote_code=True; or load its folder `model`"
    ):
        LongTexts.load(str(root / "alone"), trust_remote_code=False)


@pytest.mark.usefixtures("reports")
def test_trusting_it_trusts_nothing_that_the_model_names(root: Path, tmp_path: Path) -> None:
    place = tmp_path / "named"
    shutil.copytree(root / "alone", place)
    for folder in (place, place / "model"):
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nModel = Config = None\n")
    found = encode(stock(place), TEXTS, "document")
    np.testing.assert_array_equal(found, encode(stock(root / "alone"), TEXTS, "document"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("reports")
def test_a_model_with_modules_of_its_own_code_is_refused_in_any_release(root: Path, tmp_path: Path) -> None:
    """Releases before 6 would run them, since the folder is on the disk."""
    place = tmp_path / "named"
    shutil.copytree(root / "alone", place)
    modules = json.loads((place / "model/modules.json").read_text())
    modules[1]["type"] = "evil.Model"
    (place / "model/modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=r"code that its long_texts\.json knows nothing of: \['evil\.Model'\]"):
        stock(place)


@pytest.mark.usefixtures("reports")
def test_without_its_model_it_is_refused_and_nobody_else_is_asked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative name with `model` behind it is that of somebody's model on the hub."""
    shutil.copytree(root / "alone", tmp_path / "half", ignore=shutil.ignore_patterns("model"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"has code of its own .* but no folder 'model' with the model"):
        find_source("half")
    with pytest.raises(ValueError, match="Expected a folder 'model' with the model in 'half', and it is not there"):
        stock(Path("half"))


@pytest.mark.usefixtures("reports")
def test_this_package_takes_the_model_inside_and_runs_no_code(root: Path) -> None:
    place = root / "with a map a role"
    model = load(str(place))
    assert find_source(str(place)) == place / "model"
    assert model.text_fix == "cover(16)"
    np.testing.assert_array_equal(
        by_package(place, TEXTS, "document"), by_package(root / "with a map a role fixed", TEXTS, "document")
    )


def test_its_card_and_its_files_say_what_it_is(reports: dict[str, LongTextsReport], root: Path) -> None:
    place = root / "with a map a role"
    card = (place / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n---\n## Reads texts to their end: `cover(16)`")
    assert "> # Mine" in card
    assert "trust_remote_code=True" in card
    assert 'uncollapse evaluate DATA -m ORIGINAL --fix "cover(16)"' in card
    assert re.search(r"^\| 128-\d+ \| 1 \| 1\.000000 \| \d", card, re.MULTILINE)
    assert (place / "LICENSE").read_text() == "as you like"
    parity = json.loads((place / "parity.json").read_text())
    assert parity["schema"] == "uncollapse.long_texts_parity/1"
    assert len(parity["rows"]) == len(reports["with a map a role"].rows)
    assert {row["route"] for row in parity["rows"]} == set(ROLES)
    code = (place / "long_texts.py").read_text()
    assert "from .cutting import" in code
    assert "import uncollapse" not in code
    assert "from uncollapse" not in code


def test_it_is_written_whole_and_in_agreement_or_not_at_all(
    root: Path, reports: dict[str, LongTextsReport], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(covering, "LIMIT", 1e-12)
    with pytest.raises(
        ModelError, match=r"must give the vectors of this package, but differs by .* and 1e-12 is allowed"
    ):
        export_long_texts(str(root / "alone fixed"), tmp_path / "out")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    with pytest.raises(OutputError, match="exists and is not empty"):
        export_long_texts(str(root / "alone fixed"), root / "alone")
    with pytest.raises(OutputError, match="no folder that reads long texts"):
        export_long_texts(str(root / "alone fixed"), root / "stock", force=True)
    with pytest.raises(OutputError, match="lie one in the other"):
        export_long_texts(str(root / "alone fixed"), root / "alone fixed/inside")
    report = export_long_texts(str(root / "alone fixed"), root / "alone", force=True)
    assert report == reports["alone"]
    copies = Path(HF_MODULES_CACHE, "transformers_modules").glob(f"_dot_alone_dot_partial_hyphen_{os.getpid()}_*")
    assert not list(copies), "nothing stays of the name that it had meanwhile"


def test_what_it_is_not_for_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FixError, match="asks for no fix on texts"):
        export_long_texts(str(root / "stock"), tmp_path / "out")
    fix(str(root / "stock"), parse("chunks(12)"), tmp_path / "chunks")
    with pytest.raises(FixError, match=r"cover\(\.\.\.\) alone, got `chunks\(12\)`"):
        export_long_texts(str(tmp_path / "chunks"), tmp_path / "out")
    fix(str(root / "stock"), parse("cover(12)"), tmp_path / "left")
    settings = json.loads((tmp_path / "left/tokenizer_config.json").read_text())
    (tmp_path / "left/tokenizer_config.json").write_text(json.dumps({**settings, "truncation_side": "left"}))
    with pytest.raises(ArchitectureError, match="its tokenizer cuts the beginning of texts off"):
        export_long_texts(str(tmp_path / "left"), tmp_path / "out")
    encoder = load_model(str(root / "alone fixed"))
    encoder.model[0].modality_config["message"] = {}
    with pytest.raises(ArchitectureError, match="it puts texts into a chat template, whose tokens are not counted"):
        covering._chunk(encoder)
    modules = list(SentenceTransformer(str(root / "plain"), device="cpu"))[:2]
    far = SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="euclidean")
    far.save_pretrained(str(tmp_path / "far"))
    fix(str(tmp_path / "far"), parse("cover(12)"), tmp_path / "far fixed")
    with pytest.raises(ArchitectureError, match="it compares vectors by euclidean distance, and they have norms"):
        export_long_texts(str(tmp_path / "far fixed"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("reports")
def test_the_command_writes_it_and_says_how_to_load_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "long"
    told = ["export", str(root / "alone fixed"), "-o", str(out), "--format", "sentence-transformers"]
    assert run(told) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f'SentenceTransformer("{out}", trust_remote_code=True)' in said
    assert "cover(12); the model reads 40 tokens at once" in said
    assert run([*told, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text_fix"] == "cover(12)"
    assert run(["fix", str(root / "stock"), "cover(12)", "-o", str(tmp_path / "fixed")]) == 0
    assert "--format sentence-transformers" in " ".join(capsys.readouterr().out.split())
