"""Every fix under one notation."""

import inspect
import json
from pathlib import Path
from typing import Any

from uncollapse.attention.temperature import Temperature
from uncollapse.errors import NotationError, nearest
from uncollapse.notation import Call, parse_calls

Fix = Temperature
"""A fix; so far all of them act on attention."""

FIXES: dict[str, type[Fix]] = {"temperature": Temperature}
"""Name to class; `FIXES[name](*arguments)` makes the value."""


def parse(text: str) -> Fix:
    """Read a fix from its notation, or from a JSON file that holds one.

    Args:
        text: such as `temperature(0.8)`, `temperature([0.9, 0.8, 0.8])`, or the path of a .json file.

    Raises:
        NotationError: an unknown name, wrong arguments, several fixes, or a file that holds none.

    >>> parse("temperature(0.8)")
    Temperature(tau=0.8)
    >>> parse(str(parse("temperature([0.9, 0.8])"))).tau
    (0.9, 0.8)
    """
    if text.strip().endswith(".json"):
        return _read_json(Path(text.strip()))
    calls = parse_calls(text)
    if len(calls) != 1:
        raise NotationError(f"Expected one fix, got {len(calls)} in {text!r}. Give one; several cannot be combined.")
    return _make(calls[0], text)


def _make(call: Call, text: str) -> Fix:
    if call.name not in FIXES:
        raise NotationError(f"No fix {call.name!r} in {text!r}. {nearest(call.name, FIXES, 'Known fixes')}")
    kind: Any = FIXES[call.name]
    try:
        inspect.signature(kind).bind(*call.arguments, **call.keywords)
    except TypeError as error:
        raise NotationError(
            f"Wrong arguments in {text!r}: {error}. Expected {call.name}{inspect.signature(kind)}."
        ) from error
    fix: Fix = kind(*call.arguments, **call.keywords)
    return fix


def _read_json(path: Path) -> Fix:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotationError(f"Expected a JSON file with a fix, got {str(path)!r}: {error}.") from error
    if not isinstance(data, dict) or str(data.get("fix")) not in FIXES:
        raise NotationError(f'Expected {{"fix": name, ...}} in {str(path)!r}, names: {", ".join(FIXES)}.')
    return FIXES[data["fix"]].from_json(data)
