"""Two dimensions of many, for the eye only."""

import re
from collections.abc import Sequence

import numpy as np

from uncollapse.records import FloatArray, Point
from uncollapse.reservoir import Kept


def principal_axes(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean [dim] and the two directions of largest variance [2, dim], signs fixed by the largest entry.

    Reference: Pearson 1901. How to read it: distances in the plane are shadows of the real ones.

    >>> mean, axes = principal_axes(np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.5, 0.0]]))
    >>> np.abs(axes[0]).round(2).tolist()
    [1.0, 0.0, 0.0]
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    axes = np.vstack([axes, np.zeros((2 - len(axes), vectors.shape[1]))])
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return mean, np.where(largest < 0, -axes, axes)


def project(kept: Sequence[Kept], mean: FloatArray, axes: FloatArray, *, fix: str) -> tuple[Point, ...]:
    """Sampled documents as points on given axes, so that two models can be seen in one frame."""
    vectors = np.stack([document.vector for document in kept if document.vector is not None])
    places = (vectors - mean) @ axes.T
    return tuple(
        Point(document.id, round(float(x), 5), round(float(y), 5), document.n_tokens, snippet(document.text), fix)
        for document, (x, y) in zip(kept, places, strict=True)
    )


def snippet(text: str, width: int = 160) -> str:
    """The start of a text on one line.

    >>> snippet("one\\n two three", 8)
    'one two…'
    """
    start = re.sub(r"\s+", " ", text[: 4 * width]).strip()
    return start if len(start) <= width else f"{start[: width - 1].rstrip()}…"
