"""The errors a user may meet, each in four parts: what was expected, what came, where, what to do."""

import difflib
from collections.abc import Iterable


class UncollapseError(ValueError):
    """Base of every error this package raises on purpose; the command line prints it without a traceback."""


class CorpusError(UncollapseError):
    """A corpus that cannot be read as it is."""


class ModelError(UncollapseError):
    """A model that cannot be loaded, observed or measured."""


class ArchitectureError(ModelError):
    """A model whose attention this package cannot act on in the way that was asked."""


class NotationError(UncollapseError):
    """A text that is no valid notation of a fix, such as `temperature(0)`."""


class FixError(UncollapseError):
    """A fix that cannot be fitted, or does not belong to these vectors."""


class OutputError(UncollapseError):
    """A place that cannot be written to."""


class MissingExtraError(UncollapseError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'uncollapse[{extra}]'"
        )


def nearest(name: str, known: Iterable[str], what: str = "Known") -> str:
    """Say which known names are nearest to an unknown one, then list them all.

    >>> nearest("temperatur", ["temperature", "whitening"])
    "Did you mean 'temperature'? Known: temperature, whitening."
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    ordered = close + [other for other in names if other not in close]
    hint = f"Did you mean {' or '.join(repr(match) for match in close)}? " if close else ""
    return f"{hint}{what}: {', '.join(ordered) if ordered else '(none)'}."
