"""Before and after: what a temperature does to a corpus, with the fixed model written on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.cards import FixReport
from uncollapse.checkpoints import check_output, fix
from uncollapse.corpora import Balanced
from uncollapse.diagnosis.audit import measure_audit
from uncollapse.diagnosis.profiling import Profile, TextSink, TextSource, profile, survey
from uncollapse.diagnosis.rows import row_of
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import describe, labelled, profile_rows, project_all
from uncollapse.diagnosis.verdict import judge, judge_fix, main_view, recovery_rows, rows_of
from uncollapse.diagnosis.views import View
from uncollapse.diagnosis.windows import profile_windows
from uncollapse.encoders import SentenceEncoder, load_model
from uncollapse.measures import MINIMUM, unit
from uncollapse.measures.retrieval import mean_reciprocal_rank, reciprocal_ranks
from uncollapse.progress import Reporter, Silent
from uncollapse.records import Finding, Result, Row, chunks
from uncollapse.resampling import Estimate, difference, document_keys
from uncollapse.reservoir import Kept

SMALL_CHANGE = 0.01
"""Change of the mean reciprocal rank within which a whole interval counts as no change. Judgement."""


@dataclass(frozen=True)
class Demonstration:
    """What the demo shows: one result with before, sweep and after, and the written model."""

    result: Result
    model: FixReport


@dataclass(frozen=True)
class Seen:
    """What one setting gives: its view by length, and how well texts are found; None where nothing tells."""

    view: View | None
    found: Estimate | None


def demonstrate(
    model: str,
    corpus: TextSource,
    out: Path,
    *,
    chosen: Temperature,
    sweep: Sequence[ModelFix],
    settings: Settings,
    force: bool = False,
    sink: TextSink | None = None,
    progress: Reporter | None = None,
) -> Demonstration:
    """Diagnose, sweep a few fixes, write the chosen one as a model, load that model and diagnose again.

    Args:
        model: as for `load_model`; its limit is raised to its position table.
        corpus: texts, best with natural queries, which then measure what the fixes do to retrieval.
        out: folder of the fixed model.
        chosen: the fix that is written. It is given, not chosen from the sweep.
        sweep: other fixes to compare.
        settings, sink, progress: as for `diagnose`.
        force: replace a model at `out`.
    """
    reporter = progress or Silent()
    check_output(out, force=force)
    encoder = load_model(model, max_tokens="table")
    surveyed = survey(encoder, corpus, settings, progress=reporter)
    before = profile(encoder, corpus, settings, surveyed=surveyed, sink=sink, progress=reporter)
    queries = {text.id: text.query for text in corpus if text.query}
    stock = Seen(main_view(before), _find_own(encoder, before.points, queries, settings))
    swept = {str(other): _sweep_one(encoder, other, before, queries, settings, reporter) for other in sweep}
    with reporter.track(f"writing {chosen}", None, "steps") as advance:
        written = fix(model, chosen, out, force=force, step=lambda _: advance(1))
    fixed = load_model(str(out), max_tokens="table")
    label = f", {chosen}"
    after = profile(fixed, corpus, settings, surveyed=surveyed, label=label, progress=reporter)
    swept[str(chosen)] = Seen(main_view(after), _find_own(fixed, after.points, queries, settings))
    name = str(chosen)
    first, *rest = judge(before, encoder.name)
    rest += () if isinstance(corpus, Balanced) else measure_audit(before.audit, encoder.name).verdict
    about = describe(encoder, corpus, surveyed, settings, fix="none")
    result = Result(
        rows=labelled(_all_rows(before, after, name, stock, swept), encoder.name, corpus.name),
        verdict=(first, judge_fix(before, after, name), *_judge_search(name, stock.found, swept[name].found), *rest),
        points=project_all([("none", before), (name, after)]),
        lengths=before.lengths,
        about={**about, "chosen_fix": name},
    )
    return Demonstration(result, written)


def _all_rows(before: Profile, after: Profile, chosen: str, stock: Seen, swept: dict[str, Seen]) -> Iterator[Row]:
    """The whole profiles before and after, the nested windows of the other fixes, and what each fix changes."""
    yield from profile_rows(before, "none")
    if stock.found:
        yield row_of("mean_reciprocal_rank", stock.found, view="retrieval")
    for name in sorted(swept, reverse=True):
        view, found = swept[name].view, swept[name].found
        if name == chosen:
            yield from profile_rows(after, name, reference=False)
        elif view:
            yield from rows_of(view, fix=name)
        if view and stock.view:
            yield from recovery_rows(stock.view, {name: view})
        if found and stock.found:
            yield row_of("mean_reciprocal_rank", found, view="retrieval", fix=name)
            change = difference(found, stock.found)
            yield row_of("mean_reciprocal_rank_change", change, view="retrieval", fix=name)


def _sweep_one(
    encoder: SentenceEncoder,
    other: ModelFix,
    before: Profile,
    queries: dict[str, str],
    settings: Settings,
    reporter: Reporter,
) -> Seen:
    """The nested windows and the retrieval of one fix, on the documents of the first profile."""
    with patch(encoder.model, other):
        view = None
        if before.documents:
            documents, label = before.documents, f", {other}"
            view = profile_windows(encoder, documents, settings, label=label, progress=reporter)
        kept = [document for document in before.points if document.id in queries]
        with reporter.track(f"search, {other}", len(kept), "texts") as advance:
            points = []
            for batch in chunks(sorted(kept, key=lambda document: -document.n_tokens), 64):
                vectors = unit(encoder.vectors([document.text for document in batch]))
                points += [replace(document, vector=row) for document, row in zip(batch, vectors, strict=True)]
                advance(len(batch))
        return Seen(view, _find_own(encoder, points, queries, settings))


def _find_own(
    encoder: SentenceEncoder, points: Sequence[Kept], queries: dict[str, str], settings: Settings
) -> Estimate | None:
    """How well the first sentence of a sampled text finds the rest of it among the others; None without queries."""
    asked = [point for point in points if point.id in queries]
    if len(asked) < MINIMUM:
        return None
    documents = np.stack([point.vector for point in asked if point.vector is not None])
    found = unit(encoder.vectors([queries[point.id] for point in asked]))
    keys = document_keys([point.id for point in asked])
    ranks = reciprocal_ranks(found, documents)
    return mean_reciprocal_rank(ranks, keys, replicates=settings.replicates, seed=settings.seed)


def _judge_search(chosen: str, stock: Estimate | None, fixed: Estimate | None) -> Iterator[Finding]:
    if stock is None or fixed is None:
        return
    change = difference(fixed, stock)
    if change.low is None or change.high is None:
        yield Finding("Search cannot be judged", f"The change has no interval: {change.note}.", "unknown")
        return
    figures = (
        f"Asked by its own first sentence, a text is found with a mean reciprocal rank of {stock.value:.3f}; "
        f"{chosen} changes that by {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}] "
        f"({change.n} texts, paired)."
    )
    if change.low > 0:
        yield Finding("Search gets better", figures, "good")
    elif change.high < 0:
        yield Finding("Search gets worse", figures, "bad")
    elif max(-change.low, change.high) <= SMALL_CHANGE:
        yield Finding("Search stays as it was", figures, "neutral")
    else:
        yield Finding("Whether search changes cannot be told", f"{figures} The interval holds zero.", "unknown")
