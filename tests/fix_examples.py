"""Fixes in their notation, and vectors of a made-up corpus to fit them to."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from text_fix_examples import WRITTEN
from uncollapse.attention.modelfixes import FACTS
from uncollapse.fixes import FIXES, Composition, compose, parse
from uncollapse.fixes.kinds import Kind
from uncollapse.fixes.statistics import Group, Statistics

DIM = 6

EXAMPLES: dict[str, list[str]] = {
    **{facts.name: [facts.example] for facts in FACTS.values()},
    **{name: list(several) for name, several in WRITTEN.items()},
    "temperature": ["temperature(0.8)", "temperature([0.9, 0.8])"],
    "centering": ["centering(all)", "centering(role)", "centering(length)"],
    "mean_projection": ["mean_projection()"],
    "all_but_the_top": ["all_but_the_top(0)", "all_but_the_top(2)"],
    "length_subspace": ["length_subspace(0)", "length_subspace(1)", "length_subspace(2)"],
    "cohort": ["cohort(document)", "cohort(document, 0.5)", "cohort(length)", "cohort(length, 0.5, none)"],
    "csls": ["csls(10)", "csls(3, 0.5)"],
    "length_regression": ["length_regression(1.0)", "length_regression(0.5)"],
    "whitening": [
        "whitening(0)",
        "whitening(0.25)",
        "whitening(0.3, role)",
        "whitening(0.5, length)",
        "whitening(1, zero, 0.1)",
    ],
}
"""A few values of each; a fix that is not here is tried with the dials it has by itself."""

COMPOSITIONS = [
    "temperature(0.9) + centering(role)",
    "centering(role) + whitening(0.25)",
    "whitening(0.25) + centering(length) + all_but_the_top(1)",
    "temperature(0.9) + centering(role) + cohort(length, 0.5)",
]


def notations(kind: Kind | None = None) -> list[str]:
    """Of every row of FIXES, or of those of one kind."""
    known = {name: EXAMPLES.get(name, [f"{name}()"]) for name in FIXES}
    return [one for name, several in known.items() if kind in (None, FIXES[name].kind) for one in several]


def as_composition(text: str) -> Composition:
    """A notation as a pipeline has it."""
    return compose(parse(text))


class MadeCorpus:
    """Vectors whose mean moves with length, along one axis for long texts and along another for short ones.

    Args:
        seed: of everything.
        size: vectors of each group.
        turn: orthogonal [dim, dim], applied to all vectors.
    """

    def __init__(self, seed: int = 0, size: int = 400, turn: npt.NDArray[np.float64] | None = None) -> None:
        rng = np.random.default_rng(seed)
        scale = np.linspace(0.5, 2, DIM)
        self.vectors: dict[Group, npt.NDArray[np.float64]] = {}
        self.n_tokens: dict[Group, npt.NDArray[np.int64]] = {}
        for group, (low, high) in {"documents": (30, 500), "queries": (5, 30), "windows": (8, 512)}.items():
            n_tokens = np.exp(rng.uniform(np.log(low), np.log(high), size)).astype(np.int64)
            if group == "windows":
                n_tokens = 2 ** rng.integers(3, 10, size)
            drift = np.zeros((size, DIM))
            drift[:, 0], drift[:, 1] = np.log(n_tokens) / 2, np.cos(np.log(n_tokens))
            vectors = (drift + scale * rng.standard_normal((size, DIM))) @ (np.eye(DIM) if turn is None else turn).T
            self.vectors[Group(group)], self.n_tokens[Group(group)] = vectors, n_tokens

    def statistics(self, rows: npt.NDArray[np.int64] | slice = slice(None)) -> Statistics:
        """Of some rows of every group, or of all."""
        seen = Statistics(DIM)
        for group in Group:
            seen.of(group).update(self.vectors[group][rows], self.n_tokens[group][rows])
        return seen


def everything(seen: Statistics) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """All that is kept, by name, in one order."""
    for group in Group:
        sums = seen.of(group)
        yield f"{group} outer", sums.outer
        for number in sorted(sums.bins):
            one = sums.bins[number]
            yield f"{group} bin {number}", np.append(one.total, [one.count, one.log_tokens])


def rotation(seed: int = 0) -> npt.NDArray[np.float64]:
    """A random orthogonal matrix."""
    turned: npt.NDArray[np.float64] = np.linalg.qr(np.random.default_rng(seed).standard_normal((DIM, DIM)))[0]
    return turned
