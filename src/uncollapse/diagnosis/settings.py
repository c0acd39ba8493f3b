"""How a diagnosis measures."""

from dataclasses import dataclass

from uncollapse.errors import UncollapseError
from uncollapse.resampling import REPLICATES

WINDOW_MINIMUM = 50
"""Fewest documents that nested windows rest on; a longer window that fewer documents reach is left out."""


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Args:
        equal_bins: number of equal-count length bins; 0 for powers of two.
        windows: documents for the nested windows; 0 for none.
        points: texts in the two-dimensional projection.
        replicates: bootstrap replicates, a multiple of 4.
        seed: of every random choice.
        stream: keep no vectors, so that memory does not grow with the corpus.
        precision: encode only as many texts of every length as it takes to know their mean cosine to so much; None
            encodes all.
        limits: further token limits to hold the texts against.
        deep: also look for causes and costs; else lengths alone.
        rate: share of unrelated pairs that a threshold of scores lets through.
    """

    equal_bins: int = 0
    windows: int = 200
    points: int = 600
    replicates: int = REPLICATES
    seed: int = 0
    stream: bool = False
    precision: float | None = None
    limits: tuple[int, ...] = ()
    deep: bool = True
    rate: float = 0.01

    def __post_init__(self) -> None:
        for name in ("equal_bins", "windows", "points", "seed"):
            if getattr(self, name) < 0:
                raise UncollapseError(f"{name} must be 0 or more, got {getattr(self, name)}.")
        if self.precision is not None and not 0 < self.precision < 1:
            raise UncollapseError(
                f"precision is half the width of an interval, above 0 and below 1, got {self.precision}; 0.01 say."
            )
        if not 0 < self.rate < 1:
            raise UncollapseError(
                f"rate is the share of unrelated pairs that pass, above 0 and below 1, got {self.rate}. 0.01 lets one "
                "in a hundred pass."
            )
        if 0 < self.windows < WINDOW_MINIMUM:
            raise UncollapseError(
                f"Nested windows need at least {WINDOW_MINIMUM} documents, got windows={self.windows} (--windows). "
                "Use 0 for none."
            )
