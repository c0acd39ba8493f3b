"""Languages of which words can be cut to their stems; only this file knows PyStemmer."""

import importlib
from typing import Any

from uncollapse.errors import MissingExtraError, UncollapseError, nearest

PLAIN = "plain"
"""In place of a language: words as they are written, all of them."""

CODES = {
    **{"ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english"},
    **{"eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish"},
    **{"fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian"},
    **{"it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali", "nl": "dutch", "nn": "norwegian"},
    **{"no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian"},
    **{"st": "sesotho", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish"},
}
"""Languages by ISO 639-1, as Snowball calls them."""


def read_language(name: str) -> str:
    """A language as Snowball calls it.

    Args:
        name: that, or its code of ISO 639-1, in letters of any size; or "plain".

    Raises:
        MissingExtraError: PyStemmer is not installed.
        UncollapseError: a language that Snowball does not know.

    >>> read_language("German"), read_language("EN"), read_language("plain")
    ('german', 'english', 'plain')
    """
    known, asked = [*snowball().algorithms(), PLAIN], name.strip().lower()
    language = CODES.get(asked, asked)
    if language not in known:
        raise UncollapseError(
            f"Word matching expects the language of the texts, as Snowball calls it or by its ISO 639-1 code (en, "
            f"de, ...), or {PLAIN!r} for words as they are written, got {name!r}. "
            f"{nearest(asked, known, 'Languages')}"
        )
    return language


def snowball() -> Any:
    """PyStemmer.

    Raises:
        MissingExtraError: it is not installed.
    """
    return library("Stemmer", "PyStemmer")


def library(module: str, package: str) -> Any:
    """A library that word matching needs.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, "bm25", "Word matching (BM25)") from error
