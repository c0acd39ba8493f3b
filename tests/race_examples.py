"""Races with planted scores: what wins, what hurts and what does nothing is known, and no model is needed."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np

from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.tasks import Retrieval, Texts
from uncollapse.progress import Silent
from uncollapse.records import Finding, Result
from uncollapse.tuning.bench import Measured
from uncollapse.tuning.contenders import Configuration, Contender
from uncollapse.tuning.race import heat_facts
from uncollapse.tuning.rows import heat_rows
from uncollapse.tuning.rules import Rules
from uncollapse.tuning.trials import Blind, Heat, race_task
from uncollapse.tuning.verdict import find_winner, judge_race

RULES = Rules(replicates=200, resamples=1000, repeats=4)

TEMPERATURE = Contender("temperature", ("temperature(0.9)", "temperature(0.8)"), "an encoding of all texts")
WHITENING = Contender("whitening", ("whitening(0.25)", "whitening(0.5)"), "one Dense layer")
CENTERING = Contender("centering(role)", ("centering(role)",), "two Dense layers")
FAMILIES = (TEMPERATURE, WHITENING, CENTERING)

Effect = Callable[[np.ndarray], np.ndarray] | float
"""What a fix adds to each query, from the lengths of their documents; or to every one the same."""


class Planted:
    """A scorer whose scores are a base, noise of each configuration's own, and what was planted.

    Args:
        effects: by notation; nothing is added where there is none.
        noise: standard deviation of each configuration's own noise.
        seed: of everything.
    """

    def __init__(self, effects: Mapping[str, Effect], *, noise: float = 0.05, seed: int = 0, bad: Sequence[str] = ()):
        self.effects, self.noise, self.seed, self.bad = effects, noise, seed, bad
        self.asked: list[tuple[str, int]] = []

    def lengths(self, task: Retrieval) -> np.ndarray:
        return 20 + 5 * np.arange(len(task.queries))

    def scores(self, task: Retrieval, notation: str) -> np.ndarray:
        n = len(task.queries)
        base = np.random.default_rng(self.seed).uniform(0.3, 0.6, n)
        own = np.random.default_rng([self.seed, *notation.encode()]).normal(0, self.noise, n)
        effect = self.effects.get(notation, 0.0)
        added = effect(self.lengths(task)) if callable(effect) else effect
        return np.clip(base + (0 if notation == "none" else own) + added, 0, 1)

    def sheet(self, task: Retrieval) -> Sheet:
        lengths = self.lengths(task)
        columns = {task.main: self.scores(task, "none")}
        return Sheet("queries", task.queries.ids, task.queries.ids, lengths, np.full(len(lengths), 9), columns)

    def measure(
        self,
        task: Retrieval,
        some: Sequence[Configuration],
        *,
        advance: Callable[[float], None],
        keep: bool = True,  # noqa: ARG002
    ) -> dict[str, Measured]:
        advance(self.work(task, some))
        self.asked += [(str(one), len(task.documents)) for one in some]
        tokens = 100 * len(task.documents)
        return {
            str(one): Measured(
                self.scores(task, str(one)), tokens, 1.0, 384, {"documents": len(task.documents)}, tokens
            )
            for one in some
            if str(one) not in self.bad
        }

    def work(self, task: Retrieval, some: Sequence[Configuration]) -> float:
        return float(len(task.documents) * len(some))

    def refusals(self, task: Retrieval) -> dict[str, str]:
        return {name: f"`{name}` needs at least 20 documents, got {len(task.documents)}." for name in self.bad}


def plain_task(n: int = 200, *, name: str = "planted") -> Retrieval:
    """A query a document."""
    documents = Texts(tuple(f"d{i:04}" for i in range(n)), tuple(f"text {i}" for i in range(n)))
    queries = Texts(tuple(f"q{i:04}" for i in range(n)), tuple(f"query {i}" for i in range(n)))
    return Retrieval(name, "test", documents, queries, {f"q{i:04}": {f"d{i:04}": 1} for i in range(n)})


def run(
    scorer: Planted,
    *,
    n: int = 200,
    families: Sequence[Contender] = FAMILIES,
    rules: Rules = RULES,
    blind: Blind | None = None,
    name: str = "planted",
) -> Heat:
    return race_task(plain_task(n, name=name), families, scorer, rules, blind=blind, progress=Silent())


def chosen_blindly(**chosen: str) -> Blind:
    """A probe that chose these dials, by family."""
    scores = {name: np.full(50, 0.4) for name in ("none", *chosen.values())}
    scores = {name: score + np.linspace(-0.1, 0.1, 50) for name, score in scores.items()}
    tried = dict.fromkeys(scores, 100)
    spent = {one.encoding: 1000 for one in TEMPERATURE.configurations}
    return Blind(scores, chosen, next(iter(chosen.values())), tried, 100, spent=spent)


def judged(*heats: Heat, rules: Rules = RULES) -> tuple[Result, tuple[Finding, ...]]:
    rows = tuple(row for heat in heats for row in heat_rows(heat, rules))
    races = [heat_facts(heat) for heat in heats]
    for facts in races:
        winner = find_winner(rows, facts)
        facts["winner"] = winner.name if winner else None
    verdict = judge_race(rows, races, "minilm")
    about = {"title": "minilm: which fix pays", "model": {"name": "minilm"}, "races": races, "seed": 0}
    return Result(rows=rows, verdict=verdict, about=about), verdict


@cache
def race_result() -> Result:
    """Whitening helps, a temperature helps and hurts the long ones, centering does nothing."""
    effects = {
        "whitening(0.25)": 0.04,
        "temperature(0.8)": lambda n: np.where(n > 800, -0.06, 0.06),
        "temperature(0.9)": lambda n: np.where(n > 800, -0.05, 0.05),
    }
    blind = chosen_blindly(temperature="temperature(0.9)", whitening="whitening(0.5)")
    return judged(run(Planted(effects), blind=blind))[0]
