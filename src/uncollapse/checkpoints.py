"""Write a fixed model: the source folder copied, only the weights replaced, whole or not at all."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from sentence_transformers import SentenceTransformer

import uncollapse
from uncollapse.attention.folding import fold
from uncollapse.attention.patching import patch
from uncollapse.attention.sites import backbone
from uncollapse.attention.temperature import Temperature
from uncollapse.attention.verification import verify
from uncollapse.encoders import WEIGHT_FILES, SentenceEncoder, load, quiet
from uncollapse.errors import ModelError, OutputError

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

# Rounding of one forward pass: a model stored in half precision cannot agree better than its weights.
_AGREEMENT = {torch.float32: 1e-5, torch.float64: 1e-5, torch.bfloat16: 3e-2, torch.float16: 5e-3}


@dataclass(frozen=True)
class FixReport:
    """What was written and how exactly it is what was asked for.

    Args:
        folder: the new model.
        fix: its notation.
        changed: tensors and config entries that changed.
        effect: how far the fix moves hidden states on the probe batch.
        fold_difference: folded against softmax(scores / tau), largest absolute difference of hidden states.
        reload_difference: folder reloaded by stock sentence-transformers against the patched model, of vectors.
        left_out: files of the source that held the unfixed weights.
        dtype: precision of the written weights.
    """

    folder: Path
    fix: str
    changed: tuple[str, ...]
    effect: float
    fold_difference: float
    reload_difference: float
    left_out: tuple[str, ...]
    dtype: str


def fix(
    name: str,
    temperature: Temperature,
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    trust_remote_code: bool = False,
    step: Callable[[str], None] = lambda _: None,
) -> FixReport:
    """Fold a temperature into a model and write it as a folder that stock sentence-transformers loads.

    The folder appears under its name only when it is complete, reloaded and checked.

    Args:
        name: model to start from, as for `load`.
        temperature: what to fold.
        out: the new folder.
        force: replace an existing model folder.
        trust_remote_code: as for `load`.
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
    stock = load(name, device="cpu", trust_remote_code=trust_remote_code)
    if target.exists() and target.resolve() == stock.source.resolve():
        raise OutputError(f"The output {str(target)!r} is the source model itself. Choose another folder.")
    folded = load(name, device="cpu", trust_remote_code=trust_remote_code)
    before = backbone(folded.model).config.to_dict()
    step("folding and checking against softmax(scores / tau)")
    changed = fold(folded.model, temperature)
    found = verify(stock.model, temperature, folded.model)
    with patch(stock.model, temperature):
        wanted = stock.vectors(PROBE_TEXTS)
    step("writing")
    with _whole_or_nothing(target) as part:
        left_out, dtype = _write(folded, before, part)
        step("reloading with stock sentence-transformers")
        difference = _reload_difference(part, wanted, dtype, trust_remote_code)
        report = FixReport(
            target,
            str(temperature),
            changed,
            found.effect,
            found.folded or 0.0,
            difference,
            left_out,
            str(dtype).removeprefix("torch."),
        )
        _write_card(part, name, report)
    return report


def check_target(target: Path, *, force: bool) -> None:
    """Raise unless a folder can be written at `target` without destroying anything but a model."""
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise OutputError(
                f"The output {str(target)!r} exists and is not empty. Give another folder, or --force to replace it."
            )
        if not any((target / file).exists() for file in ("modules.json", "config.json")):
            raise OutputError(
                f"The output {str(target)!r} is not empty and is no model, so it is not replaced even with --force."
            )
    elif target.exists() and not target.is_dir():
        raise OutputError(f"The output {str(target)!r} is a file. Give a folder.")


@contextmanager
def _whole_or_nothing(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target that takes its name at the end, and is gone after any failure."""
    part = target.parent / f".{target.name}.partial-{os.getpid()}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        part.mkdir()
        yield part
        old = target.parent / f".{target.name}.replaced-{os.getpid()}"
        if target.exists():
            target.rename(old)
        part.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        full = " The disk is full." if error.errno == errno.ENOSPC else ""
        raise OutputError(f"Could not write {str(target)!r}: {error}.{full} Nothing was left behind.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Remove what a killed run left, told by the number of a process that is no more."""
    for leftover in target.parent.glob(f".{target.name}.partial-*"):
        number = leftover.name.rpartition("-")[2]
        if number.isdigit() and not _is_running(int(number)):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _write(encoder: SentenceEncoder, before: dict[str, Any], part: Path) -> tuple[tuple[str, ...], torch.dtype]:
    source, place = encoder.source, _transformer_path(encoder.source)
    dtype = _stored_dtype(source / place)
    model = backbone(encoder.model)
    left_out: list[str] = []
    shutil.copytree(source, part, ignore=_unfixed_weights(source, place, left_out), dirs_exist_ok=True)
    weights = part / "weights"
    with quiet():
        model.to(dtype).save_pretrained(weights)
    for file in (*weights.glob("*.safetensors"), *weights.glob("*.safetensors.index.json")):
        file.rename(part / place / file.name)
    shutil.rmtree(weights)
    _edit_config(part / place / "config.json", before, model.config.to_dict())
    return tuple(sorted(left_out)), dtype


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


def _unfixed_weights(source: Path, place: Path, left_out: list[str]) -> Callable[[str, list[str]], set[str]]:
    def ignore(folder: str, names: list[str]) -> set[str]:
        weights = {name for name in names if any(fnmatch(name, pattern) for pattern in WEIGHT_FILES)}
        weights |= {name for name in names if name in OTHER_RUNTIMES and (Path(folder) / name).is_dir()}
        # Pooling and dense modules keep their own weights; the transformer's are replaced.
        here = Path(folder) == source / place
        replaced = {name for name in names if here and ".safetensors" in name}
        left_out.extend(str((Path(folder) / name).relative_to(source)) for name in weights)
        return weights | replaced

    return ignore


def _stored_dtype(folder: Path) -> torch.dtype:
    """The precision most of the stored weights have; what is written keeps it."""
    sizes: dict[str, int] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - a safetensors file is no dict
                piece = tensors.get_slice(key)
                sizes[piece.get_dtype()] = sizes.get(piece.get_dtype(), 0) + int(np.prod(piece.get_shape() or [1]))
    names = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    known = {name: size for name, size in sizes.items() if name in names}
    return names[max(known, key=lambda name: known[name])] if known else torch.float32


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
        elif before.get(key) != value and key not in {"dtype", "torch_dtype"}:
            config[key] = value


def _reload_difference(folder: Path, wanted: Any, dtype: torch.dtype, trust_remote_code: bool) -> float:
    """Largest difference of vectors between the folder as anyone loads it and the patched model."""
    with quiet():
        model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=trust_remote_code)
    got = SentenceEncoder(model.eval(), folder.name, source=folder, folder_max_tokens=None).vectors(PROBE_TEXTS)
    difference = float(np.abs(got - wanted).max())
    allowed = _AGREEMENT[dtype] * max(1.0, float(np.abs(wanted).max()))
    if not difference <= allowed:
        raise ModelError(
            f"The written model must give the patched model's vectors, but differs by {difference:.2g} (allowed "
            f"{allowed:.2g} in {dtype}). Nothing was kept."
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
| this folder, loaded by sentence-transformers, against the patched original | {report.reload_difference:.1g} |

- The value was given by the user; this card says nothing about its benefit. Measure it on your own texts.
- Vectors of this model must not be mixed with vectors of `{base}` in one index.
- config.json carries the entry `uncollapse`; a second temperature on top is refused.
- Method: Zhou et al., Length-Induced Embedding Collapse in PLM-based Models, ACL 2025, arXiv 2410.24200.
"""
    card.write_text(text.rstrip("\n") + section if text else section.lstrip("\n"), encoding="utf-8")
