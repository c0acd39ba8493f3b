"""How much an end of a 95 % interval moves with the seed of the bootstrap, and what more replicates take.

    python benchmarks/replicates.py [--documents 200] [--dimensions 384] [--seeds 400] [--seed 0]

Made-up documents, each with its own share of one direction that all have in common, which is larger in the long window
than in the short one. Every seed draws replicates anew on these same documents. Seconds are of the processor, for sums
and interval of one rise; memory is that of the sums of one length bin.
"""

import argparse
import time

import numpy as np
import numpy.typing as npt

from uncollapse.measures import mean_cosine, unit
from uncollapse.moments import Moments
from uncollapse.resampling import Estimate, Keys, difference, document_keys

Vectors = npt.NDArray[np.float32]
SIZES = (256, 512, 1024)
HEAD = (
    "replicates", "rise", "standard deviation of the ends", "of half the width", "largest less least", "takes", "sums",
)  # fmt: skip


def windows(documents: int, dimensions: int, seed: int) -> tuple[Vectors, Vectors]:
    """The vectors of a short and a long window of the same documents: [documents, dimensions]."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((2, documents, dimensions)) / dimensions**0.5
    tied = rng.gamma(1.0, size=(2, documents, 1)) * np.array([0.4, 0.7])[:, None, None]
    own[..., :1] += tied
    return unit(own[0].astype(np.float32)), unit(own[1].astype(np.float32))


def rise(texts: tuple[Vectors, Vectors], keys: Keys, replicates: int, seed: int) -> Estimate:
    """The mean cosine of the long window less that of the short one."""
    short, long = (_moments(vectors, keys, replicates, seed) for vectors in texts)
    return difference(mean_cosine(long), mean_cosine(short))


def _moments(vectors: Vectors, keys: Keys, replicates: int, seed: int) -> Moments:
    moments = Moments(vectors.shape[1], replicates, seed)
    moments.update(vectors, keys)
    return moments


def line(texts: tuple[Vectors, Vectors], replicates: int, seeds: int) -> tuple[str, ...]:
    """One row of the table."""
    keys, before = document_keys([str(i) for i in range(len(texts[0]))]), time.process_time()
    found = [rise(texts, keys, replicates, seed) for seed in range(seeds)]
    seconds = (time.process_time() - before) / seeds
    ends = np.array([(one.low, one.high) for one in found], dtype=float)
    moved, reach, half = ends.std(axis=0, ddof=1), np.ptp(ends, axis=0), np.diff(ends).mean() / 2
    size = replicates * texts[0].shape[1] * 8
    return (
        f"{replicates:,}", f"{found[0].value:.3f} ± {half:.4f}", f"{moved[0]:.4f}, {moved[1]:.4f}",
        f"{moved[0] / half:.1%}, {moved[1] / half:.1%}", f"{reach[0]:.3f}, {reach[1]:.3f}",
        f"{1000 * seconds:.0f} ms", f"{size / 1e6:.1f} MB",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--seeds", type=int, default=400, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the documents")
    asked = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|", flush=True)
    texts = windows(asked.documents, asked.dimensions, asked.seed)
    for replicates in SIZES:
        print(f"| {' | '.join(line(texts, replicates, asked.seeds))} |", flush=True)


if __name__ == "__main__":
    main()
