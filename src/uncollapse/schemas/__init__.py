"""JSON Schemas (draft 2020-12) of the files this package writes, one a version, for whoever reads them."""

import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from uncollapse.errors import UncollapseError, nearest


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a file by the name and version that stand in it.

    Args:
        name: the value of `schema` in the file, such as "uncollapse.result/1" or "uncollapse.thresholds/1".

    Raises:
        UncollapseError: there is no such schema.

    >>> schema("uncollapse.result/1")["title"]
    'Result of uncollapse'
    """
    known = {_name(path): path for path in files(__name__).iterdir() if path.name.endswith(".json")}
    if name not in known:
        raise UncollapseError(f"There is no schema {name!r}. {nearest(name, sorted(known))}")
    found: dict[str, Any] = json.loads(known[name].read_text(encoding="utf-8"))
    return found


def _name(path: Traversable) -> str:
    """The schema's name from its file's: `result-1.json` is "uncollapse.result/1"."""
    title, _, version = path.name.removesuffix(".json").rpartition("-")
    return f"uncollapse.{title}/{version}"
