"""Where exports are written: what goes along, what is replaced, and disks that are full."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from export_examples import made_models, reuse_graph
from uncollapse import export, load
from uncollapse.encoders import load_model, load_scorable
from uncollapse.encoders.exported import ABOUT, TOKENIZER, ExportedEncoder, is_export
from uncollapse.encoders.runtimes import openvino_graphs
from uncollapse.errors import ModelError, OutputError
from uncollapse.exporting.originals import copy_licences
from uncollapse.exporting.tokenizing import write_tokenizer
from uncollapse.writing import is_written

FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def source() -> Path:
    return made_models() / "fixed"


def test_licences_go_along_whether_files_or_folders_of_them(tmp_path: Path) -> None:
    source, part = tmp_path / "source", tmp_path / "part"
    (source / "LICENSES/more").mkdir(parents=True)
    given = ("LICENSES/MIT.txt", "LICENSES/more/CC-BY-4.0.txt", "LICENCE", "NOTICE.md")
    for name in (*given, "thesis.txt"):
        (source / name).write_text(name)
    for path in (source / "LICENCE", source / "LICENSES"):
        path.chmod(0o555)
    copy_licences(source, part)
    assert {path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()} == set(given)
    assert all((part / name).read_text() == name for name in given)
    assert all(path.stat().st_mode & 0o200 for path in part.rglob("*"))


def test_a_file_of_that_name_makes_no_export(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for said in ('{"schema": "theirs/1"}', '{"schema": ["uncollapse.export/1"]}', "[]", "{", '{"version": 2}'):
        (out / ABOUT).write_text(said)
        assert not is_export(out)
        with pytest.raises(OutputError, match="is no exported model, so it is not replaced even with --force"):
            export(str(source), out, force=True)
    (out / ABOUT).write_text('{"schema": "uncollapse.export/7"}')
    assert is_export(out), "one of another version is ours all the same"
    assert not is_written(out / ABOUT, "uncollapse.exports/1")
    reuse_graph(monkeypatch)
    export(str(source), out, force=True)
    assert json.loads((out / ABOUT).read_text())["schema"] == "uncollapse.export/1"


@pytest.mark.parametrize("said", [b'{"schema": "uncollapse.exp', b"", b"\xff"])
def test_a_damaged_description_is_named_where_the_folder_is_loaded(said: bytes, source: Path, tmp_path: Path) -> None:
    out = shutil.copytree(made_models() / "onnx", tmp_path / "out")
    (out / ABOUT).write_bytes(said)
    for open_folder in (load, load_model, load_scorable, ExportedEncoder):
        with pytest.raises(ModelError, match=r"Expected JSON in '.*out/export.json', which .* Export the model again"):
            open_folder(str(out) if open_folder is not ExportedEncoder else out)
    with pytest.raises(OutputError, match="is no exported model, so it is not replaced even with --force"):
        export(str(source), out, force=True)


def test_the_tokenizer_is_what_its_library_saves(source: Path, tmp_path: Path) -> None:
    write_tokenizer(load_model(str(source), device="cpu"), tmp_path)
    Tokenizer.from_file(str(tmp_path / TOKENIZER)).save(str(tmp_path / "theirs.json"))
    assert (tmp_path / TOKENIZER).read_bytes() == (tmp_path / "theirs.json").read_bytes()


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_a_disk_that_is_full_at_the_tokenizer_is_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / TOKENIZER).symlink_to(FULL)
    with pytest.raises(OSError, match="No space left") as caught:
        write_tokenizer(load_model(str(source), device="cpu"), tmp_path)
    assert caught.value.errno == errno.ENOSPC


def test_a_graph_that_cannot_be_written_is_not_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"Could not write '.*model.xml': .* If the disk is full, make room"):
        openvino_graphs.convert(made_models() / "onnx/model.onnx", tmp_path / "file/model.xml")
