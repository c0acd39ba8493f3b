"""CONTROLS, the one table of texts that change one thing only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from uncollapse.diagnosis.causes.controls.makers import (
    Maker,
    make_deep,
    make_filler,
    make_mixed_topic,
    make_same_topic,
    make_shuffled,
    make_start,
    make_whole,
    repeating,
)
from uncollapse.errors import UncollapseError, nearest

Embedding = Literal["model", "chunks", "shifted", "static"]
"""How a text becomes a vector: by the model; as the mean of its pieces embedded alone; by the model with its positions
moved to the end; as the mean of the model's input embeddings."""


@dataclass(frozen=True)
class Control:
    """One row of the table: texts that differ from those of another row in one thing.

    Args:
        name: the key, as in results.
        title: for headings.
        changes: what it changes against its reference, plain words.
        reading: how to read its effect.
        limits: what its effect cannot tell.
        make: one text a document.
        reference: the control it is compared with; "" for the two that others start from.
        embedding: how its texts become vectors.
        by_vectors: whether its texts are chosen by the vectors of the pieces.
    """

    name: str
    title: str
    changes: str
    reading: str
    limits: str
    make: Maker
    reference: str = ""
    embedding: Embedding = "model"
    by_vectors: bool = False

    @property
    def needs_pieces(self) -> bool:
        """Whether every piece must be embedded alone."""
        return self.by_vectors or self.embedding == "chunks"


CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        control.name: control
        for control in (
            Control(
                name="start",
                title="The first piece",
                changes="The first piece of each document, alone. Others are compared with it.",
                reading="How alike short texts look to the model.",
                limits="Beginnings may be more alike, or less, than what follows them.",
                make=make_start,
            ),
            Control(
                name="whole",
                title="All that is read",
                changes="The text goes on: all that the model reads of it instead of the first piece.",
                reading="The rise that the other controls take apart.",
                limits="Length, content, subjects and positions change together.",
                make=make_whole,
                reference="start",
            ),
            Control(
                name="deep",
                title="A piece from the middle",
                changes="A piece from the middle of the text instead of the first one, alone.",
                reading="Below 0: beginnings (titles, greetings, formulas) are more alike than middles.",
                limits="The piece is read alone, at the first positions: nothing is said about positions.",
                make=make_deep,
                reference="start",
            ),
            Control(
                name="repeat_2",
                title="The first piece twice",
                changes="The first piece two times over: more tokens and positions, the same content.",
                reading="Above 0: tokens and positions pull texts together although nothing is added.",
                limits="Special tokens weigh less among more tokens; attention is not spread over anything new.",
                make=repeating(2),
                reference="start",
            ),
            Control(
                name="repeat_4",
                title="The first piece four times",
                changes="The first piece four times over.",
                reading="As the one before.",
                limits="As the one before.",
                make=repeating(4),
                reference="start",
            ),
            Control(
                name="repeat_full",
                title="The first piece to full length",
                changes="The first piece over and over, as often as it fits.",
                reading="What full length does without new content: above 0, it pulls texts together.",
                limits="As the one before. Embedding models were hardly trained on repeated text.",
                make=repeating(None),
                reference="start",
            ),
            Control(
                name="filler",
                title="Stop words to full length",
                changes="The first piece, then English stop words in random order up to full length.",
                reading="Near 0: the model passes over empty words. Above 0: empty words pull texts together.",
                limits="All texts then share their stop words, which pulls even a plain average of word vectors "
                "together. For texts in another language the words are neutral noise.",
                make=make_filler,
                reference="start",
            ),
            Control(
                name="shuffle",
                title="Sentences in random order",
                changes="The sentences of all that is read, in random order.",
                reading="Near 0: the order of sentences does not matter to how alike texts are.",
                limits="Sentences are found by a plain rule. Texts of one sentence stay as they are (a note counts).",
                make=make_shuffled,
                reference="whole",
            ),
            Control(
                name="same_topic",
                title="One subject, several documents",
                changes="The first piece, then the nearest pieces of other documents instead of what follows it.",
                reading="Above 0: several documents on a subject, mixed, are more alike than documents as they are.",
                limits="Nearest is by the model's own vectors of pieces. Where no two documents are on one subject, "
                "the nearest pieces are hardly nearer than random ones; both mean cosines are given.",
                make=make_same_topic,
                reference="whole",
                by_vectors=True,
            ),
            Control(
                name="mixed_topic",
                title="Many subjects",
                changes="Random pieces of other documents instead of the nearest ones; the same pieces in all.",
                reading="Above 0: mixed subjects pull texts together, at the same length.",
                limits="The subjects of a real document are seldom as mixed as this.",
                make=make_mixed_topic,
                reference="same_topic",
                by_vectors=True,
            ),
            Control(
                name="shifted",
                title="The first piece at the last positions",
                changes="The positions of the first piece: the last ones of the full length, not the first ones.",
                reading="Above 0: late positions pull texts together whatever stands there.",
                limits="Only for models with a table of positions. Nothing stands before the piece as in a real text.",
                make=make_start,
                reference="start",
                embedding="shifted",
            ),
            Control(
                name="chunk_mean",
                title="Mean of the pieces",
                changes="Pieces are embedded alone and averaged, weighted by their tokens: no piece sees another.",
                reading="Near 0: averages of separate pieces are as alike as whole texts, so attention between pieces "
                "is not what pulls texts together. Below 0: it is. Above 0: it sets texts apart.",
                limits="All pieces stand at the first positions, and every piece has special tokens of its own.",
                make=make_whole,
                reference="whole",
                embedding="chunks",
            ),
            Control(
                name="static_short",
                title="Word vectors of the first piece",
                changes="The mean of the model's own input embeddings over the first piece: no layer, no attention.",
                reading="How alike short texts are by their words alone.",
                limits="Input embeddings have a geometry of their own: compare rises, not levels.",
                make=make_start,
                embedding="static",
            ),
            Control(
                name="static_long",
                title="Word vectors of all that is read",
                changes="The same mean over all that the model reads instead of the first piece.",
                reading="The rise that averaging words makes with no attention at all.",
                limits="Word vectors are averaged all alike; a model weighs words by what they say.",
                make=make_whole,
                reference="static_short",
                embedding="static",
            ),
        )
    }
)
"""Every control by name. A new one is a maker and a row."""


def choose(names: Sequence[str] | None) -> tuple[Control, ...]:
    """The rows of these names with the references they need, in the order of the table; all of them for None.

    >>> [control.name for control in choose(["mixed_topic"])]
    ['start', 'whole', 'same_topic', 'mixed_topic']
    """
    if names is None:
        return tuple(CONTROLS.values())
    if not names:
        raise UncollapseError("Name at least one control, or none at all (names=None) for every one.")
    wanted: set[str] = set()
    for name in names:
        if name not in CONTROLS:
            raise UncollapseError(f"There is no control {name!r}. {nearest(name, CONTROLS)}")
        while name and name not in wanted:
            wanted.add(name)
            name = CONTROLS[name].reference  # noqa: PLW2901
    return tuple(control for control in CONTROLS.values() if control.name in wanted)
