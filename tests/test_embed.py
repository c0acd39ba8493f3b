"""Vectors of a corpus on disk: whole shards, the same bytes whatever happened, nothing of anything else mixed in."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tiny import save_tiny
from uncollapse import embed, load, open_corpus
from uncollapse.corpora import Text
from uncollapse.corpora import shards as shard_files
from uncollapse.corpora.shards import FORMATS, read_manifest
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import diagnose
from uncollapse.embedding import Layout
from uncollapse.encoders import CachedEncoder, SentenceEncoder, VectorFile
from uncollapse.encoders.sources import write_record
from uncollapse.errors import CorpusError, FixError, ModelError, OutputError, UncollapseError
from uncollapse.fixes import compose, parse
from uncollapse.pipelines.encoder import FixedEncoder
from uncollapse.shard_folders import LOCK

HERE = Path(__file__).parent
SMALL = Layout(texts=5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=30)


@pytest.fixture(scope="module")
def encoder(model: Path) -> SentenceEncoder:
    return load(str(model), device="cpu")


def write_texts(path: Path, n: int, *, first: str = "text") -> Path:
    generator = np.random.default_rng(3)
    lines = []
    for number in range(n):
        words = " ".join(generator.choice(["ab", "cd", "efg", "h"], int(generator.integers(1, 24))))
        lines.append(json.dumps({"id": f"d{number}", "text": f"{first} {number} {words}"}))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_texts(tmp_path / "texts.jsonl", 23)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(folder: Path) -> list[dict[str, object]]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def test_every_text_is_there_once_in_its_order_with_its_own_vector(
    encoder: SentenceEncoder, texts: Path, tmp_path: Path
) -> None:
    corpus = open_corpus(texts)
    report = embed(encoder, corpus, tmp_path / "out", layout=SMALL)
    found, given = rows(tmp_path / "out"), list(corpus)
    assert [row["id"] for row in found] == [text.id for text in given]
    alone = np.concatenate([encoder.vectors([text.text]) for text in given])
    np.testing.assert_allclose(np.array([row["vector"] for row in found], np.float32), alone, atol=2e-6)
    counted = encoder.prepare([text.text for text in given])
    assert [row["n_tokens"] for row in found] == counted.n_tokens.tolist()
    assert [row["n_tokens_full"] for row in found] == counted.n_tokens_full.tolist()
    assert (report.n_texts, report.n_new, report.n_shards, report.dim) == (23, 23, 5, 64)
    assert report.n_tokens == counted.n_tokens.sum()
    assert report.n_truncated == (counted.n_tokens_full > counted.n_tokens).sum() > 0
    schema = pq.read_schema(tmp_path / "out/vectors-00000.parquet")
    assert str(schema.field("vector").type) == "fixed_size_list<element: float>[64]"
    assert sorted(files(tmp_path / "out")) == ["manifest.json", *(f"vectors-0000{i}.parquet" for i in range(5))]


def test_vectors_of_another_number_format_are_not_mixed_in(
    encoder: SentenceEncoder, texts: Path, tmp_path: Path
) -> None:
    embed(encoder, open_corpus(texts), tmp_path / "out", layout=SMALL)
    half = load(encoder.name, device="cpu", dtype="bfloat16")
    with pytest.raises(OutputError, match="dtype"):
        embed(half, open_corpus(texts), tmp_path / "out", layout=SMALL)
    embed(half, open_corpus(texts), tmp_path / "half", layout=SMALL)
    assert read_manifest(tmp_path / "half").made["model"]["dtype"] == "bfloat16"


def test_padding_is_what_the_passes_padded(encoder: SentenceEncoder, texts: Path, tmp_path: Path) -> None:
    padded = load(encoder.name, device="cpu", batch_size=2)
    whole = Layout(texts=100)
    report = embed(padded, open_corpus(texts), tmp_path / "out", layout=whole)
    counts = np.sort(padded.prepare([text.text for text in open_corpus(texts)]).n_tokens)[::-1]
    computed = sum(2 * counts[i] if i + 1 < len(counts) else counts[i] for i in range(0, len(counts), 2))
    assert report.padding_share == pytest.approx(1 - counts.sum() / computed)
    assert 0 < report.padding_share < 0.2
    alone = embed(load(encoder.name, device="cpu", batch_size=1), open_corpus(texts), tmp_path / "b", layout=whole)
    assert alone.padding_share == 0


def test_killed_at_any_moment_nothing_is_lost_or_twice_and_the_bytes_are_the_same(
    model: Path, texts: Path, tmp_path: Path
) -> None:
    command = [sys.executable, HERE / "killed_runs.py", model, texts, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    assert counted["random"] >= 6
    assert counted["renames"] >= 10


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_is_a_file_of_vectors(form: str, encoder: SentenceEncoder, texts: Path, tmp_path: Path) -> None:
    embed(encoder, open_corpus(texts), tmp_path / "out", layout=Layout(form, 7))
    found = load(f"{tmp_path / 'out'}/")
    assert isinstance(found, VectorFile)
    assert (found.dim, found.max_tokens, found.unit) == (64, 30, "tokens")
    own = [text.text for text in found.corpus]
    assert own == [f"d{number}" for number in range(23)], "without texts, their ids"
    counted = encoder.prepare([text.text for text in open_corpus(texts)])
    assert found.prepare(own).n_tokens.tolist() == counted.n_tokens.tolist()
    np.testing.assert_allclose(found.vectors(own), encoder.vectors(counted.texts), atol=2e-6)
    paired = VectorFile(tmp_path / "out", texts=texts)
    assert [text.text for text in paired.corpus] == [text.text for text in open_corpus(texts)]
    again = embed(encoder, open_corpus(texts), tmp_path / "again", layout=Layout(form, 9))
    assert again.n_shards == 3
    assert load(str(tmp_path / "again")).about["fingerprint"] != found.about["fingerprint"]


def test_diagnose_reads_the_folder(encoder: SentenceEncoder, tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "many.jsonl", 120)
    embed(encoder, open_corpus(texts), tmp_path / "out")
    vectors = VectorFile(tmp_path / "out", texts=texts)
    settings = Settings(windows=0, deep=False)
    from_file = diagnose(vectors, vectors.corpus, settings=settings).select(measure="mean_cosine", view="as_is")
    direct = diagnose(encoder, open_corpus(texts), settings=settings).select(measure="mean_cosine", view="as_is")
    assert len(direct) >= 2
    for one, other in zip(from_file, direct, strict=True):
        assert (one.bin, one.n) == (other.bin, other.n)
        assert one.value == pytest.approx(other.value, abs=1e-5)


def test_a_finished_folder_is_left_alone_and_one_whose_corpus_grew_goes_on(
    encoder: SentenceEncoder, texts: Path, tmp_path: Path
) -> None:
    embed(encoder, open_corpus(texts), tmp_path / "out", layout=SMALL)
    before, times = files(tmp_path / "out"), (tmp_path / "out/vectors-00000.parquet").stat().st_mtime_ns
    assert embed(encoder, open_corpus(texts), tmp_path / "out", layout=SMALL).n_new == 0
    assert files(tmp_path / "out") == before
    grown = write_texts(tmp_path / "grown.jsonl", 31)
    assert grown.read_text().startswith(texts.read_text())
    report = embed(encoder, open_corpus(grown), tmp_path / "out", layout=SMALL)
    assert (report.n_texts, report.n_new) == (31, 11), "the last shard, which was not full, is made again"
    assert (tmp_path / "out/vectors-00000.parquet").stat().st_mtime_ns == times
    embed(encoder, open_corpus(grown), tmp_path / "at-once", layout=SMALL)
    assert files(tmp_path / "out") == files(tmp_path / "at-once")


def test_other_texts_models_and_settings_are_never_mixed_in(
    encoder: SentenceEncoder, texts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    embed(encoder, open_corpus(texts), out, layout=SMALL)
    before = files(out)
    other = write_texts(tmp_path / "other.jsonl", 23, first="words")
    with pytest.raises(OutputError, match="vectors of other texts: its shard 0 was made of others"):
        embed(encoder, open_corpus(other), out, layout=SMALL)
    with pytest.raises(OutputError, match="holds 23 vectors, more than the corpus has texts"):
        embed(encoder, open_corpus(texts, limit=20), out, layout=SMALL)
    with pytest.raises(OutputError, match="made otherwise: shard_texts 5 and now 6. Vectors of two kinds"):
        embed(encoder, open_corpus(texts), out, layout=Layout(texts=6))
    with pytest.raises(OutputError, match="made otherwise: max_tokens 30 and now 20"):
        embed(load(encoder.name, max_tokens=20, device="cpu"), open_corpus(texts), out, layout=SMALL)
    with pytest.raises(OutputError, match="made otherwise: role document and now query"):
        embed(encoder.as_role("query"), open_corpus(texts), out, layout=SMALL)
    with pytest.raises(OutputError, match="made otherwise: format parquet and now npy"):
        embed(encoder, open_corpus(texts), out, layout=Layout("npy", 5))
    trained = load(encoder.name, device="cpu")
    next(trained.model.parameters()).data[0, 0] += 1
    with pytest.raises(OutputError, match="made otherwise: model tensors"):
        embed(trained, open_corpus(texts), out, layout=SMALL)
    assert files(out) == before
    report = embed(encoder, open_corpus(other), out, layout=Layout("npy", 9), force=True)
    assert (report.n_texts, report.n_new) == (23, 23)
    assert not list(out.glob("*.parquet"))


def test_changed_and_missing_shards_are_named(encoder: SentenceEncoder, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    embed(encoder, open_corpus(texts), out, layout=SMALL)
    before, second = files(out), out / "vectors-00001.parquet"
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.raises(OutputError, match=r"vectors-00001\.parquet' is changed since it was written"):
        embed(encoder, open_corpus(texts), out, layout=SMALL)
    second.unlink()
    with pytest.raises(OutputError, match=r"vectors-00001\.parquet' is gone since it was written"):
        embed(encoder, open_corpus(texts), out, layout=SMALL)
    with pytest.raises(CorpusError, match=r"expected the shard vectors-00001\.parquet, got none"):
        load(str(out))
    embed(encoder, open_corpus(texts), out, layout=SMALL, force=True)
    assert files(out) == before


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_broken_shards_are_made_anew_and_no_others(
    form: str, encoder: SentenceEncoder, texts: Path, tmp_path: Path
) -> None:
    out, layout = tmp_path / "out", Layout(form, SMALL.texts)
    embed(encoder, open_corpus(texts), out, layout=layout)
    before = files(out)
    broken = sorted(out.glob("vectors-0000[13].*"))
    broken[0].write_bytes(b"")
    broken[-1].unlink()
    times = {path: path.stat().st_mtime_ns for path in out.glob("vectors-*") if path not in broken}
    report = embed(encoder, open_corpus(texts), out, layout=layout, repair=True)
    assert files(out) == before
    assert report.n_new == 2 * SMALL.texts
    assert {path: path.stat().st_mtime_ns for path in times if path not in broken} == times
    assert embed(encoder, open_corpus(texts), out, layout=layout, repair=True).n_new == 0


def test_a_repair_takes_no_other_texts_and_no_other_model(
    encoder: SentenceEncoder, texts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    embed(encoder, open_corpus(texts), out, layout=SMALL)
    (out / "vectors-00001.parquet").unlink()
    other = write_texts(tmp_path / "other.jsonl", 23, first="another")
    with pytest.raises(OutputError, match="vectors of other texts"):
        embed(encoder, open_corpus(other), out, layout=SMALL, repair=True)
    with pytest.raises(OutputError, match="made otherwise"):
        embed(encoder.as_role("query"), open_corpus(texts), out, layout=SMALL, repair=True)
    with pytest.raises(UncollapseError, match="--repair would do nothing"):
        embed(encoder, open_corpus(texts), out, layout=SMALL, repair=True, force=True)
    assert not (out / "vectors-00001.parquet").exists()


def test_foreign_folders_and_files_are_respected(encoder: SentenceEncoder, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"is not empty \(thesis.txt\) and holds no vectors"):
        embed(encoder, open_corpus(texts), out)
    embed(encoder, open_corpus(texts), out, force=True)
    assert (out / "thesis.txt").read_text() == "years of work"
    with pytest.raises(OutputError, match="is a file. Give a folder"):
        embed(encoder, open_corpus(texts), texts)


def test_a_corpus_that_cannot_be_read_costs_no_vectors(encoder: SentenceEncoder, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors"
    embed(encoder, open_corpus(texts), out, layout=SMALL)
    before = files(out)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(texts.read_text() + "{not json\n")
    with pytest.raises(CorpusError):
        embed(encoder, open_corpus(broken), out, layout=SMALL, force=True)
    assert files(out) == before


def test_a_failure_leaves_whole_shards_and_the_next_run_goes_on(
    encoder: SentenceEncoder, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(encoder, open_corpus(texts), tmp_path / "whole", layout=SMALL)
    written = []

    def write_until_full(place: Path, *rest: object) -> None:
        if len(written) == 2:
            place.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(place)
        shard_files.parquet_shard(place, *rest)  # type: ignore[arg-type]

    monkeypatch.setitem(FORMATS, "parquet", {".parquet": write_until_full})
    with pytest.raises(OutputError, match="disk is full: make room"):
        embed(encoder, open_corpus(texts), tmp_path / "out", layout=SMALL)
    monkeypatch.undo()
    assert sorted(files(tmp_path / "out")) == ["manifest.json", "vectors-00000.parquet", "vectors-00001.parquet"]
    assert not read_manifest(tmp_path / "out").complete
    with pytest.raises(CorpusError, match="embedded to its end, got the first 10 texts"):
        load(str(tmp_path / "out"))
    assert embed(encoder, open_corpus(texts), tmp_path / "out", layout=SMALL).n_new == 13
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_vector_that_is_not_finite_is_named_and_not_written(model: Path, texts: Path, tmp_path: Path) -> None:
    broken = load(str(model), device="cpu")
    broken.model[0].model.embeddings.word_embeddings.weight.data[:] = float("nan")
    with pytest.raises(ModelError, match="Vectors must be finite, but 5 of 5 hold NaN"):
        embed(broken, open_corpus(texts), tmp_path / "out", layout=SMALL)
    assert read_manifest(tmp_path / "out").shards == ()


def test_a_fix_on_texts_that_the_folder_asks_for_is_applied(model: Path, tmp_path: Path) -> None:
    asking = shutil.copytree(model, tmp_path / "asking")
    write_record(asking, {"fix": "cover(8)", "text_fix": "cover(8)"})
    (tmp_path / "long.txt").write_text("a man plays the flute " * 30 + "\na dog\n")
    encoder, corpus = load(str(asking), device="cpu"), open_corpus(tmp_path / "long.txt")
    assert isinstance(encoder, SentenceEncoder)
    report = embed(encoder, corpus, tmp_path / "out", layout=SMALL)
    assert report.n_truncated == 0
    pipeline = FixedEncoder(CachedEncoder(encoder), compose(parse("cover(8)")))
    expected = pipeline.encode([text.text for text in corpus]).vectors
    (file,) = (tmp_path / "out").glob("*.parquet")
    np.testing.assert_array_equal(np.stack(pq.read_table(file)["vector"].to_numpy()), expected)
    vectors = load(str(tmp_path / "out"))
    assert isinstance(vectors, VectorFile)
    assert vectors.knows_limit
    assert not any("not known" in note for note in vectors.notes)
    read = vectors.prepare([text.text for text in vectors.corpus])
    np.testing.assert_array_equal(read.n_tokens, read.n_tokens_full)
    plain = embed(load(str(model), device="cpu"), corpus, tmp_path / "plain", layout=SMALL)
    assert plain.n_truncated == 1
    write_record(asking, {"fix": "head_tail(8, 8)", "text_fix": "head_tail(8, 8)"})
    ends = embed(load(str(asking), device="cpu"), corpus, tmp_path / "ends", layout=SMALL)
    assert ends.n_truncated == 1
    assert load(str(tmp_path / "ends")).max_tokens == encoder.max_tokens, "what lies between the ends is lost"
    with pytest.raises(OutputError, match=r"text_fix cover\(8\) and now "):
        embed(load(str(model), device="cpu"), corpus, tmp_path / "out", layout=SMALL)


def test_what_cannot_embed_is_refused(encoder: SentenceEncoder, model: Path, texts: Path, tmp_path: Path) -> None:
    asking = shutil.copytree(model, tmp_path / "asking")
    write_record(asking, {"fix": "best_chunk(4)", "text_fix": "best_chunk(4)"})
    with pytest.raises(FixError, match=r"`best_chunk\(4\)` gives a text several vectors, where one is needed"):
        embed(load(str(asking), device="cpu"), open_corpus(texts), tmp_path / "b")
    embed(encoder, open_corpus(texts), tmp_path / "out")
    with pytest.raises(ModelError, match="holds vectors and no model, so there is nothing to embed with"):
        embed(load(str(tmp_path / "out")), open_corpus(texts), tmp_path / "b")
    with pytest.raises(UncollapseError, match="No format 'arrow'. Known formats: parquet, npy"):
        Layout("arrow")
    with pytest.raises(UncollapseError, match="needs at least 1 text, got 0"):
        Layout(texts=0)
    (tmp_path / "old").mkdir()
    (tmp_path / "old/manifest.json").write_text('{"schema": "uncollapse.vectors/9"}')
    with pytest.raises(CorpusError, match="schema 'uncollapse.vectors/1', got 'uncollapse.vectors/9'"):
        read_manifest(tmp_path / "old")


class Endless:
    """Texts made while they are read, which tells how many were alive at once."""

    name, description, notes = "endless", "", ()

    def __init__(self, n: int) -> None:
        self.n, self.held, self.most = n, 0, 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        for number in range(self.n):
            yield Counted.made(self, number)


class Counted(str):
    """A text that says when it goes."""

    owner: Endless

    @classmethod
    def made(cls, owner: Endless, number: int) -> Text:
        text = cls(f"text {number}")
        text.owner = owner
        owner.held += 1
        owner.most = max(owner.most, owner.held)
        return Text(f"d{number}", text)

    def __del__(self) -> None:
        self.owner.held -= 1


def test_memory_holds_two_shards_of_texts_whatever_the_corpus(encoder: SentenceEncoder, tmp_path: Path) -> None:
    most = {}
    for n in (60, 240):
        corpus = Endless(n)
        embed(encoder, corpus, tmp_path / str(n), layout=Layout(texts=20))  # type: ignore[arg-type]
        most[n] = corpus.most
    assert most[240] == most[60] <= 2 * 20 + 1


def test_work_is_told_as_it_is_done(encoder: SentenceEncoder, texts: Path, tmp_path: Path) -> None:
    class Bars:
        def __init__(self) -> None:
            self.done: dict[str, list[float]] = {}
            self.totals: dict[str, float | None] = {}

        def track(self, what, total, unit):  # type: ignore[no-untyped-def]  # noqa: ARG002
            from contextlib import nullcontext

            self.totals[what] = total
            return nullcontext(self.done.setdefault(what, []).append)

    bars = Bars()
    embed(encoder, open_corpus(texts), tmp_path / "out", layout=SMALL, progress=bars)
    assert sum(bars.done["embedding"]) == bars.totals["embedding"] > 0
    assert sum(bars.done["reading the corpus"]) == 23
    embed(encoder, open_corpus(texts), tmp_path / "out", layout=SMALL, progress=bars)
    assert bars.totals["embedding"] == 0, "what is there is no work"
    assert LOCK not in files(tmp_path / "out")
