"""Fixes that act on texts: cut them, embed the pieces, and make one vector of theirs, or keep several."""

from typing import Any

from uncollapse.fixes.texts.chunks import Chunks

TEXT_FIXES: dict[str, Any] = {
    "chunks": Chunks,
}
"""Name to class."""
