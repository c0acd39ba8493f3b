"""Audits of made-up lengths, and how to look into them."""

import re
from dataclasses import fields

import numpy as np

from uncollapse.diagnosis.audit import (
    Audit,
    Limits,
    Sums,
    measure_audit,
)

LIMITS = Limits(256, 512, (16, 8192))


class Model:
    """Words are tokens, two more are special."""

    name, n_special_tokens = "made up", 2

    def __init__(self, folder: int | None = 256, in_use: int = 512) -> None:
        self.folder_max_tokens, self.max_tokens = folder, in_use

    def spans(self, text):
        return np.array([word.span() for word in re.finditer(r"\S+", text)], np.int64).reshape(-1, 2)


def make_audit(full, *, sources=None, limits=LIMITS, replicates=16, chunk=1000, **more):
    """An audit of texts t0, t1, ... of these lengths, added in chunks."""
    full = np.asarray(full)
    ids, sources = [f"t{i}" for i in range(len(full))], sources or [""] * len(full)
    audit = Audit(limits, replicates=replicates, **more)
    for first in range(0, len(full), chunk):
        rows = slice(first, first + chunk)
        audit.add(ids[rows], sources[rows], full[rows])
    return audit


def random_lengths(n, seed=0, mean=5.5):
    return np.exp(np.random.default_rng(seed).normal(mean, 1.2, n)).astype(int) + 2


def state(audit):
    """Everything an audit holds, comparable with ==."""

    def plain(sums: Sums):
        return [np.asarray(getattr(sums, field.name)).tolist() for field in fields(sums)]

    groups = [{key: plain(sums) for key, sums in group.items()} for group in (audit.lengths, audit.sources)]
    return groups, audit.cells, audit.longest, audit.worst


def rows_of(part, view="overall", label=""):
    return {row.measure: row for row in part.rows if (row.view, row.bin) == (view, label)}


def first(audit, model="minilm"):
    return measure_audit(audit, model).verdict[0]
