"""A folder of vectors that `embed` wrote, put into the form of a search engine: streamed, and whole or not there."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from uncollapse.corpora.batches import embedded_manifest, read_batches
from uncollapse.corpora.shards import Manifest
from uncollapse.errors import FixError, UncollapseError, nearest
from uncollapse.progress import Advance, Reporter, Silent
from uncollapse.stores.correction import Correction, fit_correction, read_score_fix
from uncollapse.stores.lance import require_lancedb, write_lance
from uncollapse.stores.matrix import write_matrix
from uncollapse.stores.postgres import write_copy
from uncollapse.stores.qdrant import require_qdrant, write_qdrant
from uncollapse.stores.space import Batches, Metric, Space, Writer, as_metric
from uncollapse.writing import check_apart, check_target, is_written, whole_folder

SCHEMA = "uncollapse.store/1"
"""Name and version of store.json; the number grows when a reader would have to change."""

ABOUT = "store.json"


@dataclass(frozen=True)
class Kind:
    """One form.

    Args:
        write: puts vectors into a folder.
        require: says what is missing, before anything is read.
    """

    write: Writer
    require: Callable[[], object]


STORES: dict[str, Kind] = {
    "npy": Kind(write_matrix, lambda: None),
    "lancedb": Kind(write_lance, require_lancedb),
    "qdrant": Kind(write_qdrant, require_qdrant),
    "pgvector": Kind(write_copy, lambda: None),
}
"""Name of a form to what writes it."""


@dataclass(frozen=True)
class Plan:
    """What to write.

    Args:
        to: name of a form in `STORES`.
        metric: "dot" or "cosine"; by default what the model names, and dot with a fix on scores.
        fix: notation of a fix on scores; "" for none.
        queries: folder of vectors of queries, which the fix is fitted to.
        seed: of the sample it is fitted to.

    Raises:
        UncollapseError: an unknown form or metric.
        FixError: a fix without queries, queries without a fix, or a fix with cosine.
    """

    to: str = "npy"
    metric: Metric | None = None
    fix: str = ""
    queries: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.to not in STORES:
            raise UncollapseError(f"No store {self.to!r}. {nearest(self.to, STORES, 'Known stores')}")
        if self.metric is not None:
            as_metric(self.metric)
        if bool(self.fix) != (self.queries is not None):
            raise FixError(
                "A fix on scores is fitted to queries: give both, such as --fix 'csls(10, 0.5)' --queries "
                "query-vectors/, or neither."
            )
        if self.fix and self.metric == "cosine":
            raise FixError(
                f"`{self.fix}` lives in one more dimension, which cosine would divide out again. Leave --metric out, "
                "or give dot."
            )


@dataclass(frozen=True)
class StoreReport:
    """What was written.

    Args:
        folder: of the store.
        to: its form.
        n_texts: vectors in it.
        dim: numbers in a vector, `added` in.
        added: further dimensions of a fix on scores; 0 without one.
        metric: that it is to be searched by.
        fix: notation of the fix on scores; "" for none.
    """

    folder: Path
    to: str
    n_texts: int
    dim: int
    added: int
    metric: Metric
    fix: str


def store(
    vectors: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    plan: Plan | None = None,
    force: bool = False,
    progress: Reporter | None = None,
) -> StoreReport:
    """Write vectors that `embed` wrote in the form of a search engine, without a model.

    Vectors are read a few at a time, so a folder may be larger than memory; only Qdrant's local mode holds them all,
    and takes no more than 20,000. The result appears under its name whole, or not at all. `store.json` in it says
    which metric to search by, and what queries need.

    Args:
        vectors: a finished folder of `embed`, in either of its formats.
        out: the new folder.
        plan: what to write; a numpy matrix by default.
        force: replace a store that is there.
        progress: shows how far the work is.

    Raises:
        CorpusError: no such folder, one that is not finished, or a shard that was changed.
        OutputError: a folder that is in the way, or a disk that is full.
        FixError: a fix on scores that cannot be fitted to these vectors.
        MissingExtraError: the engine's library is not installed.

    >>> from uncollapse import store
    >>> from uncollapse.stores.folder import Plan
    >>> store("vectors/", "notes.lancedb", plan=Plan("lancedb")).metric  # doctest: +SKIP
    'cosine'
    """
    source, target, chosen = Path(vectors), Path(out), plan or Plan()
    STORES[chosen.to].require()
    manifest = embedded_manifest(source)
    check_apart(target, source, what="folder of vectors")
    check = partial(check_target, target, force=force, what="store", known=_is_store)
    check()
    metric = _metric(chosen, manifest)
    correction = _correction(chosen, source)
    space = Space(correction.dim if correction else manifest.dim, manifest.n_texts, metric)
    added = space.dim - manifest.dim
    report = StoreReport(target, chosen.to, space.n_texts, space.dim, added, metric, chosen.fix)
    tracked = (progress or Silent()).track("storing", space.n_texts, "vectors")
    with whole_folder(target, check) as part, tracked as advance:
        STORES[chosen.to].write(part, space, _counted(_batches(source, correction), advance))
        (part / ABOUT).write_text(_about(report, manifest, correction) + "\n", encoding="utf-8")
    return report


def _is_store(folder: Path) -> bool:
    return is_written(folder / ABOUT, SCHEMA)


def _metric(plan: Plan, manifest: Manifest) -> Metric:
    """What the user said, what a fix on scores needs, or what the model names."""
    if plan.metric is not None:
        return plan.metric
    named = manifest.made.get("similarity") or "cosine"
    if plan.fix or named == "dot":
        return "dot"
    if named == "cosine":
        return "cosine"
    raise UncollapseError(
        f"The model compares vectors by {named}, which is no metric of these stores. Choose one with --metric dot or "
        "--metric cosine."
    )


def _correction(plan: Plan, source: Path) -> Correction | None:
    if plan.queries is None:
        return None
    fix = read_score_fix(plan.fix)
    embedded_manifest(plan.queries)
    return fit_correction(fix, source, plan.queries, plan.seed)


def _batches(source: Path, correction: Correction | None) -> Batches:
    batches = read_batches(source)
    return batches if correction is None else correction.extend(batches)


def _counted(batches: Batches, advance: Advance) -> Batches:
    for batch in batches:
        yield batch
        advance(len(batch))


def _about(report: StoreReport, manifest: Manifest, correction: Correction | None) -> str:
    said: dict[str, Any] = {
        "schema": SCHEMA,
        **{key: value for key, value in asdict(report).items() if key != "folder"},
        "queries": "put a 1 behind every query's vector" if report.added else "as the model gives them",
        "fitted_to": None
        if correction is None
        else {"documents": correction.documents, "queries": correction.queries},
        "vectors": {"fingerprint": manifest.fingerprint, "made": dict(manifest.made)},
    }
    return json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False)
