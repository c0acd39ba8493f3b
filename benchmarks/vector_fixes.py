"""What fixes on vectors cost on a million vectors: seconds to fit each, seconds to apply it, and memory.

    python benchmarks/vector_fixes.py [--vectors 1000000] [--dim 384] [--seed 0]

Vectors are made in portions from the seed, float32 of norm 1 with a drift of the mean by length, and are never all in
memory nor on disk. Every fix is fitted to the sums that it needs, of all vectors as documents and windows and of a
twentieth of them as queries, streamed portion by portion; then it is applied to all of them, portion by portion, and
scaled to norm 1, as `FixedEncoder` does. Seconds are those of the clock and of the processor, over all threads, and
leave out making the vectors. Memory is the largest that the process had by then.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from uncollapse.fixes import compose, parse
from uncollapse.fixes.kinds import VectorFix
from uncollapse.fixes.maps import VectorMap
from uncollapse.fixes.statistics import Group, Statistics
from uncollapse.pipelines.encoder import NOTHING, map_vectors
from uncollapse.pipelines.several import direct

FIXES = (
    "centering(all)",
    "centering(role)",
    "centering(length)",
    "mean_projection()",
    "all_but_the_top(2)",
    "length_subspace(1)",
    "whitening(0.3)",
    "whitening(0.3, length)",
    "whitening(0.3, role)",
    "whitening(0.3, zero)",
    "centering(role) + whitening(0.3, role)",
)
PORTION = 50_000
QUERIES = 20  # one in so many

Portion = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def portions(count: int, dim: int, seed: int) -> Iterator[Portion]:
    """Vectors [some, dim] and their token counts, the same for the same seed."""
    drift = np.random.default_rng(seed).standard_normal((2, dim), np.float32) / np.sqrt(dim)
    for start in range(0, count, PORTION):
        random = np.random.default_rng((seed, start))
        size = min(PORTION, count - start)
        tokens = np.exp2(random.uniform(3, 13, size)).astype(np.int64)
        vectors = random.standard_normal((size, dim), np.float32) / np.float32(np.sqrt(dim))
        vectors += drift[0] + np.log2(tokens)[:, None].astype(np.float32) / 13 * drift[1]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield vectors, tokens


class Clock:
    """Seconds of the clock and of the processor that actions took."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def time(self, act: Callable[[], object]) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        act()
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor

    def __str__(self) -> str:
        return f"{self.wall:.1f} ({self.processor:.1f})"


def fit(parts: tuple[VectorFix, ...], count: int, dim: int, seed: int, clock: Clock) -> tuple[VectorMap, ...]:
    """The maps of fixes that act one after another."""
    needs, seen = {group for part in parts for group in part.needs}, Statistics(dim)
    for vectors, tokens in portions(count, dim, seed):
        for group in sorted(needs):
            step = QUERIES if group is Group.QUERIES else 1
            clock.time(partial(seen.of(group).update, vectors[::step], tokens[::step]))
    maps: list[VectorMap] = []

    def finish() -> None:
        nonlocal seen
        for part in parts:
            maps.append(part.fit(seen))
            seen = seen.mapped(maps[-1])

    clock.time(finish)
    return tuple(maps)


def apply(maps: tuple[VectorMap, ...], count: int, dim: int, seed: int, clock: Clock) -> None:
    """As `FixedEncoder` does it: norm 1, the maps, norm 1."""
    ids = [""] * PORTION
    for vectors, tokens in portions(count, dim, seed):
        clock.time(
            lambda: direct(map_vectors(maps, direct(vectors, ids, ""), tokens), ids, "", least=NOTHING)  # noqa: B023
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    size = (given.vectors, given.dim, given.seed)
    print(
        f"{given.vectors:,} vectors of {given.dim} dimensions, seed {given.seed}, {torch.get_num_threads()} threads."
    )
    print("| fix | seconds to fit (processor) | to apply (processor) | memory |\n|---|---|---|---|")
    for written in FIXES:
        fitting, applying = Clock(), Clock()
        maps = fit(compose(parse(written)).vectors, *size, fitting)
        apply(maps, *size, applying)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| `{written}` | {fitting} | {applying} | {peak:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
