"""Fixes that act on texts: cut them, embed the pieces, and make one vector of theirs, or keep several."""

from typing import Any

from uncollapse.fixes.texts.chunks import BestChunk, Chunks, WholeAndChunks
from uncollapse.fixes.texts.cover import Cover
from uncollapse.fixes.texts.ends import HeadTail
from uncollapse.fixes.texts.late import LateChunking
from uncollapse.fixes.texts.sentences import SentenceMean

TEXT_FIXES: dict[str, Any] = {
    "chunks": Chunks,
    "cover": Cover,
    "head_tail": HeadTail,
    "sentence_mean": SentenceMean,
    "whole_and_chunks": WholeAndChunks,
    "late_chunking": LateChunking,
    "best_chunk": BestChunk,
}
"""Name to class."""
