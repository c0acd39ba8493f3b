"""Models that read on: the limit rises with a fix and falls again, and a written folder reads as far by itself."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig

from observing_examples import one_thread
from test_attention import same, snapshot
from tiny import save_tiny
from uncollapse import configs
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.patching import patch
from uncollapse.attention.positions import MODES, ROPES, Positions, Rope, SelfExtend
from uncollapse.attention.stamps import folded_fixes
from uncollapse.attention.temperature import Temperature
from uncollapse.checkpoints import fix
from uncollapse.diagnosis import study
from uncollapse.encoders import CachedEncoder, SentenceEncoder, applied, limit_under, load_model, reading_under
from uncollapse.errors import ArchitectureError, FixError, ModelError
from uncollapse.fixes import compose, parse
from uncollapse.pipelines.encoder import FixedEncoder
from uncollapse.pipelines.pieces import check_text_fix
from uncollapse.pipelines.windows import cut_windows

_quiet = pytest.fixture(autouse=True, scope="module")(one_thread)

GROUPED = Positions("grouped", 150)
LONG = "many letters in a row, and then some more of them 0123456789. " * 6
TEXTS = ["a", LONG[:45], LONG[:90], LONG]
SHORT_LIMIT, TABLE = 60, 66


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("longer") / "source")


@pytest.fixture(scope="module")
def encoder(source: Path) -> SentenceEncoder:
    return load_model(str(source), device="cpu")


@contextmanager
def by_hand(encoder: SentenceEncoder, one: ModelFix, limit: int) -> Iterator[Any]:
    """The model patched and given its limit by hand, as sentence-transformers has it."""
    model = encoder.model
    with patch(model, one):
        before, model.max_seq_length = model.max_seq_length, limit
        yield model
        model.max_seq_length = before


def loaded(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


# The limit under a fix


def test_a_fix_that_reads_on_is_read_with_to_its_end(encoder: SentenceEncoder) -> None:
    with by_hand(encoder, GROUPED, 150) as model:
        wanted = model.encode(TEXTS)
    found = CachedEncoder(encoder, [GROUPED]).encode(TEXTS)
    np.testing.assert_allclose(found.vectors, wanted, atol=1e-6)
    assert found.n_tokens.max() == 150 < found.n_tokens_full.max()
    stock = CachedEncoder(encoder).encode(TEXTS)
    assert stock.n_tokens.max() == SHORT_LIMIT
    np.testing.assert_array_equal(stock.n_tokens_full, found.n_tokens_full)


def test_the_limit_falls_again_whatever_happens(encoder: SentenceEncoder) -> None:
    before = snapshot(encoder.model[0].model)
    with applied(encoder, [GROUPED]):
        assert encoder.max_tokens == encoder.model.max_seq_length == 150
    with pytest.raises(RuntimeError, match="stop"), applied(encoder, [GROUPED]):
        raise RuntimeError("stop")
    with pytest.raises(ArchitectureError, match="would take some away"), applied(encoder, [Positions("grouped", 30)]):
        pass
    assert encoder.max_tokens == encoder.model.max_seq_length == SHORT_LIMIT
    assert same(before, snapshot(encoder.model[0].model))


def test_the_vectors_of_each_limit_are_kept_apart(encoder: SentenceEncoder, tmp_path: Path) -> None:
    encoder.model.max_seq_length = 40
    try:
        short = CachedEncoder(encoder, folder=tmp_path).encode(TEXTS)
    finally:
        encoder.model.max_seq_length = SHORT_LIMIT
    for fixes in ([], [GROUPED], [Positions("grouped", 140)]):
        made = CachedEncoder(encoder, fixes, folder=tmp_path)
        again = CachedEncoder(encoder, fixes, folder=tmp_path)
        assert made.encode(TEXTS).vectors.tobytes() == again.encode(TEXTS).vectors.tobytes()
        assert (made.reused, again.encoded) == (0, 0)
        assert np.abs(made.encode([LONG]).vectors - short.vectors[-1]).max() > 1e-4
    assert "max_tokens" in made._description(made.encoder)
    assert made._description(made.encoder)["max_tokens"] == 140


def test_vectors_of_the_old_limit_under_the_same_fix_are_not_found(encoder: SentenceEncoder, tmp_path: Path) -> None:
    """A cache from before limits rose holds another limit in its key."""
    now = CachedEncoder(encoder, [GROUPED], folder=tmp_path)
    before = {**now._description(now.encoder), "max_tokens": SHORT_LIMIT}
    assert before != now._description(now.encoder)


@pytest.mark.parametrize(
    ("name", "fixes", "limit"),
    [
        ("bert", [GROUPED], 150),
        ("bert", [Positions("recurrent", TABLE)], TABLE),
        ("bert", [Temperature(0.5)], SHORT_LIMIT),
        ("bert", [Temperature(0.5), GROUPED], 150),
        ("llama", [Rope("ntk", 2)], 2 * SHORT_LIMIT),
        ("llama", [Rope("ntk", 1)], SHORT_LIMIT),
        ("llama", [SelfExtend(3, 20)], 40 * 3 + 20),
        ("llama", [Rope("ntk", 2), SelfExtend(3, 20)], 100 * 3 + 20),
    ],
)
def test_how_far_a_fix_reads(name: str, fixes: list[ModelFix], limit: int, tmp_path: Path) -> None:
    own = load_model(str(save_tiny(tmp_path / "model", name)), device="cpu")
    assert limit_under(own, fixes) == reading_under(own, fixes).max_tokens == limit
    base = CachedEncoder(own, fixes)
    assert base.max_tokens == limit
    assert base.encode([LONG]).n_tokens.tolist() == [min(limit, int(own.count([LONG])[0]))]
    said = [note for note in base.notes if f"read {limit:,} tokens of a text; without it texts are cut at 60" in note]
    assert bool(said) == (limit != SHORT_LIMIT)
    assert own.max_tokens == SHORT_LIMIT


def test_pieces_and_windows_go_as_far(encoder: SentenceEncoder) -> None:
    """What cuts texts for a fix, or for what is fitted to, knows the limit under it."""
    whole = compose(parse(f"{GROUPED} + cover(126)"))
    with pytest.raises(FixError, match="pieces of 126 tokens, but .* reads 58"):
        check_text_fix(whole.text, encoder)
    fixed = FixedEncoder(CachedEncoder(encoder, whole.model), whole)
    found = fixed.encode([LONG * 3])
    assert found.n_tokens.tolist() == found.n_tokens_full.tolist()
    longest = max(encoder.count(cut_windows(fixed.encoder, ["1"], [LONG * 3])))
    assert 64 < longest <= 150


def test_a_window_inside_a_view_is_the_models_own_cut(encoder: SentenceEncoder) -> None:
    view = reading_under(encoder, [GROUPED])
    with view.window(20):
        assert view.max_tokens == encoder.max_tokens == 20
    assert (view.max_tokens, encoder.max_tokens) == (150, SHORT_LIMIT)


def test_a_diagnosis_of_a_fix_that_reads_on_does(encoder: SentenceEncoder) -> None:
    with study._applied(encoder, GROUPED) as notes:
        assert encoder.about["max_tokens"] == 150
    assert "lets" in notes[0]
    with study._applied(encoder, None) as notes:
        assert notes == ()
    assert encoder.about["max_tokens"] == SHORT_LIMIT


# Folders


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("bert", mode) for mode in MODES),
        ("roberta", "grouped"),
        ("mpnet", "interpolated"),
        ("distilbert", "grouped"),
    ],
)
def test_a_written_folder_reads_as_far_as_the_patched_model(name: str, mode: str, tmp_path: Path) -> None:
    source, out = save_tiny(tmp_path / "source", name), tmp_path / "out"
    one, stock = Positions(mode, 150), load_model(str(source), device="cpu")
    with by_hand(stock, one, 150) as model:
        wanted = model.encode(TEXTS)
    report = fix(str(source), one, out)
    model = loaded(out)
    assert model.max_seq_length == report.max_tokens == 150
    assert report.source_max_tokens == SHORT_LIMIT
    np.testing.assert_allclose(model.encode(TEXTS), wanted, atol=1e-5)
    again = load_model(str(out), device="cpu")
    assert (again.folder_max_tokens, again.folded_fix) == (150, str(one))
    stretched = [key for key in load_file(out / "model.safetensors") if key.endswith("position_embeddings.weight")]
    assert stretched


@pytest.mark.parametrize(
    ("name", "kind"), [*(("llama", kind) for kind in ROPES), ("gemma3", "yarn"), ("nomic_bert", "ntk")]
)
def test_slower_rotations_are_written_to_the_config(name: str, kind: str, tmp_path: Path) -> None:
    source, out = save_tiny(tmp_path / "source", name), tmp_path / "out"
    one, stock = Rope(kind, 2), load_model(str(source), device="cpu")
    with by_hand(stock, one, 2 * SHORT_LIMIT) as model:
        wanted = model.encode(TEXTS)
    report = fix(str(source), one, out)
    assert loaded(out).max_seq_length == report.max_tokens == 2 * SHORT_LIMIT
    np.testing.assert_allclose(loaded(out).encode(TEXTS), wanted, atol=1e-5)
    assert (out / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ROPES)
def test_a_config_of_before_transformers_5_keeps_its_keys(kind: str, tmp_path: Path) -> None:
    source, out = save_tiny(tmp_path / "source", "llama"), tmp_path / "out"
    config = json.loads((source / "config.json").read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    (source / "config.json").write_text(json.dumps(config))
    fix(str(source), Rope(kind, 2), out)
    written = json.loads((out / "config.json").read_text())
    assert "rope_parameters" not in written
    if kind == "ntk":
        assert written["rope_theta"] > config["rope_theta"]
        assert written["rope_scaling"] is None
    else:
        assert written["rope_theta"] == config["rope_theta"]
        assert (written["rope_scaling"]["rope_type"], written["rope_scaling"]["factor"]) == (kind, 2.0)
    assert folded_fixes(AutoConfig.from_pretrained(out)) == (Rope(kind, 2),)


def test_only_what_the_limit_concerns_differs_from_the_source(source: Path, tmp_path: Path) -> None:
    report = fix(str(source), GROUPED, tmp_path / "out")
    before, after = (
        {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (source, tmp_path / "out")
    )
    changed = {name for name in after if before.get(name) != after[name]}
    limits = {"sentence_bert_config.json", "tokenizer_config.json"}
    assert changed == {"model.safetensors", "config.json", "README.md", *limits}
    assert json.loads(after["sentence_bert_config.json"]) == {"max_seq_length": 150, "do_lower_case": False}
    assert json.loads(after["tokenizer_config.json"])["model_max_length"] == 150
    config, old = json.loads(after["config.json"]), json.loads(before["config.json"])
    assert config.pop("uncollapse")["fix"] == "positions"
    assert config == {**old, "max_position_embeddings": 150}
    assert report.changed == ("embeddings.position_embeddings.weight", "max_seq_length")
    card = after["README.md"].decode()
    assert "Texts are cut at 150 tokens, in the source at 60" in card
    assert "positions: a table of L positions" in card


def test_stored_numbers_of_positions_grow_with_the_table(source: Path, tmp_path: Path) -> None:
    """Releases before transformers 4.31 stored them, and would refuse a table of another size."""
    own = tmp_path / "own"
    fix(str(source), Temperature(0.9), own)  # a copy
    weights = load_file(own / "model.safetensors")
    weights["embeddings.position_ids"] = torch.arange(TABLE)[None]
    save_file(weights, own / "model.safetensors", {"format": "pt"})
    fix(str(own), GROUPED, tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")["embeddings.position_ids"]
    assert torch.equal(stored, torch.arange(150)[None])


def test_a_limit_that_stands_nowhere_is_written(tmp_path: Path) -> None:
    """As of RoBERTa, whose config counts two positions more than there are."""
    source = save_tiny(tmp_path / "source", "roberta")
    (source / "sentence_bert_config.json").write_text("{}")
    said = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps({**said, "model_max_length": 64}))
    fix(str(source), GROUPED, tmp_path / "out")
    assert loaded(tmp_path / "out").max_seq_length == 150
    assert (tmp_path / "out" / "sentence_bert_config.json").read_text() == "{}"
    configs.set_limit(tmp_path, 99)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {"model_max_length": 99}


def test_a_limit_that_is_set_elsewhere_is_noticed(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("uncollapse.checkpoints.set_limit", lambda *_: None)
    with pytest.raises(ModelError, match="must cut texts at 150 tokens, but cuts them at 60"):
        fix(str(source), GROUPED, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_reads_less_than_its_table_is_noticed(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The probe texts go beyond the old limit."""
    monkeypatch.setattr("uncollapse.weights._exchange", lambda *_: None)
    with pytest.raises(ModelError, match="Expected a folder that sentence-transformers loads"):
        fix(str(source), GROUPED, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_positions_are_written_with_other_fixes(source: Path, encoder: SentenceEncoder, tmp_path: Path) -> None:
    both = compose(parse(f"temperature(0.7) + {GROUPED}"))
    report = fix(str(source), both, tmp_path / "out")
    with applied(encoder, both.model):
        wanted = encoder.model.encode(TEXTS)
    np.testing.assert_allclose(loaded(tmp_path / "out").encode(TEXTS), wanted, atol=1e-5)
    assert report.max_tokens == 150
    with pytest.raises(ArchitectureError, match=r"has positions\(.*in its weights already"):
        fix(str(tmp_path / "out"), Positions("grouped", 300), tmp_path / "twice")


@pytest.mark.parametrize(
    ("name", "one", "said"),
    [
        (
            "llama",
            SelfExtend(2, 16),
            "No weights can carry self_extend.*at one of two distances, and weights know one",
        ),
        (
            "bert",
            Positions("grouped", 40),
            "'bert' has 66 positions, and .* To cut texts earlier, lower max_seq_length",
        ),
        ("llama", GROUPED, "Its positions are rotations: use rope"),
        ("t5", GROUPED, "No table of absolute positions is known for 't5'"),
        ("bert", Rope("ntk", 2), "Expected rotary positions"),
    ],
)
def test_what_no_folder_can_hold_is_refused_by_name(name: str, one: ModelFix, said: str, tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "source", name)
    with pytest.raises(ArchitectureError, match=said):
        fix(str(source), one, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.real
def test_the_bundled_model_reads_on(tmp_path: Path) -> None:
    texts = ["a short one", "The ferry leaves at a quarter past seven, and nobody waits. " * 100]
    for mode in ("grouped", "interpolated"):
        one = Positions(mode, 1024)
        report = fix("minilm", one, tmp_path / mode)
        wanted = CachedEncoder(load_model("minilm", device="cpu"), [one]).encode(texts)
        assert wanted.n_tokens.max() == 1024
        np.testing.assert_allclose(loaded(tmp_path / mode).encode(texts), wanted.vectors, atol=1e-5)
        assert (report.max_tokens, report.source_max_tokens) == (1024, 256)
        stored = load_file(tmp_path / mode / "model.safetensors")["embeddings.position_ids"]
        assert torch.equal(stored, torch.arange(1024)[None])
