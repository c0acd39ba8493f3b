"""What looking inside costs next to a plain forward pass, length by length, and how the cost grows with length.

    python benchmarks/probe.py CORPUS [--texts 8] [--rounds 5] [--lengths 128 256 512] [--threads 1]

Each round runs the same texts, cut to n tokens, plainly with SDPA and then observed with everything (filter rates,
entropy, shares, energies of all stages, frequencies), and takes the ratio of the processor times. Prints the median
and the range of the rounds, and the exponent of the cost in n, observed and plain.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Sequence

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from uncollapse.corpora import open_corpus
from uncollapse.encoders import SentenceEncoder, load
from uncollapse.encoders.batches import TOKENS_ON_CPU
from uncollapse.explanation.reading import choose
from uncollapse.explanation.recording import Looker, looking
from uncollapse.explanation.settings import Settings
from uncollapse.records import chunks


def run_plainly(encoder: SentenceEncoder, texts: Sequence[str], n: int) -> float:
    """Processor seconds a text."""
    start = time.process_time()
    with encoder.window(n):
        for few in chunks(texts, max(1, TOKENS_ON_CPU // n)):
            encoder.run_once(few)
    return (time.process_time() - start) / len(texts)


def run_observed(looker: Looker, texts: Sequence[str], n: int) -> float:
    """The same with everything looked at."""
    start = time.process_time()
    looker.record(texts, n)
    return (time.process_time() - start) / len(texts)


def run_round(encoder: SentenceEncoder, texts: Sequence[str], n: int) -> tuple[float, float]:
    """Processor seconds a text, plainly and observed."""
    plain = run_plainly(encoder, texts, n)
    with looking(encoder, Settings()) as looker:
        return plain, run_observed(looker, texts, n)


def exponent(lengths: Sequence[int], seconds: Sequence[float]) -> float:
    """The power of n by which the cost grows, least squares on logs."""
    return float(np.polyfit(np.log(lengths), np.log(seconds), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    encoder = load("minilm", max_tokens="table")
    assert isinstance(encoder, SentenceEncoder)
    texts = [document.text for document in choose(encoder, open_corpus(asked.corpus), Settings()).documents]
    texts = texts[: asked.texts]
    for n in asked.lengths:
        run_round(encoder, texts[:2], n)  # warm
    print(f"{asked.threads} threads, {len(texts)} texts, {asked.rounds} rounds\n")
    print("| n | plain, ms a text | observed, ms a text | ratio |\n|---|---|---|---|")
    medians: dict[str, list[float]] = {"plain": [], "observed": []}
    for n in asked.lengths:
        pairs = [run_round(encoder, texts, n) for _ in range(asked.rounds)]
        ratios = [observed / plain for plain, observed in pairs]
        plain, observed = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        medians["plain"].append(plain)
        medians["observed"].append(observed)
        shown = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        print(f"| {n} | {1000 * plain:.1f} | {1000 * observed:.1f} | {shown} |", flush=True)
    if len(asked.lengths) > 1:
        grown = {side: exponent(asked.lengths, seconds) for side, seconds in medians.items()}
        print(f"\ncost grows as n^{grown['plain']:.2f} plainly, n^{grown['observed']:.2f} observed", flush=True)
    assert all(math.isfinite(value) for values in medians.values() for value in values)


if __name__ == "__main__":
    main()
