"""Encoding through the cache: once a text, resumed, and by what the model in memory is."""

import copy
import hashlib
import json
import shutil
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from tiny import save_tiny
from uncollapse.attention.folding import fold
from uncollapse.attention.patching import patch
from uncollapse.encoders import CachedEncoder, cached, fingerprint, identity, load
from uncollapse.errors import ArchitectureError, ModelError
from uncollapse.fixes import parse

TEXTS = [f"text number {i} " + "about many things " * (i % 7) for i in range(40)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("model"))))


def test_cached_vectors_are_the_encoders_own(encoder, tmp_path):
    plain = encoder.encode(TEXTS, ids=TEXTS)
    first = CachedEncoder(encoder, folder=tmp_path)
    again = CachedEncoder(encoder, folder=tmp_path)
    for found in (first.encode(TEXTS, TEXTS), again.encode(TEXTS, TEXTS)):
        np.testing.assert_allclose(found.vectors, plain.vectors, atol=1e-6)
        np.testing.assert_array_equal(found.n_tokens, plain.n_tokens)
        np.testing.assert_array_equal(found.n_tokens_full, plain.n_tokens_full)
        assert found.ids == plain.ids
    assert (first.encoded, first.reused, again.encoded, again.reused) == (len(set(TEXTS)), 0, 0, len(set(TEXTS)))
    assert first.encode(TEXTS).vectors.tobytes() == again.encode(TEXTS).vectors.tobytes()


def test_equal_texts_are_encoded_once(encoder, monkeypatch):
    seen = []
    vectors = type(encoder).vectors
    monkeypatch.setattr(
        type(encoder), "vectors", lambda self, texts, n=None: seen.extend(texts) or vectors(self, texts, n)
    )
    found = CachedEncoder(encoder).encode(["a b", "c", "a b"])
    assert sorted(seen) == ["a b", "c"]
    np.testing.assert_array_equal(found.vectors[0], found.vectors[2])


def test_a_stopped_run_goes_on_where_it_was(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(cached, "_KEPT_AT_ONCE", 10)
    stopped = CachedEncoder(encoder, folder=tmp_path)
    done = []

    def stop(work):
        done.append(work)
        if len(done) == 3:  # what is known, then two portions
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.encode(TEXTS, advance=stop)
    going_on = CachedEncoder(encoder, folder=tmp_path)
    going_on.encode(TEXTS)
    assert (going_on.reused, going_on.encoded) == (20, 20)


def test_a_fix_is_on_only_while_it_encodes(encoder, tmp_path):
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    stock = CachedEncoder(encoder, folder=tmp_path).encode(TEXTS)
    fixed = CachedEncoder(encoder, [parse("temperature(0.5)")], folder=tmp_path).encode(TEXTS)
    again = CachedEncoder(encoder, folder=tmp_path).encode(TEXTS)
    assert np.abs(stock.vectors - fixed.vectors).max() > 1e-4
    assert stock.vectors.tobytes() == again.vectors.tobytes()
    assert all((tensor == before[name]).all() for name, tensor in encoder.model.state_dict().items())


def test_roles_with_other_prompts_are_kept_apart(encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(encoder.model.prompts, "query", "find: ")
    both = CachedEncoder(encoder, folder=tmp_path)
    query, document = (both.encode(["things"], role=role) for role in ("query", "document"))
    assert np.abs(query.vectors - document.vectors).max() > 1e-4
    assert query.n_tokens[0] > document.n_tokens[0]
    plain = encoder.encode(["find: things"])
    np.testing.assert_allclose(query.vectors, plain.vectors, atol=1e-6)


def test_progress_sums_to_the_work(encoder, tmp_path):
    encoder = CachedEncoder(encoder, folder=tmp_path)
    texts = [*TEXTS, *TEXTS[:5]]
    for _ in range(2):
        done = []
        encoder.encode(texts, advance=done.append)
        assert sum(done) == encoder.work(texts)


def test_vectors_that_are_not_finite_are_never_kept(encoder, tmp_path, monkeypatch):
    broken = CachedEncoder(encoder, folder=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(type(encoder), "vectors", lambda self, texts, _: np.full((len(texts), self.dim), np.nan, "f4"))
        with pytest.raises(ModelError, match="must be finite"):
            broken.encode(TEXTS)
    assert np.isfinite(broken.encode(TEXTS).vectors).all()
    assert broken.reused == 0


def own_copy(encoder):
    own = copy.copy(encoder)
    own.model = copy.deepcopy(encoder.model)
    return own


def inner(encoder):
    return encoder.model[0].model


def rotate_rows(encoder):
    weight = inner(encoder).embeddings.word_embeddings.weight
    with torch.no_grad():
        weight.copy_(weight.roll(1, 0))


def shorten(encoder):
    encoder.model.truncate_dim = 8
    encoder.dim = encoder.model.get_embedding_dimension()


def rescale_attention(encoder):
    for layer in inner(encoder).encoder.layer:
        layer.attention.self.scaling *= 2


CHANGES = {
    "folded": lambda encoder: fold(encoder.model, parse("temperature(0.5)")),
    "trained": lambda encoder: inner(encoder).embeddings.word_embeddings.weight.data.mul_(1.5),
    "rows moved": rotate_rows,
    "buffer": lambda encoder: inner(encoder).embeddings.position_ids.copy_(
        inner(encoder).embeddings.position_ids.flip(-1)
    ),
    "dtype": lambda encoder: encoder.model.bfloat16(),
    "dimension": shorten,
    "cut from the left": lambda encoder: setattr(encoder.model.tokenizer, "truncation_side", "left"),
    "plain number": rescale_attention,
    "pooling": lambda encoder: setattr(encoder.model[1], "pooling_mode", "cls"),
    "another layer": lambda encoder: setattr(
        inner(encoder).encoder.layer[0].intermediate, "intermediate_act_fn", torch.nn.Tanh()
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_changed_in_memory_has_vectors_of_its_own(encoder, tmp_path, change):
    own = own_copy(encoder)
    before = CachedEncoder(own, folder=tmp_path)
    texts = [text * 3 for text in TEXTS[:7]]
    stock = before.encode(texts)
    CHANGES[change](own)
    after = CachedEncoder(own, folder=tmp_path)
    found = after.encode(texts)
    assert after.reused == 0
    np.testing.assert_allclose(found.vectors, own.encode(texts).vectors, atol=1e-2 if change == "dtype" else 1e-6)
    assert found.vectors.shape != stock.vectors.shape or np.abs(found.vectors - stock.vectors).max() > 1e-5
    if change != "dimension":
        before.encode(texts)  # it looks anew at every call, and finds what the other kept
        assert before.reused == 7


HELD = {
    "tensor": lambda x: torch.full((1, 4, 1, 1), x),
    "numpy number": np.float32,
    "array": lambda x: np.full((1, 4), x),
    "array of objects": lambda x: np.array([x], dtype=object),
    "sparse": lambda x: torch.eye(2).mul(x).to_sparse(),
    "no storage": lambda x: torch.empty(int(4 * x), device="meta"),
    "in a list": lambda x: [None, torch.tensor(x)],
    "in a dictionary": lambda x: {"scaling": np.float32(x), "of": object},
    "beside a number": lambda x: (x, torch.tensor(1.0)),
    "type": lambda x: torch.float16 if x < 1 else torch.float32,
}


@pytest.mark.parametrize("kind", HELD)
def test_an_attribute_made_of_numbers_is_part_of_the_model(encoder, kind):
    own = own_copy(encoder)
    own.model.scaling = HELD[kind](0.25)
    first = identity.settings_digest(own.model)
    own.model.scaling = HELD[kind](0.25)
    assert identity.settings_digest(own.model) == first, "the same numbers in another place"
    own.model.scaling = HELD[kind](2.0)
    assert identity.settings_digest(own.model) != first


def test_attributes_of_no_numbers_leave_a_digest_as_it_was(encoder):
    """So that vectors that are kept already are found again."""
    own = own_copy(encoder)
    before = identity.settings_digest(own.model)
    own.model.some = {"function": np.mean, "of": [object()]}
    assert identity.settings_digest(own.model) == before
    said = json.dumps(["", "Linear", {"in_features": 2, "out_features": 3}])
    assert identity.settings_digest(torch.nn.Linear(2, 3)) == hashlib.sha256(said.encode()).hexdigest()[:32]


def test_the_tensors_are_read_once_for_all_fixes(encoder, tmp_path, monkeypatch):
    own, reads, read = own_copy(encoder), [], identity._read_all
    monkeypatch.setattr(identity, "_read_all", lambda model: (reads.append(1), read(model))[1])
    for fix in (None, parse("temperature(0.5)"), parse("temperature(0.7)")):
        both = CachedEncoder(own, [fix] if fix else (), folder=tmp_path)
        both.encode(["a"])
        both.encode(["b"])
    assert len(reads) == 1


def test_another_copy_of_the_same_model_finds_the_same_vectors(encoder, tmp_path):
    CachedEncoder(encoder, folder=tmp_path / "cache").encode(TEXTS)
    shutil.copytree(encoder.source, tmp_path / "copy")
    again = CachedEncoder(load(str(tmp_path / "copy"), batch_size=8), folder=tmp_path / "cache")
    again.encode(TEXTS)
    assert again.encoded == 0


def test_another_tokenizer_in_the_folder_is_another_model(tmp_path):
    encoder = load(str(save_tiny(tmp_path / "model")))
    CachedEncoder(encoder, folder=tmp_path / "cache").encode(["a"])
    file = tmp_path / "model" / "tokenizer.json"
    file.write_text(file.read_text().replace('"Lowercase"', '"NFC"'))
    again = CachedEncoder(load(str(tmp_path / "model")), folder=tmp_path / "cache")
    again.encode(["a"])
    assert again.reused == 0


def test_the_folders_fingerprint_can_leave_the_weights_out(tmp_path):
    source = save_tiny(tmp_path / "model")
    before = fingerprint(source), fingerprint(source, weights=False)
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes() + b" ")
    assert fingerprint(source) != before[0]
    assert fingerprint(source, weights=False) == before[1]


@pytest.mark.parametrize("library", ["torch", "tokenizers", "transformers", "sentence-transformers"])
def test_another_version_of_a_library_makes_vectors_anew(encoder, tmp_path, monkeypatch, library):
    CachedEncoder(encoder, folder=tmp_path).encode(["a"])
    version = cached.importlib.metadata.version
    monkeypatch.setattr(cached.importlib.metadata, "version", lambda name: "0.0" if name == library else version(name))
    again = CachedEncoder(encoder, folder=tmp_path)
    again.encode(["a"])
    assert again.reused == 0


def test_another_number_of_our_own_makes_vectors_anew(encoder, tmp_path, monkeypatch):
    CachedEncoder(encoder, folder=tmp_path).encode(["a"])
    monkeypatch.setattr(cached, "VECTORS", cached.VECTORS + 1)
    again = CachedEncoder(encoder, folder=tmp_path)
    again.encode(["a"])
    assert again.reused == 0


@pytest.mark.parametrize("kept", [True, False])
def test_a_model_patched_by_hand_is_refused(encoder, tmp_path, kept):
    folder = tmp_path if kept else None
    before = CachedEncoder(encoder, folder=folder)
    with patch(encoder.model, parse("temperature(0.5)")):
        for act in (lambda: CachedEncoder(encoder, folder=folder), lambda: before.encode(["a"])):
            with pytest.raises(ModelError, match=r"got one with a patch on its module .*pass the fix instead"):
                act()
    before.encode(["a"])
    assert before.encoded == 1


def attributes(encoder):
    return {name: dict(vars(module)) for name, module in encoder.model.named_modules()}


@pytest.mark.parametrize("architecture", ["bloom", "mpt", "llama4-normed", "xlnet"])
def test_a_patch_of_numbers_and_parameters_is_refused_while_it_is_on(tmp_path, architecture):
    encoder = load(str(save_tiny(tmp_path / "model", architecture)))
    before, fix = attributes(encoder), parse("temperature(0.5)")
    stock, fixed = CachedEncoder(encoder), CachedEncoder(encoder, [fix])
    vectors = stock.encode(TEXTS[:3]).vectors
    with patch(encoder.model, fix):
        by_hand = encoder.encode(TEXTS[:3]).vectors
        for act in (lambda: CachedEncoder(encoder), lambda: stock.encode(["a"]), lambda: fixed.encode(["a"])):
            with pytest.raises(ModelError, match=r"got one with a patch on its module .*pass the fix instead"):
                act()
    for _ in range(2):  # its own patch is none that it refuses
        np.testing.assert_allclose(fixed.encode(TEXTS[:3]).vectors, by_hand, atol=1e-6)
    assert np.abs(by_hand - vectors).max() > 1e-3
    assert attributes(encoder) == before
    assert stock.encode(TEXTS[:3]).vectors.tobytes() == vectors.tobytes()


def test_a_model_is_refused_until_the_last_of_several_patches_is_off(encoder):
    before = attributes(encoder)
    stacks = [ExitStack() for _ in range(3)]
    for stack, fix in zip(stacks, ("temperature(0.5)", "temperature(0.7)", "temperature(0.5)"), strict=True):
        stack.enter_context(patch(encoder.model, parse(fix)))
    for stack in stacks:
        with pytest.raises(ModelError, match="got one with a patch"):
            CachedEncoder(encoder)
        stack.close()
    assert attributes(encoder) == before
    assert CachedEncoder(encoder).encode(["a"]).vectors.shape == (1, encoder.dim)


def test_a_copy_made_inside_a_patch_is_refused_for_good(encoder):
    with patch(encoder.model, parse("temperature(0.5)")):
        own = own_copy(encoder)
    with pytest.raises(ModelError, match="got one with a patch"):
        CachedEncoder(own)
    assert CachedEncoder(encoder).encode(["a"]).vectors.shape == (1, encoder.dim)


def test_a_temperature_of_one_is_no_patch_and_an_error_leaves_no_mark(encoder):
    with patch(encoder.model, parse("temperature(1)")):
        found = CachedEncoder(encoder).encode(TEXTS[:3]).vectors
    np.testing.assert_allclose(found, encoder.encode(TEXTS[:3]).vectors, atol=1e-6)
    before = attributes(encoder)
    for wrong in ("temperature([0.5, 0.5])", "temperature([[0.5], [0.5], [0.5]])"):
        with pytest.raises(ArchitectureError), patch(encoder.model, parse(wrong)):
            pass
    with pytest.raises(KeyError), patch(encoder.model, parse("temperature(0.5)")):
        raise KeyError
    assert attributes(encoder) == before


def test_a_hook_of_unknown_effect_is_refused_only_where_vectors_are_kept(encoder, tmp_path):
    own = own_copy(encoder)
    handle = inner(own).register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match="got one with a hook of 'test_cached' on its module '0.model'.*--no-cache"):
        CachedEncoder(own, folder=tmp_path)
    CachedEncoder(own).encode(["a"])
    handle.remove()
    inner(own).forward = lambda *_, **__: None
    with pytest.raises(ModelError, match="a hook of 'test_cached'"):
        CachedEncoder(own, folder=tmp_path)


@pytest.mark.parametrize("owner", ["torch.nn", "transformers.utils", "sentence_transformers", "accelerate.hooks"])
def test_hooks_of_the_libraries_themselves_are_let_through(encoder, tmp_path, owner):
    own, calls = own_copy(encoder), []
    hook = lambda *_: calls.append(1)  # noqa: E731
    hook.__module__ = owner
    inner(own).embeddings.register_forward_hook(hook)
    hooked = CachedEncoder(own, folder=tmp_path)
    np.testing.assert_allclose(hooked.encode(TEXTS).vectors, encoder.encode(TEXTS).vectors, atol=1e-6)
    assert (hooked.encoded, hooked.reused) == (len(set(TEXTS)), 0)
    assert calls, "the hook was on"


def test_equal_texts_get_equal_rows_in_their_order(encoder, tmp_path):
    texts = ["b", "a", "b", "c c", "a", "b"]
    plain = encoder.encode(texts)
    for _ in range(2):
        found = CachedEncoder(encoder, folder=tmp_path).encode(texts)
        np.testing.assert_allclose(found.vectors, plain.vectors, atol=1e-6)
        np.testing.assert_array_equal(found.n_tokens, plain.n_tokens)
        np.testing.assert_array_equal(found.n_tokens_full, plain.n_tokens_full)


def test_no_text_gives_no_vector(encoder, tmp_path):
    assert CachedEncoder(encoder, folder=tmp_path).encode([]).vectors.shape == (0, encoder.dim)


def test_a_long_text_is_not_shown_whole(encoder, monkeypatch):
    monkeypatch.setattr(type(encoder), "vectors", lambda self, texts, _: np.full((len(texts), self.dim), np.nan, "f4"))
    with pytest.raises(ModelError, match="text 'my own words my own") as caught:
        CachedEncoder(encoder).encode(["my own words " * 10_000])
    assert len(str(caught.value)) < 400
