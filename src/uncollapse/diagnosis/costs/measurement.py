"""Measure what length costs in search: every probe planned first, so that no text is encoded twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from uncollapse.diagnosis.costs.cloze import Cloze, report_cloze, search_own, take_out
from uncollapse.diagnosis.costs.context import Windowed, cut_windows, report_context, search_windows
from uncollapse.diagnosis.costs.dilution import Pieced, compare_pieces, cut_into_pieces, report_dilution
from uncollapse.diagnosis.costs.encodings import Encodings, encode_once
from uncollapse.diagnosis.costs.frame import Frame, make_bins
from uncollapse.diagnosis.costs.hubs import find_hubs, report_hubs
from uncollapse.diagnosis.costs.needle import Hidden, hide_needles, report_needles, search_needles
from uncollapse.diagnosis.costs.quotes import Quotes, choose_quotes, report_quotes, search_quotes
from uncollapse.diagnosis.costs.readings import Reading, lengths_of, read_documents
from uncollapse.diagnosis.memory import Memory
from uncollapse.diagnosis.units import unit_of
from uncollapse.encoders import TextEncoder
from uncollapse.errors import UncollapseError
from uncollapse.measures import unit
from uncollapse.progress import Reporter
from uncollapse.records import Part
from uncollapse.resampling import REPLICATES, document_keys, sampling_order
from uncollapse.reservoir import Kept

ASKED = 300
"""Documents that are asked for at most."""

FEWEST = 5
"""Documents that a search needs."""


def measure_costs(
    encoder: TextEncoder,
    documents: Sequence[Kept],
    *,
    query_encoder: TextEncoder | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
    memory: Memory | None = None,
    progress: Reporter | None = None,
) -> Part:
    """Tell what length costs in search among these documents, with their own sentences as queries.

    Up to 300 documents of four sentences or more are asked for among all of them, by a sentence that was taken out
    (inverse cloze), by sentences of their beginning and their end as they stand (quotes), and by the first tokens of
    each alone (windows); sentences are held against their document and against the pieces of it (dilution), and put
    into texts of other documents (needles). Who is near whom tells whether a few documents crowd the results (hubs).

    How to read it: recall falls as documents are added, so hold it against another only at the same number of
    documents, which every note and every sentence names. A sentence is no user's question: it shares words with its
    document, which makes it easier, and is about a detail, which makes it harder. Trust differences (short against
    long, beginning against end, before a fix and after) more than levels.

    Args:
        encoder: the model, as it encodes documents.
        documents: a uniform sample of a corpus, with unit vectors of what the model reads of them; no id twice.
        query_encoder: the model as it encodes queries, where its prompts differ; `encoder`, if not given.
        replicates: bootstrap replicates, a multiple of 4.
        seed: of every choice and of the bootstrap.
        memory: of what other rooms embedded already; None starts a new one.
        progress: told about every batch.

    Returns:
        Rows of the views "cost_overall", "cost_by_length", "cost_by_position", "cost_by_window", "cost_grid" (bin
        "DEPTH x LENGTH", percent and tokens) and "hubness", with a finding for each probe.

    Raises:
        UncollapseError: fewer than 5 documents, a document given twice, or one without a vector.

    Example:
        >>> measure_costs(None, [])  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        UncollapseError: Searching takes at least 5 documents, got 0.

    Reference:
        Lee, Chang & Toutanova (2019), Latent retrieval for weakly supervised open domain question answering, arXiv
        1906.00300 (inverse cloze); Radovanovic et al. (2010), Hubs in space, JMLR 11; Zhu et al. (2024), LongEmbed,
        arXiv 2404.12096 (needles); arXiv 2606.18781 (dilution).
    """
    _check(documents)
    line = _in_line(documents, seed)
    readings, left_out = read_documents(encoder, line)
    plan = make_plan(encoder, readings[:ASKED], tokens=sum(document.n_tokens for document in line), seed=seed)
    frame = replace(_frame(line, plan, replicates, seed), unit=unit_of(encoder))
    hubs = find_hubs(frame)
    encodings, queries = _encode(encoder, query_encoder or encoder, plan, memory or Memory(), progress)
    parts = (*_report(plan, frame, queries, encodings), report_hubs(hubs))
    return Part(
        tuple(row for part in parts for row in part.rows),
        tuple(finding for part in parts for finding in part.verdict),
        {"costs": _describe(plan, frame, left_out, queries, encodings) | {"neighbours": hubs.near.k}},
    )


@dataclass(frozen=True, eq=False)
class Plan:
    """Every text that the probes need.

    Args:
        readings: documents that are asked for.
        clozes, quotes: one a reading.
        pieced, windowed, hidden: of the first readings that fit.
    """

    readings: tuple[Reading, ...]
    clozes: tuple[Cloze, ...]
    quotes: tuple[Quotes, ...]
    pieced: tuple[Pieced, ...]
    windowed: Windowed
    hidden: tuple[Hidden, ...]

    @property
    def texts(self) -> list[str]:
        """To be encoded as documents."""
        pieces = [piece for pieced in self.pieced for piece in pieced.pieces]
        needled = [text for hidden in self.hidden for text in hidden.texts]
        return [*(cloze.rest for cloze in self.clozes), *pieces, *self.windowed.texts, *needled]

    @property
    def queries(self) -> list[str]:
        """To be encoded as queries."""
        sentences = [cloze.sentence.text for cloze in self.clozes]
        quoted = [text for quotes in self.quotes for text in quotes.texts]
        return [*sentences, *quoted, *self.windowed.queries, *(hidden.needle for hidden in self.hidden)]


def make_plan(encoder: TextEncoder, readings: Sequence[Reading], *, tokens: int, seed: int) -> Plan:
    """Choose sentences and cut texts for every probe, without encoding any.

    Args:
        encoder: counts tokens.
        readings: documents to ask for, in random order.
        tokens: of all documents together.
        seed: of every choice.
    """
    clozes = take_out(readings, seed=seed)
    return Plan(
        tuple(readings),
        clozes,
        choose_quotes(readings, seed=seed),
        cut_into_pieces(clozes),
        cut_windows(clozes, seed=seed),
        hide_needles(encoder, readings, tokens=tokens, seed=seed),
    )


def _report(plan: Plan, frame: Frame, queries: Encodings, encodings: Encodings) -> tuple[Part, ...]:
    curves = search_windows(plan.windowed, frame, queries, encodings)
    return (
        report_cloze(search_own(plan.clozes, frame, queries, encodings), frame),
        report_quotes(search_quotes(plan.quotes, frame, queries), frame),
        report_dilution(compare_pieces(plan.pieced, frame, queries, encodings), frame),
        report_needles(search_needles(plan.hidden, queries, encodings), frame),
        report_context(plan.windowed, curves, frame),
    )


def _encode(
    encoder: TextEncoder, query_encoder: TextEncoder, plan: Plan, memory: Memory, progress: Reporter | None
) -> tuple[Encodings, Encodings]:
    """Vectors of documents and of queries; the same where one encoder serves both."""
    encode = partial(encode_once, memory=memory, progress=progress)
    if query_encoder is encoder:
        both = encode(encoder, [*plan.texts, *plan.queries], what="what it costs in search")
        return both, both
    return (
        encode(encoder, plan.texts, what="what it costs: documents"),
        encode(query_encoder, plan.queries, what="what it costs: queries"),
    )


def _frame(documents: Sequence[Kept], plan: Plan, replicates: int, seed: int) -> Frame:
    vectors = unit(np.stack([document.vector for document in documents if document.vector is not None]))
    n_tokens = np.array([document.n_tokens for document in documents], np.int64)
    asked = lengths_of(plan.readings) if plan.readings else n_tokens
    keys = document_keys([document.id for document in documents])
    return Frame(vectors, keys, n_tokens, make_bins(asked), replicates, seed)


def _in_line(documents: Sequence[Kept], seed: int) -> list[Kept]:
    """The documents in a random order that depends on their ids alone."""
    places = sampling_order(document_keys([document.id for document in documents]), seed=seed)
    return [documents[row] for row in np.argsort(places, kind="stable")]


def _check(documents: Sequence[Kept]) -> None:
    if len(documents) < FEWEST:
        raise UncollapseError(f"Searching takes at least {FEWEST} documents, got {len(documents)}.")
    bare = next((document.id for document in documents if document.vector is None), None)
    if bare is not None:
        raise UncollapseError(f"A search needs the vector of every document, but {bare!r} has none. Encode it first.")
    different = len({document.id for document in documents})
    if different < len(documents):
        raise UncollapseError(
            f"Every document counts once, but {len(documents)} documents have only {different} different ids. Give "
            "each its own."
        )


def _describe(
    plan: Plan, frame: Frame, left_out: Mapping[str, int], queries: Encodings, encodings: Encodings
) -> dict[str, Any]:
    """What a reader needs to judge the numbers."""
    once = (encodings,) if queries is encodings else (encodings, queries)
    return {
        "documents": len(frame),
        "tokens": int(frame.n_tokens.sum()),
        "asked": len(plan.readings),
        "left_out": dict(left_out),
        "pieced": len(plan.pieced),
        "needles": len(plan.hidden),
        "windows": list(plan.windowed.windows),
        "indexed_by_window": len(plan.windowed.readings),
        "encoded_texts": sum(len(one.rows) for one in once),
        "encoded_tokens": sum(one.n_tokens for one in once),
    }
