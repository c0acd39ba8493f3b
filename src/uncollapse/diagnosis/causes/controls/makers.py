"""One text a document from the materials: pure functions, one a control."""

from collections.abc import Callable

from uncollapse.diagnosis.causes.controls.materials import Deal, Materials
from uncollapse.diagnosis.causes.controls.words import joined, shuffle_sentences, stop_word_text

Texts = tuple[str, ...]
Maker = Callable[[Materials], Texts]


def make_start(materials: Materials) -> Texts:
    """The first piece."""
    return tuple(pieces.texts[0] for pieces in materials.pieces)


def make_deep(materials: Materials) -> Texts:
    """The piece in the middle."""
    return tuple(pieces.texts[len(pieces) // 2] for pieces in materials.pieces)


def make_whole(materials: Materials) -> Texts:
    """All read pieces, as they stand in the document."""
    return tuple(pieces.whole for pieces in materials.pieces)


def repeating(times: int | None) -> Maker:
    """A maker of the first piece so many times over; None for as often as it fits."""

    def make(materials: Materials) -> Texts:
        return tuple(joined([pieces.texts[0]] * (times or len(pieces))) for pieces in materials.pieces)

    return make


def make_filler(materials: Materials) -> Texts:
    """The first piece, then stop words."""
    return tuple(_filled(materials, row) for row in range(len(materials)))


def _filled(materials: Materials, row: int) -> str:
    pieces = materials.pieces[row]
    free = materials.room - int(pieces.n_tokens[0])
    words = stop_word_text(free, materials.generator(row, "filler"))
    return joined([pieces.texts[0], materials.cut(words, free)])


def make_shuffled(materials: Materials) -> Texts:
    """The whole, its sentences in random order."""
    return tuple(
        shuffle_sentences(pieces.whole, materials.generator(row, "shuffle"))
        for row, pieces in enumerate(materials.pieces)
    )


def make_same_topic(materials: Materials) -> Texts:
    """The first piece, then the pieces of other documents nearest to it."""
    return _composed(materials, materials.nearest)


def make_mixed_topic(materials: Materials) -> Texts:
    """The first piece, then random pieces of other documents."""
    return _composed(materials, materials.random)


def _composed(materials: Materials, dealt: Deal) -> Texts:
    """First pieces with those that were dealt, in random order, so that only which they are tells two deals apart."""
    later = materials.later
    return tuple(
        joined([pieces.texts[0], *(later[place] for place in _ordered(materials, row, dealt))])
        for row, pieces in enumerate(materials.pieces)
    )


def _ordered(materials: Materials, row: int, dealt: Deal) -> list[int]:
    order: list[int] = materials.generator(row, "order").permutation(dealt[row]).tolist()
    return order
