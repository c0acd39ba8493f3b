"""What each runtime costs and loses: CPU time and vectors against plain sentence-transformers, in turns.

    python benchmarks/export.py CORPUS [--search BEIR_FOLDER] [--beside OTHER.xml]

Writes the model as ONNX, ONNX int8 and OpenVINO, then encodes a sample of the corpus with each, in another order every
round, all with the same number of threads. Ratios are of medians over rounds; above 1 is faster than
sentence-transformers' own encode. With one thread CPU time is counted, which a busy machine does not stretch as much;
with more, time on the clock, since runtimes wait by spinning. "OpenVINO int8" is the 8-bit ONNX graph, read by
OpenVINO. `--search` says what 8 bits cost in nDCG@10, with a bootstrap over queries. `--beside` lets a file run along
that `export_static_quantized_openvino_model` of sentence-transformers wrote of the same model: states of tokens, here
averaged and normalised as its Pooling and Normalize would.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

from uncollapse import export, load, open_corpus
from uncollapse.encoders import TextEncoder, load_model
from uncollapse.encoders.exported import ExportedEncoder
from uncollapse.encoders.runtimes import Graph
from uncollapse.encoders.runtimes.openvino_graphs import open_openvino
from uncollapse.evaluation.rankings.retrieval import rank_documents, ranking_sheets
from uncollapse.evaluation.reading import open_tasks
from uncollapse.measures import unit


def write_exports(model: str, root: Path) -> None:
    for to in ("onnx", "onnx-int8", "openvino"):
        if not (root / to).exists():
            export(model, root / to, to=to)
        parity = json.loads((root / to / "parity.json").read_text())
        error = max(row["largest_error"] for row in parity["rows"])
        print(f"{to}: {parity['size_bytes'] / 1e6:.1f} MB, largest error {error:.2g} on the probes")


def encoders(root: Path, max_tokens: int, beside: Path | None = None) -> dict[str, ExportedEncoder]:
    made = {
        name: ExportedEncoder(root / folder, name, max_tokens=max_tokens)
        for name, folder in (
            ("ONNX", "onnx"),
            ("ONNX int8", "onnx-int8"),
            ("OpenVINO", "openvino"),
            ("OpenVINO int8", "onnx-int8"),
        )
    }
    made["OpenVINO int8"]._graphs[""] = open_openvino(root / "onnx-int8/model.onnx", torch.get_num_threads())
    if beside:
        other = made["sentence-transformers' OpenVINO int8"] = ExportedEncoder(
            root / "onnx-int8", max_tokens=max_tokens
        )
        other._graphs[""] = Pooled(open_openvino(beside, torch.get_num_threads()))
    return made


class Pooled:
    """A graph that gives states of tokens, as one that gives the unit vector of their mean."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.inputs = graph, graph.inputs

    def __call__(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        mask = features["attention_mask"][:, :, None].astype(np.float32)
        return unit((self.graph(features) * mask).sum(axis=1) / mask.sum(axis=1))


def race(actions: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each action in each round."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in actions}
    order, shuffle = list(actions), random.Random(0)
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            start = clock()
            actions[name]()
            taken[name].append(clock() - start)
    return taken


def compare_speed(model: str, root: Path, texts: list[str], max_tokens: int, rounds: int, beside: Path | None) -> None:
    source = load_model(model, max_tokens=max_tokens, device="cpu")
    actions: dict[str, Callable[[], np.ndarray]] = {
        "sentence-transformers' encode": lambda: source.model.encode(texts, show_progress_bar=False),
        "uncollapse, torch": lambda: source.vectors(texts),
    }
    for name, encoder in encoders(root, max_tokens, beside).items():
        actions[name] = lambda encoder=encoder: encoder.vectors(texts)
    vectors = {name: action() for name, action in actions.items()}  # warms up, too
    wanted = next(iter(vectors.values()))
    spread = np.sqrt(np.square(wanted - wanted.mean(axis=0)).sum(axis=1).mean())
    taken = race(actions, rounds)
    base = np.array(next(iter(taken.values())))
    print("\n| what | median seconds | ratio of medians | ratios of the rounds | smallest cosine | mean error |")
    print("|---|---|---|---|---|---|")
    for name, seconds in taken.items():
        cosine = (unit(vectors[name]) * unit(wanted)).sum(axis=1).min()
        error = np.linalg.norm(vectors[name] - wanted, axis=1).mean() / spread
        ratios = base / np.array(seconds)
        ratio = np.median(base) / np.median(seconds)
        print(
            f"| {name} | {np.median(seconds):.2f} | {ratio:.2f} | {ratios.min():.2f} to {ratios.max():.2f} | "
            f"{cosine:.5f} | {error:.2g} |"
        )


def ndcg(task, encoder: TextEncoder) -> np.ndarray:
    """nDCG@10 of every query."""
    documents = encoder.encode(task.documents.texts)
    queries = encoder.as_role("query").encode(task.queries.texts)
    ranking = rank_documents(
        task,
        unit(queries.vectors),
        unit(documents.vectors),
        query_lengths=queries.n_tokens_full,
        document_lengths=documents.n_tokens_full,
    )
    return np.asarray(ranking_sheets(ranking)[0].columns["ndcg@10"])


def compare_search(model: str, root: Path, folder: str, max_tokens: int, beside: Path | None) -> None:
    (task,) = open_tasks(folder)
    stock = ndcg(task, load_model(model, max_tokens=max_tokens, device="cpu"))
    small = {name: one for name, one in encoders(root, max_tokens, beside).items() if "int8" in name}
    small.pop("OpenVINO int8")  # the graph of "ONNX int8"
    print(f"\n{task.name}: nDCG@10 {stock.mean():.4f} in torch, {len(task.documents.ids):,} documents")
    for name, encoder in small.items():
        gains = ndcg(task, encoder) - stock
        drawn = np.random.default_rng(0).choice(gains, (10_000, len(gains))).mean(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        print(f"{name}: difference {gains.mean():+.4f} [{low:+.4f}, {high:+.4f}], n = {len(gains)} queries")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--texts", type=int, default=150, help="a random sample of the corpus")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--exports", type=Path, help="folder of the exports of this model; those missing are made")
    parser.add_argument("--search", help="a BEIR folder, for what 8 bits cost in search")
    parser.add_argument("--beside", type=Path, help="an OpenVINO file (.xml) that sentence-transformers wrote")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.disable_progress_bar()
    everything = [text.text for text in open_corpus(options.corpus)]
    texts = random.Random(0).sample(everything, min(options.texts, len(everything)))
    counts = load(options.model, max_tokens=options.max_tokens, device="cpu").prepare(texts).n_tokens
    print(
        f"{len(texts)} texts of {counts.min()} to {counts.max()} tokens, median {np.median(counts):.0f}, "
        f"{options.threads} threads, {options.rounds} rounds\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = options.exports or Path(folder)
        write_exports(options.model, root)
        compare_speed(options.model, root, texts, options.max_tokens, options.rounds, options.beside)
        if options.search:
            compare_search(options.model, root, options.search, options.max_tokens, options.beside)


if __name__ == "__main__":
    main()
