"""Runs `embed` in forked children and kills them with SIGKILL, at random moments and around renames.

    python tests/killed_runs.py MODEL CORPUS FOLDER

Forked children share the loaded model, so that a run takes milliseconds. Prints how many kills there were, as JSON;
fails if a folder differs in any byte from that of a run that was never stopped.
"""

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import tqdm

from uncollapse.corpora import open_corpus
from uncollapse.corpora.shards import FORMATS, is_vector_folder, read_manifest
from uncollapse.embedding import Layout, embed
from uncollapse.encoders import load

TRIALS, MOST_TRIALS, SHARD_TEXTS, MOST_KILLS = 2, 20, 6, 10
ENOUGH = 3
"""Random kills of a format at least; on a machine that got faster since a run was timed, most come too late."""


def run(folder: Path, form: str, prepare: Callable[[], None] = lambda: None) -> int:
    """Start a child that embeds; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        prepare()
        embed(ENCODER, open_corpus(CORPUS), folder, layout=Layout(form, SHARD_TEXTS))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def end(child: int) -> bool:
    """Wait for a child; True if it finished, False if it was killed."""
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a run failed by itself"
    return not os.WIFSIGNALED(status)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".uncollapse.lock"}


def check_recorded(folder: Path, whole: dict[str, bytes]) -> None:
    """Whatever the manifest says is there is there, whole."""
    if is_vector_folder(folder):
        for shard in read_manifest(folder).shards:
            for name in shard.files:
                assert (folder / name).read_bytes() == whole[name], f"{name} is recorded and not what it shall be"


def kill_at_rename(generator: random.Random) -> Callable[[], None]:
    """Make the process kill itself before or after one of its next renames."""
    number, after = generator.randint(1, 4), generator.random() < 0.5

    def prepare() -> None:
        seen, rename = [0], Path.replace

        def replace(self: Path, target: Path) -> Path:
            seen[0] += 1
            if seen[0] == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            done = rename(self, target)
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        Path.replace = replace  # type: ignore[method-assign, assignment]

    return prepare


def kill_until_done(folder: Path, form: str, whole: dict[str, bytes], seconds: float | None) -> int:
    """Kill run after run, until one gets through or there were enough; returns how many were killed.

    Args:
        folder: where all of them write.
        form: of the shards.
        whole: what the folder shall hold in the end.
        seconds: that a whole run takes; None kills at renames and not at random moments.
    """
    for kills in range(MOST_KILLS):
        if seconds is None:
            child = run(folder, form, kill_at_rename(GENERATOR))
        else:
            child = run(folder, form)
            time.sleep(GENERATOR.uniform(0, 0.7 * seconds))
            os.kill(child, signal.SIGKILL)
        if end(child):
            return kills
        check_recorded(folder, whole)
    assert end(run(folder, form))
    return MOST_KILLS


def main(root: Path) -> dict[str, int]:
    kills = {"random": 0, "renames": 0}
    for form in FORMATS:
        assert end(run(root / form, form))
        start = time.perf_counter()
        assert end(run(root / f"{form}-timed", form))
        seconds, whole = time.perf_counter() - start, files(root / form)
        for trial in range(TRIALS):
            kills["renames"] += killed(root / f"{form}-renames-{trial}", form, whole, None)
        random_kills = 0
        for trial in range(MOST_TRIALS):
            died = killed(root / f"{form}-random-{trial}", form, whole, seconds)
            random_kills, seconds = random_kills + died, seconds if died else seconds / 2
            if trial + 1 >= TRIALS and random_kills >= ENOUGH:
                break
        kills["random"] += random_kills
    return kills


def killed(folder: Path, form: str, whole: dict[str, bytes], seconds: float | None) -> int:
    kills = kill_until_done(folder, form, whole, seconds)
    assert files(folder) == whole
    return kills


if __name__ == "__main__":
    torch.set_num_threads(1)
    # tqdm's own lock is shared by forked processes: held by one that is killed, all after it would wait for ever.
    tqdm.tqdm.set_lock(threading.RLock())
    GENERATOR = random.Random(0)
    ENCODER, CORPUS = load(sys.argv[1], device="cpu"), sys.argv[2]
    ENCODER.encode(["what is slow only once"])
    print(json.dumps(main(Path(sys.argv[3]))))
