"""What a temperature does to scores, set by set and length by length.

    python benchmarks/temperatures.py FOLDER... [--tau 1.1 0.95 0.9 0.85 0.8 0.7] [--max-tokens model] [--out FOLDER]
        [--documents N] [--queries N] [--texts N]

For every task found in the folders: the score of the stock model, and in points what each temperature adds to it, with
95 % intervals over independent groups of items. A star: p < 0.05 after Holm's correction within the set; bold: also
over all sets of the table. The second table does the same by document length. Vectors are kept in the cache, so that
a stopped run goes on.

Large sets can be sampled: random judged queries with all that was judged for them, filled up with random other
documents; random texts to learn from and to try on. Scores of a sample of documents are higher than those of all,
since there is less to search among; what a temperature adds is still paired. The table calls it "a part of" the set.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

from uncollapse.attention.temperature import Temperature
from uncollapse.encoders import load
from uncollapse.encoders.cache import default_folder
from uncollapse.evaluation.reading.layouts import open_tasks
from uncollapse.evaluation.statistics.significance import holm
from uncollapse.evaluation.tasks import Classification, Clustering, Retrieval, Task, Texts
from uncollapse.evaluation.trial import evaluate, label
from uncollapse.progress import Bars
from uncollapse.records import Result, Row


@dataclass(frozen=True)
class Sizes:
    """What is drawn of a task at most; 0 for all."""

    documents: int = 0
    queries: int = 0
    texts: int = 0


def measure(
    folders: Sequence[str], fixes: Sequence[Temperature], limit: str, out: Path | None, sizes: Sizes
) -> Iterator[Result]:
    encoder = load("minilm", max_tokens=int(limit) if limit.isdigit() else limit)
    for folder in folders:
        for whole in tasks_of(folder):
            task = sampled(whole, sizes)
            result = evaluate(encoder, [task], fixes, cache=default_folder(), progress=Bars())
            if out:
                out.mkdir(parents=True, exist_ok=True)
                (out / f"{label(task).replace('/', '-')}.json").write_text(result.to_json(), encoding="utf-8")
            yield result


def tasks_of(folder: str) -> tuple[Task, ...]:
    path, _, split = folder.partition(":")
    return open_tasks(path, split=[split] if split else None)


def sampled(task: Task, sizes: Sizes) -> Task:
    """A part of a task, drawn with seed 0; other kinds than searches, classification and clustering stay whole."""
    draws, name = np.random.default_rng(0), f"a part of {task.name}"
    if isinstance(task, Retrieval) and 0 < sizes.documents < len(task.documents):
        return _search(task, sizes, draws, name)
    if isinstance(task, Classification) and 0 < sizes.texts < len(task.texts):
        learn, tried = (drawn(len(part), sizes.texts, draws) for part in (task.train_texts, task.texts))
        return replace(
            task,
            name=name,
            train_texts=of(task.train_texts, learn),
            train_labels=of(task.train_labels, learn),
            texts=of(task.texts, tried),
            labels=of(task.labels, tried),
        )
    if isinstance(task, Clustering) and 0 < sizes.texts < len(task.texts):
        kept = drawn(len(task.texts), sizes.texts, draws)
        return replace(task, name=name, texts=of(task.texts, kept), labels=of(task.labels, kept))
    return task


def _search(task: Retrieval, sizes: Sizes, draws: np.random.Generator, name: str) -> Retrieval:
    asked = drawn(len(task.queries), sizes.queries or len(task.queries), draws)
    queries = Texts(of(task.queries.ids, asked), of(task.queries.texts, asked))
    judged = {document for query in queries.ids for document in task.judgements[query]}
    others = [row for row, document in enumerate(task.documents.ids) if document not in judged]
    filled = drawn(len(others), max(sizes.documents - len(judged), 0), draws)
    kept = sorted({row for row, one in enumerate(task.documents.ids) if one in judged} | {others[i] for i in filled})
    documents = Texts(of(task.documents.ids, kept), of(task.documents.texts, kept))
    judgements = {query: task.judgements[query] for query in queries.ids}
    return replace(task, name=name, documents=documents, queries=queries, judgements=judgements)


def drawn(n: int, most: int, draws: np.random.Generator) -> list[int]:
    return sorted(draws.permutation(n)[:most].tolist())


def of(values: Sequence[str], places: Sequence[int]) -> tuple[str, ...]:
    return tuple(values[place] for place in places)


def gains(results: Sequence[Result], view: str) -> list[Row]:
    return [row for result in results for row in result.select(measure=f"{main_of(result)}_gain", view=view)]


def main_of(result: Result) -> str:
    return str(result.about["tasks"][0]["main"])


def spell(row: Row, corrected: float | None) -> str:
    value = f"{100 * row.value:+z.1f}"
    if row.low is None or row.high is None:
        return f"{value} (too few)"
    bold = "**" if corrected is not None and corrected < 0.05 else ""
    star = "*" if row.p_holm is not None and row.p_holm < 0.05 else ""
    return f"{bold}{value}{bold}{star} [{100 * row.low:+z.1f}, {100 * row.high:+z.1f}]"


def print_table(results: Sequence[Result], fixes: Sequence[str], view: str) -> None:
    rows = gains(results, view)
    tested = [row for row in rows if row.p is not None]
    adjusted = dict(zip(map(id, tested), holm([row.p for row in tested if row.p is not None]).tolist(), strict=True))
    sure = sum(p < 0.05 for p in adjusted.values())
    own = sum(row.p_holm is not None and row.p_holm < 0.05 for row in tested)
    print(f"\n{view}: {len(tested)} of {len(rows)} comparisons tested; {own} survive correction within their set (*),")
    print(f"{sure} over all sets (bold)\n")
    print(f"| set | score | bin | n | stock | {' | '.join(fixes)} |")
    print(f"|---|---|---|---|---|{'---|' * len(fixes)}")
    for result in results:
        main = main_of(result)
        for stock in result.select(measure=main, view=view, fix="none"):
            cells = [
                spell(row, adjusted.get(id(row)))
                for fix in fixes
                for row in rows
                if (row.dataset, row.bin, row.fix) == (stock.dataset, stock.bin, fix)
            ]
            interval = "" if stock.low is None or stock.high is None else f" [{stock.low:.3f}, {stock.high:.3f}]"
            print(
                f"| {stock.dataset} | {main} | {stock.bin} | {stock.n} | {stock.value:.3f}{interval} | "
                f"{' | '.join(cells)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="FOLDER or FOLDER:SPLIT")
    parser.add_argument("--tau", type=float, nargs="+", default=[1.1, 0.95, 0.9, 0.85, 0.8, 0.7])
    parser.add_argument("--max-tokens", default="model")
    parser.add_argument("--documents", type=int, default=0, help="of a search at most; those judged are kept")
    parser.add_argument("--queries", type=int, default=0, help="of a sampled search at most")
    parser.add_argument("--texts", type=int, default=0, help="to learn from, and to try on, at most")
    parser.add_argument("--out", type=Path, help="folder for the results as JSON")
    asked = parser.parse_args()
    fixes = [Temperature(tau) for tau in asked.tau]
    sizes = Sizes(asked.documents, asked.queries, asked.texts)
    results = list(measure(asked.folders, fixes, asked.max_tokens, asked.out, sizes))
    for view in ("overall", "by_document_length"):
        print_table(results, [str(fix) for fix in fixes], view)


if __name__ == "__main__":
    main()
