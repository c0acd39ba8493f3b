"""Fixes on vectors as stock modules of a model folder: a Dense, or a Router where queries have their own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.modules import Dense, Normalize

from uncollapse.errors import ModelError
from uncollapse.fixes.maps import Affine, Role, VectorMap

# Names under which every release of sentence-transformers since version 3 finds its modules.
_TYPES = {name: f"sentence_transformers.models.{name}" for name in ("Dense", "Normalize", "Router")}


@dataclass(frozen=True, eq=False)
class Linear:
    """All maps of a pipeline as one, for documents, for queries, and for texts that are compared as equals.

    Args:
        document, query, text: x -> matrix x + offset.
    """

    document: Affine
    query: Affine
    text: Affine

    @classmethod
    def of(cls, maps: Sequence[VectorMap]) -> "Linear":
        """The maps one after the other.

        Raises:
            FixError: a map that depends on the length of the text.
        """
        return cls(_chain(maps, "document"), _chain(maps, "query"), _chain(maps, "text"))

    @property
    def is_same(self) -> bool:
        """Whether all texts go through the same map."""
        parts = ((self.document.matrix, self.document.offset), (self.query.matrix, self.query.offset))
        return all(
            np.array_equal(one, other)
            for part in parts
            for one, other in zip(part, (self.text.matrix, self.text.offset), strict=True)
        )


def _chain(maps: Sequence[VectorMap], role: Role) -> Affine:
    first, *rest = (one.as_affine(role) for one in maps)
    for one in rest:
        first = one.after(first)
    return first


def append_modules(folder: Path, linear: Linear) -> tuple[str, ...]:
    """Put a map, and scaling to norm 1 after it, behind the modules of a model folder.

    Vectors are scaled to norm 1 before the map too, as they were when it was fitted.

    Args:
        folder: of a sentence-transformers model.
        linear: what vectors go through.

    Returns:
        Paths of the new modules.

    Raises:
        ModelError: a folder that lists no modules.
    """
    file = folder / "modules.json"
    if not file.exists():
        raise ModelError(
            f"Expected the folder of a sentence-transformers model, got {str(folder)!r} without modules.json. Save it "
            "once with SentenceTransformer(...).save, then fix it."
        )
    modules: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    added = [] if str(modules[-1]["type"]).endswith("Normalize") else [_write_normalize(folder, len(modules))]
    place = len(modules) + len(added)
    added += [_write_linear(folder, place, linear), _write_normalize(folder, place + 1)]
    modules += [{"idx": i, "name": str(i), **one} for i, one in enumerate(added, start=len(modules))]
    file.write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")
    return tuple(one["path"] for one in added)


def _write_normalize(folder: Path, place: int) -> dict[str, str]:
    path = f"{place}_Normalize"
    (folder / path).mkdir()
    Normalize().save(str(folder / path))
    return {"path": path, "type": _TYPES["Normalize"]}


def _write_linear(folder: Path, place: int, linear: Linear) -> dict[str, str]:
    if linear.is_same:
        path = f"{place}_Dense"
        _write_dense(folder / path, linear.document)
        return {"path": path, "type": _TYPES["Dense"]}
    path = f"{place}_Router"
    routes = {"query": linear.query, "document": linear.document, "text": linear.text}
    for role, affine in routes.items():
        _write_dense(folder / path / f"{role}_0_Dense", affine)
    config = {
        "types": {f"{role}_0_Dense": _TYPES["Dense"] for role in routes},
        "structure": {role: [f"{role}_0_Dense"] for role in routes},
        "parameters": {"default_route": "text", "allow_empty_key": True},
    }
    (folder / path / "router_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return {"path": path, "type": _TYPES["Router"]}


def _write_dense(folder: Path, affine: Affine) -> None:
    folder.mkdir(parents=True)
    size = affine.matrix.shape
    weight, bias = (torch.from_numpy(part.astype(np.float32)) for part in (affine.matrix, affine.offset))
    Dense(size[1], size[0], activation_function=torch.nn.Identity(), init_weight=weight, init_bias=bias).save(
        str(folder)
    )
    _keep_old(folder / "config.json")


def _keep_old(file: Path) -> None:
    """Leave out of a Dense's config what releases before 5 do not know and refuse; later ones take it as it was."""
    config = json.loads(file.read_text(encoding="utf-8"))
    kept = {key: config[key] for key in ("in_features", "out_features", "bias", "activation_function")}
    file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
