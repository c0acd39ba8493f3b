"""What a whole diagnosis adds to its lengths: what is cut off, the causes, what they cost, what a score means."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from uncollapse.corpora.sentences import split_sentences
from uncollapse.diagnosis.audit import measure_audit
from uncollapse.diagnosis.causes.controls import fewest_tokens, measure_controls
from uncollapse.diagnosis.causes.measurement import measure_causes
from uncollapse.diagnosis.costs import measure_costs
from uncollapse.diagnosis.costs.measurement import FEWEST
from uncollapse.diagnosis.memory import Memory
from uncollapse.diagnosis.profiling import Profile
from uncollapse.diagnosis.scores import measure_scores
from uncollapse.diagnosis.served import Served, explain_limit, read_as_served, reading_as_served
from uncollapse.diagnosis.settings import WINDOW_MINIMUM, Settings
from uncollapse.diagnosis.units import unit_of
from uncollapse.encoders import ExportedEncoder, SentenceEncoder, TextEncoder, VectorFile
from uncollapse.measures import unit
from uncollapse.progress import Reporter, Silent
from uncollapse.records import Finding, Part
from uncollapse.reservoir import Kept

CUT, WHY, COSTS = "What is cut off", "Why", "What it costs"
"""Headings of the verdict."""

PROBED = 64
"""Long documents, drawn at random, that causes and controls rest on: of each, thousands of tokens are embedded."""


def measure_parts(
    encoder: TextEncoder,
    found: Profile,
    settings: Settings,
    *,
    served: Served | None = None,
    progress: Reporter | None = None,
) -> Iterator[tuple[str, Part]]:
    """Every part of a diagnosis under its heading in the verdict, in the order in which a reader needs them.

    Args:
        encoder: the model; patch it first to measure a fix.
        found: its profile of the corpus.
        settings: how to measure; without `deep` there is the audit alone.
        served: at which limit costs and scores are measured; that at which the model is served, if not given.
        progress: told about every batch.
    """
    yield CUT, measure_audit(found.audit, encoder.name)
    if not settings.deep:
        return
    memory = Memory()
    if isinstance(encoder, VectorFile):
        yield WHY, Part(verdict=(_NO_MODEL,))
    else:
        for part in _explain(encoder, found.documents[:PROBED], settings, memory, progress):
            yield WHY, part
    served = served or Served.of(encoder)
    for part in _price(encoder, found.points, settings, served, memory=memory, progress=progress):
        yield COSTS, part


def _price(
    encoder: TextEncoder,
    sample: Sequence[Kept],
    settings: Settings,
    served: Served,
    *,
    memory: Memory,
    progress: Reporter | None,
) -> tuple[Part, ...]:
    """Costs and scores, at the limit at which the model is served."""
    with reading_as_served(encoder, served):
        read = read_as_served(encoder, sample, served, memory, progress)
        parts = [] if isinstance(encoder, VectorFile) else [_cost(encoder, read, settings, memory, progress)]
        parts += [_score(encoder, read, settings, memory, progress)]
    limited = [replace(part, about=_at(served, part.about)) for part in parts]
    told = explain_limit(served, unit_of(encoder)) if any(part.rows for part in parts) else ()
    return (Part(verdict=tuple(told)), *limited)


def _at(served: Served, about: Mapping[str, Any]) -> dict[str, Any]:
    """What a room says of itself, with the limit at which it measured."""
    return {room: {**said, "max_tokens": served.limit} for room, said in about.items()}


def _cost(
    encoder: TextEncoder, sample: Sequence[Kept], settings: Settings, memory: Memory, progress: Reporter | None
) -> Part:
    if len(sample) < FEWEST:
        return Part(verdict=(_too_few(len(sample)),))
    return measure_costs(
        encoder,
        sample,
        query_encoder=as_queries(encoder),
        seed=settings.seed,
        replicates=settings.replicates,
        memory=memory,
        progress=progress,
    )


def _explain(
    encoder: TextEncoder, long: Sequence[Kept], settings: Settings, memory: Memory, progress: Reporter | None
) -> Iterator[Part]:
    """Causes and controls, as far as the documents are long enough."""
    if len(long) < WINDOW_MINIMUM:
        yield Part(verdict=(_TOO_SHORT if settings.windows else _NOT_ASKED,))
        return
    seed, replicates = settings.seed, settings.replicates
    yield measure_causes(encoder, long, seed=seed, replicates=replicates, memory=memory, progress=progress)
    fewest = fewest_tokens(encoder)
    if min(document.n_tokens for document in long) < fewest:
        yield Part(verdict=(_without_controls(fewest, unit_of(encoder)),))
        return
    yield measure_controls(encoder, long, seed=seed, replicates=replicates, memory=memory, progress=progress)


def _score(
    encoder: TextEncoder, sample: Sequence[Kept], settings: Settings, memory: Memory, progress: Reporter | None
) -> Part:
    queries, source = _queries(encoder, sample, memory, progress or Silent())
    return measure_scores(
        sample,
        queries,
        query_source=source,
        unit=unit_of(encoder),
        rates=(settings.rate,),
        replicates=settings.replicates,
        seed=settings.seed,
        progress=progress,
    )


def as_queries(encoder: TextEncoder) -> TextEncoder:
    """The model as it encodes queries, where its inside tells how."""
    return encoder.as_role("query") if isinstance(encoder, SentenceEncoder | ExportedEncoder) else encoder


def _queries(
    encoder: TextEncoder, documents: Sequence[Kept], memory: Memory, reporter: Reporter
) -> tuple[list[Kept], str]:
    """What stands in for users' queries, each with the id of the document that answers it."""
    if isinstance(encoder, VectorFile):
        return list(documents), "the documents themselves"
    asked = [document for document in documents if document.text.strip()]
    source = "the first line of each document" if any(document.query for document in asked) else "first sentences"
    if not asked:
        return [], f"{source} of other documents"
    prepared = as_queries(encoder).prepare([document.query or _first_sentence(document.text) for document in asked])
    with reporter.track("scores of queries", int(prepared.n_tokens.sum()), "tokens") as advance:
        vectors = unit(memory.vectors(as_queries(encoder), prepared.texts, prepared.n_tokens, advance=advance))
    return [
        replace(document, text=text, n_tokens=int(n_tokens), vector=vector)
        for document, text, n_tokens, vector in zip(asked, prepared.texts, prepared.n_tokens, vectors, strict=True)
    ], f"{source} of other documents"


def _first_sentence(text: str) -> str:
    parts, _ = split_sentences(text)
    return next(part for part in parts if part.strip())


def _without_controls(fewest: int, unit: str) -> Finding:
    return Finding(
        "Too short documents for texts that change one thing only",
        f"They are made of pieces of documents of {fewest} {unit} or more, and too few of these texts are so long. "
        "Use longer texts.",
        "unknown",
    )


def _too_few(n: int) -> Finding:
    return Finding(
        "Too few texts to say what length costs in search",
        f"A search takes at least {FEWEST} sampled texts, got {n}. Use more.",
        "unknown",
    )


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
_NOT_ASKED = Finding(
    "Causes were not looked for",
    "They are told apart on the documents of the nested windows, and none were asked for (--windows 0).",
    "unknown",
)
