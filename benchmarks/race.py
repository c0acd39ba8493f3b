"""What a race costs, in encodings of the same corpus.

    python benchmarks/race.py FOLDER[:SPLIT] [--documents 2000] [--queries 200] [--max-tokens 128]

Processor time, without any cache: first the documents and queries are encoded once as they are, then everything that
`compare` races is raced on them, with its own rules. Before and after, the plain encoding is timed; the ratio is to
their mean. The goal is 6 for 20 settings on 2,000 documents.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from temperatures import Sizes, sampled, tasks_of
from uncollapse.encoders import SentenceEncoder, load
from uncollapse.evaluation.tasks import Retrieval
from uncollapse.progress import Bars
from uncollapse.tuning.contenders import CONTENDERS
from uncollapse.tuning.race import compare


def seconds(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


def encode(encoder: SentenceEncoder, task: Retrieval) -> None:
    encoder.encode(list(task.documents.texts))
    encoder.encode(list(task.queries.texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="FOLDER or FOLDER:SPLIT")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=128)
    asked = parser.parse_args()
    task = sampled(tasks_of(asked.folder)[0], Sizes(asked.documents, asked.queries))
    assert isinstance(task, Retrieval)
    encoder = load("minilm", max_tokens=asked.max_tokens)
    plain = [seconds(lambda: encode(encoder, task))]
    found = []
    race = seconds(lambda: found.append(compare(encoder, [task], progress=Bars())))
    plain.append(seconds(lambda: encode(encoder, task)))
    entry = found[0].about["races"][0]
    raced = sum(len(family["grid"]) for family in entry["families"])
    asked_for = sum(len(row.grid) for row in CONTENDERS)
    texts = f"{len(task.documents)} documents, {len(task.queries)} queries"
    print(f"{texts} of {task.name}, {asked.max_tokens} tokens at most")
    print(f"plain encoding: {plain[0]:.1f} s before, {plain[1]:.1f} s after")
    print(f"race of {raced} settings of {asked_for} in {len(entry['families'])} families: {race:.1f} s")
    print(f"ratio: {race / (sum(plain) / 2):.2f}")
    print("left out:", "; ".join(f"{name}: {why}" for name, why in entry["left_out"].items()) or "nothing")


if __name__ == "__main__":
    main()
