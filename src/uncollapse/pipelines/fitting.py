"""Fit the fixes of a pipeline to a corpus, without any label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uncollapse.encoders import CachedEncoder
from uncollapse.errors import FixError
from uncollapse.fixes.composition import Composition
from uncollapse.fixes.kinds import Cohort
from uncollapse.fixes.maps import Role
from uncollapse.fixes.statistics import FEWEST, Group, Statistics, Sums
from uncollapse.pipelines.encoder import Advance, Fitted, FixedEncoder, encoding_work
from uncollapse.pipelines.several import direct
from uncollapse.pipelines.windows import cut_windows, take_sentences, take_stretches
from uncollapse.resampling import document_keys, sampling_order

LEARNED_FROM = 2000
"""Documents that a pipeline is fitted to at most; a random sample where a corpus has more."""

LEARNED_CHARACTERS = 8_000_000
"""Characters of them that are enough, some two million tokens, as long as there are a hundred documents."""

LEARNED_LEAST = 100


@dataclass(frozen=True)
class Unlabelled:
    """What a pipeline is fitted to: texts of a corpus, and what is asked of it, without any answer.

    Args:
        ids: one a document.
        documents: their texts.
        queries: texts of real queries; where there are fewer than 20, sentences of the documents stand for them.
    """

    ids: tuple[str, ...]
    documents: tuple[str, ...]
    queries: tuple[str, ...] = ()


def fit_pipeline(
    base: CachedEncoder,
    fix: Composition,
    corpus: Unlabelled,
    *,
    seed: int = 0,
    advance: Advance = lambda _: None,
) -> FixedEncoder:
    """The pipeline, fitted to a corpus.

    Fixes on vectors are fitted one after the other, each to what the ones before it leave; a fix on scores is fitted
    last, to vectors as they are compared.

    Args:
        base: the model, with the fixes of its inside.
        fix: the pipeline.
        corpus: unlabelled.
        seed: of the sample, the windows and the sentences.
        advance: told about encoding, in the units of `CachedEncoder.work`.

    Raises:
        FixError: too few texts for what is to be fitted.
    """
    if not fix.is_fitted_to_corpus:
        return FixedEncoder(base, fix)
    bare = FixedEncoder(base, Composition((*fix.model, *([fix.text] if fix.text else []))))
    seen = gather(bare, corpus, _of_vectors(fix), seed=seed, advance=advance)
    learned_from = {str(group): count for group in Group if (count := seen.of(group).count)}
    maps = []
    for one in fix.vectors:
        maps.append(one.fit(seen))
        seen = seen.mapped(maps[-1])
    if fix.score is None:
        return FixedEncoder(base, fix, Fitted(tuple(maps), None, learned_from, seed))
    mapped = FixedEncoder(base, Composition((*bare.fix.parts, *fix.vectors)), Fitted(tuple(maps)))
    cohort = _cohort(mapped, corpus, seed, advance)
    learned_from |= {"documents": len(cohort.documents), "queries": len(cohort.queries)}
    return FixedEncoder(base, fix, Fitted(tuple(maps), fix.score.fit(cohort), learned_from, seed))


def fitting_work(base: CachedEncoder, fix: Composition, corpus: Unlabelled, *, seed: int = 0) -> int:
    """About how much `fit_pipeline` has to encode, in characters: documents and queries, not the windows.

    Args:
        base, fix, corpus, seed: as for `fit_pipeline`.
    """
    needs, chosen = needed_by(fix), sample(corpus, seed)
    documents = encoding_work(base, fix, chosen.documents) if Group.DOCUMENTS in needs else 0
    return documents + (base.work(_asked(chosen, seed)) if Group.QUERIES in needs else 0)


def needed_by(fix: Composition) -> frozenset[Group]:
    """Which texts the fixes of a pipeline learn from."""
    return _of_vectors(fix) | (frozenset({Group.DOCUMENTS, Group.QUERIES}) if fix.score else frozenset())


def _of_vectors(fix: Composition) -> frozenset[Group]:
    return frozenset(group for one in fix.vectors for group in one.needs)


def gather(
    encoder: FixedEncoder,
    corpus: Unlabelled,
    groups: frozenset[Group],
    *,
    seed: int = 0,
    advance: Advance = lambda _: None,
) -> Statistics:
    """Encode what fixes are fitted to.

    Args:
        encoder: with the fixes inside the model and on texts only.
        corpus: unlabelled.
        groups: what is needed.
        seed: of every choice.
        advance: told about encoding.
    """
    if not corpus.documents:
        raise FixError("A pipeline is fitted to documents, got none. Give a corpus.")
    chosen = sample(corpus, seed)
    seen = Statistics(encoder.dim)
    if Group.DOCUMENTS in groups:
        _add(seen.documents, encoder, chosen.documents, chosen.ids, role="document", advance=advance)
    if Group.WINDOWS in groups:
        windows = cut_windows(encoder.encoder, chosen.ids, chosen.documents, seed=seed)
        names = [str(number) for number in range(len(windows))]
        _add(seen.windows, encoder, windows, names, role="document", advance=advance)
    if Group.QUERIES in groups:
        asked = _asked(chosen, seed)
        names = [str(number) for number in range(len(asked))]
        _add(seen.queries, encoder, asked, names, role="query", advance=advance)
    return seen


def _asked(chosen: Unlabelled, seed: int) -> tuple[str, ...]:
    """Real queries, or sentences in their stead; of texts without punctuation, words in a row."""
    if len(chosen.queries) >= FEWEST:
        return chosen.queries
    sentences = take_sentences(chosen.ids, chosen.documents, seed=seed)
    return sentences if len(sentences) >= FEWEST else take_stretches(chosen.ids, chosen.documents, seed=seed)


def sample(corpus: Unlabelled, seed: int) -> Unlabelled:
    """What a pipeline is fitted to: random documents and queries, as many as are enough, in the order of the corpus.

    Args:
        corpus: any number of documents.
        seed: of the draw.
    """
    order = np.argsort(sampling_order(document_keys(corpus.ids), seed=seed), kind="stable")[:LEARNED_FROM]
    characters = np.cumsum([len(corpus.documents[row]) for row in order.tolist()])
    enough = max(LEARNED_LEAST, int(np.searchsorted(characters, LEARNED_CHARACTERS)) + 1)
    chosen = np.sort(order[:enough]).tolist()
    ids, documents = ([part[row] for row in chosen] for part in (corpus.ids, corpus.documents))
    asked = np.argsort(sampling_order(document_keys(corpus.queries), seed=seed), kind="stable")[:LEARNED_FROM]
    queries = tuple(corpus.queries[row] for row in np.sort(asked).tolist())
    return Unlabelled(tuple(ids), tuple(documents), queries)


def _add(
    sums: Sums,
    encoder: FixedEncoder,
    texts: Sequence[str],
    ids: Sequence[str],
    *,
    role: Role,
    advance: Advance,
) -> None:
    if not texts:
        return
    found = encoder.encode_pieces(texts, ids, role=role, advance=advance)
    sums.update(found.vectors, found.n_tokens_full)


def _cohort(mapped: FixedEncoder, corpus: Unlabelled, seed: int, advance: Advance) -> Cohort:
    """Documents and queries as they are compared, before their scores are corrected."""
    chosen = sample(corpus, seed)
    documents = mapped.encode(chosen.documents, chosen.ids, advance=advance)
    queries = mapped.encode(_asked(chosen, seed), role="query", advance=advance)
    searched, asked = (direct(one.vectors, one.ids, mapped.fix).astype(np.float64) for one in (documents, queries))
    return Cohort(searched, documents.n_tokens_full, asked, queries.n_tokens_full)
