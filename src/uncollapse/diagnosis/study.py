"""A whole study: diagnose a corpus with a model."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from uncollapse.diagnosis.advice import conclude
from uncollapse.diagnosis.parts import measure_parts
from uncollapse.diagnosis.profiling import Profile, Survey, TextSink, TextSource, profile, survey
from uncollapse.diagnosis.served import Served
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.units import unit_of
from uncollapse.diagnosis.verdict import judge, reference_rows, rows_of
from uncollapse.encoders import ExportedEncoder, SentenceEncoder, TextEncoder, applied, inside, limit_note
from uncollapse.fixes import Fix, compose
from uncollapse.progress import Reporter
from uncollapse.projection import principal_axes, project
from uncollapse.provenance import describe_model, describe_run
from uncollapse.records import Point, Result, Row


def diagnose(
    encoder: TextEncoder,
    corpus: TextSource,
    *,
    settings: Settings | None = None,
    fix: Fix | None = None,
    sink: TextSink | None = None,
    progress: Reporter | None = None,
) -> Result:
    """Tell whether a model pulls long texts together on this corpus, why, and what it costs.

    Args:
        encoder: from `load`: a model, or one of which only vectors can be seen.
        corpus: from `open_corpus`.
        settings: how to measure.
        fix: measure the model with this fix patched on; takes its inside.
        sink: gets the per-text rows.
        progress: shows how far the work is.

    Returns:
        Rows with n and interval, the verdict in plain words, sampled points, and what is needed to do it again.

    Raises:
        UncollapseError: a corpus or model that cannot be measured; see each.

    >>> from uncollapse import diagnose, load, open_corpus
    >>> result = diagnose(load("minilm"), open_corpus("docstrings", limit=500))  # doctest: +SKIP
    >>> print(result.verdict[0].title)  # doctest: +SKIP
    minilm pulls long texts together
    """
    settings = settings or Settings()
    name = folded_fix(encoder) if fix is None else str(fix)
    own = encoder.max_tokens
    with _applied(encoder, fix) as read_on:  # a fix that this model cannot take is refused before anything is read
        surveyed = survey(encoder, corpus, settings, progress=progress)
        found = profile(encoder, corpus, settings, surveyed=surveyed, sink=sink, progress=progress)
        served = Served.of(encoder, moved=encoder.max_tokens != own)
        parts = tuple(measure_parts(encoder, found, settings, served=served, progress=progress))
        about = describe(encoder, corpus, surveyed, settings, fix=name)
    rows = [replace(row, fix=name) for _, part in parts for row in part.rows]
    verdict = conclude(
        judge(found, _shown_name(encoder, fix)), parts, model=encoder.name, unit=unit_of(encoder),
        is_open=isinstance(encoder, SentenceEncoder),
    )  # fmt: skip
    return Result(
        rows=labelled([*profile_rows(found, name), *rows], encoder.name, corpus.name),
        verdict=tuple(finding for findings in verdict.values() for finding in findings),
        points=project_all([(name, found)]),
        lengths=found.lengths,
        about={
            **about,
            **{key: value for _, part in parts for key, value in part.about.items()},
            "verdict_groups": {heading: len(findings) for heading, findings in verdict.items()},
            "notes": [*about["notes"], *read_on, *found.notes],
        },
    )


@contextmanager
def _applied(encoder: TextEncoder, fix: Fix | None) -> Iterator[tuple[str, ...]]:
    """Run with a fix on; gives what a reader must know of how far it lets the model read."""
    fixes = compose(fix).inside("diagnose")
    if not fixes:
        yield ()
        return
    inside(encoder, str(fix))
    assert isinstance(encoder, SentenceEncoder)  # nothing else shows its inside
    note = limit_note(encoder, fixes)
    with applied(encoder, fixes):
        yield note


def folded_fix(encoder: TextEncoder) -> str:
    """What `fix` wrote into the weights; "none" where they cannot be seen."""
    return encoder.folded_fix if isinstance(encoder, SentenceEncoder | ExportedEncoder) else "none"


def _shown_name(encoder: TextEncoder, fix: Fix | None) -> str:
    return encoder.name if fix is None else f"{encoder.name} with {fix}"


def labelled(rows: Iterable[Row], model: str, dataset: str) -> tuple[Row, ...]:
    """The rows with their model and dataset."""
    return tuple(replace(row, model=model, dataset=dataset) for row in rows)


def project_all(profiles: Sequence[tuple[str, Profile]]) -> tuple[Point, ...]:
    """Sampled texts of several profiles on the axes of the first."""
    first = [document.vector for document in profiles[0][1].points if document.vector is not None]
    if len(first) < 2:
        return ()
    mean, axes = principal_axes(np.stack(first))
    return tuple(point for name, found in profiles for point in project(found.points, mean, axes, fix=name))


def describe(
    encoder: TextEncoder, corpus: TextSource, surveyed: Survey, settings: Settings, *, fix: str
) -> dict[str, Any]:
    """What a reader needs to judge the numbers and to make them again."""
    return {
        "model": describe_model(encoder, patched=fix if fix != folded_fix(encoder) else "none"),
        "corpus": {
            "name": corpus.name,
            "description": corpus.description,
            "n_texts": surveyed.n_texts,
            "skipped": dict(corpus.skipped.counts),
            "fingerprint": surveyed.fingerprint,
        },
        "seed": settings.seed,
        "replicates": settings.replicates,
        **describe_run(),
        "notes": [*encoder.notes, *corpus.notes],
    }


def profile_rows(found: Profile, fix: str, *, reference: bool = True) -> Iterator[Row]:
    """Every row of a profile, and what isotropic vectors would give beside its effective ranks."""
    for view in found.views.values():
        yield from rows_of(view, fix=fix)
        if reference:
            yield from reference_rows(view, found.dim)
