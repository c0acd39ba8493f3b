"""Fitted pipelines on disk: a folder that is whole or not there, and is read without running code.

`fix.json` holds the notation, what model it belongs to and what it was fitted to; `arrays.safetensors` the numbers,
where anything was fitted. Fixes inside a model and on texts have none.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from uncollapse.encoders import CachedEncoder, ExportedEncoder, Scorable, fingerprint
from uncollapse.encoders.identity import tensor_digest
from uncollapse.errors import FixError, OutputError, UncollapseError
from uncollapse.fixes import compose, parse
from uncollapse.fixes.composition import Composition
from uncollapse.fixes.maps import Floats, VectorMap
from uncollapse.pipelines.encoder import Fitted, FixedEncoder
from uncollapse.provenance import describe_run
from uncollapse.writing import whole_folder

SCHEMA = "uncollapse.pipeline/1"
"""Name and version of the layout; the number grows when a reader would have to change."""

DESCRIPTION, ARRAYS = "fix.json", "arrays.safetensors"


def save_pipeline(folder: str | os.PathLike[str], fixed: FixedEncoder) -> Path:
    """Write a fitted pipeline; the model itself is not copied.

    Args:
        folder: new, empty, or of a pipeline that was saved before, which is replaced.
        fixed: as from `fit_pipeline`.

    Raises:
        OutputError: a folder that holds anything else, or cannot be written.
    """
    target = Path(folder)
    _check_target(target)
    arrays = _arrays(fixed)
    with whole_folder(target) as part:
        if arrays:
            save_file(arrays, part / ARRAYS)
        text = json.dumps(_description(fixed, part), indent=2, ensure_ascii=False)
        (part / DESCRIPTION).write_text(text, encoding="utf-8")
    return target


def load_pipeline(folder: str | os.PathLike[str], base: CachedEncoder) -> FixedEncoder:
    """The pipeline that `save_pipeline` wrote, with the same vectors bit for bit.

    Args:
        folder: where it was saved.
        base: the same model, with the same fixes of its inside, or without any: then the saved ones are put on.

    Raises:
        FixError: no pipeline, one that was changed on disk, or one of another model.
    """
    place = Path(folder)
    about = _read(place)
    fix = _parsed(about, place)
    _check_model(about, base.encoder, place)
    if base.fixes and base.fixes != fix.model:
        raise FixError(
            f"The pipeline {str(place)!r} is `{fix}`, but the model has "
            f"`{' + '.join(str(one) for one in base.fixes)}` inside. Give it the model without fixes."
        )
    inside = base if base.fixes == fix.model else CachedEncoder(base.encoder, fix.model, folder=base.folder)
    return FixedEncoder(inside, fix, _restored(fix, about, place))


def _arrays(fixed: FixedEncoder) -> dict[str, Floats]:
    """Everything that was fitted, by place in the pipeline and name."""
    parts = [(str(place), one.arrays) for place, one in enumerate(fixed.fitted.maps)]
    if fixed.fitted.score is not None:
        parts.append(("score", fixed.fitted.score.arrays))
    return {f"{part}.{name}": np.ascontiguousarray(array) for part, named in parts for name, array in named.items()}


def _restored(fix: Composition, about: Mapping[str, Any], place: Path) -> Fitted:
    try:
        fitted = _fitted(fix, _read_arrays(about, place), about)
        if fitted.score is not None:  # it reads its arrays when it is used
            dim = int(fitted.score.arrays["dim"][0])
            fitted.score.extend(np.ones((1, dim), np.float32), np.ones(1, np.int64), "document")
    except KeyError as error:
        raise FixError(
            f"{str(place / ARRAYS)!r} has no {error}, which `{fix}` needs: another version of uncollapse saved it. "
            "Fit the pipeline anew."
        ) from error
    return fitted


def _fitted(fix: Composition, arrays: Mapping[str, Floats], about: Mapping[str, Any]) -> Fitted:
    maps = [VectorMap.from_arrays(str(one), _of(arrays, str(place))) for place, one in enumerate(fix.vectors)]
    score = None if fix.score is None else fix.score.from_arrays(_of(arrays, "score"))
    return Fitted(tuple(maps), score, about["learned_from"], about["seed"])


def _of(arrays: Mapping[str, Floats], part: str) -> dict[str, Floats]:
    return {name.partition(".")[2]: array for name, array in arrays.items() if name.partition(".")[0] == part}


def _description(fixed: FixedEncoder, part: Path) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "fix": str(fixed.fix),
        "model": {"name": fixed.name, "dim": fixed.base.dim, **_identity(fixed.encoder)},
        "learned_from": dict(fixed.fitted.learned_from),
        "seed": fixed.fitted.seed,
        "arrays": _digest(part / ARRAYS),
        **describe_run(),
    }


def _identity(encoder: Scorable) -> dict[str, str]:
    """What says that a model is the same: its files but for the weights, and its weights in memory."""
    if isinstance(encoder, ExportedEncoder):
        return {"files": encoder.fingerprint, "tensors": encoder.fingerprint}
    return {"files": fingerprint(encoder.source, weights=False), "tensors": tensor_digest(encoder.model)}


def _digest(file: Path) -> str:
    """Of a file's bytes; "" of one that is not there."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def _check_target(target: Path) -> None:
    if target.is_file():
        raise OutputError(
            f"Expected a folder for a pipeline, got {str(target)!r}, which is a file. Give another name."
        )
    other = (
        [path.name for path in target.iterdir() if path.name not in (DESCRIPTION, ARRAYS)] if target.exists() else []
    )
    if other:
        raise OutputError(
            f"Expected a new folder for a pipeline, got {str(target)!r}, which holds {other[0]!r} and would be "
            "replaced. Give another."
        )


def _read(place: Path) -> dict[str, Any]:
    try:
        about = json.loads((place / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FixError(
            f"Expected a folder with a saved pipeline, got {str(place)!r}, which has no {DESCRIPTION}."
        ) from error
    except (OSError, ValueError) as error:
        raise FixError(f"Could not read the pipeline {str(place)!r}: {error}. Save it anew.") from error
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        got = about.get("schema") if isinstance(about, dict) else about
        raise FixError(f"Expected a pipeline of schema {SCHEMA!r} in {str(place)!r}, got {got!r}. Save it anew.")
    if missing := [key for key in ("fix", "model", "learned_from", "seed", "arrays") if key not in about]:
        raise FixError(f"{str(place / DESCRIPTION)!r} does not say its {missing[0]!r}. Save the pipeline anew.")
    return about


def _parsed(about: Mapping[str, Any], place: Path) -> Composition:
    if about["fix"] == str(Composition(())):
        return Composition(())
    try:
        return compose(parse(about["fix"]))
    except UncollapseError as error:
        raise FixError(f"The pipeline {str(place)!r} cannot be read: {error}") from error


def _check_model(about: Mapping[str, Any], encoder: Scorable, place: Path) -> None:
    saved = about["model"]
    belongs = f"The pipeline {str(place)!r} belongs to the model {saved['name']!r}"
    advice = "Load the model that it was fitted with, or fit it anew."
    if saved["dim"] != encoder.dim:
        raise FixError(
            f"{belongs} with vectors of {saved['dim']} dimensions, got {encoder.name!r} with {encoder.dim}. {advice}"
        )
    differs = [part for part, digest in _identity(encoder).items() if saved[part] != digest]
    if differs:
        what = "weights differ" if "tensors" in differs else "files (configs or tokenizer) differ"
        raise FixError(f"{belongs}, got {encoder.name!r}, whose {what}. {advice}")


def _read_arrays(about: Mapping[str, Any], place: Path) -> dict[str, Floats]:
    file = place / ARRAYS
    if _digest(file) != about["arrays"]:
        raise FixError(
            f"{str(file)!r} is not the file that was saved with its {DESCRIPTION}: it is missing, was changed or was "
            "cut short. Copy the whole folder again, or fit the pipeline anew."
        )
    if not about["arrays"]:
        return {}
    with safe_open(file, framework="numpy") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
