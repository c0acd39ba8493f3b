"""What an audit found, in plain words."""

import shlex
from collections.abc import Iterator

from uncollapse.diagnosis.audit.counting import Audit
from uncollapse.diagnosis.audit.losses import (
    HELD,
    NO_SOURCE,
    OTHER_SOURCES,
    groups,
    limit_to_hold,
    main_column,
    resampled_ratio,
    share_truncated,
    tokens_lost,
)
from uncollapse.diagnosis.audit.servers import SERVERS
from uncollapse.diagnosis.units import TOKENS
from uncollapse.measures import MINIMUM
from uncollapse.records import Finding
from uncollapse.resampling import Estimate

HARMFUL = 0.05
"""Share of the texts or of their length from which on a loss is called bad. Judgement, stated in the docs."""

WORTH = 0.1
"""Least part of the loss that a raised limit takes back where raising it is advised. Judgement, stated in the docs."""

_FEW = f"For a statement about more texts like these, at least {MINIMUM} are needed."

_HOMES = {NO_SOURCE: "texts without a source", OTHER_SOURCES: "texts from other sources"}


def judge_losses(audit: Audit, model: str) -> Iterator[Finding]:
    """The findings, most important first."""
    column = main_column(audit)
    if column is None or not audit.total.truncated[column]:
        yield _nothing_lost(audit, model)
    else:
        yield _loss(audit, column, model)
        if not audit.limits.text_fix:
            yield _remedy(audit, column, model)
        yield _service(int(audit.total.truncated[column]), f"{audit.limits.every[column]:,} {audit.limits.unit}")
    if audit.limits.named:
        yield _named(audit)


def _nothing_lost(audit: Audit, model: str) -> Finding:
    n, main, unit = audit.total.texts, audit.limits.main, audit.limits.unit
    if main is None and not audit.limits.known:
        sentence = (
            f"{model} does not say how many {unit} of a text it reads; the longest of {n:,} has {audit.longest:,}."
        )
        return Finding(
            "What is cut off is not known", f"{sentence} Name limits to count with: --limits 512.", "unknown"
        )
    if main is None:
        sentence = f"{model} has no limit: it reads all {n:,} texts to their end."
        return Finding("Nothing is cut off", f"{sentence} The longest has {audit.longest:,} {unit}.", "good")
    fit = f"All {n:,} texts fit into {main:,} {unit}, {_owner(audit)}; the longest has {audit.longest:,}."
    if n < MINIMUM:
        return Finding("Nothing is cut off", f"{fit} {_FEW}", "unknown")
    high = share_truncated(audit.total, audit.limits.every.index(main), main).high or 0.0
    more = f"Of more texts like these, at most {_percent(high)} are longer (95 % interval)."
    return Finding("Nothing is cut off", " ".join(filter(None, (fit, more, _in_study(audit)))), "good")


def _loss(audit: Audit, column: int, model: str) -> Finding:
    total, main, unit = audit.total, audit.limits.every[column], audit.limits.unit
    share, lost = share_truncated(total, column, main), tokens_lost(total, column, main)
    homes, alone = list(_homes(audit, column)), " of the model alone" if audit.limits.text_fix else ""
    most = next((f", mostly in {where}" for where, part in reversed(homes) if (part.low or 0) > 0.5), "")
    what = (
        f"{model} reads {main:,} {unit} of a text, {_owner(audit)}. {_spell(share)} of {total.texts:,} texts are "
        f"longer, and {_spell(lost)} of all {unit} lie beyond it, in no vector{alone} (95 % intervals).{_asked(audit)}"
    )
    where = "; ".join(f"{_spell(part)} of what is lost is in {home}" for home, part in homes)
    kind = "bad" if max(share.value, lost.value) >= HARMFUL and not audit.limits.text_fix else "neutral"
    parts = (what, f"{where}.", _in_study(audit), _FEW if total.texts < MINIMUM else "")
    title = f"{_percent(lost.value)} of the {unit} are never seen{' by the model alone' if alone else ''}{most}"
    return Finding(title, " ".join(filter(None, parts)), kind if total.texts >= MINIMUM else "unknown")


def _asked(audit: Audit) -> str:
    """What a folder asks for beyond the model, which is all that is measured here."""
    if not audit.limits.text_fix:
        return ""
    return (
        f" That is the model without `{audit.limits.text_fix}`, which its folder asks for and this study leaves out: "
        "`uncollapse embed`, `evaluate` and `export --format sentence-transformers` apply it."
    )


def _homes(audit: Audit, column: int) -> Iterator[tuple[str, Estimate]]:
    """The length bin that loses most, then the source, each with its part of all that is lost."""
    total = audit.total
    for view in ("audit_by_length", "audit_by_source"):
        if found := [group for group in groups(audit) if group[0] == view]:
            _, label, sums, ends = max(found, key=lambda group: int(group[2].lost[column]))
            parts = sums.weighted[1 + column], total.weighted[1 + column]
            where = _HOMES.get(label, f"texts from {label}")
            where = f"texts of {ends[0]:,} to {ends[1]:,} {audit.limits.unit}" if ends else where
            yield where, resampled_ratio(int(sums.lost[column]), int(total.lost[column]), *parts, n=total.texts)


def _remedy(audit: Audit, column: int, model: str) -> Finding:
    held, main, in_use = limit_to_hold(audit), audit.limits.every[column], audit.limits.in_use
    unit = audit.limits.unit
    special = " (those that the model adds count too)" if unit == TOKENS else ""
    ends = held.note or f"95 % interval {held.low:,.0f} to {held.high:,.0f}"
    tries = [f"cut the texts into pieces of at most {main:,} {unit}{special}, and index every piece"]
    raised = None if in_use is None else tokens_lost(audit.total, audit.limits.every.index(in_use), in_use)
    if raised and raised.value <= (1 - WORTH) * tokens_lost(audit.total, column, main).value:
        command = f"uncollapse evaluate YOUR-DATA --model {shlex.quote(model)} --max-tokens {in_use}"
        tries.append(
            f"raise the limit (max_seq_length) to {in_use:,}, which lowers the loss to {_spell(raised)}; a model may "
            f"read worse beyond the lengths it was trained on, so score both limits first, with `{command}`"
        )
    if max(main, in_use or 0) < held.value:
        tries.append(
            f"take a model with a window of {held.value:,.0f} {unit}, whose one vector has to hold all of a text"
        )
    sentence = (
        f"{held.value:,.0f} {unit} ({ends}; n = {held.n:,}) hold {HELD:.0%} of the texts whole; the longest has "
        f"{audit.longest:,}. What to try: {'. Or: '.join(tries)}."
    )
    return Finding(f"A limit of {held.value:,.0f} {unit} would hold {HELD:.0%} of the texts", sentence, "neutral")


def _service(texts: int, limit: str) -> Finding:
    cut, refuse = (", ".join(server.server for server in SERVERS if server.cuts is cuts) for cuts in (True, False))
    sentence = (
        f"At a limit of {limit} and with their defaults, {cut} would cut {texts:,} of these texts and return vectors "
        f"as if nothing were missing. {refuse} refuse too long texts. docs/truncation.md says where this is written."
    )
    return Finding("Which servers cut without a word", sentence, "neutral")


def _named(audit: Audit) -> Finding:
    reach, unit, told = audit.limits.reach, audit.limits.unit, []
    for limit in audit.limits.named:
        column = audit.limits.every.index(limit)
        share, lost = share_truncated(audit.total, column, limit), tokens_lost(audit.total, column, limit)
        loss = f"{_spell(lost)} of the {unit}, in {_spell(share)} of the texts" if lost.value else "nothing"
        told.append(f"{limit:,} {unit}{' (what-if)' if reach and limit > reach else ''}: {loss}")
    sentence = f"Lost at a limit of {'; '.join(told)} (n = {audit.total.texts:,})."
    if reach and max(audit.limits.named) > reach:
        sentence += f" What-if: the model was run with at most {reach:,} {unit}; another may count {unit} otherwise."
    return Finding("What other limits would lose", sentence, "neutral" if audit.total.texts >= MINIMUM else "unknown")


def _in_study(audit: Audit) -> str:
    """What this study's own limit loses, where it is not the one that texts meet in service."""
    in_use, main, unit = audit.limits.in_use, audit.limits.main, audit.limits.unit
    if in_use is None or in_use == main:
        return ""
    lost = tokens_lost(audit.total, audit.limits.every.index(in_use), in_use)
    loss = f"{_spell(lost)} of the {unit} are lost" if lost.value else "nothing is lost"
    return f"All that follows was measured with {in_use:,} {unit} read, where {loss}."


def _owner(audit: Audit) -> str:
    return "the limit of this study" if audit.limits.folder is None else "the limit of the model's folder"


def _percent(value: float) -> str:
    """A share that is neither none nor all is never printed as if it were."""
    if 0 < value < 0.0005:
        return "under 0.1%"
    return "over 99.9%" if 0.9995 <= value < 1 else f"{value:.1%}"


def _spell(share: Estimate) -> str:
    if share.low is None or share.high is None:
        return f"{_percent(share.value)} (no interval)"
    return f"{_percent(share.value)} [{_percent(share.low)}, {_percent(share.high)}]"
