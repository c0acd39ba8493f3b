"""What a whole diagnosis adds to its lengths: what is cut off, the causes, what they cost, what a score means."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from uncollapse.diagnosis.audit import measure_audit
from uncollapse.diagnosis.causes.controls import measure_controls
from uncollapse.diagnosis.causes.measurement import measure_causes
from uncollapse.diagnosis.costs import measure_costs
from uncollapse.diagnosis.costs.measurement import FEWEST
from uncollapse.diagnosis.profiling import Profile
from uncollapse.diagnosis.scores import measure_scores
from uncollapse.diagnosis.sentences import split_sentences
from uncollapse.diagnosis.settings import WINDOW_MINIMUM, Settings
from uncollapse.encoders import SentenceEncoder, TextEncoder, VectorFile
from uncollapse.measures import unit
from uncollapse.progress import Reporter
from uncollapse.records import Finding, Part
from uncollapse.reservoir import Kept

CUT, WHY, COSTS = "What is cut off", "Why", "What it costs"
"""Headings of the verdict."""

PROBED = 64
"""Long documents, drawn at random, that causes and controls rest on: of each, thousands of tokens are embedded."""


def measure_parts(
    encoder: TextEncoder, found: Profile, settings: Settings, *, progress: Reporter | None = None
) -> Iterator[tuple[str, Part]]:
    """Every part of a diagnosis under its heading in the verdict, in the order in which a reader needs them.

    Args:
        encoder: the model; patch it first to measure a fix.
        found: its profile of the corpus.
        settings: how to measure; without `deep` there is the audit alone.
        progress: told about every batch.
    """
    yield CUT, measure_audit(found.audit, encoder.name)
    if not settings.deep:
        return
    if isinstance(encoder, VectorFile):
        yield WHY, Part(verdict=(_NO_MODEL,))
    else:
        yield from _probe(encoder, found, settings, progress)
    yield COSTS, _score(encoder, found, settings, progress)


def _probe(
    encoder: TextEncoder, found: Profile, settings: Settings, progress: Reporter | None
) -> Iterator[tuple[str, Part]]:
    """What takes new vectors."""
    seed, replicates, long = settings.seed, settings.replicates, found.documents[:PROBED]
    if len(long) >= WINDOW_MINIMUM:
        yield WHY, measure_causes(encoder, long, seed=seed, replicates=replicates, progress=progress)
        yield WHY, measure_controls(encoder, long, seed=seed, replicates=replicates, progress=progress)
    else:
        yield WHY, Part(verdict=(_TOO_SHORT,))
    if len(found.points) >= FEWEST:
        queries = as_queries(encoder)
        yield (
            COSTS,
            measure_costs(
                encoder, found.points, query_encoder=queries, seed=seed, replicates=replicates, progress=progress
            ),
        )


def _score(encoder: TextEncoder, found: Profile, settings: Settings, progress: Reporter | None) -> Part:
    queries, source = _queries(encoder, found.points)
    return measure_scores(
        found.points,
        queries,
        query_source=source,
        rates=(settings.rate,),
        replicates=settings.replicates,
        seed=settings.seed,
        progress=progress,
    )


def as_queries(encoder: TextEncoder) -> TextEncoder:
    """The model as it encodes queries, where its inside tells how."""
    return encoder.as_role("query") if isinstance(encoder, SentenceEncoder) else encoder


def _queries(encoder: TextEncoder, documents: Sequence[Kept]) -> tuple[list[Kept], str]:
    """What stands in for users' queries, each with the id of the document that answers it."""
    if isinstance(encoder, VectorFile):
        return list(documents), "the documents themselves"
    asked = [document for document in documents if document.text.strip()]
    prepared = as_queries(encoder).prepare([document.query or _first_sentence(document.text) for document in asked])
    vectors = unit(as_queries(encoder).vectors(prepared.texts, prepared.n_tokens)) if asked else ()
    source = "the first line of each document" if any(document.query for document in asked) else "first sentences"
    return [
        replace(document, text=text, n_tokens=int(n_tokens), vector=vector)
        for document, text, n_tokens, vector in zip(asked, prepared.texts, prepared.n_tokens, vectors, strict=True)
    ], f"{source} of other documents"


def _first_sentence(text: str) -> str:
    parts, _ = split_sentences(text)
    return next(part for part in parts if part.strip())


_NO_MODEL = Finding(
    "Causes and costs need a model",
    "A file holds vectors of its own texts only. What makes long texts alike, and what it costs, is found by "
    "embedding parts of them: give the model itself, or the address of a server that runs it.",
    "unknown",
)
_TOO_SHORT = Finding(
    "Too few long documents to look for causes",
    f"Causes are told apart on at least {WINDOW_MINIMUM} documents that can be cut to several lengths. Use more or "
    "longer texts.",
    "unknown",
)
