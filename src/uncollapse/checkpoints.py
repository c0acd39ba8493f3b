"""Write a fixed model: the source folder copied, only the changed weights replaced, whole or not at all."""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

import uncollapse
from uncollapse.attention.folding import fold
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.patching import patch
from uncollapse.attention.sites import backbone
from uncollapse.attention.verification import verify
from uncollapse.encoders import WEIGHT_FILES, SentenceEncoder, load_model
from uncollapse.errors import ModelError, OutputError
from uncollapse.weights import replace_weights, saved_tensors
from uncollapse.writing import whole_folder

OTHER_RUNTIMES = ("onnx", "openvino", ".git", ".cache")
"""Folders that hold copies of the unfixed weights, or none of the model."""

PROBE_TEXTS = (
    "short",
    "A sentence of middling length, with a comma and a full stop.",
    "Long texts drift together when attention averages over more and more tokens. " * 12,
    "",
    "Unrelated: the ferry to the island leaves at a quarter past seven, weather permitting.",
)
"""Texts of mixed length, so that the batch is padded."""


@dataclass(frozen=True)
class FixReport:
    """What was written and how exactly it is what was asked for.

    Args:
        folder: the new model.
        fix: its notation.
        changed: tensors and config entries that changed, as the model calls them.
        effect: how far the fix moves hidden states on the probe batch.
        fold_difference: folded against softmax(scores / tau), largest absolute difference of hidden states.
        vector_effect: how far the fix moves the vectors of the probe texts.
        reload_difference: the folder, reloaded by sentence-transformers, against the patched model, of vectors.
        left_out: files of the source that held the unfixed weights.
        dtype: precision of the changed weights.
        max_tokens: where the folder cuts texts, as its source does; None for nowhere.
    """

    folder: Path
    fix: str
    changed: tuple[str, ...]
    effect: float
    fold_difference: float
    vector_effect: float
    reload_difference: float
    left_out: tuple[str, ...]
    dtype: str
    max_tokens: int | None


def fix(
    name: str,
    temperature: ModelFix,
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    trust_remote_code: bool = False,
    step: Callable[[str], None] = lambda _: None,
) -> FixReport:
    """Fold a temperature into a model and write it as a folder that stock sentence-transformers loads.

    The folder appears under its name only when it is complete, reloaded and checked. Files, tensors and config
    entries that the fix does not concern are those of the source, byte for byte.

    Args:
        name: model to start from, as for `load_model`.
        temperature: what to fold: a temperature, or another fix that weights can carry.
        out: the new folder.
        force: replace an existing model folder.
        trust_remote_code: as for `load_model`.
        step: told what is being done.

    Raises:
        OutputError: a folder that is in the way, or a disk that is full.
        ArchitectureError: a model that cannot carry the temperature, or was fixed before.
        ModelError: a reloaded folder that disagrees with the patched model.

    Source of the fix: Zhou et al., ACL 2025 (arXiv 2410.24200); that it folds exactly is this package's own.
    """
    target = Path(out)
    check_target(target, force=force)
    step("loading")
    stock = load_model(name, device="cpu", trust_remote_code=trust_remote_code)
    _check_apart(target, stock.source)
    folded = copy.deepcopy(backbone(stock.model))
    step("folding and checking against softmax(scores / tau)")
    changed = fold(folded, temperature)
    found = verify(stock.model, temperature, folded)
    wanted, effect = _patched_vectors(stock, temperature)
    step("writing")
    with whole_folder(target) as part:
        left_out = tuple(_copy(stock.source, part))
        dtype = _replace(part, stock, folded)
        step("reloading with stock sentence-transformers")
        difference = _reload_difference(part, wanted, effect, dtype, trust_remote_code)
        report = FixReport(
            target,
            str(temperature),
            changed,
            found.effect,
            found.folded or 0.0,
            effect,
            difference,
            left_out,
            str(dtype).removeprefix("torch."),
            stock.folder_max_tokens,
        )
        _write_card(part, name, report)
    return report


def _patched_vectors(stock: SentenceEncoder, temperature: ModelFix) -> tuple[npt.NDArray[np.float32], float]:
    """Vectors of the probe texts with the temperature patched on, and how far it moved them."""
    before = stock.vectors(PROBE_TEXTS)
    with patch(stock.model, temperature):
        after = stock.vectors(PROBE_TEXTS)
    return after, float(np.abs(after - before).max())


def _replace(part: Path, stock: SentenceEncoder, folded: PreTrainedModel) -> torch.dtype:
    """Put the folded weights and config entries into the copied folder; returns the precision they have there."""
    place, model = part / _transformer_path(stock.source), backbone(stock.model)
    dtype = replace_weights(place, saved_tensors(model, part), saved_tensors(folded, part))
    _edit_config(place / "config.json", model.config.to_dict(), folded.config.to_dict())
    return dtype


def check_target(target: Path, *, force: bool) -> None:
    """Raise unless a folder can be written at `target` without destroying anything but a model."""
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise OutputError(
                f"The output {str(target)!r} exists and is not empty. Give another folder, or replace it with "
                "--force (force=True)."
            )
        if not any((target / file).exists() for file in ("modules.json", "config.json")):
            raise OutputError(
                f"The output {str(target)!r} is not empty and is no model, so it is not replaced even with --force."
            )
    elif target.exists() and not target.is_dir():
        raise OutputError(f"The output {str(target)!r} is a file. Give a folder.")


def _check_apart(target: Path, source: Path) -> None:
    """Neither may lie in the other: replacing the one would destroy or swallow the other."""
    new, old = target.resolve(), source.resolve()
    if new == old:
        raise OutputError(f"The output {str(target)!r} is the source model itself. Choose another folder.")
    if new.is_relative_to(old) or old.is_relative_to(new):
        raise OutputError(
            f"The output {str(target)!r} and the source {str(source)!r} lie one in the other. Choose another folder."
        )


def _copy(source: Path, part: Path) -> Iterator[str]:
    """Copy a folder's contents without its permissions; yields what held unfixed weights and stays behind."""
    for parent, folders, files in os.walk(source, followlinks=True):
        here = part / Path(parent).relative_to(source)
        here.mkdir(exist_ok=True)
        for name in (*sorted(folders), *sorted(files)):
            path = Path(parent) / name
            if name in OTHER_RUNTIMES if path.is_dir() else any(fnmatch(name, kind) for kind in WEIGHT_FILES):
                yield str(path.relative_to(source))
            elif path.is_file():
                shutil.copyfile(path, here / name)
        folders[:] = [name for name in folders if name not in OTHER_RUNTIMES]


def _transformer_path(source: Path) -> Path:
    """Where in the folder the transformer lies: the first module's path, usually the folder itself."""
    modules = source / "modules.json"
    if not modules.exists():
        return Path()
    first = json.loads(modules.read_text(encoding="utf-8"))[0]
    if not str(first["type"]).endswith("Transformer"):
        raise ModelError(
            f"Expected a transformer as the first module of {str(source)!r}, got {first['type']!r}. "
            "Fix each part of a router on its own."
        )
    return Path(first["path"])


def _edit_config(path: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Put into config.json what the fold changed, and leave every other entry as it was."""
    config = json.loads(path.read_text(encoding="utf-8"))
    _apply_changes(config, before, after)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _apply_changes(config: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    for key, value in after.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            nested = config.get(key, {})
            _apply_changes(nested, before[key], value)
            if nested:
                config[key] = nested
        elif before.get(key) != value:
            config[key] = value


def _reload_difference(
    folder: Path, wanted: npt.NDArray[np.float32], effect: float, dtype: torch.dtype, trust_remote_code: bool
) -> float:
    """Largest difference of vectors between the written folder and the patched model, computed in float32.

    A folder of 32-bit weights must agree to rounding. One of 16-bit weights cannot hold a product exactly, but what
    rounding costs must stay far below what the fix does, or unfixed weights would pass.
    """
    got = load_model(str(folder), device="cpu", trust_remote_code=trust_remote_code).vectors(PROBE_TEXTS)
    difference = float(np.abs(got - wanted).max())
    rounding = 1e-5 * max(1.0, float(np.abs(wanted).max()))
    allowed = rounding if dtype.itemsize >= 4 else max(rounding, 0.25 * effect)
    if not difference <= allowed:
        raise ModelError(
            f"The written model must give the patched model's vectors, but differs by {difference:.2g} (allowed "
            f"{allowed:.2g} in {dtype}). Nothing was kept. Fold from a source stored in float32."
        )
    return difference


def _write_card(folder: Path, base: str, report: FixReport) -> None:
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.exists() else ""
    section = f"""

## Fixed with uncollapse {uncollapse.__version__}

This is `{base}` with `{report.fix}` folded into its weights: attention is softmax(scores / tau), with no code and at
no cost. {len(report.changed)} tensors or config entries changed. On a padded probe batch:

| quantity | largest absolute value |
|---|---|
| how far the fix moves hidden states | {report.effect:.2g} |
| folded weights against softmax(scores / tau), hidden states | {report.fold_difference:.1g} |
| how far the fix moves vectors | {report.vector_effect:.2g} |
| this folder, loaded by sentence-transformers, against the patched original | {report.reload_difference:.1g} |

- The value was given by the user; this card says nothing about its benefit. Measure it on your own texts.
- Vectors of this model must not be mixed with vectors of `{base}` in one index.
- config.json carries the entry `uncollapse`; a second temperature on top is refused.
- Method: Zhou et al., Length-Induced Embedding Collapse in PLM-based Models, ACL 2025, arXiv 2410.24200.
"""
    card.write_text(text.rstrip("\n") + section if text else section.lstrip("\n"), encoding="utf-8")
