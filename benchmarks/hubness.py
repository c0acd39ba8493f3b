"""Hubness and mean cosine of a large memory-mapped matrix; print time and memory above the map.

    python benchmarks/hubness.py --rows 1000000 --dim 384

Makes the matrix in a temporary folder (rows x dim x 4 bytes), and removes it. Its directions have a common drift,
which is what makes hubs.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from measures import CHUNK, MemoryWatch, Stopwatch, make_lengths, make_vectors
from uncollapse.measures import mean_cosine
from uncollapse.measures.hubness import find_neighbours, k_skewness, mean_occurrence
from uncollapse.moments import Moments
from uncollapse.resampling import Estimate, document_keys


def measure(path: Path, clock: Stopwatch) -> dict[str, Estimate]:
    """Everything, from the file."""
    vectors = np.load(path, mmap_mode="r")
    with clock("keys of ids"):
        keys = document_keys([f"document-{i}" for i in range(len(vectors))])
    with clock("mean cosine"):
        moments = Moments(vectors.shape[1])
        for first in range(0, len(vectors), CHUNK):
            moments.update(vectors[first : first + CHUNK], keys[first : first + CHUNK])
    with clock("nearest neighbours"):
        near = find_neighbours(vectors, keys)
    print(f"{len(near.queries):,} of {len(keys):,} documents ask\n")
    with clock("skewness, occurrence"):
        n_tokens = make_lengths(len(vectors))
        short = n_tokens < np.median(n_tokens)
        found = {"k_skewness": k_skewness(near), "occurrence of the shorter half": mean_occurrence(near, short)}
    return {"mean_cosine": mean_cosine(moments), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="vectors (default 1,000,000)")
    parser.add_argument("--dim", type=int, default=384, help="length of a vector (default 384)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        make_vectors(path, arguments.rows, arguments.dim)
        clock, processor = Stopwatch(), time.process_time()
        with MemoryWatch() as memory, clock("all"):
            estimates = measure(path, clock)
        processor = time.process_time() - processor
    for name, estimate in estimates.items():
        print(f"{name:<32}{estimate}")
    print(f"\n{'step':<24}{'seconds':>9}")
    for name, seconds in clock.seconds.items():
        print(f"{name:<24}{seconds:>9.2f}")
    print(f"{'processor, all cores':<24}{processor:>9.2f}")
    print(f"\npeak anonymous memory above the start: {memory.above_mb:.0f} MB")


if __name__ == "__main__":
    main()
