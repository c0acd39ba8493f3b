"""Fixes that act on texts: cut them, embed the pieces, and make one vector of theirs, or keep several."""

from typing import Any

from uncollapse.fixes.texts.chunks import Chunks
from uncollapse.fixes.texts.cover import Cover

TEXT_FIXES: dict[str, Any] = {
    "chunks": Chunks,
    "cover": Cover,
}
"""Name to class."""
