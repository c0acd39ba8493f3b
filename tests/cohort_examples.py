"""What a fix on scores is fitted to: made-up documents and queries that share a direction."""

import numpy as np
import numpy.typing as npt

from uncollapse.fixes.kinds import Cohort

DIM = 8


def made(seed: int = 0, documents: int = 300, queries: int = 200) -> Cohort:
    """Unit vectors around a common mean, the longer the nearer to it."""
    rng = np.random.default_rng(seed)
    n_tokens = np.exp(rng.uniform(np.log(16), np.log(512), documents)).astype(np.int64)
    towards = 0.3 * np.log2(n_tokens)[:, None] * np.eye(DIM)[0]
    vectors = towards + rng.standard_normal((documents, DIM))
    asked = np.eye(DIM)[0] + rng.standard_normal((queries, DIM))
    return Cohort(units(vectors), n_tokens, units(asked), np.full(queries, 9))


def units(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    directed: npt.NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return directed
