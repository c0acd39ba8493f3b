"""What it costs to stop `embed` half-way and go on, and how its memory grows with the corpus.

    python benchmarks/embedding.py CORPUS [--texts 600] [--rounds 3] [--most 4096] [--times 10]

Going on: the first half of the texts is embedded, then all of them into the same folder, against all at once into a
new one; processor time in turns, model loaded before. The goal is 2 %. Memory: the largest resident size of a process
that embeds so many short texts (8 tokens of each are read), and ten times as many. Goal: flat.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from uncollapse.corpora import open_corpus
from uncollapse.embedding import Layout, embed
from uncollapse.encoders import SentenceEncoder, load

SHARD_TEXTS = 64


def write(path: Path, texts: Sequence[str]) -> Path:
    lines = (json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def seconds(encoder: SentenceEncoder, corpus: Path, folder: Path) -> float:
    start = time.process_time()
    embed(encoder, open_corpus(str(corpus)), folder, layout=Layout("parquet", SHARD_TEXTS))
    return time.process_time() - start


def go_on(texts: Sequence[str], rounds: int, root: Path) -> None:
    encoder = load("minilm")
    half = len(texts) // 2 // SHARD_TEXTS * SHARD_TEXTS
    whole, first = write(root / "whole.jsonl", texts), write(root / "first.jsonl", texts[:half])
    at_once, in_two = [], []
    for number in range(rounds):
        at_once.append(seconds(encoder, whole, root / f"at-once-{number}"))
        growing = root / f"growing-{number}.jsonl"
        growing.write_bytes(first.read_bytes())
        taken = seconds(encoder, growing, root / f"in-two-{number}")
        growing.write_bytes(whole.read_bytes())
        in_two.append(taken + seconds(encoder, growing, root / f"in-two-{number}"))
    ratios = [two / one for one, two in zip(at_once, in_two, strict=True)]
    print(f"{len(texts)} texts, at once {median(at_once):.1f} s, in two runs {median(in_two):.1f} s")
    print(f"ratio {median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}], {rounds} rounds")


def resident(corpus: Path, folder: Path) -> float:
    """MB of a process that embeds a corpus, at most."""
    code = "from uncollapse.cli import main; main()"
    command = [sys.executable, "-c", code, "embed", str(corpus), "-o", str(folder), "--max-tokens", "8", "-q"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"embed failed with status {status}")
    return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=4096, help="short texts of the smaller corpus")
    parser.add_argument("--times", type=int, default=10, help="how many times more the larger one has")
    asked = parser.parse_args()
    texts = [text.text for text in open_corpus(asked.corpus, limit=asked.texts)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        go_on(texts, asked.rounds, root)
        for times in (1, asked.times):
            n = asked.most * times
            short = write(root / f"short-{times}.jsonl", [f"text number {number} of many" for number in range(n)])
            print(f"{n:,} texts: {resident(short, root / f'short-{times}'):.0f} MB")


if __name__ == "__main__":
    main()
