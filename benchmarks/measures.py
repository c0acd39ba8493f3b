"""Stream a large memory-mapped matrix through the moments and all bin measures; print time, rate and memory.

    python benchmarks/measures.py --rows 1000000 --dim 384

Makes the matrix in a temporary folder (rows x dim x 4 bytes), and removes it.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from uncollapse.measures import MEASURES, measure_bins, unit
from uncollapse.moments import BinState, update_bins
from uncollapse.records import LengthBins
from uncollapse.resampling import Estimate, document_keys

CHUNK = 8192
LONGEST = 1023


class MemoryWatch:
    """Peak of this process's anonymous memory above its value at the start; pages of a mapped file do not count."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.start = self.peak = self._anonymous()
        self._seconds = seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.peak = max(self.peak, self._anonymous())

    @property
    def above_mb(self) -> float:
        return (self.peak - self.start) / 1024

    def _watch(self) -> None:
        while not self._done.wait(self._seconds):
            self.peak = max(self.peak, self._anonymous())

    @staticmethod
    def _anonymous() -> int:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["RssAnon"].split()[0])


def make_vectors(path: Path, rows: int, dim: int) -> None:
    """Random directions around a common drift, of norm 1."""
    generator = np.random.default_rng(0)
    drift = generator.standard_normal(dim).astype(np.float32)
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, dim))
    for first in range(0, rows, CHUNK):
        size = min(CHUNK, rows - first)
        vectors[first : first + size] = unit(generator.standard_normal((size, dim), dtype=np.float32) + drift)
    vectors.flush()


def make_lengths(rows: int) -> npt.NDArray[np.int64]:
    """Token counts spread evenly over the octaves."""
    return np.exp2(np.random.default_rng(1).uniform(2, np.log2(LONGEST + 1), rows)).astype(np.int64)


class Stopwatch:
    """Seconds spent under each name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def stream(path: Path, n_tokens: npt.NDArray[np.int64], clock: Stopwatch) -> dict[str, BinState]:
    """One pass over the file, as a large corpus is read."""
    vectors = np.load(path, mmap_mode="r")
    bins = LengthBins.powers_of_two(LONGEST)
    states = [BinState(dim=vectors.shape[1]) for _ in range(len(bins))]
    for first in range(0, len(vectors), CHUNK):
        last = min(first + CHUNK, len(vectors))
        with clock("keys of ids"):
            keys = document_keys([f"document-{i}" for i in range(first, last)])
        with clock("read and normalise"):
            units = unit(vectors[first:last], first=first)
        tokens = n_tokens[first:last]
        with clock("moments and samples"):
            columns = {"keys": keys, "n_tokens": tokens, "truncated": tokens > LONGEST // 2}
            update_bins(states, bins.assign(tokens), vectors=units, **columns)
    return dict(zip(bins.labels, states, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="vectors (default 1,000,000)")
    parser.add_argument("--dim", type=int, default=384, help="length of a vector (default 384)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        make_vectors(path, arguments.rows, arguments.dim)
        n_tokens = make_lengths(arguments.rows)
        clock = Stopwatch()
        with MemoryWatch() as memory, clock("all"):
            bins = stream(path, n_tokens, clock)
            with clock("measures"):
                estimates = measure_bins(bins)
    print(f"{arguments.rows:,} x {arguments.dim} float32, {len(bins)} bins\n")
    print_estimates(estimates)
    print_seconds(arguments.rows, clock.seconds)
    print(f"\npeak anonymous memory above the start: {memory.above_mb:.0f} MB")


def print_estimates(estimates: dict[str, dict[str, Estimate]]) -> None:
    print(f"{'bin':>10} " + " ".join(f"{name:>30}" for name in MEASURES))
    for label, row in estimates.items():
        print(f"{label:>10} " + " ".join(f"{cell(row.get(name)):>30}" for name in MEASURES))


def cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4f}"
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def print_seconds(rows: int, seconds: dict[str, float]) -> None:
    print(f"\n{'step':<22}{'seconds':>9}{'rows/s':>14}")
    for name, spent in seconds.items():
        print(f"{name:<22}{spent:>9.2f}{rows / spent:>14,.0f}")


if __name__ == "__main__":
    main()
