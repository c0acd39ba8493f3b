"""The end of a verdict: what to try next, with the command."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from uncollapse.diagnosis.audit import HARMFUL
from uncollapse.diagnosis.causes.attribution import CAUSES
from uncollapse.diagnosis.causes.findings import beside_verdict
from uncollapse.diagnosis.scores.verdict import UNEQUAL
from uncollapse.diagnosis.units import TOKENS
from uncollapse.records import Finding, Part, Row

NEXT = "What to try next"

CHUNKS = ("content_averaging", "topic_mix", "inseparable")
"""Causes against which smaller chunks help."""


Verdict = dict[str, tuple[Finding, ...]]
"""Findings by heading, in order."""


def conclude(
    lengths: Sequence[Finding],
    parts: Sequence[tuple[str, Part]],
    *,
    model: str,
    unit: str = TOKENS,
    is_open: bool = True,
) -> Verdict:
    """The whole verdict: whether there is a collapse, what is cut off, why, what it costs, and what to try next.

    Args:
        lengths: findings about the lengths; the first says whether there is a collapse.
        parts: of the diagnosis by heading, in order.
        model: what the user calls the model, for commands.
        unit: what lengths are counted in.
        is_open: whether the model runs here, so that fixes can be tried on it.
    """
    rows = [row for _, part in parts for row in part.rows]
    verdict: Verdict = {"The verdict": _beside_causes(lengths, rows, unit)}
    for heading, part in parts:
        verdict[heading] = (*verdict.get(heading, ()), *part.verdict)
    limits: Mapping[str, Any] = next((part.about["audit"]["limits"] for _, part in parts if "audit" in part.about), {})
    bad = [finding.title for _, part in parts for finding in part.verdict if finding.kind == "bad"]
    unequal = any(title.startswith(UNEQUAL) for title in bad)
    steps = list(advise(rows, model, limits, unit=unit, is_open=is_open, unequal=unequal))
    numbered = " ".join(f"({number}) {step}" for number, step in enumerate(steps, start=1))
    if steps:
        verdict[NEXT] = (Finding(NEXT, numbered, "neutral"),)
    return {heading: findings for heading, findings in verdict.items() if findings}


def _beside_causes(lengths: Sequence[Finding], rows: Sequence[Row], unit: str) -> tuple[Finding, ...]:
    """The findings about lengths, the first of them with what the causes say against reading it alone.

    No collapse is good news only where the causes show no sure rise either.
    """
    if not lengths:
        return ()
    first, *others = lengths
    told, rises = first.kind == "bad", beside_verdict(rows, told=True, unit=unit)
    said = beside_verdict(rows, told=told, unit=unit)
    kind = "neutral" if first.kind == "good" and said != rises else first.kind
    return (replace(first, sentence=f"{first.sentence}{said}", kind=kind), *others)


def advise(
    rows: Sequence[Row],
    model: str,
    limits: Mapping[str, Any],
    *,
    unit: str = TOKENS,
    is_open: bool = True,
    unequal: bool = False,
) -> Iterator[str]:
    """One step for each thing that surely harms, most certain gain first.

    Args:
        rows: of all parts.
        model: what the user calls the model.
        limits: in tokens: "in_use" in this diagnosis, and "folder", the one the model comes with; None for none.
        unit: what lengths are counted in.
        is_open: whether the model runs here, so that fixes can be tried on it.
        unequal: whether one threshold of scores is unfit for all lengths.
    """
    yield from _against_truncation(rows, limits, unit)
    cause = leading_cause(rows)
    named = shlex.quote(model)
    if is_open and (cause in CHUNKS or _is_truncated(rows, limits)):
        yield (
            f"To keep one vector a text, `uncollapse fix {named} --auto YOUR-DATA -o FIXED` writes a model that takes "
            "out what the vectors of all texts share (with `--queries SEARCH-LOG` it gains more). `uncollapse embed` "
            "reads texts to their end with it, piece by piece; other programs cut them where they did, unless they "
            "run what `uncollapse export FIXED -o LONG --format sentence-transformers` writes. "
            f"`uncollapse compare YOUR-DATA --model {named}` races it against every other fix of this package, on "
            "queries whose answers you know or, without any, on stretches of words out of your texts."
        )
    if cause in CHUNKS and not is_open:
        yield (
            "Try smaller chunks: embed your texts once whole and once cut, search both with queries whose answers you "
            "know, and compare the two rankings with `uncollapse evaluate --run WHOLE --run CUT --qrels QRELS "
            "--lengths LENGTHS`."
        )
    elif cause == "attention":
        yield (
            "Try a sharper attention on queries whose answers you know: `uncollapse evaluate FOLDER --model "
            f'{named} --fix "temperature(0.9)" --fix "temperature(0.8)"`; if it pays, `uncollapse fix {named} '
            '"temperature(0.9)" -o FIXED` writes it into the weights.'
        )
    elif cause not in ("", *CHUNKS):
        yield CAUSES[cause].remedy
    if unequal:
        yield "Where you cut results off at a score, take the threshold of each length from thresholds.json."


def leading_cause(rows: Sequence[Row]) -> str:
    """The cause that lifts the mean cosine most, "" where none surely does or there is no sure rise."""
    rise = [row for row in rows if row.measure == "rise" and row.view == "causes"]
    sure = [row for row in rows if row.measure == "cause" and row.low is not None and row.low > 0]
    if not sure or not rise or rise[0].low is None or rise[0].low <= 0:
        return ""
    return max(sure, key=lambda row: row.value).bin


def _against_truncation(rows: Sequence[Row], limits: Mapping[str, Any], unit: str) -> Iterator[str]:
    in_use, folder = (_lost(rows, limits.get(name)) for name in ("in_use", "folder"))
    if in_use >= HARMFUL:
        most = min(limit for limit in (limits["in_use"], limits.get("folder")) if limit)
        lies = f"{in_use:.0%} of all {unit} lie beyond the {limits['in_use']} that the model read here"
        if most < limits["in_use"]:
            lies = f"{folder:.0%} of all {unit} lie beyond the {most} that its folder lets it read, and {lies}"
        yield f"Cut long texts into chunks of at most {most} {unit}: {lies}."
    elif folder >= HARMFUL:
        yield (
            f"Its folder lets the model read {limits['folder']} {unit}, and {folder:.0%} of all {unit} lie beyond; "
            f"this diagnosis let it read {limits['in_use']}. Chunks of at most {limits['folder']} {unit} are safe."
        )


def _is_truncated(rows: Sequence[Row], limits: Mapping[str, Any]) -> bool:
    return max(_lost(rows, limits.get(name)) for name in ("in_use", "folder")) >= HARMFUL


def _lost(rows: Sequence[Row], limit: int | None) -> float:
    """Share of all tokens beyond a limit."""
    name = f"tokens_lost@{limit}"
    return next((row.value for row in rows if row.measure == name and row.view == "overall"), 0.0)
