"""Texts cut into sentences."""

import re

# A mark that ends a sentence, with a closing quote or bracket or not, before white space; a Chinese or Japanese one
# (U+3002, U+FF01, U+FF1F) needs no white space. Or a blank line; single line ends do not count, since many files wrap
# their lines.
_CLOSING = "\"'\u2019\u201d)\\]"
_GAP = rf"(?:(?<=[.!?…])|(?<=[.!?…][{_CLOSING}]))\s+|(?<=[\u3002\uff01\uff1f])\s*|\s*\n\s*\n\s*"


def split_sentences(text: str) -> tuple[list[str], list[str]]:
    """Sentences of a text, and what stands between them: one gap fewer than sentences.

    A plain rule: a sentence ends with one of . ! ? … and white space, with their Chinese and Japanese likes, or at a
    blank line; where that finds one sentence only, at every line end. It takes an abbreviation for an end, which loses
    nothing.

    >>> split_sentences("Is it so? It is. Well")
    (['Is it so?', 'It is.', 'Well'], [' ', ' '])
    """
    parts = re.split(f"({_GAP})", text.strip())
    if len(parts) == 1:
        parts = re.split(r"(\s*\n\s*)", parts[0])
    if len(parts) > 1 and not parts[-1]:  # the end of the text is no gap
        parts = parts[:-2]
    return parts[::2], parts[1::2]
