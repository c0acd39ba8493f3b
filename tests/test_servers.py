"""Servers that others wrote give the vectors of a fixed folder, or other ones, as docs/servers.md says."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sentence_transformers import SentenceTransformer

from real_servers import SERVERS, serve
from served_folders import CORPUS, LONG, OFFSET, ROLES, TEXTS, VECTORS, WEIGHTS, fixed_folder, long_folder, wanted
from uncollapse.checkpoints import fix
from uncollapse.encoders import load, load_model
from uncollapse.fixes import compose, parse

PAGE = Path(__file__).parents[1] / "docs/servers.md"
FIXES = {"weights": WEIGHTS, "vectors": VECTORS, "offset": OFFSET, "roles": ROLES}
ABSENT = pytest.mark.skipif(
    not SERVERS["Infinity"].is_here, reason=f"set {SERVERS['Infinity'].variable} as tests/real_servers.py says"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bundled model with each fix; a tiny one has heads that vLLM and a tokenizer that llama.cpp do not know."""
    root = tmp_path_factory.mktemp("served")
    for name, written in FIXES.items():
        chosen = compose(parse(written))
        fix("minilm", chosen, root / name, corpus=CORPUS if chosen.vectors else None)
    return {written: root / name for name, written in FIXES.items()}


@pytest.mark.real
@pytest.mark.parametrize("written", FIXES.values(), ids=FIXES)
@pytest.mark.parametrize("name", SERVERS)
def test_a_real_server_makes_of_a_fix_what_the_table_says(
    name: str, written: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = SERVERS[name], folders[written]
    if not server.is_here:
        pytest.skip(f"set {server.variable} as tests/real_servers.py says")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # ports come again with other models behind them
    if server.makes[written] == "refused":
        with pytest.raises(AssertionError, match="Router"), serve(server, folder, tmp_path / "log"):
            pass
        return
    with serve(server, folder, tmp_path / "log") as url:
        found = load(url).vectors(TEXTS)
    stock = load_model("minilm", device="cpu").model.encode(TEXTS)
    base = wanted(folders[WEIGHTS])["text"] if written == VECTORS else stock
    role = "document" if written == ROLES else "text"
    near = {"same": wanted(folder)[role], "no fix on vectors": base}
    for said, right in near.items():
        is_near = np.abs(found - right).max() < server.error
        assert is_near == (server.makes[written] == said), (said, np.abs(found - right).max())


def test_the_page_says_of_each_server_what_its_tests_see() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    heads = next(row for row in table if row[0] == "the folder holds")
    for name, server in SERVERS.items():
        column = next(i for i, head in enumerate(heads) if name in head)
        for written, row in zip(FIXES.values(), table[table.index(heads) + 1 :], strict=False):
            said = {"same": "yes", "other": "**other vectors", "refused": "refused"}
            starts = said.get(server.makes[written], "**no fix on vectors")
            assert row[column].startswith(starts), (name, written, row[column])


@ABSENT
def test_infinity_reads_texts_to_their_end_with_a_folder_that_has_code_for_it(tmp_path: Path) -> None:
    folder = long_folder(tmp_path, LONG)
    with serve(SERVERS["Infinity"], folder, tmp_path / "log") as url:
        found = load(url).vectors(TEXTS)
    np.testing.assert_allclose(found, wanted(folder)["text"], atol=2e-6)
    assert np.abs(found - wanted(folder / "model")["text"]).max() > 1e-2


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
    page = PAGE.read_text(encoding="utf-8")
    code = next(code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Starlette(" in code)
    service: dict[str, Any] = {}
    exec(code, service)
    ask = service["embeddings"]
    assert [row["embedding"] for row in json.loads(ask({"model": "m", "input": "four"}).body)["data"]] == [[4.0, 0.0]]
    two = json.loads(ask({"model": "m", "input": ["four", "seventh"], "role": "query"}).body)["data"]
    assert [(row["index"], row["embedding"][0]) for row in two] == [(0, 4.0), (1, 7.0)]
    assert ask({"model": "m", "input": "four", "role": "judge"}).status_code == 400
