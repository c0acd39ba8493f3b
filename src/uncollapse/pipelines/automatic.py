"""The pipeline for a model and a corpus that `fix --auto` writes: no label, no training, one vector a text."""

from dataclasses import dataclass

from uncollapse.encoders import SentenceEncoder
from uncollapse.fixes.composition import Composition
from uncollapse.fixes.kinds import AnyFix
from uncollapse.fixes.statistics import FEWEST as ENOUGH
from uncollapse.fixes.texts.cover import Cover
from uncollapse.fixes.vectors import Centering, Whitening
from uncollapse.pipelines.fitting import Unlabelled

CHUNK = 128
"""Tokens of a chunk, special tokens in: about what models of this kind were trained on."""

STRENGTH = 0.2
"""Of whitening: 0.3 gains more in the mean of most collections, and proved to hurt one of them; see docs/log.md."""

FEWEST = 30
"""Documents from which a mean and a covariance are worth having."""


@dataclass(frozen=True)
class Chosen:
    """A pipeline, and why each part is in it or is not.

    Args:
        fix: empty where the model is best left as it is.
        reasons: one sentence a decision.
    """

    fix: Composition
    reasons: tuple[str, ...]


def choose(encoder: SentenceEncoder, corpus: Unlabelled) -> Chosen:
    """The default pipeline for a corpus.

    Texts beyond the model's limit are read to their end, in chunks; documents and queries are centred apart, and the
    directions in which they vary most are shrunk a little. The rule is the same for every corpus: it was frozen after
    a race on public collections (docs/log.md), so nothing is tuned here that could be tuned wrongly.

    Args:
        encoder: the model, with the token limit that it is used with.
        corpus: what will be searched, and queries if there are some.
    """
    parts: list[AnyFix] = []
    reasons = []
    for part, why in (_of_texts(encoder, corpus), *_of_vectors(encoder, corpus)):
        reasons.append(why)
        parts += [part] if part else []
    return Chosen(Composition(parts), tuple(reasons))


def _of_texts(encoder: SentenceEncoder, corpus: Unlabelled) -> tuple[AnyFix | None, str]:
    counts = encoder.prepare(corpus.documents).n_tokens_full
    long, limit = int((counts > encoder.max_tokens).sum()), encoder.max_tokens
    of = f"{long:,} of {len(counts):,} documents are longer than the {limit:,} tokens that the model reads"
    if not long:
        return None, f"no text is cut: {of}"
    size = max(1, min(CHUNK, limit) - encoder.n_special_tokens)
    return Cover(size), f"{Cover(size)}: {of}; their rest is read in chunks, at the cost of encoding it"


def _of_vectors(encoder: SentenceEncoder, corpus: Unlabelled) -> list[tuple[AnyFix | None, str]]:
    if encoder.similarity == "dot":
        return [(None, "vectors stay as they are: the model compares by inner product, where lengths mean something")]
    if len(corpus.documents) < FEWEST:
        few = f"{len(corpus.documents)} documents are too few to fit anything to; {FEWEST} are needed"
        return [(None, f"vectors stay as they are: {few}")]
    real = len(corpus.queries) >= ENOUGH
    who = f"{len(corpus.queries):,} queries" if real else "sentences of the documents, for want of queries,"
    centering, whitening = Centering("role"), Whitening(STRENGTH, "role")
    return [
        (centering, f"{centering}: documents and {who} lie around different means, which are taken away"),
        (whitening, f"{whitening}: directions in which texts vary most are shrunk a little"),
    ]
