"""What the card of a new model takes from that of its source: the front matter, and the rest as quoted history."""

import re
from pathlib import Path

CARD = "README.md"

HISTORY = """## History: the card of the model it was made from

Quoted as it came. It speaks of that model and not of this folder: its lines of code load that model, and the files,
limits and numbers that it names are that model's. Where it and the above differ, the above holds.

"""

_FRONT = re.compile(r"\A---[ \t]*\n.*?^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_LIBRARY = re.compile(r"^(?:library_name:.*|[ \t]*-[ \t]*(?:sentence-)?transformers[ \t]*)\n", re.MULTILINE)


def read_card(folder: Path) -> str:
    """The card of a model; "" where it has none."""
    card = folder / CARD
    return card.read_text(encoding="utf-8-sig", errors="replace") if card.is_file() else ""


def compose_card(section: str, before: str, *, is_stock: bool) -> str:
    """A card that says first what holds of the new folder, and then, as a quotation, what its source's card says.

    Args:
        section: what holds of the new folder, in Markdown.
        before: the card of its source.
        is_stock: whether sentence-transformers loads it; otherwise the front matter must not name that library.
    """
    front, body = _split(before)
    if not is_stock:
        front = _LIBRARY.sub("", front)
    quoted = "".join(f"> {line}".rstrip() + "\n" for line in body.strip("\n").split("\n"))
    return front + section.strip("\n") + "\n" + (f"\n{HISTORY}{quoted}" if body.strip() else "")


def put_first(section: str, card: str) -> str:
    """A card with one more section before the others, which hold as well."""
    front, body = _split(card)
    return f"{front}{section.strip()}\n\n{body}"


def _split(card: str) -> tuple[str, str]:
    found = _FRONT.match(card)
    end = found.end() if found else 0
    front = card[:end].rstrip("\n") + "\n" if end else ""
    return front, card[end:]
