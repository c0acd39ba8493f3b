"""What races: one row a family of fixes, with the dials that are tried."""

from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.errors import NotationError, nearest
from uncollapse.fixes import FIXES, Fix, parse
from uncollapse.fixes.composition import Composition, compose

BY_USER = "as asked for; see the documentation of these fixes"
"""What is said of the cost of a pipeline that is in no row of the table."""


@dataclass(frozen=True)
class Contender:
    """A family of fixes that differ in a dial.

    Args:
        name: of the family.
        grid: notations, the mildest first: where several are as good as each other, the first is taken.
        cost: what it costs once it is shipped, in words.
    """

    name: str
    grid: tuple[str, ...]
    cost: str

    @property
    def configurations(self) -> tuple["Configuration", ...]:
        """The members, in the order of the grid."""
        return tuple(Configuration(self.name, compose(parse(notation))) for notation in self.grid)


@dataclass(frozen=True)
class Configuration:
    """One member of a family.

    Args:
        family: its name.
        fix: the whole pipeline.
    """

    family: str
    fix: Composition

    def __str__(self) -> str:
        return str(self.fix)

    @property
    def inside(self) -> str:
        """What is put on the inside of the model; members that have it in common share all encoding of whole texts."""
        return str(Composition(self.fix.model))

    @property
    def encoding(self) -> tuple[str, str]:
        """What decides which texts go through which model: the inside, and how texts are cut."""
        return self.inside, str(self.fix.text or "")


_IN_A_LAYER = "nothing once it is shipped: it folds into one Dense layer after the model"
_READS_ON = "reading long texts to their end, in chunks: so many more tokens go through the model"
_AT_LENGTH = "nothing in the model; a few lines of code subtract the mean of each text's own length"

START = "cover(126) + centering(role) + whitening(0.2, role)"
"""What `fix --auto` writes for a model that reads 128 tokens: taken without labels unless another is proven."""

CONTENDERS: tuple[Contender, ...] = (
    Contender(
        "temperature",
        ("temperature(0.9)", "temperature(0.8)", "temperature(0.7)"),
        "nothing once it is shipped: it folds into the weights; all texts are to be encoded anew",
    ),
    Contender("centering(all)", ("centering(all)",), _IN_A_LAYER),
    Contender("centering(role)", ("centering(role)",), f"{_IN_A_LAYER}, one for documents and one for queries"),
    Contender("centering(length)", ("centering(length)",), _AT_LENGTH),
    Contender("mean_projection", ("mean_projection()",), _IN_A_LAYER),
    Contender("all_but_the_top", ("all_but_the_top(1)", "all_but_the_top(2)", "all_but_the_top(3)"), _IN_A_LAYER),
    Contender("length_subspace", ("length_subspace(1)", "length_subspace(2)"), _IN_A_LAYER),
    Contender(
        "whitening",
        ("whitening(0.15)", "whitening(0.25)", "whitening(0.4)", "whitening(0.6)", "whitening(1)"),
        _IN_A_LAYER,
    ),
    Contender(
        "centering(role) + whitening",
        (
            "centering(role) + whitening(0.15)",
            "centering(role) + whitening(0.25)",
            "centering(role) + whitening(0.4)",
            "centering(role) + whitening(0.6)",
        ),
        f"{_IN_A_LAYER}, one for documents and one for queries",
    ),
    Contender(
        "centering(role) + whitening(role)",
        (
            "centering(role) + whitening(0.1, role)",
            "centering(role) + whitening(0.2, role)",
            "centering(role) + whitening(0.4, role)",
        ),
        f"{_IN_A_LAYER}, one for documents and one for queries",
    ),
    Contender("cover", ("cover(126)",), _READS_ON),
    Contender(
        "cover + centering(role) + whitening(role)",
        (START,),
        f"{_READS_ON}; the rest folds into one Dense layer for documents and one for queries",
    ),
    Contender(
        "csls",
        ("csls(10, 0.5)", "csls(10)"),
        "one more dimension in the index",
    ),
    Contender(
        "cohort",
        ("cohort(document, 0.25)", "cohort(document, 0.5)"),
        "one more dimension in the index",
    ),
    Contender(
        "temperature + centering(role) + whitening",
        ("temperature(0.9) + centering(role) + whitening(0.25)",),
        "nothing once it is shipped: weights, and one Dense layer for documents and one for queries; all texts are to "
        "be encoded anew",
    ),
)
"""What `compare` races unless told otherwise; a new fix is one row more."""

_OWN_ENCODING = "every dial is one more encoding of the whole corpus"

NOT_RACED: dict[str, str] = {
    "attnscale": _OWN_ENCODING,
    "featscale": _OWN_ENCODING,
    "identity_mix": _OWN_ENCODING,
    "local_global": _OWN_ENCODING,
    "calibration": _OWN_ENCODING,
    "positions": "it pays with a token limit beyond the one that the race is run with",
    "rope": "it pays with a token limit beyond the one that the race is run with",
    "self_extend": "it pays with a token limit beyond the one that the race is run with, and no weights can hold it",
    "chunks": "cover reads the same chunks of texts that are cut off, and leaves the others as they are",
    "whole_and_chunks": "cover reads the same chunks of texts that are cut off, and leaves the others as they are",
    "sentence_mean": "so many short passes cost several encodings of the corpus",
    "late_chunking": "windows that overlap cost more than one encoding of the corpus, and not every model can do it",
    "head_tail": "it drops the middle of every long text, and is one more encoding of the corpus",
    "best_chunk": "it keeps several vectors of a text: the expensive reference, not a fix to ship by default",
    "length_regression": "it gained nothing on any of eight collections, and each family more makes tests weaker",
}
"""Fixes that `compare` races only when they are named, and why."""


def read_contenders(texts: Sequence[str]) -> tuple[Contender, ...]:
    """Families from what a user names: rows of CONTENDERS by their names, or notations, of which alike ones are one.

    Args:
        texts: such as "whitening" (the row with all of its dials) or "whitening(0.3)". Notations of the same fixes
            that differ in their numbers alone make one family, in the order given.

    Raises:
        NotationError: neither a family nor a notation.

    >>> [one.grid for one in read_contenders(["whitening(0.3)", "temperature(0.9)", "whitening(0.5)"])]
    [('whitening(0.3)', 'whitening(0.5)'), ('temperature(0.9)',)]
    >>> read_contenders(["all_but_the_top"])[0].grid
    ('all_but_the_top(1)', 'all_but_the_top(2)', 'all_but_the_top(3)')
    """
    rows = {one.name: one for one in CONTENDERS}
    named = dict.fromkeys(rows[text.strip()] for text in texts if text.strip() in rows)
    own: dict[str, list[str]] = {}
    for text in texts:
        if text.strip() in rows:
            continue
        fix = _parse(text)
        own.setdefault(_family(fix), []).append(str(fix))
    families = (Contender(_free(name, rows, grid), tuple(dict.fromkeys(grid)), BY_USER) for name, grid in own.items())
    return (*named, *families)


def _parse(text: str) -> Fix:
    if "(" in text or text.strip().lower().endswith(".json"):
        return parse(text)
    known = [*(one.name for one in CONTENDERS), *(name for name in FIXES)]
    raise NotationError(
        f"Expected a family of fixes or a notation such as whitening(0.3), got {text!r}. "
        f"{nearest(text.strip(), dict.fromkeys(known), 'Families and fixes')}"
    )


def _family(fix: Fix) -> str:
    """The names of its parts: what a notation is without its numbers.

    >>> _family(parse("whitening(0.3) + centering(role)"))
    'whitening + centering(role)'
    """
    return " + ".join(_without_numbers(str(part)) for part in compose(fix).parts)


def _without_numbers(notation: str) -> str:
    name, _, inside = notation.partition("(")
    words = [part.strip() for part in inside.removesuffix(")").split(",")]
    kept = [word for word in words if word and not any(letter.isdigit() for letter in word)]
    return f"{name}({', '.join(kept)})" if kept else name


def _free(name: str, taken: dict[str, Contender], grid: Sequence[str]) -> str:
    """A name that no row has; a single member of a family is called by its notation."""
    return grid[0] if len(grid) == 1 else f"{name}, {len(grid)} dials" if name in taken else name
