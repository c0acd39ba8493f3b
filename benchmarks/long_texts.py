"""What a folder of `export --format sentence-transformers` gives in sentence-transformers alone, and what it costs.

    python benchmarks/long_texts.py FOLDER[:SPLIT]... [--model minilm] [--seed 0] [--rounds 3]

Per collection: `fix --auto` is fitted to its documents and queries, without labels, and exported with code of its own.
Documents and queries are then encoded by `SentenceTransformer(..., trust_remote_code=True)`, by the ordinary folder
inside, which cuts texts off, and by this package. nDCG@10 of each is ir_measures', and beside it stands the largest
difference of any query between the folder and the package: the gain itself, with its interval, is measured by
baselines.py. Seconds: the folder's `encode_document` beside this package's way to encode (as `embed` does), in turns
on the same documents (at most 8), the median of the ratios.
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
import numpy.typing as npt
from sentence_transformers import SentenceTransformer

from temperatures import tasks_of
from uncollapse import encode, export_long_texts, fix, parse
from uncollapse.encoders import load_model
from uncollapse.evaluation.scoring import unlabelled
from uncollapse.evaluation.tasks import Retrieval
from uncollapse.fixes import compose
from uncollapse.tuning.contenders import START

TIMED, DEPTH = 8, 1000


Vectors = npt.NDArray[np.float32]


def score(task: Retrieval, documents: Vectors, queries: Vectors) -> dict[str, float]:
    """nDCG@10 of each judged query, ranked by the product of vectors of norm 1."""
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


def by_stock(task: Retrieval, folder: Path, *, trusted: bool) -> dict[str, float]:
    """Scores of a folder in sentence-transformers."""
    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=trusted)
    documents = model.encode_document(list(task.documents.texts), normalize_embeddings=True)
    return score(task, documents, model.encode_query(list(task.queries.texts), normalize_embeddings=True))


def by_package(task: Retrieval, folder: Path) -> dict[str, float]:
    """Scores of the same by this package."""
    model = load_model(str(folder), device="cpu")
    documents = encode(model, task.documents.texts).vectors
    return score(task, documents, encode(model, task.queries.texts, role="query").vectors)


def ratio(folder: SentenceTransformer, fixed: Path, texts: list[str], rounds: int) -> list[float]:
    """Seconds of the folder's own code over seconds of this package, which remembers nothing between rounds."""
    model = load_model(str(fixed), device="cpu")
    found = []
    for _ in range(rounds):
        package = _seconds(lambda: encode(model, texts))
        found.append(_seconds(lambda: folder.encode_document(texts)) / package)
    return found


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def line(task: Retrieval, model: str, place: Path, seed: int, rounds: int) -> str:
    """One row of the table."""
    fix(model, compose(parse(START)), place / "fixed", corpus=unlabelled(task), seed=seed)
    export_long_texts(str(place / "fixed"), place / "long")
    long, cut = (by_stock(task, place / "long" / inner, trusted=not inner) for inner in ("", "model"))
    ours = by_package(task, place / "fixed")
    means = " | ".join(f"{np.mean(list(one.values())):.4f}" for one in (cut, long, ours))
    apart = max(abs(long[query] - ours[query]) for query in ours)
    folder = SentenceTransformer(str(place / "long"), device="cpu", trust_remote_code=True)
    taken = ratio(folder, place / "fixed", list(task.documents.texts)[:TIMED], rounds)
    times = f"{np.median(taken):.2f} [{min(taken):.2f}, {max(taken):.2f}]"
    return f"| {task.name} | {len(ours)} | {means} | {apart:.1g} | {times} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="FOLDER or FOLDER:SPLIT")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    columns = ("set", "n", "cut off", "folder", "this package", "largest difference", "seconds, of the package's")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for folder in asked.folders:
        for task in tasks_of(folder):
            if isinstance(task, Retrieval):
                with tempfile.TemporaryDirectory() as place:
                    print(line(task, asked.model, Path(place), asked.seed, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
