"""What `fix --auto` gains beside what people would do anyway: word matching, and both together.

    python benchmarks/baselines.py FOLDER[:SPLIT]... [--model minilm] [--seed 0]      # needs uncollapse[bm25]

Per collection nDCG@10, and its paired gain over the model as it is, of

- shipped: the pipeline of `fix --auto`, whole, as `evaluate` and `embed` of this package apply it;
- stock: the same folder as stock sentence-transformers reads it, by `encode_document` and `encode_query`: the same
  maps of vectors, but documents are cut off where the model stops reading;
- BM25: no model (k1 = 1.5, b = 0.75, English stop words, Snowball stems);
- BM25 + none, BM25 + shipped: both rankings fused by their ranks, the sum of 1 / (60 + rank) over the first 100.

A star: p < 0.05 after Holm's correction for the settings of the set. Vectors are kept in the cache.
"""

import argparse
import os
from collections.abc import Iterator, Mapping

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from temperatures import spell, tasks_of
from uncollapse.encoders import CachedEncoder, load
from uncollapse.encoders.cache import default_folder
from uncollapse.evaluation.comparison import Plan, compare
from uncollapse.evaluation.rankings.retrieval import as_run, ranking_sheets, read_ranking
from uncollapse.evaluation.reading.trec import Run
from uncollapse.evaluation.scoring import Scored, counted_like, score_task, score_words, unlabelled
from uncollapse.evaluation.tasks import Retrieval
from uncollapse.fixes import Composition, compose, parse
from uncollapse.pipelines.encoder import FixedEncoder
from uncollapse.pipelines.fitting import fit_pipeline
from uncollapse.tuning.contenders import START

DEPTH, CONSTANT = 100, 60
SETTINGS = ("shipped", "stock", "BM25", "BM25 + none", "BM25 + shipped")


def fuse(*runs: Run) -> Run:
    """Reciprocal rank fusion."""
    scores: dict[str, dict[str, float]] = {}
    for run in runs:
        for query, ranking in run.rankings.items():
            found = scores.setdefault(query, {})
            for rank, document in enumerate(ranking.documents[:DEPTH], start=1):
                found[document] = found.get(document, 0) + 1 / (CONSTANT + rank)
    return Run.from_scores("fused", scores)


def score_model(task: Retrieval, base: CachedEncoder, seed: int) -> dict[str, Scored]:
    """The model as it is, with the whole pipeline, and with the part of it that stock software applies."""
    whole = compose(parse(START))
    shipped = fit_pipeline(base, whole, unlabelled(task), seed=seed)
    stock = FixedEncoder(base, Composition(whole.vectors), shipped.fitted)
    plain = FixedEncoder(base, Composition(()))
    settings = {"none": plain, "shipped": shipped, "stock": stock}
    return {name: score_task(task, one, seed=seed) for name, one in settings.items()}


def score_run(task: Retrieval, run: Run, like: Scored) -> Scored:
    """A ranking, with the lengths that the model counts."""
    assert like.ranking is not None
    lengths = dict(zip(task.documents.ids, like.ranking.ranked.lengths.tolist(), strict=True))
    ranking = read_ranking(run, task.judgements, lengths)
    return counted_like(Scored(ranking_sheets(ranking), ranking, {}, ()), like)


def score_all(task: Retrieval, base: CachedEncoder, seed: int) -> Mapping[str, Scored]:
    """Every setting, the model as it is first."""
    scored = score_model(task, base, seed)
    scored["BM25"] = counted_like(score_words(task, "english", seed=seed), scored["none"])
    runs = {name: as_run(one.ranking, name) for name, one in scored.items() if one.ranking}
    fused = {f"BM25 + {name}": fuse(runs["BM25"], runs[name]) for name in ("none", "shipped")}
    return scored | {name: score_run(task, run, scored["none"]) for name, run in fused.items()}


def line(task: Retrieval, base: CachedEncoder, seed: int) -> str:
    """One row of the table."""
    rows = compare(task.name, task.main, score_all(task, base, seed), Plan(seed=seed)).rows
    overall = [row for row in rows if row.view == "overall"]
    (plain,) = (row for row in overall if (row.measure, row.fix) == (task.main, "none"))
    values = {row.fix: row.value for row in overall if row.measure == task.main}
    gains = {row.fix: spell(row, None) for row in overall if row.measure == f"{task.main}_gain"}
    cells = " | ".join(f"{values[name]:.3f} {gains[name]}" for name in SETTINGS)
    return f"| {task.name}/{task.split} | {plain.n} | {plain.value:.3f} | {cells} |"


def searches(folders: list[str]) -> Iterator[Retrieval]:
    for folder in folders:
        yield from (task for task in tasks_of(folder) if isinstance(task, Retrieval))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="FOLDER or FOLDER:SPLIT")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    base = CachedEncoder(load(asked.model), (), folder=default_folder())
    print(f"| set | n | none | {' | '.join(SETTINGS)} |\n|---|---|---|{'---|' * len(SETTINGS)}", flush=True)
    for task in searches(asked.folders):
        print(line(task, base, asked.seed), flush=True)


if __name__ == "__main__":
    main()
