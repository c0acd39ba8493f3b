"""No test reaches a network, and every test starts from the same threads and verbosity."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Two threads of a library on a busy machine wait for each other many times longer than they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from typing import Any

import pytest
import transformers
from hypothesis import HealthCheck, settings

from uncollapse.progress import Bars

# A busy machine is slow to draw examples and to try them, which says nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all pages."""
    from browser_pages import launch_chromium

    with launch_chromium() as browser:
        yield browser


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bars of a terminal, though there is none: each is printed when it is done."""
    monkeypatch.setattr("uncollapse.progress.Lines", Bars)
