"""Where a number comes from: what a reader needs to judge it and to make it again."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import uncollapse
from uncollapse.encoders import TextEncoder

PACKAGES = ("torch", "transformers", "sentence-transformers", "numpy")
"""What can change a number."""


def describe_model(encoder: TextEncoder, *, patched: str = "none") -> dict[str, Any]:
    """The model, as entries of `Result.about`."""
    return {**encoder.about, "patched_fix": patched}


def digest_texts(texts: Iterable[str]) -> str:
    """A digest of some texts, in their order; the same on every machine."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())
    return digest.hexdigest()


def describe_run(*packages: str) -> dict[str, Any]:
    """Time and versions, as entries of `Result.about`.

    Args:
        packages: further ones that made the numbers.
    """
    found = {package: importlib.metadata.version(package) for package in (*PACKAGES, *packages)}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"uncollapse": uncollapse.__version__, "python": platform.python_version(), **found},
    }
