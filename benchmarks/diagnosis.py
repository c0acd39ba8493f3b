"""What a whole diagnosis costs next to encoding the corpus once, and where the tokens and the seconds go.

    python benchmarks/diagnosis.py CORPUS [--texts 2000] [--rounds 3]
    python benchmarks/diagnosis.py CORPUS --count

Each round encodes the texts once with plain sentence-transformers, then diagnoses them with everything, both with the
model's position table as the limit. Prints the median of the ratios of the rounds and their range, by the clock and by
processor time (which other work on the machine changes less), and what every stage of the last round took: tokens that
went through the model, as a share of those of encoding once, and seconds. With `--count` nothing is encoded: vectors
are random numbers, tokens are counted all the same, and it takes seconds.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import numpy.typing as npt

from uncollapse.corpora import Corpus, open_corpus
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import diagnose
from uncollapse.encoders import SentenceEncoder, load_model
from uncollapse.progress import Advance

BETWEEN = "between the stages"
"""What is under no heading: statistics, and a short text that shows whether positions are looked up."""


@dataclass
class Stage:
    """What a stage took."""

    texts: int = 0
    tokens: int = 0
    seconds: float = 0.0
    processor: float = 0.0


@dataclass
class Watch:
    """What every stage took, by its heading."""

    stages: dict[str, Stage] = field(default_factory=lambda: {BETWEEN: Stage()})
    now: str = BETWEEN

    @contextmanager
    def track(self, what: str, total: float | None, unit: str) -> Iterator[Advance]:  # noqa: ARG002
        stage, before = self.stages.setdefault(what, Stage()), self.now
        clock, processor, self.now = time.perf_counter(), time.process_time(), what
        yield lambda _: None
        self.now = before
        stage.seconds += time.perf_counter() - clock
        stage.processor += time.process_time() - processor

    def count(self, n_tokens: npt.NDArray[np.int64]) -> None:
        stage = self.stages[self.now]
        stage.texts += len(n_tokens)
        stage.tokens += int(n_tokens.sum())


class Counted(SentenceEncoder):
    """A model that tells a watch what goes through it."""

    watch = Watch()
    pretends = False
    random = np.random.default_rng(0)

    def vectors(self, texts: Sequence[str], n_tokens: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:
        self.watch.count(np.minimum(self.count(texts), self.max_tokens))
        if self.pretends and len(texts) > 1:  # one short text alone shows whether positions are looked up
            return self.random.standard_normal((len(texts), self.dim)).astype(np.float32)
        return super().vectors(texts, n_tokens)


def load_counted(*, pretends: bool) -> Counted:
    """The bundled model."""
    made = load_model("minilm", max_tokens="table")
    counted = Counted(made.model, made.name, source=made.source, folder_max_tokens=made.folder_max_tokens)
    counted.watch, counted.pretends, counted.raised_to_study = Watch(), pretends, made.raised_to_study
    return counted


def encode_once(encoder: Counted, corpus: Corpus) -> Stage:
    """Plain sentence-transformers on all texts."""
    texts = [text.text for text in corpus]
    tokens = sum(int(np.minimum(encoder.count([text]), encoder.max_tokens)[0]) for text in texts)
    clock, processor = time.perf_counter(), time.process_time()
    if not encoder.pretends:
        encoder.model.encode(texts, show_progress_bar=False)
    return Stage(len(texts), tokens, time.perf_counter() - clock, time.process_time() - processor)


def run_round(corpus: Corpus, *, pretends: bool) -> tuple[Stage, Stage, Watch]:
    """Encoding once, the whole diagnosis, and its stages."""
    encoder = load_counted(pretends=pretends)
    plain, watch = encode_once(encoder, corpus), encoder.watch
    clock, processor = time.perf_counter(), time.process_time()
    diagnose(encoder, corpus, settings=Settings(), progress=watch)
    seconds, processor = time.perf_counter() - clock, time.process_time() - processor
    stages = watch.stages.values()
    watch.stages[BETWEEN].seconds = seconds - sum(stage.seconds for stage in stages)
    watch.stages[BETWEEN].processor = processor - sum(stage.processor for stage in stages)
    whole = Stage(sum(s.texts for s in stages), sum(s.tokens for s in stages), seconds, processor)
    return plain, whole, watch


def show_stages(plain: Stage, whole: Stage, watch: Watch) -> None:
    """A line for each stage."""
    print(f"{'stage':<28}{'texts':>8}{'tokens':>10}{'/ once':>8}{'seconds':>9}{'processor':>11}")
    named = {"encoding once": plain, **watch.stages, "the whole diagnosis": whole}
    for what, stage in named.items():
        share = f"{stage.tokens / plain.tokens:.3f}"
        times = f"{stage.seconds:>9.1f}{stage.processor:>11.1f}"
        print(f"{what:<28}{stage.texts:>8,}{stage.tokens:>10,}{share:>8}{times}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", action="store_true", help="count tokens and encode nothing")
    arguments = parser.parse_args()
    corpus = open_corpus(arguments.corpus, limit=arguments.texts)
    rounds = [run_round(corpus, pretends=arguments.count) for _ in range(1 if arguments.count else arguments.rounds)]
    plain, whole, _ = rounds[-1]
    print(f"tokens, diagnosis / encoding once: {whole.tokens / plain.tokens:.2f}")
    for name, taken in {"seconds": "seconds", "processor time": "processor"}.items():
        if not arguments.count:
            ratios = [getattr(whole, taken) / getattr(plain, taken) for plain, whole, _ in rounds]
            print(
                f"{name}, diagnosis / encoding once: {statistics.median(ratios):.2f} "
                f"[{min(ratios):.2f}, {max(ratios):.2f}]"
            )
    show_stages(*rounds[-1])


if __name__ == "__main__":
    main()
