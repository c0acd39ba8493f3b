"""One text, one bad record, and the corpus that yields the first and counts the second."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import TypeAlias
from unicodedata import category

from uncollapse.corpora.drawing import Draw
from uncollapse.errors import CorpusError

EXAMPLES_KEPT = 3

REMEDY = "Mend it, or leave such records out and count them: skip_bad=True (--skip-bad)."

EMPTY = "empty text"
MISSING_FIELD = "missing field"
TOO_LONG = "text too long"

IDS_REMEMBERED = 1_000_000
"""How many ids are kept to find duplicates; more would let memory grow with the corpus."""


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a corpus.

    Args:
        id: unique in the corpus.
        text: what is embedded; never blank, as `is_blank` has it.
        query: a natural query for the text where the corpus has one (`docstrings`), else None.
        source: where it comes from: file name or package name.
    """

    id: str
    text: str
    query: str | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A line, row or whole file (`line` is None): `str(place)` for people, `place.id` for texts without an id."""

    path: Path
    name: str
    line: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.line is None else f"{self.path}:{self.line}"

    @property
    def id(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


@dataclass(frozen=True, slots=True)
class Found:
    """A record as it was read, before any check of its values; an `id` of None means there is none."""

    place: Place
    text: object
    id: object = None
    query: str | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Bad:
    """A record or a file that cannot be used, and why; `tolerated` ones never stop a pass."""

    reason: str
    place: Place
    message: str
    tolerated: bool = False

    def error(self) -> CorpusError:
        # Where the first record lacks the field, all do: leaving them out would leave nothing.
        remedy = "" if self.reason == MISSING_FIELD and self.place.line in {None, 1} else f" {REMEDY}"
        return CorpusError(f"{self.place}: {self.message}{remedy}")


Item: TypeAlias = Found | Bad
Items: TypeAlias = Generator[Item, None, None]


@dataclass(frozen=True)
class ReadingOptions:
    """How records are read; see `open_corpus`. `title_field` is set for BEIR folders only."""

    text_field: str | None = None
    id_field: str | None = None
    skip_bad: bool = False
    limit: int | None = None
    max_characters: int = 10_000_000
    title_field: str | None = None
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.sample is not None:
            raise CorpusError(
                f"limit takes the first texts and sample random ones, got limit={self.limit} and sample={self.sample}."
                " Leave one out (--limit, --sample)."
            )
        for name in ("limit", "max_characters", "sample"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CorpusError(f"{name} must be at least 1, got {value}. Leave it out to read everything.")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of texts that are a part of the corpus."""
        if self.sample is not None:
            return (
                f"where there are more than {self.sample:,} texts, so many are drawn at random (seed {self.seed})",
            )
        if self.limit is None:
            return ()
        return (
            f"only the first {self.limit:,} texts in the order of the corpus are read, and the rest may be of another "
            f"kind; `diagnose` and `explain` can draw as many at random (--sample {self.limit})",
        )

    def drawn_notes(self, draw: Draw) -> tuple[str, ...]:
        """The same of a sample, once it is drawn."""
        if len(draw.ids) < draw.n_all:
            return (f"{len(draw.ids):,} of {draw.n_all:,} texts are read, drawn at random (seed {self.seed})",)
        return (f"all {draw.n_all:,} texts are read; there are no more than the {self.sample:,} to be drawn",)

    @property
    def max_line_bytes(self) -> int:
        """No line of a readable text is longer: six bytes hold any character in JSON; 1 MiB is for other fields."""
        return 6 * self.max_characters + 2**20


@dataclass
class Skipped:
    """What one pass left out: how often for each reason, and the first few places.

    >>> skipped = Skipped()
    >>> skipped.add("empty text", "notes.jsonl:4")
    >>> print(skipped)
    1 x empty text (notes.jsonl:4)
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Count one record left out."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        places = self.examples.setdefault(reason, [])
        if len(places) < EXAMPLES_KEPT:
            places.append(place)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        return "; ".join(self._line(reason) for reason in self.counts) or "nothing"

    def _line(self, reason: str) -> str:
        count, places = self.counts[reason], self.examples[reason]
        return f"{count} x {reason} ({', '.join(places)}{', ...' if count > len(places) else ''})"


class Corpus:
    """Texts with ids, read anew at each `iter()`, never more than one of them (or one parquet row group) in memory.

    Duplicates are looked for among the first million ids, of which only hashes are kept; a longer corpus notes it.

    Args:
        name: short name, for tables and figures.
        description: one sentence on what is read and how.
        records: called once a pass; yields what is there, good and bad.
        options: see `open_corpus`.
        notes: what a reader should know, such as files that were left out.
        root: folder of which every file that is added may be read, too; None where there is none.

    Attributes:
        skipped: what the most recent pass has left out so far.
    """

    def __init__(
        self,
        name: str,
        description: str,
        *,
        records: Callable[[], Items],
        options: ReadingOptions,
        notes: tuple[str, ...] = (),
        root: Path | None = None,
    ) -> None:
        self.name = name
        self.description = description
        self.notes = (*notes, *options.notes)
        self.root = root
        self.skipped = Skipped()
        self._records = records
        self._options = options
        self._draw: Draw | None = None

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}: {self.description})"

    def __iter__(self) -> Iterator[Text]:
        self.skipped = Skipped()
        return self._pass(self.skipped)

    def check_first(self) -> None:
        """Read up to the first text, so that a wrong file or field fails now and not after a model was loaded."""
        with closing(self._pass(Skipped(), whole=True)) as texts:
            next(texts)

    def draw(self) -> None:
        """Draw the random sample, where one was asked for, so that `notes` say what came of it; takes one pass."""
        self._drawn()

    def _drawn(self) -> Draw | None:
        """Which texts are a random sample, found out by the first pass; None for no sample."""
        size, seed = self._options.sample, self._options.seed
        if size is not None and self._draw is None:
            with closing(self._pass(Skipped(), whole=True)) as texts:
                self._draw = Draw.first((text.id for text in texts), size, seed=seed)
            others = (note for note in self.notes if note not in self._options.notes)
            self.notes = (*others, *self._options.drawn_notes(self._draw))
        return self._draw

    def _pass(self, skipped: Skipped, *, whole: bool = False) -> Generator[Text, None, None]:
        seen: set[int] = set()
        drawn = None if whole else self._drawn()
        yielded = 0
        with closing(self._checked(seen)) as items:
            for item in items:
                if isinstance(item, Text):
                    if drawn is not None and item.id not in drawn:
                        continue
                    yield item
                    yielded += 1
                    if yielded == self._options.limit:
                        return
                elif item.tolerated or self._options.skip_bad:
                    skipped.add(item.reason, str(item.place))
                else:
                    raise item.error()
        if not yielded:
            raise self._nothing(skipped)

    def _checked(self, seen: set[int]) -> Generator[Text | Bad, None, None]:
        with closing(self._records()) as records:
            for record in records:
                item = record if isinstance(record, Bad) else check(record, self._options.max_characters)
                if isinstance(item, Text) and isinstance(record, Found) and record.id is not None:
                    item = self._unless_duplicate(item, record.place, seen)
                yield item

    def _unless_duplicate(self, text: Text, place: Place, seen: set[int]) -> Text | Bad:
        key = int.from_bytes(blake2b(text.id.encode(), digest_size=8).digest())
        if key not in seen:
            self._remember(key, seen)
            return text
        first = "earlier" if self._options.skip_bad else f"at {self._first_place(text.id)}"
        if first == f"at {place}":  # two ids with the same hash
            return text
        return Bad("duplicate id", place, f"expected an id of its own for each text, got {text.id!r}, also {first}.")

    def _remember(self, key: int, seen: set[int]) -> None:
        note = f"duplicate ids were looked for among the first {IDS_REMEMBERED:,} ids only"
        if len(seen) < IDS_REMEMBERED:
            seen.add(key)
        elif note not in self.notes:
            self.notes = (*self.notes, note)

    def _first_place(self, text_id: str) -> Place:
        found = (record for record in self._records() if isinstance(record, Found))
        return next(record.place for record in found if readable_id(record.id) == text_id)

    def _nothing(self, skipped: Skipped) -> CorpusError:
        advice = "Check that this is the file or folder meant."
        if self._options.skip_bad and skipped.total:
            advice += " Run once without skip_bad (--skip-bad) to see the first error in full."
        return CorpusError(
            f"Expected at least one text that is not blank, got none from {self.description}. "
            f"Left out: {skipped}. {advice}"
        )


def check(found: Found, max_characters: int) -> Text | Bad:
    """The record as a text, or what is wrong with its values."""
    text, place = found.text, found.place
    if text is None or (isinstance(text, str) and is_blank(text)):
        unseen = " It has characters, but none that shows." if text and text.strip() else ""
        return Bad(EMPTY, place, f"expected a text, got a blank one.{unseen}", tolerated=True)
    if not isinstance(text, str):
        return Bad("text is no string", place, f"expected a string as text, got {excerpt(text)}.")
    if len(text) > max_characters:
        message = f"expected at most {max_characters:,} characters, got {len(text):,}. Raise max_characters if meant."
        return Bad(TOO_LONG, place, message)
    text_id = place.id if found.id is None else readable_id(found.id)
    if text_id is None:
        return Bad("unusable id", place, f"expected a string or a number as id, got {excerpt(found.id)}.")
    if not (is_unicode(text) and is_unicode(text_id)):
        message = "expected Unicode text, got half of a surrogate pair (such as \\ud83d alone), which is no character."
        return Bad("lone surrogate", place, message)
    return Text(text_id, text, found.query, found.source)


def is_blank(text: str) -> bool:
    """Whether nothing of a text shows: white space, control characters and those without width, or nothing at all.

    >>> is_blank(" \\u200b\\x00"), is_blank("\\u200ba")
    (True, False)
    """
    return all(one.isspace() or category(one) in _UNSEEN for one in text)


_UNSEEN = ("Cc", "Cf")
"""Unicode's categories of control characters and of those that only steer how others are set, such as U+200B."""


def readable_id(value: object) -> str | None:
    """A string as it is, a number as its digits, None for anything else.

    >>> readable_id(17), readable_id("a"), readable_id([1])
    ('17', 'a', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return str(value) if isinstance(value, int) or isfinite(value) else None


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def excerpt(value: object, width: int = 60) -> str:
    """The beginning of a value as Python shows it, with its type unless it is a string.

    >>> excerpt(5), excerpt("abc")
    ('5 (int)', "'abc'")
    """
    shown = repr(value[: width + 1] if isinstance(value, str) else value)
    kind = "" if isinstance(value, str) else f" ({type(value).__name__})"
    return (shown if len(shown) <= width else f"{shown[:width]} ...") + kind
