"""What a fix and a diagnosis cost: ratios to plain sentence-transformers, interleaved, median and range.

    python benchmarks/overhead.py

Everything is measured in one process and one thread on the bundled model and documentation strings, in turns, as CPU
time, so that a machine that slows down slows all of them. A ratio below 1 is noise: the folded model does the same
arithmetic.
"""

import argparse
import os
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from sentence_transformers import SentenceTransformer

from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.checkpoints import fix
from uncollapse.corpora import Balanced, Text, open_corpus
from uncollapse.diagnosis.profiling import profile, survey
from uncollapse.diagnosis.settings import Settings
from uncollapse.encoders import Prepared, find_source, load
from uncollapse.tables import TextTable

TAU = Temperature(0.8)


def timed(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def compare(actions: dict[str, Callable[[], object]], rounds: int) -> None:
    """Run the actions in turns, in another order each round, and print each one's CPU time over the first's."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    order, shuffle = list(actions), random.Random(0)
    for action in actions.values():
        action()
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            times[name].append(timed(actions[name]))
    base = np.array(times[next(iter(actions))])
    for name, values in times.items():
        ratios = np.array(values) / base
        draws = np.random.default_rng(0).choice(ratios, (2000, rounds))
        low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
        print(f"| {name} | {np.median(values):.2f} s | {np.median(ratios):.3f} [{low:.3f}, {high:.3f}] | {rounds} |")


def encode_costs(texts: list[str], folder: Path, rounds: int) -> None:
    stock = SentenceTransformer(str(find_source("minilm")), device="cpu")
    patched = SentenceTransformer(str(find_source("minilm")), device="cpu")
    folded = SentenceTransformer(str(folder), device="cpu")
    for model in (stock, patched, folded):
        model.max_seq_length = 512

    def encode_patched() -> None:
        with patch(patched, TAU):
            patched.encode(texts, show_progress_bar=False)

    compare(
        {
            "stock encode": lambda: stock.encode(texts, show_progress_bar=False),
            "stock encode again (noise)": lambda: stock.encode(texts, show_progress_bar=False),
            "folded temperature(0.8)": lambda: folded.encode(texts, show_progress_bar=False),
            "patched temperature(0.8)": encode_patched,
        },
        rounds,
    )


def diagnosis_costs(texts: list[Text], rounds: int) -> None:
    encoder = load("minilm", max_tokens="table", device="cpu")
    plain = SentenceTransformer(str(find_source("minilm")), device="cpu")
    plain.max_seq_length = 512
    corpus = open_as_corpus(texts)

    def diagnose_as_is(stream: bool) -> None:
        settings = Settings(windows=0, stream=stream)
        with tempfile.TemporaryDirectory() as folder, TextTable(Path(folder) / "texts.parquet") as table:
            profile(encoder, corpus, settings, surveyed=survey(encoder, corpus, settings), sink=table)

    compare(
        {
            "plain encode": lambda: plain.encode([text.text for text in texts], show_progress_bar=False),
            "diagnosis, as-is view": lambda: diagnose_as_is(False),
            "diagnosis, as-is view, --stream": lambda: diagnose_as_is(True),
        },
        rounds,
    )


class open_as_corpus:  # noqa: N801 - stands for a function
    """Texts in memory as a corpus."""

    def __init__(self, texts: list[Text]) -> None:
        self.texts, self.name, self.description, self.notes = texts, "docstrings", "", ()
        self.skipped = open_corpus("docstrings", limit=1).skipped

    def __iter__(self):
        return iter(self.texts)


class Instant:
    """An encoder that costs nothing, so that what is left is the diagnosis itself."""

    def __init__(self, encoder: object) -> None:
        self._encoder = encoder

    def __getattr__(self, name: str) -> object:
        return getattr(self._encoder, name)

    def prepare(self, texts: list[str]):
        n = np.array([len(text) // 4 + 2 for text in texts])
        return Prepared(tuple(text[:2000] for text in texts), np.minimum(n, 512), n)

    def vectors(self, texts: list[str]):
        return np.random.default_rng(len(texts)).standard_normal((len(texts), 384)).astype(np.float32)


def memory(sizes: tuple[int, int]) -> None:
    """Peak of Python's own allocations while a corpus of generated texts goes by, without the model's forward pass."""
    encoder = Instant(load("minilm", max_tokens="table", device="cpu"))
    for stream in (False, True):
        peaks = []
        for size in sizes:
            settings = Settings(windows=0, stream=stream)
            corpus = Generated(size)
            tracemalloc.start()
            with tempfile.TemporaryDirectory() as folder, TextTable(Path(folder) / "texts.parquet") as table:
                profile(encoder, corpus, settings, surveyed=survey(encoder, corpus, settings), sink=table)
            peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
            tracemalloc.stop()
        vectors = [size * 384 * 4 / 1e6 for size in sizes]
        name = "--stream" if stream else "vectors kept"
        print(f"| {name} | {peaks[0]:.0f} MB | {peaks[1]:.0f} MB | {vectors[0]:.0f} / {vectors[1]:.0f} MB |")


class Generated(open_as_corpus):
    """Texts made while they are read."""

    def __init__(self, size: int) -> None:
        super().__init__([])
        self.size = size

    def __iter__(self):
        return (Text(f"id{i}", "some words " * (1 + i % 200), None, "made") for i in range(self.size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=70, help="documentation strings, balanced by length")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("encode", "diagnosis", "memory"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    texts = list(Balanced(open_corpus("docstrings", limit=8000), options.texts))
    if options.only != "memory":
        print(f"{len(texts)} texts balanced by length; encoding alone is timed on 24 of them\n")
        print("| what | median CPU time | ratio to the first, median and 95 % interval | rounds |\n|---|---|---|---|")
    if options.only in (None, "encode"):
        with tempfile.TemporaryDirectory() as folder:
            fix("minilm", TAU, Path(folder) / "model")
            few = [text.text for text in texts[:: max(1, len(texts) // 24)]]
            encode_costs(few, Path(folder) / "model", 2 * options.rounds)
    if options.only in (None, "diagnosis"):
        diagnosis_costs(texts, options.rounds)
    if options.only in (None, "memory"):
        print("\n| memory of the diagnosis | 20,000 texts | 100,000 texts | the vectors alone |\n|---|---|---|---|")
        memory((20_000, 100_000))


if __name__ == "__main__":
    main()
