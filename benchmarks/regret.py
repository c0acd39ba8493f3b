"""What choosing a dial without labels loses, by several rules, on collections with judgements.

    python benchmarks/regret.py FOLDER[:SPLIT]... [--documents 150] [--seed 0] [--out FOLDER]

Every dial of `compare` that comes after the model races on the judged queries, with and without `cover` before it.
Then it is chosen without them, by stretches of 16 words of documents. Regret: points of the main score behind the best
dial *on the same judged queries*, which makes every regret look larger than it is; plus or minus 1.96 standard errors
of the paired difference over independent groups of queries. Rules see all stretches; `tune` halves its grid on the
way and keeps a third of the documents aside. Vectors are kept in the cache: a stopped run goes on.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import numpy.typing as npt

from temperatures import tasks_of
from uncollapse.encoders import load
from uncollapse.encoders.cache import default_folder
from uncollapse.evaluation.statistics.significance import standard_error
from uncollapse.evaluation.tasks import Retrieval
from uncollapse.fixes import parse
from uncollapse.fixes.composition import Composition, compose
from uncollapse.progress import Bars
from uncollapse.tuning.bench import STOCK, Bench
from uncollapse.tuning.contenders import CONTENDERS, START, Configuration
from uncollapse.tuning.crossfit import pick_best, pick_proven
from uncollapse.tuning.race import read_probe
from uncollapse.tuning.rules import Rules

Floats = npt.NDArray[np.float64]
Tables = Mapping[str, Floats]
COVER = "cover(126)"


def grid() -> list[Configuration]:
    """The model as it came and everything after it, alone and with long texts read to their end."""
    after = [one for row in CONTENDERS for one in row.configurations if not one.fix.model]
    covered = [_covered(one) for one in after if one.fix.text is None and one.fix.score is None]
    return list({str(one): one for one in (STOCK, *after, *covered)}.values())


def _covered(one: Configuration) -> Configuration:
    return Configuration("covered", Composition((*compose(parse(COVER)).parts, *one.fix.parts)))


RULES: Mapping[str, Callable[[Tables], str]] = {
    "always what `fix --auto` writes": lambda _: START,
    "unless stretches prove another (`tune`)": lambda tables: pick_proven(tables, START),
    "best by stretches": pick_best,
    "nothing": lambda _: str(STOCK),
}
"""How to choose: from scores of every dial, float64 [documents asked for]."""


def measure(task: Retrieval, bench: Bench, documents: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Scores of every dial on judged queries, and on made ones."""
    some, progress = grid(), Bars()
    probe = read_probe(task, bench.rules, progress, most=documents)
    with progress.track(f"{task.name}, made queries", bench.work(probe.task, some), "characters") as advance:
        made = bench.measure(probe.task, some, advance=advance)
    with progress.track(f"{task.name}, judged queries", bench.work(task, some), "characters") as advance:
        judged = bench.measure(task, some, advance=advance, keep=False)
    both = [str(one) for one in some if str(one) in made and str(one) in judged]
    return {name: judged[name].scores for name in both}, {name: made[name].scores for name in both}


@dataclass(frozen=True)
class Found:
    """A set: scores of every dial on judged queries and on made ones, and the groups of the judged."""

    judged: Tables
    made: Tables
    groups: Sequence[str]

    def regret(self, chosen: str) -> tuple[float, float]:
        """Points behind the best dial, and 1.96 standard errors."""
        behind = self.judged[pick_best(self.judged)] - self.judged[chosen]
        return 100 * float(behind.mean()), 196 * standard_error(behind, self.groups)

    def chosen(self, choose: Callable[[Tables], str]) -> str:
        return choose({name: table for name, table in self.made.items() if name != str(STOCK)})


def print_table(found: Mapping[str, Found]) -> None:
    print(f"| choice without labels | mean of {len(found)} | {' | '.join(found)} |")
    print(f"|---|---|{'---|' * len(found)}")
    for rule, choose in RULES.items():
        cells = [one.regret(one.chosen(choose)) for one in found.values()]
        said = [f"{value:.1f} ± {error:.1f}" for value, error in cells]
        print(f"| {rule} | {np.mean([value for value, _ in cells]):.2f} | {' | '.join(said)} |")
    for name, one in found.items():
        sizes = (
            f"{len(set(one.groups))} groups of {len(one.groups)} queries, {len(one.made[START])} documents asked for"
        )
        proven = one.chosen(lambda tables: pick_proven(tables, START))
        print(f"{name}: {sizes}; best {pick_best(one.judged)}; taken {proven}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="FOLDER or FOLDER:SPLIT")
    parser.add_argument("--documents", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the scores")
    asked = parser.parse_args()
    found: dict[str, Found] = {}
    for task in (task for folder in asked.folders for task in tasks_of(folder)):
        assert isinstance(task, Retrieval), f"{task.name} is no search"
        bench = Bench(load("minilm"), Rules(seed=asked.seed), cache=default_folder())
        judged, made = measure(task, bench, asked.documents)
        one = found[f"{task.name}/{task.split}"] = Found(judged, made, bench.sheet(task).groups)
        if asked.out:
            asked.out.mkdir(parents=True, exist_ok=True)
            arrays = {name: np.stack(list(tables.values())) for name, tables in (("judged", judged), ("made", made))}
            place = asked.out / f"{task.name}-{task.split}.npz"
            np.savez(place, names=list(judged), groups=list(one.groups), **arrays)
    print_table(found)


if __name__ == "__main__":
    main()
