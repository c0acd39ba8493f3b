"""What a folder of `export --format sentence-transformers` gives in sentence-transformers alone, and what it costs.

    python benchmarks/long_texts.py FOLDER[:SPLIT]... [--model minilm] [--seed 0] [--rounds 3]

Per collection: `fix --auto` is fitted to its documents and queries, without labels, and exported with code of its own.
Documents and queries are then encoded by `SentenceTransformer(..., trust_remote_code=True)` and by the ordinary folder
inside, which cuts texts off; nothing of this package encodes or ranks. nDCG@10 is ir_measures'. The difference is
paired, with a 95 % bootstrap over queries. Seconds: the folder's `encode_document` beside this package's way to encode
(that of `embed`), in turns on the same documents (at most 20), the median of the ratios.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import ir_measures
import numpy as np
from sentence_transformers import SentenceTransformer

from temperatures import tasks_of
from uncollapse import export_long_texts, fix, parse
from uncollapse.encoders import CachedEncoder, load_model
from uncollapse.evaluation.scoring import unlabelled
from uncollapse.evaluation.tasks import Retrieval
from uncollapse.fixes import compose
from uncollapse.pipelines.encoder import FixedEncoder, of_folder
from uncollapse.tuning.contenders import START

TIMED, DEPTH, DRAWS = 20, 1000, 10_000


def score(model: SentenceTransformer, task: Retrieval) -> dict[str, float]:
    """nDCG@10 of each judged query, ranked by cosine."""
    documents = model.encode_document(list(task.documents.texts), normalize_embeddings=True, show_progress_bar=True)
    queries = model.encode_query(list(task.queries.texts), normalize_embeddings=True)
    scores, run = queries @ documents.T, []
    for query, row in zip(task.queries.ids, scores, strict=True):
        best = np.argsort(-row, kind="stable")[:DEPTH]
        run += [ir_measures.ScoredDoc(query, task.documents.ids[place], float(row[place])) for place in best]
    judged = [
        ir_measures.Qrel(query, document, grade)
        for query, grades in task.judgements.items()
        for document, grade in grades.items()
    ]
    return {one.query_id: one.value for one in ir_measures.iter_calc([ir_measures.nDCG @ 10], judged, run)}


def gain(long: dict[str, float], cut: dict[str, float], seed: int) -> tuple[float, float, float]:
    """Mean difference in points, and its interval over queries."""
    differences = 100 * np.array([long[query] - cut[query] for query in long])
    drawn = np.random.default_rng(seed).integers(0, len(differences), (DRAWS, len(differences)))
    low, high = np.quantile(differences[drawn].mean(axis=1), [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def ratio(long: SentenceTransformer, fixed: Path, texts: list[str], rounds: int) -> list[float]:
    """Seconds of the folder's own code over seconds of this package."""
    model = load_model(str(fixed), device="cpu")
    found = []
    for _ in range(rounds):
        ours = FixedEncoder(CachedEncoder(model), of_folder(model))  # remembers nothing of the round before
        package = _seconds(lambda: ours.encode(texts))  # noqa: B023 - called at once
        found.append(_seconds(lambda: long.encode_document(texts, show_progress_bar=False)) / package)
    return found


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def line(task: Retrieval, model: str, place: Path, seed: int, rounds: int) -> str:
    fix(model, compose(parse(START)), place / "fixed", corpus=unlabelled(task))
    export_long_texts(str(place / "fixed"), place / "long")
    long = SentenceTransformer(str(place / "long"), device="cpu", trust_remote_code=True)
    scores, cut = score(long, task), score(SentenceTransformer(str(place / "long/model"), device="cpu"), task)
    mean, low, high = gain(scores, cut, seed)
    taken = ratio(long, place / "fixed", list(task.documents.texts)[:TIMED], rounds)
    return (
        f"| {task.name} | {len(scores)} | {np.mean(list(cut.values())):.4f} | {np.mean(list(scores.values())):.4f} "
        f"{mean:+.1f} [{low:+.1f}, {high:+.1f}] | {np.median(taken):.2f} [{min(taken):.2f}, {max(taken):.2f}] |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="FOLDER or FOLDER:SPLIT")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print("| set | n | cut off | to the end, in sentence-transformers | seconds, of embed's |\n|---|---|---|---|---|")
    for folder in asked.folders:
        for task in tasks_of(folder):
            if isinstance(task, Retrieval):
                with tempfile.TemporaryDirectory() as place:
                    print(line(task, asked.model, Path(place), asked.seed, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
