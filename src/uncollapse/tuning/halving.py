"""Successive halving: what is surely worse on a small sample is not tried on a larger one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SURELY = 2.0
"""Standard errors by which a member must fall short of the best of its family to be dropped."""


@dataclass(frozen=True, eq=False)
class Halved:
    """What is left of a grid.

    Args:
        scores: by member, float64 [queries], on the largest sample that it reached.
        survivors: members that reached the last sample.
        tried: on how many documents each member was tried last.
    """

    scores: Mapping[str, Floats]
    survivors: tuple[str, ...]
    tried: Mapping[str, int]

    @property
    def cost(self) -> int:
        """Documents encoded, over all members, where each sample holds the ones before it."""
        return sum(self.tried.values())


def halve(
    families: Mapping[str, Sequence[str]],
    sizes: Sequence[int],
    score: Callable[[Sequence[str], int], Mapping[str, Floats]],
    *,
    kept: str = "",
) -> Halved:
    """Try members on growing samples, and drop those that are surely worse than the best of their family.

    A member is dropped where the mean of (best - member), query by query, is more than two of its standard errors. The
    best itself never is, so every family keeps a member.

    Args:
        families: members by family; a member of several is kept as long as one of them keeps it.
        sizes: of the samples, rising; each holds the ones before it.
        score: the scores of some members on a sample, float64 [queries] each, the same queries for all; without
            those that could not be scored.
        kept: a member that is never dropped; none if empty.

    >>> draws = np.random.default_rng(0).random(100)
    >>> found = halve({"f": ["good", "bad"]}, [50, 100], lambda some, n: {m: draws[:n] + (m == "good") for m in some})
    >>> found.survivors, found.cost
    (('good',), 150)

    Reference:
        Jamieson & Talwalkar (2016), Non-stochastic best arm identification and hyperparameter optimization, AISTATS;
        the paired test for what is dropped is that of F-Race (Birattari et al. 2002, GECCO).
    """
    alive = {family: list(members) for family, members in families.items()}
    scores: dict[str, Floats] = {}
    tried: dict[str, int] = {}
    for size in sizes:
        members = list(dict.fromkeys(member for some in alive.values() for member in some))
        found = score(members, size)
        scores.update(found)
        tried.update(dict.fromkeys(found, size))
        survivors = [member for member in members if member in found]
        alive = {family: _left([m for m in some if m in found], found, kept) for family, some in alive.items()}
    return Halved(scores, tuple(survivors), tried)


def _left(members: Sequence[str], scores: Mapping[str, Floats], kept: str) -> list[str]:
    if len(members) < 2:
        return list(members)
    best = max(members, key=lambda member: float(scores[member].mean()))
    return [member for member in members if member == kept or not surely_below(scores[member], scores[best])]


def surely_below(scores: Floats, best: Floats, *, errors: float = SURELY) -> bool:
    """Whether scores fall short of others, query by query, by more than some standard errors."""
    short = best - scores
    return len(short) > 1 and bool(short.mean() > errors * error_of(short) + 1e-12)


def error_of(differences: Floats) -> float:
    """The standard error of a mean.

    >>> error_of(np.array([1.0, 3.0]))
    1.0
    """
    n = len(differences)
    return float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
