"""States of a length bin with planted vectors, and a population of known law to draw them from."""

import math

import numpy as np

from uncollapse.measures import unit
from uncollapse.moments import BinState
from uncollapse.resampling import document_keys


def make_keys(n, name="doc"):
    return document_keys([f"{name} {i}" for i in range(n)])


def make_raw(n=60, dim=8, drift=0.7, seed=0):
    """Directions around a drift, along some axes more than along others."""
    generator = np.random.default_rng(seed)
    spread = np.arange(1, dim + 1) ** -0.5
    return generator.standard_normal((n, dim)) * spread + drift * spread


def make_state(raw, *, keys=None, replicates=64, truncated=None, seed=0):
    keys = make_keys(len(raw)) if keys is None else keys
    truncated = np.arange(len(raw)) % 3 == 0 if truncated is None else truncated
    state = BinState(dim=raw.shape[1], replicates=replicates, seed=seed)
    state.update(unit(raw), keys=keys, n_tokens=np.arange(len(raw)), truncated=truncated)
    return state


def naive_vectors(state):
    vectors = state.sample.vectors.astype(np.float64)
    return [vector / math.sqrt(sum(x * x for x in vector)) for vector in vectors]


def population(generator, n, dim=8, clusters=12):
    """Unequal clusters around a common drift, of unequal width: skewed, heavy-tailed, of known law."""
    centres = np.random.default_rng(6).standard_normal((clusters, dim))
    which = generator.choice(clusters, n, p=np.arange(1, clusters + 1) / (clusters * (clusters + 1) / 2))
    width = generator.gamma(2, 0.4, (n, 1))
    return centres[which] + 0.5 + width * generator.standard_normal((n, dim))
