"""Commands whose words nobody reads to the end, as in `uncollapse ... | head`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_files import write_rankings
from uncollapse.cli.streams import Unread

MAIN = [sys.executable, "-c", "from uncollapse.cli import main; main()"]


def test_a_command_writes_all_its_files_and_ends_well_when_its_reader_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", "--run", "a.trec", *write_rankings(), "-o", "out"]
    with subprocess.Popen([*MAIN, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert {"items.parquet", "report.html", "result.json"} <= {path.name for path in Path("out").iterdir()}


def test_what_is_read_is_as_it_was_printed(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w", encoding="utf-8") as stream:
        said = Unread(stream)
        assert said.write("a word\n") == 7
        said.flush()
        assert (said.encoding, said.isatty(), said.fileno()) == ("utf-8", False, stream.fileno())
    assert (tmp_path / "said").read_text() == "a word\n"


def test_nothing_that_was_waiting_is_an_error_later() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        said = Unread(stream)
        said.write("a word")
        said.flush()
        said.write("another" * 10_000)
        said.flush()
