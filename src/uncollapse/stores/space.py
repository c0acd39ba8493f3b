"""What every store has to know of the vectors it is given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from uncollapse.errors import UncollapseError, nearest
from uncollapse.records import Embeddings

Metric = Literal["dot", "cosine"]
METRICS: tuple[Metric, ...] = get_args(Metric)

NAME = "vectors"
"""Of the table, or collection, that holds them."""


@dataclass(frozen=True)
class Space:
    """What vectors are, and how they are compared.

    Args:
        dim: numbers in a vector, the further one of a fix on scores in.
        n_texts: how many vectors there will be.
        metric: "dot", the inner product, or "cosine".
    """

    dim: int
    n_texts: int
    metric: Metric


Batches = Iterator[Embeddings]
Writer = Callable[[Path, Space, Batches], None]
"""Puts all vectors into an empty folder, a batch at a time."""


def as_metric(name: str) -> Metric:
    """A metric by its name.

    Raises:
        UncollapseError: another word.
    """
    for metric in METRICS:
        if name == metric:
            return metric
    raise UncollapseError(f"No metric {name!r}. {nearest(name, METRICS, 'Known metrics')}")
