"""What `evaluate` costs next to mteb, on the same local data.

    python benchmarks/evaluation.py FOLDER [--rounds 3] [--documents N]

Each round encodes and scores the data three ways, one after another: sentence-transformers and mteb's own evaluation;
`evaluate` with an empty cache; `evaluate` again with what that left. Prints the median of the ratios of the rounds,
their range, and both tools' scores. `--documents` keeps only so many documents and the queries they answer.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import mteb

from uncollapse.encoders import load
from uncollapse.evaluation.mteb import as_mteb_task
from uncollapse.evaluation.reading.layouts import open_tasks
from uncollapse.evaluation.tasks import Retrieval, Texts
from uncollapse.evaluation.trial import evaluate


def cut(task: Retrieval, size: int) -> Retrieval:
    """The first documents, and the queries whose judged documents are all among them."""
    kept = set(task.documents.ids[:size])
    judged = {query: grades for query, grades in task.judgements.items() if set(grades) <= kept}
    chosen = [i for i, query in enumerate(task.queries.ids) if query in judged]
    queries = Texts(tuple(task.queries.ids[i] for i in chosen), tuple(task.queries.texts[i] for i in chosen))
    documents = Texts(task.documents.ids[:size], task.documents.texts[:size])
    return replace(task, documents=documents, queries=queries, judgements=judged)


def timed(work: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    score = work()
    return time.perf_counter() - start, score


def ours(task: Retrieval, cache: Path) -> float:
    result = evaluate(load("minilm"), [task], cache=cache)
    return result.select(measure=task.main, view="overall")[0].value


def theirs(task: Retrieval, output: Path) -> float:
    model = load("minilm").model  # the plain SentenceTransformer, in mteb's own wrapper
    found = mteb.evaluate(model, [as_mteb_task(task)], cache=mteb.ResultCache(output), show_progress_bar=False)
    return float(found.task_results[0].get_score())


def run_round(task: Retrieval) -> list[tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")
        steps = (
            lambda: theirs(task, Path(folder, "mteb")),
            lambda: ours(task, cache),
            lambda: ours(task, cache),
        )
        return [timed(step) for step in steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int)
    asked = parser.parse_args()
    (task,) = open_tasks(asked.folder)
    if not isinstance(task, Retrieval):
        raise SystemExit(f"{asked.folder} holds {task.kind}; give a retrieval folder")
    if asked.documents:
        task = cut(task, asked.documents)
    print(f"{task.name}: {len(task.documents)} documents, {len(task.queries)} queries, {asked.rounds} rounds")
    rounds = [run_round(task) for _ in range(asked.rounds)]
    for name, over, under in (("evaluate / mteb", 1, 0), ("second run / first run", 2, 1)):
        ratios = sorted(found[over][0] / found[under][0] for found in rounds)
        print(f"{name}: {statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]")
    seconds = [statistics.median(found[step][0] for found in rounds) for step in range(3)]
    print("median seconds: mteb {:.1f}, evaluate {:.1f}, again {:.1f}".format(*seconds))
    print(f"score: mteb {rounds[0][0][1]:.5f}, evaluate {rounds[0][1][1]:.5f}")


if __name__ == "__main__":
    main()
