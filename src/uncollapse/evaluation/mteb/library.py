"""mteb itself: imported when first used, kept from changing the process, and silent where a hub does not answer.

mteb seeds every global random generator when it is imported, makes a task or evaluates one, shows bars of its own, and
makes an empty folder in the home when imported. All of it is put back here.
"""

import difflib
import importlib.util
import os
import random
import socket
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from uncollapse.errors import CorpusError, MissingExtraError, OutputError, nearest

_PATIENCE_SECONDS = 3.0


def require_mteb() -> None:
    """Import mteb, or say how to install it."""
    if "mteb" in sys.modules:
        return
    if importlib.util.find_spec("mteb") is None:
        raise MissingExtraError("mteb", "mteb", "Evaluation with mteb or on its tasks")
    folder = Path(os.environ.get("MTEB_CACHE") or Path.home() / ".cache" / "mteb")
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with aside():
            importlib.import_module("mteb")
    except OSError as error:
        raise OutputError(
            f"Expected that mteb can make its cache folder {str(folder)!r} when it is imported, got: {error}. "
            "Set MTEB_CACHE to a folder that can be written."
        ) from error
    for place in new:
        with suppress(OSError):
            place.rmdir()


@contextmanager
def aside() -> Iterator[None]:
    """Let mteb seed and show inside; random states and the bars of `datasets` are as before afterwards."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what mteb seeds
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), _no_bars():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002


@contextmanager
def _no_bars() -> Iterator[None]:
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    if shown:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


@contextmanager
def loading(task: Any) -> Iterator[None]:
    """Explain in one sentence why the data of a task of mteb's could not be loaded inside.

    Raises:
        CorpusError: anything went wrong before the data were there; what goes wrong later is passed on.
    """
    try:
        with nullcontext() if hasattr(task, "local_name") else _no_vain_retries():
            yield
    except Exception as error:  # a foreign task can fail anywhere in foreign code
        if any(part.data_loaded for part in getattr(task, "tasks", [task])):
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CorpusError(
            f"Expected the data of mteb's task {task.metadata.name!r} on this machine or on the Hugging Face hub "
            f"({task.metadata.dataset['path']}), but mteb could not load them: {type(error).__name__}: {said}. "
            "Connect to the hub (HF_HUB_OFFLINE must not be 1), set HF_HOME to a folder into which they were "
            "downloaded, or score files of your own: uncollapse evaluate FOLDER."
        ) from error


@contextmanager
def _no_vain_retries() -> Iterator[None]:
    """Tell the hub's client that it is offline where the hub does not answer: it would try for half a minute."""
    from datasets import config
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or config.HF_HUB_OFFLINE or _answers(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = False


def _answers(url: str) -> bool:
    """Whether something listens there; believed where a proxy stands between."""
    place = urlsplit(url)
    if place.scheme in urllib.request.getproxies():
        return True
    try:
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname or "", port), timeout=_PATIENCE_SECONDS).close()
    except OSError:
        return False
    return True


def find_tasks(wanted: Any) -> tuple[Any, ...]:
    """mteb's task objects by the names of tasks or benchmarks; objects are passed through.

    Raises:
        CorpusError: no task or benchmark of this name, or none given.
    """
    items = [wanted] if isinstance(wanted, str) or hasattr(wanted, "metadata") else list(wanted)
    if not items:
        raise CorpusError("Expected at least one of mteb's tasks, got none. Name one, such as 'SciFact'.")
    with aside():
        return tuple(task for item in items for task in (_by_name(item) if isinstance(item, str) else (item,)))


def _by_name(name: str) -> Sequence[Any]:
    import mteb
    from mteb.get_tasks import TASK_LIST

    with suppress(KeyError):
        return [mteb.get_task(name)]
    with suppress(KeyError):
        return list(mteb.get_benchmark(name).tasks)
    known = [*(task.metadata.name for task in TASK_LIST), *(benchmark.name for benchmark in mteb.get_benchmarks())]
    close = difflib.get_close_matches(name, known, n=8, cutoff=0.4)
    raise CorpusError(
        f"Expected a task or benchmark of mteb's, got {name!r}. {nearest(name, close, 'Near it')} "
        f"mteb knows {len(known)}; `mteb available-tasks` and `mteb available-benchmarks` list them."
    )
