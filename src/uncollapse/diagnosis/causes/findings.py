"""A split in plain words: which cause carries most of a rise, what each one means, and what could help."""

from collections.abc import Iterator, Sequence

from uncollapse.diagnosis.causes.attribution import CAUSES, Split
from uncollapse.diagnosis.causes.reach import Reach
from uncollapse.diagnosis.units import TOKENS
from uncollapse.measures import MINIMUM
from uncollapse.records import Finding, Row
from uncollapse.resampling import Estimate, difference

VIEW = "causes"

LARGE = 0.05
"""Mean cosine from which on a cause, or a rise from the first piece, is told beside the verdict: as much as it takes
for a rise that is not small. Judgement."""

SMALL, SMALL_SHARE = 0.01, 0.1
"""A cause is spoken of from this much mean cosine on, and from this share of the largest cause. Judgement."""


def explain_split(split: Split, lengths: tuple[int, int], unit: str = TOKENS) -> Iterator[Finding]:
    """What carries the rise, then a finding for each cause that matters.

    Args:
        split: from `split_rise`.
        lengths: mean tokens of the first piece and of the whole text.
        unit: what they are counted in.
    """
    if split.rise.n < MINIMUM:
        yield Finding("Too few documents to say why", _too_few(split.rise.n, f"{lengths[1]} {unit}"), "unknown")
        return
    figures = (
        f"from the first piece ({lengths[0]} {unit}) to the whole text ({lengths[1]}; n = {split.rise.n} documents as "
        "long as that, 95 % intervals)"
    )
    matter = [name for name in split.causes if _matters(split, name)]
    if (split.rise.low or 0) <= 0:
        yield _nothing(split, matter, figures)
        return
    yield _main(split, figures)
    for name in sorted(matter, key=lambda name: -abs(split.causes[name].value)):
        yield _one(name, split.causes[name])


def beside_verdict(rows: Sequence[Row], *, told: bool, unit: str = TOKENS) -> str:
    """What the causes say that a verdict on windows must not be read without; "" for nothing.

    Windows are beginnings of texts. Where beginnings are more alike than the rest, they hide a rise; where they are
    less alike, they make one.

    Args:
        rows: of all parts.
        told: whether the verdict says already that there is a rise.
        unit: what lengths are counted in.
    """
    found = {(row.measure, row.bin): row for row in rows if row.view == VIEW}
    rise, begins = found.get(("rise", "")), found.get(("cause", "beginnings"))
    ends = [found.get(("mean_cosine", step)) for step in ("start", "whole")]
    said = ""
    if rise and not told and rise.low is not None and rise.low > LARGE:
        first, whole = (f"{row.n_tokens:.0f} {unit}" if row else "" for row in ends)
        said += (
            f" But from the first piece ({first}) to the whole text ({whole}) the mean cosine of {rise.n} of these "
            f"documents surely rises, by {_shown(rise)}: see `Why`."
        )
    if begins and begins.low is not None and begins.high is not None and max(begins.low, -begins.high) >= LARGE:
        more = "more" if begins.value < 0 else "less"
        said += (
            f" All windows are beginnings of texts, and these beginnings are {more} alike than what follows them, "
            f'by {_shown(begins)} (n = {begins.n}; "{CAUSES["beginnings"].title}"), so elsewhere in the texts the '
            "rise is another."
        )
    return said


def _shown(row: Row) -> str:
    """The size of a number with its interval, without its sign."""
    low, high = sorted(abs(end) for end in (row.low, row.high) if end is not None)
    return f"{abs(row.value):.2f} [{low:.2f}, {high:.2f}]"


def explain_reach(reach: Reach, model: str, claimed: str, unit: str = TOKENS) -> Iterator[Finding]:
    """That a model reads less than it says, if it does.

    Args:
        reach: from `find_reach`.
        model: what to call the model.
        claimed: what it says it reads, "" where it says nothing.
        unit: what lengths are counted in.
    """
    if not reach.is_short:
        return
    title = f"{model} reads less than it says" if claimed else f"{model} reads only about {reach.tokens} {unit}"
    said = f"says {claimed} but" if claimed else "does not say how much of a text it reads, and"
    yield Finding(
        title,
        f"{model} {said} reads only about {reach.tokens}: replacing everything behind them by other text changed the "
        f"vector of none of {reach.probes} documents. Longer texts are cut off without a word. Cut them into "
        f"chunks of at most {reach.tokens} {unit}.",
        "bad",
    )


def refuse(n: int, tokens: int, fewest: int, unit: str = TOKENS) -> Finding:
    """Why nothing can be split at all."""
    return Finding(
        "The causes of a rise cannot be told apart",
        f"Splitting a rise needs at least 2 documents of {fewest} {unit} or more, got {n} of {tokens}. "
        f"Use longer texts, {MINIMUM} or more of them for intervals.",
        "unknown",
    )


def _spell(estimate: Estimate) -> str:
    """A signed number with its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{_signed(estimate.value)} (no interval)"
    return f"{_signed(estimate.value)} [{_signed(estimate.low)}, {_signed(estimate.high)}]"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # no -0.00


def _too_few(n: int, length: str) -> str:
    return (
        f"Only {n} documents are long enough. Which cause carries the rise needs at least {MINIMUM} of about "
        f"{length}; the numbers are given without intervals."
    )


def _nothing(split: Split, matter: Sequence[str], figures: str) -> Finding:
    parts = ", ".join(f"{CAUSES[name].phrase} ({_spell(split.causes[name])})" for name in matter)
    change = f"The mean cosine of two texts changes by {_spell(split.rise)} {figures}, which is no sure rise."
    behind = f" What works behind it, in both directions or too little to be sure: {parts}." if matter else ""
    return Finding("There is no rise to explain", change + behind, "neutral")


def _main(split: Split, figures: str) -> Finding:
    names = _leading(split)
    whole = f"{_spell(split.rise)} {figures}"
    if not names:
        return Finding(
            "No cause of the rise is sure", f"Of the rise of {whole} no cause is surely above zero.", "unknown"
        )
    parts = [f"{CAUSES[name].phrase} ({_spell(split.causes[name])})" for name in names]
    share = sum(split.causes[name].value for name in names) / split.rise.value
    much = "More than the whole" if share > 1.1 else "Most of the" if share >= 0.5 else "The largest part of the"
    title = "; ".join(CAUSES[name].title[0].lower() + CAUSES[name].title[1:] for name in names)
    against = " What the other causes add and take away makes up the difference." if share > 1.1 else ""
    against += " The rise of the verdict is another: it goes from the shortest window to the longest."
    if len(names) == 1:
        return Finding(f"Why: {title}", f"{much} rise of {whole} comes from {parts[0]}.{against}", "neutral")
    return Finding(
        f"Why: {title}",
        f"{much} rise of {whole} comes from {', '.join(parts[:-1])} and {parts[-1]}; which of them carries "
        f"more cannot be told.{against}",
        "neutral",
    )


def _leading(split: Split) -> list[str]:
    """The largest of the causes that are surely above zero, and those that are not surely smaller."""
    positive = [name for name, cause in split.causes.items() if cause.value > 0]
    order = sorted(positive, key=lambda name: -split.causes[name].value)
    first = next((name for name in order if _is_above(split.causes[name])), None)
    if first is None:
        return []
    others = [name for name in order if name != first]
    return [first, *(name for name in others if not _is_above(difference(split.causes[first], split.causes[name])))]


def _is_above(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.low > 0


def _matters(split: Split, name: str) -> bool:
    cause, largest = split.causes[name], max(abs(other.value) for other in split.causes.values())
    sure = _is_above(cause) or (cause.high is not None and cause.high < 0)
    return sure and abs(cause.value) >= max(SMALL, SMALL_SHARE * largest)


def _one(name: str, estimate: Estimate) -> Finding:
    cause = CAUSES[name]
    if estimate.value > 0:
        return Finding(cause.title, f"{_spell(estimate)} of mean cosine. {cause.meaning} {cause.remedy}", "neutral")
    return Finding(
        f"{cause.title}: works against the rise", f"{_spell(estimate)} of mean cosine. {cause.against}", "neutral"
    )
