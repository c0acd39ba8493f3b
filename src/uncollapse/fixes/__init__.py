"""Every fix under one notation."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

from uncollapse.attention.modelfixes import MODEL_FIXES, class_of
from uncollapse.attention.temperature import Temperature
from uncollapse.corpora.texts import excerpt
from uncollapse.errors import NotationError, nearest
from uncollapse.fixes.composition import Composition, compose
from uncollapse.fixes.kinds import AnyFix, Kind
from uncollapse.fixes.scores import SCORE_FIXES
from uncollapse.fixes.texts import TEXT_FIXES
from uncollapse.fixes.vectors import VECTOR_FIXES
from uncollapse.notation import Call, parse_calls

Fix = AnyFix
"""Any fix, or several as a `Composition`."""

FIXES: dict[str, type[Fix]] = {
    **MODEL_FIXES,
    **TEXT_FIXES,
    **VECTOR_FIXES,
    **SCORE_FIXES,
}
"""Name to class; for fixes inside the model, `class_of` also looks at the names of the arguments."""

__all__ = ["FIXES", "Composition", "Fix", "Kind", "compose", "parse"]

_DECIMAL_COMMA = re.compile(r"(temperature|whitening)\(\s*(\d+),\s*(\d+)\s*\)")
_LIST = "Several numbers, one a layer, are a list: temperature([0.9, 0.8, ...])."
_FILE = (
    'Such a file holds {"fix": "temperature", "tau": 0.9}, or one number a layer: "tau": [0.9, 0.8, ...], or a '
    'notation: {"fix": "whitening(0.3)"}'
)


def parse(text: str) -> Fix:
    """Read a fix from its notation, or from a JSON file that holds one.

    Args:
        text: such as `temperature(0.8)`, `temperature(0.8) + whitening(0.25)`, or the path of a .json file.

    Raises:
        NotationError: an unknown name, wrong arguments, fixes that do not go together, or a file that holds none.

    >>> parse("temperature(0.8)")
    Temperature(tau=0.8)
    >>> str(parse("whitening(0.25) + temperature([0.9, 0.8])"))
    'temperature([0.9, 0.8]) + whitening(0.25)'
    """
    if text.strip().lower().endswith(".json"):
        return _read_json(Path(text.strip()))
    if comma := _DECIMAL_COMMA.fullmatch(text.strip()):
        name, whole, decimals = comma.groups()
        raise NotationError(f"Decimals have a point: write {name}({whole}.{decimals}), not {text.strip()!r}. {_LIST}")
    made = [_make(call, text) for call in parse_calls(text)]
    return made[0] if len(made) == 1 else Composition(made)


def _make(call: Call, text: str) -> Fix:
    if call.name not in FIXES:
        raise NotationError(f"No fix {call.name!r} in {text!r}. {nearest(call.name, FIXES, 'Known fixes')}")
    kind: Any = class_of(call.name, call.keywords) if call.name in MODEL_FIXES else FIXES[call.name]
    try:
        inspect.signature(kind).bind(*call.arguments, **call.keywords)
    except TypeError as error:
        if kind is Temperature:
            raise NotationError(
                f"Expected one number, or one list of numbers, in {text!r}. Write temperature(0.9). {_LIST}"
            ) from error
        takes = ", ".join(inspect.signature(kind).parameters)
        raise NotationError(f"Expected {call.name}({takes}), got {text!r}: {error}.") from error
    fix: Fix = kind(*call.arguments, **call.keywords)
    return fix


def _read_json(path: Path) -> Fix:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise NotationError(f"Expected a file with a fix, got {str(path)!r}, which is not there. {_FILE}.") from error
    except (OSError, ValueError) as error:
        raise NotationError(f"Expected a JSON file with a fix, got {str(path)!r}: {error}. {_FILE}.") from error
    if not isinstance(data, dict) or not isinstance(data.get("fix"), str):
        raise NotationError(f"Expected a fix in {str(path)!r}, got {excerpt(json.dumps(data))}. {_FILE}.")
    try:
        inside = data["fix"] in MODEL_FIXES
        return class_of(data["fix"], data).from_json(data) if inside else _notation_alone(data)
    except NotationError as error:
        raise NotationError(f"{str(path)!r}: {error}") from error


def _notation_alone(data: dict[str, Any]) -> Fix:
    """The fix of a file that holds nothing but its notation."""
    written = data["fix"]
    if others := [key for key in data if key != "fix"]:
        raise NotationError(
            f"Expected the dials of {written!r} in its notation, got {', '.join(map(repr, others))} beside it, which "
            'would do nothing. Write {"fix": "whitening(0.3)"}.'
        )
    if written.strip().lower().endswith(".json"):
        raise NotationError(f"Expected the notation of a fix, got {written!r}, another file. {_FILE}.")
    return parse(written)
