"""What fixes with a few numbers have in common: their notation, their JSON, and the check of each number."""

from dataclasses import fields
from typing import Any, TypeVar

from uncollapse.errors import NotationError, nearest

Fix = TypeVar("Fix")


def notation(name: str, fix: Any) -> str:
    """The text that parses to a fix: its one number, or all its numbers by name."""
    values = {field.name: getattr(fix, field.name) for field in fields(fix)}
    shown = [str(value) for value in values.values()]
    return f"{name}({', '.join(shown if len(values) == 1 else (f'{k}={v}' for k, v in values.items()))})"


def to_json(name: str, fix: Any) -> dict[str, Any]:
    """A fix as JSON types."""
    return {"fix": name, **{field.name: getattr(fix, field.name) for field in fields(fix)}}


def from_json(name: str, kind: type[Fix], data: dict[str, Any]) -> Fix:
    """Read what `to_json` gave.

    Raises:
        NotationError: other keys than those of the fix.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if data.get("fix") != name or set(data) != {"fix", *known}:
        keys = ", ".join(f'"{key}": ...' for key in known)
        raise NotationError(f'Expected {{"fix": "{name}", {keys}}}, got {data!r}.')
    return kind(**{key: data[key] for key in known})


def set_number(fix: Any, name: str, key: str, low: float, high: float) -> None:
    """Check a number of a fix that is being made, and keep it as a float.

    Raises:
        NotationError: no number, or one out of range.
    """
    value = getattr(fix, key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise NotationError(f"`{name}`: {key} must be a number from {low:g} to {high:g}, got {value!r}.")
    object.__setattr__(fix, key, float(value))


def check_count(fix: Any, name: str, key: str, least: int = 1) -> None:
    """Check a whole number of a fix.

    Raises:
        NotationError: no whole number, or one below the least.
    """
    value = getattr(fix, key)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise NotationError(f"`{name}`: {key} must be a whole number from {least}, got {value!r}.")


def check_word(fix: Any, name: str, key: str, known: tuple[str, ...]) -> None:
    """Check a word of a fix.

    Raises:
        NotationError: a word that is not known.
    """
    value = getattr(fix, key)
    if not isinstance(value, str) or value not in known:
        raise NotationError(f"`{name}`: no {key} {value!r}. {nearest(str(value), known)}")
