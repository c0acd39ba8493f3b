"""What a temperature by each text's length costs: ratios to plain encoding, interleaved, median and interval.

    python benchmarks/temperature_law.py [--texts 16] [--rounds 15]

One process, one thread, CPU time, on the bundled model and documentation strings of mixed length, so that batches are
padded. The actions of a round run one after the other in an order drawn anew, each ratio is to the stock encode of its
own round, and the interval is a bootstrap of the median over rounds. The second stock encode shows the noise. That the
fixes act is checked by how far they move the vectors.
"""

import argparse
import os
import random
import time
from collections.abc import Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from sentence_transformers import SentenceTransformer

from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.patching import patch
from uncollapse.corpora import Balanced, open_corpus
from uncollapse.encoders import find_source
from uncollapse.fixes import parse

FIXES = ("temperature(0.8)", "temperature(law=log, n0=64)", "temperature(law=infoscale, n0=64, above_only=True)")


def timed(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def rounds_of(actions: dict[str, Callable[[], object]], rounds: int, seed: int) -> dict[str, np.ndarray]:
    """CPU seconds of every action in every round."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    order, shuffle = list(actions), random.Random(seed)
    for action in actions.values():
        action()
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            times[name].append(timed(actions[name]))
    return {name: np.array(values) for name, values in times.items()}


def print_ratios(times: dict[str, np.ndarray], moved: dict[str, float], seed: int) -> None:
    base = times[next(iter(times))]
    print("| what | median CPU time | ratio to stock, median and 95 % interval | rounds | moves vectors by |")
    print("|---|---|---|---|---|")
    for name, values in times.items():
        draws = np.random.default_rng(seed).choice(values / base, (2000, len(base)))
        low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
        ratio = f"{np.median(values / base):.3f} [{low:.3f}, {high:.3f}]"
        print(f"| {name} | {np.median(values):.3f} s | {ratio} | {len(base)} | {moved.get(name, 0.0):.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    model = SentenceTransformer(str(find_source("minilm")), device="cpu")
    model.max_seq_length = 512
    texts = [text.text for text in Balanced(open_corpus("docstrings", limit=8000), options.texts)]

    def encode(fix: ModelFix | None = None) -> np.ndarray:
        if fix is None:
            return model.encode(texts, show_progress_bar=False)
        with patch(model, fix):
            return model.encode(texts, show_progress_bar=False)

    fixes = {text: parse(text) for text in FIXES}
    stock = encode()
    moved = {text: float(np.abs(encode(fix) - stock).max()) for text, fix in fixes.items()}
    actions: dict[str, Callable[[], object]] = {"stock encode": encode, "stock encode again (noise)": encode}
    actions |= {text: lambda fix=fix: encode(fix) for text, fix in fixes.items()}
    lengths = [len(ids) for ids in model.tokenizer(texts, truncation=True, max_length=512)["input_ids"]]
    print(f"{len(texts)} texts of {min(lengths)} to {max(lengths)} tokens, median {np.median(lengths):.0f}\n")
    print_ratios(rounds_of(actions, options.rounds, options.seed), moved, options.seed)


if __name__ == "__main__":
    main()
