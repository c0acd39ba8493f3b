"""What goes from a model's folder into one that is made from it: its licences, and its card."""

from pathlib import Path

from uncollapse.copies import check_link, copy_file
from uncollapse.history import CARD, compose_card, read_card

_LICENCES = ("LICEN[CS]E*", "NOTICE*")


def copy_licences(source: Path, part: Path) -> None:
    """Copy what must go with a model's weights, files and folders of them, without their permissions.

    Raises:
        ModelError: one of them is a link that leads out of the folder.
    """
    for found in (path for pattern in _LICENCES for path in sorted(source.glob(pattern))):
        inside = sorted(found.rglob("*")) if found.is_dir() else [found]
        for path in (path for path in inside if path.is_file()):
            place = part / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            copy_file(path, place, source)


def write_card(part: Path, source: Path, section: str) -> None:
    """Write the card of a new model: a section of its own, and that of its source, if there is one, as its history.

    Args:
        part: the new folder.
        source: the folder it was made from.
        section: Markdown.

    Raises:
        ModelError: the card of the source is a link that leads out of the folder.
    """
    check_link(source / CARD, source)
    is_stock = (part / "modules.json").is_file()
    (part / CARD).write_text(compose_card(section, read_card(source), is_stock=is_stock), encoding="utf-8")
