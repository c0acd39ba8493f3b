"""How fixes are written, and how their dials are checked."""

from collections.abc import Sequence
from typing import Any

from uncollapse.errors import NotationError, nearest


def write(name: str, *arguments: object) -> str:
    """The notation of a fix, as `parse` reads it.

    >>> write("whitening", 0.25, "zero")
    'whitening(0.25, zero)'
    """
    return f"{name}({', '.join(_written(value) for value in arguments)})"


def given(values: Sequence[object], defaults: Sequence[object]) -> list[object]:
    """The values up to the last that is not what it is by default.

    >>> given(("mean", 0.1), ("mean", "oas")), given(("zero", "oas"), ("mean", "oas"))
    (['mean', 0.1], ['zero'])
    """
    differing = [place for place, pair in enumerate(zip(values, defaults, strict=True)) if pair[0] != pair[1]]
    return list(values[: differing[-1] + 1]) if differing else []


def _written(value: object) -> str:
    if isinstance(value, str):
        return value
    return repr(float(value)) if isinstance(value, float) else repr(value)  # NumPy's floats print their class


def check_choice(fix: object, dial: str, choices: Sequence[str]) -> None:
    """Raise NotationError unless a dial is one of some words."""
    got = getattr(fix, dial)
    if got not in choices:
        raise NotationError(f"`{_name(fix)}`: {dial} cannot be {got!r}. {nearest(str(got), choices, 'Choices')}")


def check_number(
    fix: object, dial: str, *, low: float, high: float = float("inf"), whole: bool = False, above: bool = False
) -> None:
    """Raise NotationError unless a dial is a number in a range.

    Args:
        fix: whose dial.
        dial: name of its field.
        low, high: the range, ends in.
        whole: whether it counts something.
        above: whether `low` itself is out.
    """
    got: Any = getattr(fix, dial)
    is_number = isinstance(got, int if whole else (int, float)) and not isinstance(got, bool)
    if is_number and (low < got if above else low <= got) and got <= high and abs(got) < float("inf"):
        return
    kind = "a whole number" if whole else "a number"
    start = f"above {low:g}" if above else f"of at least {low:g}"
    end = "" if high == float("inf") else f" and at most {high:g}"
    raise NotationError(f"`{_name(fix)}`: {dial} must be {kind} {start}{end}, got {got!r}.")


def _name(fix: object) -> str:
    """As the notation has it, whatever its dials are."""
    return str(fix).partition("(")[0]
