"""A server that others wrote gives the vectors of a fixed folder: Infinity, on this machine's loopback.

It needs an environment of its own, as it wants sentence-transformers 3:

    python -m venv infinity
    infinity/bin/pip install torch==2.13.0 'infinity-emb[torch,server]' 'transformers<5'
    UNCOLLAPSE_INFINITY=infinity/bin/infinity_emb pytest tests/test_servers.py
"""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sentence_transformers import SentenceTransformer

from served_folders import LONG, OFFSET, ROLES, TEXTS, VECTORS, WEIGHTS, fixed_folder, long_folder, wanted
from uncollapse.encoders import load

VARIABLE, SECONDS = "UNCOLLAPSE_INFINITY", 240.0
NEEDED = pytest.mark.skipif(VARIABLE not in os.environ, reason=f"set {VARIABLE} as the top of this file says")


@contextmanager
def infinity(folder: Path, log: Path) -> Iterator[str]:
    """The server's URL while it runs; it is ended whatever happens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ[VARIABLE], "v2", "--model-id", str(folder), "--served-model-name", "fixed", "--url-prefix"]
    command += ["/v1", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--engine", "torch"]
    command += ["--no-model-warmup", "--no-bettertransformer"]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    settings = {**kept, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with log.open("w") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=stream, env=settings)
        try:
            _wait(server, port, log)
            yield f"http://127.0.0.1:{port}/v1#fixed"
        finally:
            server.terminate()
            server.wait(30)


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"no answer within {SECONDS} seconds: {log.read_text()}")


@NEEDED
@pytest.mark.parametrize("written", [WEIGHTS, OFFSET])
def test_infinity_gives_the_vectors_of_a_fixed_folder(written: str, tmp_path: Path) -> None:
    folder = fixed_folder(tmp_path, written)
    with infinity(folder, tmp_path / "log") as url:
        found = load(url).vectors(TEXTS)
    np.testing.assert_allclose(found, wanted(folder)["text"], atol=2e-6)


@NEEDED
def test_infinity_reads_texts_to_their_end_with_a_folder_that_has_code_for_it(tmp_path: Path) -> None:
    folder = long_folder(tmp_path, LONG)
    with infinity(folder, tmp_path / "log") as url:
        found = load(url).vectors(TEXTS)
    np.testing.assert_allclose(found, wanted(folder)["text"], atol=2e-6)
    assert np.abs(found - wanted(folder / "model")["text"]).max() > 1e-2


@NEEDED
def test_infinity_refuses_a_folder_whose_fix_knows_roles(tmp_path: Path) -> None:
    folder = fixed_folder(tmp_path, ROLES)
    with pytest.raises(AssertionError, match="Router"), infinity(folder, tmp_path / "log"):
        pass


def test_a_server_that_scales_once_is_right_without_an_offset_alone(tmp_path: Path) -> None:
    """What text-embeddings-inference and vLLM make of a Dense: pool, multiply, scale; see docs/servers.md."""
    for name, written in (("weights", WEIGHTS), ("vectors", VECTORS)):
        folder = fixed_folder(tmp_path, written, name)
        np.testing.assert_allclose(_scaled_once(folder), wanted(folder)["text"], atol=2e-6)
    folder = fixed_folder(tmp_path, OFFSET, "offset")
    assert _largest_angle(_scaled_once(folder), wanted(folder)["text"]) > 0.1


def _scaled_once(folder: Path) -> npt.NDArray[np.float32]:
    model = SentenceTransformer(str(folder), device="cpu")
    normalise = [name for name, module in model.named_children() if type(module).__name__ == "Normalize"]
    for name in normalise[:-1]:
        del model._modules[name]
    found: npt.NDArray[np.float32] = model.encode(TEXTS)
    return found


def _largest_angle(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """In radians."""
    return float(np.arccos(np.clip((one * other).sum(axis=1), -1, 1)).max())


def test_the_service_on_the_page_takes_one_text_and_several_and_refuses_unknown_roles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A text alone is legal in that protocol; taken letter by letter it would give a vector a number."""

    class Counting:
        def __init__(self, name: str) -> None:
            self.name = name

        def encode(self, texts: list[str]) -> npt.NDArray[np.float64]:
            return np.array([[float(len(text)), 0.0] for text in texts])

        encode_query = encode_document = encode

    monkeypatch.setattr("sentence_transformers.SentenceTransformer", Counting)
    page = (Path(__file__).parents[1] / "docs/servers.md").read_text(encoding="utf-8")
    code = next(code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Starlette(" in code)
    service: dict[str, Any] = {}
    exec(code, service)
    ask = service["embeddings"]
    assert [row["embedding"] for row in json.loads(ask({"model": "m", "input": "four"}).body)["data"]] == [[4.0, 0.0]]
    two = json.loads(ask({"model": "m", "input": ["four", "seventh"], "role": "query"}).body)["data"]
    assert [(row["index"], row["embedding"][0]) for row in two] == [(0, 4.0), (1, 7.0)]
    assert ask({"model": "m", "input": "four", "role": "judge"}).status_code == 400
