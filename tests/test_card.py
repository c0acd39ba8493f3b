"""On a graphics card, pretended on the processor: no fix mixes devices, and none waits layer by layer."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pretended_card import can_pretend

PINNED = re.findall(r"^torch==(\S+)", (Path(__file__).parents[1] / "constraints.txt").read_text(), re.MULTILINE)[0]

# The torch that tests are pinned to can: if it could not, nothing here would be tested, and all would look well.
pytestmark = pytest.mark.skipif(
    not can_pretend() and torch.__version__.partition("+")[0] != PINNED,
    reason="this torch has no _setup_privateuseone_for_python_backend, so no card can be pretended",
)


@pytest.fixture(scope="module")
def happened() -> dict[str, Any]:
    """In a process of its own: a pretended card is the accelerator of all that runs beside it."""
    script = Path(__file__).with_name("card_passes.py")
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_patch_on_a_card_is_that_on_the_processor_and_mixes_no_device(happened: dict[str, Any]) -> None:
    assert {row["model"] for row in happened["passes"]} == {"bert", "modernbert", "gpt2", "t5"}
    assert len(happened["passes"]) == 4 * 11
    assert all(row["error"] <= 1e-5 for row in happened["passes"])


def test_a_temperature_adds_no_wait_and_other_fixes_only_what_they_ask_once_a_pass(happened: dict[str, Any]) -> None:
    for row in happened["passes"]:
        masks = 2 if row["model"] == "modernbert" else 1  # with windows and without
        once = {"temperature": 0, "attnscale": 1 + masks, "calibration": 1 + 2 * masks}
        assert row["waits"] <= once.get(row["fix"].split("(")[0], 1), row


def test_a_card_without_double_precision_is_folded_stretched_verified_and_observed(happened: dict[str, Any]) -> None:
    (row,) = happened["double"]
    assert row["same"], "folded bit for bit as on the processor"
    assert row["error"] < 1e-4
    assert row["layers"] == [0, 1, 2]
