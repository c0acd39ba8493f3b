"""Write a law of temperatures as checkpoints, one a bucket of lengths, in a folder that picks among them."""

import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers.base.modules import Transformer

from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.patching import patch
from uncollapse.attention.sites import find_sites
from uncollapse.attention.temperature import Temperature
from uncollapse.bucketing import length_router, pick_bucket
from uncollapse.bucketing.buckets import Bucket, cut_buckets
from uncollapse.bucketing.cards import write_bucket_section, write_section
from uncollapse.bucketing.losses import BucketLoss, SearchLoss, measure_loss, measure_search
from uncollapse.checkpoints import fix
from uncollapse.copies import copy_file, copy_model
from uncollapse.encoders import SentenceEncoder, load_model
from uncollapse.encoders.sources import write_record
from uncollapse.errors import ArchitectureError, FixError, ModelError
from uncollapse.evaluation.reading.layouts import open_tasks
from uncollapse.exporting.originals import copy_licences, write_card
from uncollapse.exporting.probes import make_probes
from uncollapse.fixes import Fix
from uncollapse.history import CARD, put_first, read_card
from uncollapse.provenance import describe_run
from uncollapse.writing import check_apart, check_target, is_written, whole_folder

SCHEMA = "uncollapse.buckets/1"
"""Name and version of `ABOUT`; the number grows when a reader would have to change."""

ABOUT, LOSS = "buckets.json", "loss.json"

ROUNDING = 1e-5
"""Largest difference between a vector of the folder and the same text's from the checkpoint of its bucket."""

_SETTINGS = "config_sentence_transformers.json"


@dataclass(frozen=True)
class BucketReport:
    """What was written, and what it loses against the law itself.

    Args:
        folder: the new model.
        law: its notation.
        buckets: the shortest first.
        losses: by length, on probe texts.
        searches: by retrieval set, if any was given.
    """

    folder: Path
    law: str
    buckets: tuple[Bucket, ...]
    losses: tuple[BucketLoss, ...]
    searches: tuple[SearchLoss, ...]


def is_bucketed(folder: Path) -> bool:
    """Whether a folder was written by `export_buckets`."""
    return is_written(folder / ABOUT, SCHEMA)


def export_buckets(
    name: str,
    out: str | os.PathLike[str],
    law: Fix,
    ends: Sequence[int],
    *,
    search: Sequence[str | Path] = (),
    force: bool = False,
    trust_remote_code: bool = False,
    step: Callable[[str], None] = lambda _: None,
) -> BucketReport:
    """Write a temperature that follows length as one ordinary checkpoint a bucket, and what picks among them.

    `OUT/up-to-N` is a model of its own, with the law's temperature at the middle of the bucket in its weights: any
    server runs it. OUT itself is a model of sentence-transformers that sends each text through the checkpoint of its
    token count; it runs code of its own, so it must be loaded with `trust_remote_code=True`, and is refused without.
    The folder appears under its name only when it is complete, reloaded, and gives what picking by hand gives.

    Args:
        name: model to start from, as for `load_model`.
        out: the new folder.
        law: such as `TemperatureLaw("log", n0=128)`.
        ends: tokens of the longest text of each bucket; the last must reach the model's limit.
        search: sets as for `open_tasks`, on which the score of the buckets is held against that of the law.
        force: replace a folder that this wrote.
        trust_remote_code: as for `load_model`; whoever loads the new folder runs that code, too.
        step: told what is being done.

    Raises:
        OutputError: a folder that is in the way, or a disk that is full.
        FixError: anything but one law.
        ArchitectureError: a model that cannot carry it, or has code of its own behind its transformer, without
            `trust_remote_code`.
        UncollapseError: ends that make no buckets for this model.
        ModelError: a folder that does not give the vectors of its checkpoints.
    """
    target = Path(out)
    may_write = partial(check_target, target, force=force, what="folder of buckets", known=is_bucketed)
    may_write()
    if not isinstance(law, TemperatureLaw):
        raise FixError(
            f"Buckets are for a temperature that follows length, such as temperature(law=log, n0=128), got `{law}`. "
            "Use `fix` for one that does not."
        )
    step("loading")
    stock = load_model(name, device="cpu", trust_remote_code=trust_remote_code)
    check_apart(target, stock.source)
    if not trust_remote_code:
        _refuse_code(stock.name, stock.source)  # again below, when all files are in their places
    buckets = _plan(stock, law, ends)
    tasks = tuple(task for place in search for task in open_tasks(place))
    with whole_folder(target, check=may_write) as part:
        for bucket in buckets:
            step(f"writing {bucket.folder}")
            told = write_bucket_section(stock.name, str(law), bucket, buckets)
            _write_checkpoint(stock, part / bucket.folder, bucket, told, trust_remote_code=trust_remote_code)
        _write_router(stock, part, law, buckets, remote_code=trust_remote_code)
        if not trust_remote_code:
            _refuse_code(stock.name, part)
        step("reloading with stock sentence-transformers")
        routed = load_model(str(part), device="cpu", trust_remote_code=True)  # length_router.py, and nothing else
        _check_picked(routed, part, buckets, trust_remote_code=trust_remote_code)
        step("comparing with the law itself, by length")
        losses = measure_loss(stock, law, routed, buckets)
        searches = tuple(measure_search(stock, law, routed, task) for task in tasks)
        report = BucketReport(target, str(law), buckets, losses, searches)
        _write_report(stock, part, report, remote_code=trust_remote_code)
    return report


def _plan(stock: SentenceEncoder, law: TemperatureLaw, ends: Sequence[int]) -> tuple[Bucket, ...]:
    if not isinstance(stock.model[0], Transformer) or not (stock.source / "modules.json").is_file():
        raise ArchitectureError(
            f"Expected a folder of sentence-transformers whose first module is a transformer, got {stock.name!r}, "
            f"which begins with a {type(stock.model[0]).__name__}. Buckets need a transformer, and a modules.json."
        )
    with patch(stock.model, law):
        pass  # what cannot follow length is refused before anything is written
    width = {site.head_dim for site in find_sites(stock.model)}
    return cut_buckets(law, ends, limit=stock.max_tokens, shortest=max(1, stock.n_special_tokens), head_dim=min(width))


def _refuse_code(name: str, folder: Path) -> None:
    """Refuse code behind the transformer that loading the source leaves out, and loading the new folder would run.

    That folder is loaded with `trust_remote_code=True`, for length_router.py.

    Args:
        name: of the source.
        folder: the source, or the new folder, which has files where the source may have links.
    """
    for place, data in _settings(name, folder):
        outside = str(data.get("activation_function", "torch.")).partition(".")[0] != "torch"
        if data.get("auto_map") or outside:
            named = "auto_map" if data.get("auto_map") else f"activation_function {data['activation_function']!r}"
            raise ArchitectureError(
                f"The module {place.parent.name!r} of {name!r} names code of its own ({place.name}: {named}), "
                "which is left out unless it is trusted, and a folder of buckets is loaded as trusted. Give "
                "--trust-remote-code (trust_remote_code=True) if you have read that code."
            )


def _settings(name: str, folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """What the modules behind the transformer are set to, file by file."""
    modules = folder / "modules.json"
    places = json.loads(modules.read_text(encoding="utf-8"))[1:] if modules.is_file() else []
    for file in (found for one in places if one["path"] for found in sorted((folder / one["path"]).rglob("*.json"))):
        data = _read_setting(name, file) if file.is_file() else None
        if isinstance(data, dict):
            yield file, data


def _read_setting(name: str, file: Path) -> Any:
    """What a JSON file says; None where it is no JSON and nothing takes it for settings.

    Whatever sentence-transformers and transformers read the names of code from is called config, with more before it.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        if "config" not in file.name:
            return None
        raise ArchitectureError(
            f"Expected JSON in {file.name!r} of the module {file.parent.name!r} of {name!r}, which may name code of "
            f"its own, got {error}. Mend or remove that file."
        ) from error


def _write_checkpoint(
    stock: SentenceEncoder, place: Path, bucket: Bucket, told: str, *, trust_remote_code: bool
) -> None:
    """Write one checkpoint, whose card begins with what is `told`."""
    tau = Temperature(bucket.tau)
    if tau.is_identity:  # below n0 of a law that only sharpens
        _copy(stock.source, place, weights=True, home=stock.source)
        write_card(place, stock.source, told)
    else:
        fix(stock.name, tau, place, trust_remote_code=trust_remote_code)
        (place / CARD).write_text(put_first(told, read_card(place)), encoding="utf-8")


def _copy(source: Path, place: Path, *, weights: bool, home: Path) -> None:
    """Copy a folder as `fix` does; a checkpoint that is its source's leaves behind what the others leave behind."""
    tuple(copy_model(source, place, weights=weights, home=home))


def _write_router(
    stock: SentenceEncoder, part: Path, law: TemperatureLaw, buckets: Sequence[Bucket], *, remote_code: bool
) -> None:
    """What is no checkpoint: the first module, which picks one, and the source's other modules."""
    modules: list[dict[str, Any]] = json.loads((stock.source / "modules.json").read_text(encoding="utf-8"))
    inner = modules[0]["path"]
    for module in modules[1:]:
        if module["path"] and (stock.source / module["path"]).is_dir():  # one without settings may have no folder
            _copy(stock.source / module["path"], part / module["path"], weights=False, home=stock.source)
    modules[0] |= {"path": "", "type": "length_router.LengthRouter"}
    (part / "modules.json").write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")
    described = [
        {**asdict(one), "folder": one.folder, "transformer": f"{one.folder}/{inner}".rstrip("/")} for one in buckets
    ]
    about = {"schema": SCHEMA, "law": str(law), "remote_code": remote_code, "buckets": described}
    (part / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    for found in stock.source.glob("*.py") if remote_code else ():
        copy_file(found, part / found.name, stock.source)  # code that configs name is looked for here
    for module_file in (length_router, pick_bucket):
        shutil.copyfile(
            str(inspect.getsourcefile(module_file)), part / f"{module_file.__name__.rpartition('.')[2]}.py"
        )
    if (stock.source / _SETTINGS).is_file():
        copy_file(stock.source / _SETTINGS, part / _SETTINGS, stock.source)
    copy_licences(stock.source, part)
    write_record(
        part, {"fix": f"{law} in buckets up to {', '.join(str(one.up_to) for one in buckets)}", "text_fix": ""}
    )


def _check_picked(routed: SentenceEncoder, part: Path, buckets: Sequence[Bucket], *, trust_remote_code: bool) -> None:
    """The folder must give each text the vector that the checkpoint of its bucket gives alone."""
    texts, _ = make_probes(routed)
    counts = routed.prepare(texts).n_tokens
    vectors = routed.vectors(texts, counts)
    for bucket in buckets:
        rows = np.flatnonzero((bucket.low <= counts) & (counts <= bucket.up_to))
        alone = load_model(str(part / bucket.folder), device="cpu", trust_remote_code=trust_remote_code)
        wanted = alone.vectors([texts[row] for row in rows], counts[rows])
        difference = float(np.abs(vectors[rows] - wanted).max(initial=0))
        if not difference <= ROUNDING * max(1.0, float(np.abs(wanted).max(initial=0))):
            raise ModelError(
                f"The folder must give texts of {bucket.low} to {bucket.up_to} tokens the vectors of "
                f"{bucket.folder!r}, but differs by {difference:.2g}. Nothing was kept. Report it with the name of "
                "the model."
            )


def _write_report(stock: SentenceEncoder, part: Path, report: BucketReport, *, remote_code: bool) -> None:
    facts = {"schema": "uncollapse.loss/1", "law": report.law, "source": stock.about, **describe_run()}
    facts |= {"losses": [asdict(one) for one in report.losses], "searches": [asdict(one) for one in report.searches]}
    (part / LOSS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    told = (report.law, report.buckets, report.losses, report.searches)
    section = write_section(stock.name, *told, remote_code=remote_code)
    write_card(part, stock.source, section)
