"""Folders of vectors: what was there before, where they may lie, and a corpus that changes meanwhile."""

import errno
import importlib.metadata
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from embedding_server import connect, serving
from export_examples import made_models
from tiny import save_tiny, tokenizer
from uncollapse import embed, load, open_corpus
from uncollapse.corpora import Fingerprint, Text
from uncollapse.corpora.shards import npy_shard, read_manifest
from uncollapse.embedding import Layout
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import CorpusError, ModelError, OutputError
from uncollapse.records import Embeddings
from uncollapse.shard_folders import LOCK

SMALL = Layout(texts=5)
DEAD = "99999999"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    return load(str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=30)), device="cpu")


def texts(n: int, first: str = "text") -> list[Text]:
    return [Text(f"d{number}", f"{first} {number}") for number in range(n)]


def write(path: Path, made: list[Text]) -> Path:
    path.write_text("".join(json.dumps({"id": one.id, "text": one.text}) + "\n" for one in made))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK)


def newer(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace("uncollapse.vectors/1", "uncollapse.vectors/2"))


SPOILT: dict[str, Callable[[Path], object]] = {
    "sound": lambda _: None,
    "newer": newer,
    "damaged": lambda manifest: manifest.write_text("{"),
    "gone": lambda manifest: manifest.unlink(),
}


@pytest.mark.parametrize("state", SPOILT)
def test_begun_anew_no_vector_of_before_is_left(state: str, encoder: SentenceEncoder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    embed(encoder, texts(23), out, layout=SMALL)
    (out / "vectors-of-mine.parquet").write_text("mine")
    SPOILT[state](out / "manifest.json")
    embed(encoder, texts(6, "other"), out, layout=SMALL, force=True)
    assert read_manifest(out).n_texts == 6
    read = pyarrow.dataset.dataset(str(out), format="parquet", exclude_invalid_files=True)
    assert read.to_table()["id"].to_pylist() == [f"d{number}" for number in range(6)]
    assert (out / "vectors-of-mine.parquet").read_text() == "mine"
    embed(encoder, texts(6, "other"), out, layout=Layout("npy", 5), force=True)
    shards = (f"vectors-0000{n}.{suffix}" for n in range(2) for suffix in ("jsonl", "npy"))
    assert names(out) == ["manifest.json", *shards, "vectors-of-mine.parquet"]


def test_what_a_killed_run_of_another_format_had_begun_goes(encoder: SentenceEncoder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    embed(encoder, texts(3), out)
    for name in ("vectors-00007.npy", "manifest.json"):
        (out / f".{name}.partial-{DEAD}").write_text("half")
    (out / f".others.txt.partial-{DEAD}").write_text("half of another's")
    embed(encoder, texts(3), out)
    assert names(out) == [f".others.txt.partial-{DEAD}", "manifest.json", "vectors-00000.parquet"]


def test_begun_anew_old_vectors_stay_until_the_first_new_ones_are_there(
    encoder: SentenceEncoder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    embed(encoder, texts(12), out, layout=SMALL)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    broken = load(encoder.name, device="cpu")
    broken.model[0].model.embeddings.word_embeddings.weight.data[:] = float("nan")
    with pytest.raises(ModelError, match="must be finite"):
        embed(broken, texts(12), out, layout=SMALL, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


class Changing:
    """Texts that are others when they are read again."""

    name, description, notes = "changing", "", ()

    def __init__(self, *passes: list[Text]) -> None:
        self.passes = list(passes)

    def __iter__(self) -> Iterator[Text]:
        return iter(self.passes.pop(0))


CHANGED = {
    "one more in front": lambda given: [Text("new", "a new text"), *given],
    "one more behind": lambda given: [*given, Text("new", "a new text")],
    "a shard more": lambda given: given + [Text(f"n{n}", "more") for n in range(9)],
    "one fewer": lambda given: given[:-1],
    "a shard fewer": lambda given: given[:-6],
    "another text": lambda given: [*given[:-2], Text("d10", "rewritten"), given[-1]],
}


@pytest.mark.parametrize("kept", [0, 5])
@pytest.mark.parametrize("change", CHANGED)
def test_a_corpus_that_changes_while_it_is_read_is_never_complete(
    change: str, kept: int, encoder: SentenceEncoder, tmp_path: Path
) -> None:
    out, given = tmp_path / "out", texts(12)
    if kept:
        embed(encoder, given[:kept], out, layout=SMALL)
    with pytest.raises(CorpusError, match=r"the same texts each time .* got others for shard \d than moments ago"):
        embed(encoder, Changing(given, CHANGED[change](given)), out, layout=SMALL)  # type: ignore[arg-type]
    assert not read_manifest(out).complete
    assert embed(encoder, given, out, layout=SMALL).n_texts == 12, "what was written were texts of the first pass"
    found = pyarrow.dataset.dataset(str(out), format="parquet", exclude_invalid_files=True).to_table()
    assert found["id"].to_pylist() == [text.id for text in given]


def test_empty_texts_have_vectors_and_no_texts_are_refused(encoder: SentenceEncoder, tmp_path: Path) -> None:
    assert embed(encoder, [Text("a", ""), Text("b", "")], tmp_path / "out").n_new == 2
    with pytest.raises(CorpusError, match="Expected at least one text to embed, got none"):
        embed(encoder, [], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_inside_the_models_or_the_corpus_is_refused_at_once(encoder: SentenceEncoder, tmp_path: Path) -> None:
    own = shutil.copytree(encoder.name, tmp_path / "model")
    for out in (own / "vectors", own):
        with pytest.raises(OutputError, match="lies in the model's folder .* Give a folder outside"):
            embed(load(str(own), device="cpu"), texts(3), out, force=True)
    (tmp_path / "corpus/part").mkdir(parents=True)
    write(tmp_path / "corpus/part/a.jsonl", texts(3))
    for source in (tmp_path / "corpus", tmp_path / "corpus/**/*.jsonl", tmp_path / "corpus/*/*.jsonl"):
        with pytest.raises(OutputError, match="lies in the corpus .* Give a folder outside"):
            embed(encoder, open_corpus(source), tmp_path / "corpus/vectors")
    assert not (tmp_path / "corpus/vectors").exists()
    for source in (tmp_path / "corpus/part/a.jsonl", tmp_path / "corpus/part/*.jsonl"):  # no folder is all read there
        embed(encoder, open_corpus(source), tmp_path / "corpus/part/vectors")
    embed(load(str(own), device="cpu"), texts(3), tmp_path, force=True)  # around the model nothing changes it


def test_texts_that_a_model_knows_nothing_of_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "dog": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    static = StaticEmbedding(words, embedding_weights=weights)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(tmp_path / "static"))
    model = load(str(tmp_path / "static"), device="cpu")
    given = [*texts(5, "a dog"), Text("x", "fox"), Text("y", "a"), Text("z", "fox")]
    with pytest.raises(ModelError, match=r"got only zeros for 2 of 3 texts \('x', 'z'\): the model knows nothing"):
        embed(model, given, tmp_path / "out", layout=SMALL)
    assert read_manifest(tmp_path / "out").n_texts == 5
    report = embed(model, given[:5] + given[6:7], tmp_path / "out", layout=SMALL)
    assert (report.n_texts, report.n_new) == (6, 1)


def test_zero_characters_keep_ids_and_texts_apart() -> None:
    def digest(*pairs: tuple[str, str]) -> str:
        found = Fingerprint()
        found.add([Text(*pair) for pair in pairs])
        return str(found)

    assert digest(("x", "one\0two\0three"), ("y", "four")) != digest(("x", "one"), ("two", "three\0y\0four"))
    assert digest(("x\0", "y")) != digest(("x", "\0y"))
    assert digest(("a", "\0")) != digest(("a", ""), ("", ""))
    assert digest(("a", "b"), ("c", "d")) == "9f7deb1aa797376b70c0a3a6268b4823", "folders of before are gone on with"


def test_a_server_whose_texts_are_counted_otherwise_is_another(encoder: SentenceEncoder, tmp_path: Path) -> None:
    for name, made in (("one", tokenizer(30)), ("two", tokenizer(30))):
        made.save_pretrained(tmp_path / name)
    place = tmp_path / "two/tokenizer.json"
    place.write_text(place.read_text().replace('"a"', '"A"'))
    with serving() as server:
        embed(connect(server, tokenizer=encoder.source), texts(3), tmp_path / "out")
        assert embed(connect(server, tokenizer=tmp_path / "one"), texts(3), tmp_path / "out").n_new == 0
        with pytest.raises(OutputError, match="made otherwise: model tokenizer"):
            embed(connect(server, tokenizer=tmp_path / "two"), texts(3), tmp_path / "out")


def test_another_version_of_what_runs_an_export_makes_other_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported, version = load(str(made_models() / "onnx")), importlib.metadata.version
    embed(exported, texts(3), tmp_path / "out")
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.0.1" if name == "onnxruntime" else version(name)
    )
    with pytest.raises(OutputError, match=r"made otherwise: versions onnxruntime .* and now 0\.0\.1"):
        embed(exported, texts(3), tmp_path / "out")


def test_a_matrix_is_what_numpy_writes_and_a_full_disk_says_so(tmp_path: Path) -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4) + 1
    counts = np.ones(3, np.int64)
    given, wanted = Embeddings(vectors, ("a", "b", "c"), counts, counts), io.BytesIO()
    npy_shard(tmp_path / "a.npy", given, "")
    np.save(wanted, vectors)
    assert (tmp_path / "a.npy").read_bytes() == wanted.getvalue()
    if not (full := Path("/dev/full")).exists():
        pytest.skip("no device that is always full")
    many = np.ones((20_000, 4), np.float32)
    with pytest.raises(OSError, match="No space left") as caught:
        npy_shard(
            full, Embeddings(many, tuple(map(str, range(20_000))), many[:, 0].astype(int), many[:, 0].astype(int)), ""
        )
    assert caught.value.errno == errno.ENOSPC


def test_vectors_without_a_manifest_are_not_called_none(encoder: SentenceEncoder, tmp_path: Path) -> None:
    embed(encoder, texts(6), tmp_path / "out", layout=SMALL)
    (tmp_path / "out/manifest.json").unlink()
    with pytest.raises(OutputError, match=r"holds vectors of which no manifest\.json that can be read says what made"):
        embed(encoder, texts(6), tmp_path / "out", layout=SMALL)
