"""Texts with vectors whose scores are known, for what a score means by length."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uncollapse.diagnosis.scores import measure_scores
from uncollapse.diagnosis.scores.pairs import Pairs, make_pairs, make_side
from uncollapse.records import Part, Row
from uncollapse.reservoir import Kept

DIM = 24
SOURCE = "made up"


def texts(
    n: int, *, drift: float = 0.0, own: float = 0.0, seed: int = 0, name: str = "", dim: int = DIM
) -> list[Kept]:
    """n texts of 8 to 128 tokens; `drift` a doubling of the length in one direction, `own` each text's own part."""
    draw = np.random.default_rng(seed)
    tokens = np.exp2(draw.uniform(3, 7, n)).astype(int)
    vectors = draw.standard_normal((n, dim))
    vectors[:, 0] += (drift * np.log2(tokens / 8) + own * draw.standard_normal(n)) * np.sqrt(dim)
    return [
        Kept(f"{name}{i}", f"text {i}", int(t), v.astype(np.float32))
        for i, (t, v) in enumerate(zip(tokens, vectors, strict=True))
    ]


def pairs_of(queries: Sequence[Kept], documents: Sequence[Kept], *, replicates: int = 64, seed: int = 0) -> Pairs:
    return make_pairs(*(make_side(side, replicates=replicates, seed=seed) for side in (queries, documents)))


def measure(documents: Sequence[Kept], queries: Sequence[Kept] | None = None, **keys: Any) -> Part:
    keys = {"query_source": SOURCE, "replicates": 64, **keys}
    return measure_scores(documents, documents if queries is None else queries, **keys)


def rows(part: Part, measure: str, view: str) -> list[Row]:
    return [row for row in part.rows if row.measure == measure and row.view == view]
