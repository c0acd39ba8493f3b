"""Folders that `fix` writes are read by older releases of sentence-transformers, with the same vectors.

They need environments of their own, such as

    python -m venv st3
    st3/bin/pip install torch==2.13.0 sentence-transformers==3.4.1 'transformers<5'
    UNCOLLAPSE_OLDER_PYTHONS=st3/bin/python pytest tests/test_older_versions.py
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from served_folders import LONG, OFFSET, ROLES, TEXTS, VECTORS, WEIGHTS, fixed_folder, long_folder, wanted
from uncollapse.fixes.maps import Affine
from uncollapse.modules import Linear, append_modules

VARIABLE = "UNCOLLAPSE_OLDER_PYTHONS"
PYTHONS = [place for place in os.environ.get(VARIABLE, "").split(os.pathsep) if place]
NEEDED = pytest.mark.skipif(not PYTHONS, reason=f"set {VARIABLE} as the top of this file says")
LONG_ROLES = f"{ROLES} + cover(20)"
SCRIPT = Path(__file__).parent / "older_encoding.py"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    written = {"weights": WEIGHTS, "vectors": VECTORS, "offset": OFFSET, "roles": ROLES}
    found = {name: fixed_folder(root, fix, name) for name, fix in written.items()}
    return found | {
        name: long_folder(root, fix, name) for name, fix in {"long": LONG, "long roles": LONG_ROLES}.items()
    }


def encode(python: str, folders: dict[str, Path], out: Path) -> int:
    """Encode with another interpreter; returns the major version of its sentence-transformers."""
    (out / "texts.json").write_text(json.dumps(TEXTS))
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, SCRIPT, out / "texts.json", out, *folders.values()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**kept, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    return int(done.stdout.partition(".")[0])


@NEEDED
@pytest.mark.parametrize("python", PYTHONS)
def test_an_older_release_gives_the_same_vectors(python: str, folders: dict[str, Path], tmp_path: Path) -> None:
    version = encode(python, folders, tmp_path)
    read = ["weights", "vectors", "offset", "long", *(["roles", "long roles"] if version >= 5 else [])]
    if version < 5:
        assert "Router" in (tmp_path / "roles.txt").read_text(), "it has none, and says so"
    for name in read:
        assert (tmp_path / f"{name}.npz").exists(), (tmp_path / f"{name}.txt").read_text()
        found, right = np.load(tmp_path / f"{name}.npz"), wanted(folders[name])
        assert set(found) == ({"text", "document", "query"} if version >= 5 else {"text"})
        for role in found:
            difference = np.abs(found[role] - right[role]).max()
            print(f"{name}, {role}: {difference:.1e}")
            assert difference < 2e-6, f"{name}, {role}"


def test_a_dense_says_nothing_that_older_releases_refuse(tmp_path: Path) -> None:
    """Releases before 5 hand every entry to Dense, which took no more than these."""
    (tmp_path / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "Transformer"}]')
    one = Affine(np.eye(3), np.ones(3))
    append_modules(tmp_path, Linear(one, one, one))
    config = json.loads((tmp_path / "2_Dense/config.json").read_text())
    assert config == {
        "in_features": 3,
        "out_features": 3,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
