"""How often 95 % intervals and 5 % tests of `uncollapse evaluate` keep their word, on planted data.

python benchmarks/coverage.py [linked|slope|small|sparse ...] [--trials 1000] [--qrels FILE.tsv ...]
"""

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from uncollapse.evaluation.bias.slope import draw_both, slope_texts
from uncollapse.evaluation.rankings.ranked import Background, Judged, Ranked, draw_background
from uncollapse.evaluation.statistics.intervals import estimate, interval
from uncollapse.evaluation.statistics.linked import alikeness, overlaps, widened
from uncollapse.evaluation.statistics.significance import randomisation_test
from uncollapse.evaluation.statistics.weighted import weighted_mean
from uncollapse.resampling import Estimate

Floats = npt.NDArray[np.float64]
Line = tuple[str, ...]
REPLICATES = 400


def holds(found: Estimate, truth: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


def share(flags: list[bool]) -> str:
    return f"{np.mean(flags):.3f}"


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def links_of(path: Path) -> list[list[str]]:
    """The relevant documents of every query."""
    links: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for query, document, grade in list(csv.reader(file, delimiter="\t"))[1:]:
            if float(grade) > 0:
                links.setdefault(query, []).append(document)
    return list(links.values())


def few_documents(queries: int, documents: int) -> list[list[str]]:
    """Four documents a query, out of few."""
    rng = np.random.default_rng(0)
    return [[str(d) for d in rng.choice(documents, 4, replace=False)] for _ in range(queries)]


def linked(trials: int, qrels: list[Path]) -> Iterator[Line]:
    """Means of items a part of whose value is that of the documents they share."""
    yield "queries share documents", "n", "rho", "taken as independent", "widened", "times as wide"
    sets = {path.parent.parent.name: links_of(path) for path in qrels} | {
        "4 of 60 documents each": few_documents(120, 60)
    }
    for name, links in sets.items():
        rows, n = overlaps(links), len(links)
        for rho in (0.0, 0.1, 0.3, 0.6):
            rng = np.random.default_rng(1)
            plain, wide, factors = [], [], []
            for _ in range(trials):
                of_documents = rows @ rng.normal(size=rows.shape[1])
                values = np.sqrt(rho) * of_documents + np.sqrt(1 - rho) * rng.normal(size=n)
                found = estimate(weighted_mean, [values], groups=names(n), replicates=REPLICATES)
                factors.append(alikeness(values, rows).wider)
                plain.append(holds(found, 0))
                wide.append(holds(widened(found, factors[-1], what="queries", bounds=(-np.inf, np.inf)), 0))
            yield name, str(n), f"{rho:g}", share(plain), share(wide), f"{np.mean(factors):.2f}"


def _ranked(rng: np.random.Generator, queries: int, documents: int, effect: float) -> Ranked:
    """Scores of all documents, in which length plays no part, but documents have a level of their own."""
    lengths = np.exp(rng.normal(5, 1, documents)).astype(np.int64) + 1
    drawn = draw_background(queries, documents, size=200)
    scores = (
        rng.normal(size=(queries, 1)) + effect * rng.normal(size=documents) + rng.normal(size=(queries, documents))
    )
    nothing = np.zeros(0, np.int64)
    ids = tuple(names(queries))
    judged = Judged(nothing, nothing, nothing, nothing, np.zeros(0))
    top = np.zeros((queries, 0), np.int64)
    return Ranked(ids, ids, lengths, top, judged, Background(drawn, np.take_along_axis(scores, drawn, axis=1)))


def slope(trials: int, _: list[Path]) -> Iterator[Line]:
    """The regression of the score on length where documents have a level of their own."""
    yield "slope: documents", "queries", "effect of a document", "queries resampled", "both resampled", "times as wide"
    for documents, queries in ((15, 60), (35, 35), (35, 200), (100, 100), (400, 50)):
        for effect in (0.0, 0.5, 1.0):
            rng = np.random.default_rng(2)
            alone, both, wider = [], [], []
            for _ in range(trials):
                ranked = _ranked(rng, queries, documents, effect)
                texts = slope_texts(ranked)
                columns = list(texts.by_query(queries)[:, [0, 3]].T)
                old = estimate(_ratio, columns, groups=ranked.groups, replicates=REPLICATES)
                drawn = draw_both(texts, ranked.groups, ranked.document_names, replicates=REPLICATES, seed=0)
                new = interval(old.value, drawn[:, 0] / drawn[:, 3], n=min(queries, texts.n_documents))
                alone.append(holds(old, 0))
                both.append(holds(new, 0))
                wider.append(_width(new) / _width(old))
            yield str(documents), str(queries), f"{effect:g}", share(alone), share(both), f"{np.median(wider):.1f}"


def _ratio(top: Floats, bottom: Floats, weights: Floats) -> Floats:
    return (top @ weights) / (bottom @ weights)


def _width(found: Estimate) -> float:
    return (found.high or 0.0) - (found.low or 0.0)


def small(trials: int, _: list[Path]) -> Iterator[Line]:
    """Means of few skewed values, with and without the wider tails."""
    kinds: dict[str, tuple[Callable[[np.random.Generator, int], Floats], float]] = {
        "scores, many 0 and some 1": (_scores, 0.4),
        "differences, 60 % zero": (_differences, 0.0),
    }
    yield "few items", "n", "plain percentiles", "expanded", "times as wide"
    for kind, (draw, truth) in kinds.items():
        for n in (10, 15, 30, 60, 200):
            rng = np.random.default_rng(3)
            plain, wide, wider = [], [], []
            for _ in range(trials):
                found = estimate(weighted_mean, [draw(rng, n)], groups=names(n), replicates=1000)
                before = replace(Estimate.of(found.value, found.replicates, n=n))
                plain.append(holds(before, truth))
                wide.append(holds(found, truth))
                wider.append(_width(found) / _width(before) if _width(before) else np.nan)
            yield kind, str(n), share(plain), share(wide), f"{np.nanmean(wider):.2f}"


def _scores(rng: np.random.Generator, n: int) -> Floats:
    """Like nDCG@10 where few documents are relevant: 35 % zeros, 15 % ones, the rest between; mean 0.4."""
    kind = rng.random(n)
    return np.where(kind < 0.35, 0.0, np.where(kind < 0.5, 1.0, rng.beta(2, 2, n)))


def _differences(rng: np.random.Generator, n: int) -> Floats:
    """Symmetric, most of them exactly 0, and a few large."""
    return np.where(rng.random(n) < 0.6, 0.0, rng.choice([-1, 1], n) * rng.beta(0.6, 4, n))


def sparse(trials: int, _: list[Path]) -> Iterator[Line]:
    """The paired randomisation test where nothing differs but by chance."""
    yield "no true difference: zeros", "n", "p < .05", "interval without 0", "both"
    for zeros in (0.0, 0.6, 0.8, 0.9):
        for n in (15, 30, 60):
            rng = np.random.default_rng(4)
            tested, excluded = [], []
            for trial in range(trials):
                values = np.where(rng.random(n) < zeros, 0.0, rng.choice([-1, 1], n) * rng.beta(0.6, 4, n))
                p = float(randomisation_test(values, names(n), resamples=1000, seed=trial)[0])
                found = estimate(weighted_mean, [values], groups=names(n), replicates=REPLICATES)
                tested.append(p < 0.05)
                excluded.append(found.low is not None and not holds(found, 0))
            claims = [a and b for a, b in zip(tested, excluded, strict=True)]
            yield f"{zeros:.0%}", str(n), share(tested), share(excluded), share(claims)


TABLES = {"linked": linked, "slope": slope, "small": small, "sparse": sparse}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=list(TABLES), help=f"some of {', '.join(TABLES)}")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument(
        "--qrels", type=Path, nargs="*", default=[], help="judgements whose shared documents are taken"
    )
    asked = parser.parse_args()
    for name in asked.tables:
        lines = TABLES[name](asked.trials, asked.qrels)
        for number, line in enumerate(lines):
            print(f"| {' | '.join(line)} |", flush=True)
            if number == 0:
                print("|---" * len(line) + "|")
        print()


if __name__ == "__main__":
    main()
