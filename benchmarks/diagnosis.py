"""What a whole diagnosis costs next to encoding the corpus once, and where the time goes.

    python benchmarks/diagnosis.py CORPUS [--texts 2000] [--rounds 3]

Each round encodes the texts once with plain sentence-transformers, then diagnoses them with everything, both with the
model's position table as the limit. Prints the median of the ratios of the rounds, their range, and where the seconds
of the last round went.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from uncollapse.corpora import open_corpus
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import diagnose
from uncollapse.encoders import load_model
from uncollapse.progress import Advance


class Watch:
    """Seconds of every stage, by its heading."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def track(self, what: str, total: float | None, unit: str) -> Iterator[Advance]:  # noqa: ARG002
        start = time.perf_counter()
        yield lambda _: None
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start


def run_round(corpus: str, texts: int) -> tuple[float, float, Watch]:
    encoder, watch = load_model("minilm", max_tokens="table"), Watch()
    opened = open_corpus(corpus, limit=texts)
    plain = [text.text for text in opened]
    start = time.perf_counter()
    encoder.model.encode(plain, show_progress_bar=False)
    middle = time.perf_counter()
    diagnose(encoder, opened, settings=Settings(), progress=watch)
    return middle - start, time.perf_counter() - middle, watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds = [run_round(arguments.corpus, arguments.texts) for _ in range(arguments.rounds)]
    ratios = [whole / plain for plain, whole, _ in rounds]
    print(f"diagnosis / encoding once: {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")
    plain, whole, watch = rounds[-1]
    print(f"last round: encoding once {plain:.1f} s, diagnosis {whole:.1f} s, of it")
    for what, seconds in watch.seconds.items():
        print(f"  {what}: {seconds:.1f} s")
    print(f"  the rest (counting tokens between, statistics): {whole - sum(watch.seconds.values()):.1f} s")


if __name__ == "__main__":
    main()
