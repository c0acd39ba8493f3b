"""Which columns of a record or a table hold its text, its id and its title."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uncollapse.corpora.texts import MISSING_FIELD, Bad, Found, Place, ReadingOptions
from uncollapse.errors import nearest

TEXT_FIELDS = ("text", "body", "content", "passage", "document")
ID_FIELDS = ("_id", "id", "doc_id", "docid")

COLUMNS_SHOWN = 30
CHARACTERS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a record hold its text, its id and a title to put before the text."""

    text: str
    id: str | None = None
    title: str | None = None

    @property
    def names(self) -> list[str]:
        return [name for name in dict.fromkeys((self.text, self.id, self.title)) if name is not None]

    def find(self, record: Mapping[str, object], place: Place) -> Found:
        """The record's values, unchecked; a title comes before the text, with a line feed between."""
        text, title = record[self.text], record.get(self.title) if self.title else None
        if isinstance(title, str) and title.strip() and (text is None or isinstance(text, str)):
            text = f"{title}\n{text}" if text and text.strip() else title
        given = record.get(self.id) if self.id else None
        return Found(place, text, None if given == "" else given, source=place.name)


def choose_fields(columns: Sequence[str], options: ReadingOptions, place: Place) -> Fields | Bad:
    """The fields asked for, else the first usual names among the columns there are."""
    for asked in (options.text_field, options.id_field):
        if asked is not None and asked not in columns:
            return missing_field(asked, columns, place)
    text = options.text_field or next((name for name in TEXT_FIELDS if name in columns), None)
    if text is None:
        return missing_field(None, columns, place)
    usual_id = next((name for name in ID_FIELDS if name in columns), None)
    return Fields(text, options.id_field or usual_id, options.title_field)


def missing_field(asked: str | None, columns: Sequence[str], place: Place) -> Bad:
    """A record or a table without the field that is needed; says which fields it has, nearest first."""
    wanted = f"a field {asked!r}" if asked else f"a field with the text ({', '.join(TEXT_FIELDS)})"
    hint = "" if asked else " Name the right one with --text-field (text_field=)."
    if not asked and {"sentence1", "sentence2"} <= set(columns):
        hint = " Pairs of sentences are for `uncollapse evaluate`; --text-field takes the texts of one field."
    shown = [column[:CHARACTERS_SHOWN] for column in columns[:COLUMNS_SHOWN]]
    there = nearest(asked or TEXT_FIELDS[0], shown, "Fields there")
    return Bad(MISSING_FIELD, place, f"expected {wanted}, got none. {there}{hint}")
