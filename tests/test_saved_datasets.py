"""Hugging Face datasets on disk: what the library saves comes back as from any other table, whole or not at all."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from command_files import go_alone
from corpus_files import json_lines, made, pairs, rows, save, write, write_parquet
from tiny import save_tiny
from uncollapse import embed, load
from uncollapse.cli import run
from uncollapse.corpora import Fingerprint, open_corpus, portions
from uncollapse.corpora.saved_datasets import INFO, SPLITS, STATE
from uncollapse.corpora.sources import find_corpus
from uncollapse.embedding import Layout
from uncollapse.errors import CorpusError
from uncollapse.pipelines.reading import read_unlabelled

COUNT = 1500
COLUMNS = {"key": list(range(COUNT)), "_id": [f"t{n}" for n in range(COUNT)], "text": [f"é {n}" for n in range(COUNT)]}
RECORDS = list(zip(COLUMNS["_id"], COLUMNS["text"], strict=True))
SHARD = "data-00000-of-00001.arrow"

Change = Callable[[Path], object]


def splits(folder: Path, *names: str) -> Path:
    import datasets

    parts = {name: made({"text": [f"of {name}"]}) for name in names}
    datasets.DatasetDict(parts).save_to_disk(folder)
    return folder


def state(folder: Path, **changed: object) -> None:
    kept = json.loads((folder / STATE).read_text())
    (folder / STATE).write_text(json.dumps(kept | changed))


def change_bytes(file: Path, at: int, new: bytes) -> None:
    content = bytearray(file.read_bytes())
    content[at : at + len(new)] = new
    file.write_bytes(content)


def fingerprint(path: Path, **options: Any) -> str:
    told = Fingerprint()
    for batch in portions(open_corpus(path, **options)):
        told.add(batch)
    return str(told)


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_the_same_rows_are_the_same_corpus_in_any_kind_of_file_and_number_of_shards(
    shards: int, tmp_path: Path
) -> None:
    save(tmp_path / "saved", COLUMNS, num_shards=shards)
    write_parquet(tmp_path / "a.parquet", RECORDS)
    corpus = open_corpus(tmp_path / "saved")
    assert pairs(corpus) == pairs(corpus) == RECORDS
    assert fingerprint(tmp_path / "saved") == fingerprint(tmp_path / "a.parquet")
    of_saved, of_parquet = (
        [text.id for text in open_corpus(tmp_path / name, sample=100, seed=3)] for name in ("saved", "a.parquet")
    )
    assert of_saved == of_parquet
    files = "1 data file" if shards == 1 else f"{shards} data files"
    assert corpus.description == f"Hugging Face dataset saved: {files}"
    assert corpus.name == "saved"
    assert corpus.skipped.total == 0


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_without_an_id_are_counted_through_all_data_files(shards: int, tmp_path: Path) -> None:
    save(tmp_path / "saved", {"text": ["one", "", "three", "four"]}, num_shards=shards)
    corpus = open_corpus(tmp_path / "saved")
    assert pairs(corpus) == [("saved:1", "one"), ("saved:3", "three"), ("saved:4", "four")]
    assert str(corpus.skipped) == f"1 x empty text ({tmp_path}/saved:2)"


def test_selected_and_shuffled_rows_come_in_the_order_they_have_in_the_library(tmp_path: Path) -> None:
    parts = made(COLUMNS).train_test_split(0.1, seed=1)
    made_so = {
        "shuffled": made(COLUMNS).shuffle(seed=5),
        "selected": made(COLUMNS).select([7, 3, 1200, 5]),
        "part": parts["test"],
        "formatted": made(COLUMNS).with_format("numpy", columns=["key"]),
    }
    for name, dataset in made_so.items():
        dataset.save_to_disk(tmp_path / name)
        expected = dataset.with_format(None)
        assert pairs(open_corpus(tmp_path / name)) == list(zip(expected["_id"], expected["text"], strict=True)), name


def test_columns_are_chosen_as_in_other_tables(tmp_path: Path) -> None:
    save(tmp_path / "saved", {"abstracts": ["a"], "alpha": ["b"], "number": [5]})
    assert pairs(open_corpus(tmp_path / "saved", text_field="abstracts", id_field="number")) == [("5", "a")]
    with pytest.raises(CorpusError, match="a field with the text .* Fields there: abstracts, alpha, number.*--text-f"):
        open_corpus(tmp_path / "saved")
    asked = r"saved: expected a field 'abstract', got none. Did you mean 'abstracts'\? Fields there: abstracts, alpha"
    for skip_bad in (False, True):
        with pytest.raises(CorpusError, match=asked if not skip_bad else "1 x missing field .*Run once without"):
            open_corpus(tmp_path / "saved", text_field="abstract", skip_bad=skip_bad)
    with pytest.raises(CorpusError, match=r"saved:1: expected a string as text, got 5 \(int\)"):
        open_corpus(tmp_path / "saved", text_field="number")


@pytest.mark.parametrize("kind", ["large_string", "string"])
@pytest.mark.parametrize("compression", ["lz4", None])
def test_types_of_text_and_compressed_streams(kind: str, compression: str | None, tmp_path: Path) -> None:
    save(tmp_path, {"text": ["old"]})
    table = pa.table(
        {"text": pa.array(["é", None, "c"], pa.large_string() if kind == "large_string" else pa.string())}
    )
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(str(tmp_path / SHARD), table.schema, options=options) as writer:
        writer.write_table(table)
    assert [text for _, text in pairs(open_corpus(tmp_path))] == ["é", "c"]


def test_the_marker_files_decide_what_a_folder_is(tmp_path: Path) -> None:
    save(tmp_path / "saved", {"text": ["saved"]})
    write(tmp_path / "saved/corpus.jsonl", rows("of BEIR"))
    write(tmp_path / "saved/README.md", b"about")
    assert pairs(open_corpus(tmp_path / "saved")) == [("saved:1", "saved")]
    (tmp_path / "saved" / STATE).unlink()
    assert pairs(open_corpus(tmp_path / "saved")) == [("t0", "of BEIR")]

    write(tmp_path / "plain" / INFO, json_lines({"text": "a record"}))
    assert [text for _, text in pairs(open_corpus(tmp_path / "plain"))] == ["a record"]


def test_of_several_splits_one_is_to_be_named(tmp_path: Path) -> None:
    folder = splits(tmp_path / "squad", "train", "test")
    named = f"got a DatasetDict of 2 splits: train, test. Name the folder of one, such as {folder}/train$"
    for opened in (open_corpus, find_corpus):
        with pytest.raises(CorpusError, match=named):
            opened(folder)
    corpus = open_corpus(folder / "test")
    assert pairs(corpus) == [("squad/test:1", "of test")]
    assert corpus.name == "squad/test"
    assert corpus.notes == ()
    with pytest.raises(CorpusError, match=r"Did you mean 'train'"):
        open_corpus(folder / "trein")


def test_the_only_split_is_taken_and_said(tmp_path: Path) -> None:
    folder = splits(tmp_path / "squad", "train")
    corpus = open_corpus(folder)
    assert pairs(corpus) == pairs(open_corpus(folder / "train")) == [("squad/train:1", "of train")]
    assert corpus.notes == ("read is train, the only split of squad",)


def test_a_dataset_is_never_mixed_with_files_around_it(tmp_path: Path) -> None:
    write(tmp_path / "all/notes.md", b"a note")
    splits(tmp_path / "all/squad", "train")
    with pytest.raises(CorpusError, match=rf"got a folder with a dataset on disk in it.* name {tmp_path}/all/squad,"):
        open_corpus(tmp_path / "all")
    (tmp_path / "all/squad" / SPLITS).unlink()
    with pytest.raises(CorpusError, match=rf"got a folder with a dataset on disk in it.* name {tmp_path}/all/squad/t"):
        open_corpus(tmp_path / "all")
    shard = tmp_path / "all/squad/train" / SHARD
    with pytest.raises(CorpusError, match=f"got a file of a dataset on disk. Name {shard.parent} instead"):
        open_corpus(shard)


DAMAGE: dict[str, tuple[Change, str]] = {
    "no state": (lambda at: (at / STATE).unlink(), "saved: expected state.json and .* got only dataset_info.json"),
    "no info": (lambda at: (at / INFO).unlink(), "saved: expected state.json and .* got only state.json"),
    "neither": (lambda at: [(at / name).unlink() for name in (STATE, INFO)], "saved: expected state.* got neither"),
    "no JSON": (lambda at: write(at / STATE, b'{"_data'), r"state.json: expected JSON, .* got Unterminated string"),
    "no Unicode": (lambda at: write(at / STATE, b"\x80"), r"state.json: expected JSON, .* got .*codec can't decode"),
    "deep JSON": (lambda at: write(at / STATE, b"[" * 10**5), r"state.json: expected JSON, as save_to_disk writes"),
    "list": (lambda at: write(at / STATE, b"[1]"), r"state.json: expected a JSON object, got \[1\]"),
    "no names": (lambda at: state(at, _data_files=None), "expected _data_files, a list of names .*, got None"),
    "number": (lambda at: state(at, _data_files=[5]), r"expected _data_files, a list of names .*, got \[5\]"),
    "elsewhere": (lambda at: state(at, _data_files=[{"filename": "../a.arrow"}]), "expected _data_files.*/a.arrow"),
    "up": (lambda at: state(at, _data_files=[{"filename": ".."}]), "expected _data_files, .* in the same folder"),
    "absolute": (lambda at: state(at, _data_files=[{"filename": "/etc/passwd"}]), "expected _data_files.*passwd"),
    "selection": (lambda at: state(at, _indices_data_files=[{"filename": "i.arrow"}]), "got a list of rows beside"),
    "no shard": (lambda at: (at / SHARD).unlink(), f"{SHARD}: expected the data file that state.json names, got 'No"),
    "empty shard": (lambda at: write(at / SHARD, b""), f"{SHARD}: expected an Arrow stream .* cut off"),
    "cut": (lambda at: write(at / SHARD, (at / SHARD).read_bytes()[:-1]), f"{SHARD}: expected an Arrow .* cut off"),
}


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_dataset_is_told_by_name_before_a_row_is_read(case: str, skip_bad: bool, tmp_path: Path) -> None:
    save(tmp_path / "saved", {"text": ["one", "two"]})
    corpus = open_corpus(tmp_path / "saved")
    damage, message = DAMAGE[case]
    damage(tmp_path / "saved")
    with pytest.raises(CorpusError, match=f"{tmp_path}/.*{message}.*(save_to_disk)"):
        open_corpus(tmp_path / "saved", skip_bad=skip_bad)
    if case != "no info":
        with pytest.raises(CorpusError, match="expected"):
            list(corpus)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "dataset_dict.json: expected JSON, as save_to_disk writes it"),
        (b"{}", "dataset_dict.json: expected the names of splits, got None"),
        (b'{"splits": []}', r"dataset_dict.json: expected the names of splits, got \[\]"),
        (b'{"splits": ["../saved"]}', "dataset_dict.json: expected the names of splits"),
        (b'{"splits": ["dev", "test"]}', r"squad: expected a folder .* each split of dataset_dict.json \(dev, test\)"),
    ],
)
def test_a_damaged_list_of_splits_is_told_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    write(splits(tmp_path / "squad", "train") / SPLITS, content)
    with pytest.raises(CorpusError, match=message):
        open_corpus(tmp_path / "squad")


def test_a_stream_cut_off_between_two_batches_is_no_shorter_corpus(tmp_path: Path) -> None:
    save(tmp_path, COLUMNS)
    with (tmp_path / SHARD).open("rb") as stream, pa.ipc.open_stream(stream) as table:
        table.read_next_batch()
        first = stream.tell()
    content = (tmp_path / SHARD).read_bytes()
    write(tmp_path / SHARD, content[:first])
    with pytest.raises(CorpusError, match="to its end mark, got one that is cut off"):
        open_corpus(tmp_path)
    write(tmp_path / SHARD, content[:first] + b"\xff\xff\xff\xff\0\0\0\0" + content[first:])
    with pytest.raises(CorpusError, match=rf"{SHARD}: expected an Arrow stream that is whole, got 'an end at byte"):
        list(open_corpus(tmp_path))
    corpus = open_corpus(tmp_path, skip_bad=True)
    assert pairs(corpus) == RECORDS[:1000]
    assert corpus.skipped.counts == {"broken Arrow stream": 1}


def test_a_damaged_data_file_ends_the_dataset_and_is_counted_if_asked(tmp_path: Path) -> None:
    save(tmp_path, {"text": [f"text {n}" for n in range(30)]}, num_shards=3)
    middle = tmp_path / "data-00001-of-00003.arrow"
    ends = (7).to_bytes(4, "little") + (14).to_bytes(4, "little")
    change_bytes(middle, middle.read_bytes().index(ends), b"\xff\xff\xff\x7f")
    with pytest.raises(CorpusError, match=rf"{middle}: expected an Arrow stream that is whole, got .*skip_bad"):
        list(open_corpus(tmp_path))
    corpus = open_corpus(tmp_path, skip_bad=True)
    assert [text for _, text in pairs(corpus)] == [f"text {n}" for n in range(10)]
    assert corpus.skipped.counts == {"broken Arrow stream": 1}


def test_bytes_that_are_no_text_are_a_bad_record_of_their_row_alone(tmp_path: Path) -> None:
    save(tmp_path / "saved", {"text": ["one", "two", "three"]})
    shard = tmp_path / "saved" / SHARD
    change_bytes(shard, shard.read_bytes().index(b"onetwothree") + 4, b"\xff")
    with pytest.raises(CorpusError, match="saved:2: expected UTF-8, got byte 0xff at byte offset 1 of a value"):
        list(open_corpus(tmp_path / "saved"))
    corpus = open_corpus(tmp_path / "saved", skip_bad=True)
    assert pairs(corpus) == [("saved:1", "one"), ("saved:3", "three")]


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    made({"text": ["a"]}).select([]).save_to_disk(tmp_path / "saved")
    with pytest.raises(CorpusError, match="got none from Hugging Face dataset saved: 0 data files"):
        open_corpus(tmp_path / "saved")


def test_columns_that_are_not_needed_are_not_looked_at(tmp_path: Path) -> None:
    save(tmp_path, {"other": ["x" * 9], "text": ["one"]})
    change_bytes(tmp_path / SHARD, (tmp_path / SHARD).read_bytes().index(b"xxxxxxxxx"), b"\xff" * 9)
    assert [text for _, text in pairs(open_corpus(tmp_path))] == ["one"]
    with pytest.raises(CorpusError, match="expected UTF-8"):
        open_corpus(tmp_path, text_field="other")


def test_embedding_goes_on_and_writes_the_bytes_of_the_same_rows_in_another_file(tmp_path: Path) -> None:
    encoder = load(str(save_tiny(tmp_path / "model", max_tokens=30)), device="cpu")
    some = {name: values[:23] for name, values in COLUMNS.items()}
    save(tmp_path / "saved", some, num_shards=2)
    write_parquet(tmp_path / "a.parquet", RECORDS[:23])
    layout = Layout(texts=5)
    embed(encoder, open_corpus(tmp_path / "saved", limit=10), tmp_path / "out", layout=layout)
    assert embed(encoder, open_corpus(tmp_path / "saved"), tmp_path / "out", layout=layout).n_new == 13
    embed(encoder, open_corpus(tmp_path / "a.parquet"), tmp_path / "other", layout=layout)
    out, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.parquet")} for name in ("out", "other")
    )
    assert len(out) == 5
    assert out == other


def test_the_command_line_takes_a_split_and_refuses_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go_alone(tmp_path, monkeypatch)
    save_tiny(Path("model"))
    splits(Path("squad"), "train", "test")
    assert run(["embed", "squad/train", "-m", "model", "-o", "out"]) == 0
    assert "Vectors: out, 1 of 64 dimensions" in capsys.readouterr().out
    for asked in (["diagnose", "squad"], ["embed", "squad", "-o", "b"], ["compare", "squad"], ["explain", "squad"]):
        assert run([*asked, "-m", "model"]) == 2
        assert "DatasetDict of 2 splits: train, test. Name the folder of one" in " ".join(
            capsys.readouterr().err.split()
        )


def test_fixes_are_fitted_to_a_dataset_on_disk(tmp_path: Path) -> None:
    save(tmp_path / "saved", COLUMNS)
    assert set(read_unlabelled(tmp_path / "saved").documents) == set(COLUMNS["text"])


def test_the_library_is_not_imported_for_reading(tmp_path: Path) -> None:
    save(tmp_path / "saved", {"text": ["one"]})
    code = (
        "import sys; from uncollapse.corpora import open_corpus; "
        f"assert [text.text for text in open_corpus({str(tmp_path / 'saved')!r})] == ['one']; "
        "assert 'datasets' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_may_be_a_corpus_names_datasets(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=re.escape("a BEIR folder, a Hugging Face dataset on disk or the word")):
        open_corpus(tmp_path / "nothing")
