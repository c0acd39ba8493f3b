"""From measured profiles to rows with intervals and to plain sentences."""

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np

from uncollapse.diagnosis.profiling import TOO_SHORT, Profile
from uncollapse.diagnosis.rows import row_of
from uncollapse.diagnosis.views import View
from uncollapse.measures import MINIMUM, isotropic_effective_rank
from uncollapse.records import Finding, Row
from uncollapse.resampling import Estimate, difference, ratio

SMALL_RISE, LARGE_RISE = 0.05, 0.15
"""Rise of the mean cosine called small below the first and strong from the second. Judgement, stated in the docs."""

MOST_OF_IT = 0.5
"""Part of what is taken back of a rise from which on a higher short end is called most of it."""

SMALL_SHARE, SMALL_RANK = 0.10, 0.10
"""Share of the rise, and relative change of effective rank, within which a whole interval counts as no change."""


def rows_of(view: View, *, fix: str) -> Iterator[Row]:
    """Every estimate of a view, then its trends over length."""
    for label, estimates in view.estimates.items():
        for measure, estimate in estimates.items():
            yield row_of(measure, estimate, view=view.name, label=label, n_tokens=view.n_tokens[label], fix=fix)
    for measure, trend in trends(view).items():
        yield row_of(measure, trend, view=view.name, fix=fix)


def trends(view: View) -> dict[str, Estimate]:
    """How the mean cosine changes with length: from the shortest to the longest bin, and a doubling on average.

    `mean_cosine_rise` is the difference of the two outer bins of at least 30 documents; `mean_cosine_per_doubling` is
    the least-squares slope over log2 of the mean token count of all such bins. Both are taken replicate by replicate,
    so windows of the same documents are compared with themselves. Where windows show that the shortest texts are more
    alike than somewhat longer ones, `mean_cosine_rise_from_lowest` goes from the lowest bin to the longest.
    """
    curve = cosine_curve(view)
    if len(curve) < 2:
        return {}
    tokens = np.log2([view.n_tokens[label] for label in curve])
    slopes = (tokens - tokens.mean()) / ((tokens - tokens.mean()) ** 2).sum()
    estimates = list(curve.values())
    slope = Estimate.of(
        float(slopes @ [estimate.value for estimate in estimates]),
        slopes @ np.stack([estimate.replicates for estimate in estimates]),
        n=min(estimate.n for estimate in estimates),
    )
    found = {"mean_cosine_rise": difference(estimates[-1], estimates[0]), "mean_cosine_per_doubling": slope}
    if lowest := lowest_between(view):
        found["mean_cosine_rise_from_lowest"] = difference(estimates[-1], curve[lowest])
    return found


def lowest_between(view: View) -> str:
    """The window between the shortest and the longest from which the mean cosine rises, "" where there is none.

    Cut to a few tokens, texts say too little to be told apart: the shortest window may lie higher than the next ones,
    and a rise from there would hide what happens to longer texts. The lowest window counts if it lies surely below the
    shortest, and the longest surely above it by a rise that is not small.
    """
    curve = cosine_curve(view)
    between = list(curve)[1:-1]
    if view.name != "windows" or not between:
        return ""
    lowest = min(between, key=lambda label: curve[label].value)
    (first, *_, last), low = list(curve.values()), curve[lowest]
    rise = difference(last, low)
    falls, rises = _interval(difference(low, first))[1] < 0, _interval(rise)[0] > 0 and rise.value >= SMALL_RISE
    return lowest if falls and rises else ""


def cosine_curve(view: View) -> dict[str, Estimate]:
    """Mean cosine of the bins that hold enough documents, in order of length."""
    return {
        label: row["mean_cosine"]
        for label, row in view.estimates.items()
        if "mean_cosine" in row and row["mean_cosine"].n >= MINIMUM
    }


def reference_rows(view: View, dim: int) -> Iterator[Row]:
    """Effective rank of isotropic directions at the n of the view's bins: what no collapse at all would give."""
    for label, row in view.estimates.items():
        if "effective_rank" in row:
            n = row["effective_rank"].n
            value = _isotropic(n, dim)
            yield Row(
                "effective_rank_isotropic",
                float(value),
                None,
                None,
                n,
                view=view.name,
                bin=label,
                n_tokens=round(view.n_tokens[label], 2),
                note="reference, one simulation with a fixed seed",
            )


@cache
def _isotropic(n: int, dim: int) -> float:
    return isotropic_effective_rank(n, dim)


def recovered(before: View, after: View) -> Estimate | None:
    """Which share of the rise of the mean cosine a fix takes back: (rise before - rise after) / rise before.

    None where a view has no trend, or where it is not sure that there is a rise to take back.
    """
    first, second = trends(before), trends(after)
    if not first or not second:
        return None
    rise = first["mean_cosine_rise"]
    if _interval(rise)[0] <= 0:
        return None
    return ratio(difference(rise, second["mean_cosine_rise"]), rise)


def from_short_end(before: View, after: View) -> Estimate | None:
    """Which part of what a fix takes back of a rise is a higher short end: texts cut short that it makes more alike.

    (short end after - short end before) / (rise before - rise after). 0 where the long end alone came down, 1 where
    the long end stayed as it was; below 0 where both ends came down. None where there is no share to split.
    """
    ends = both_ends(before, after)
    if recovered(before, after) is None or len(ends) < 2:
        return None
    (short_before, short_after), (long_before, long_after) = ends.values()
    lifted = difference(short_after, short_before)
    return ratio(lifted, difference(difference(long_before, short_before), difference(long_after, short_after)))


def both_ends(before: View, after: View) -> dict[str, tuple[Estimate, Estimate]]:
    """The mean cosine without and with a fix at the shortest and the longest bin that both have, by label."""
    first, second = cosine_curve(before), cosine_curve(after)
    shared = [label for label in first if label in second]
    return {label: (first[label], second[label]) for label in dict.fromkeys([*shared[:1], *shared[-1:]])}


def main_view(profile: Profile) -> View:
    """Nested windows where there are any, since they change nothing but length."""
    return profile.views.get("windows", profile.views["as_is"])


def judge(profile: Profile, model: str) -> tuple[Finding, ...]:
    """The findings about one profile, most important first.

    Args:
        profile: what was measured.
        model: what to call the model.
    """
    return (_collapse(main_view(profile), model, profile.uncut), *_as_is(profile), *_rank(main_view(profile)))


def _collapse(view: View, model: str, uncut: str) -> Finding:
    curve = cosine_curve(view)
    if len(curve) < 2:
        return Finding(
            "Too few texts to tell",
            _too_few(view),
            "unknown",
        )
    rise = trends(view)["mean_cosine_rise"]
    (short, low), *_, (long, high) = curve.items()
    figures = (
        f"The mean cosine of pairs of different texts (how alike they look to the model: 1 is the same) goes from "
        f"{_spell(low)} at {_tokens(short, view)} to {_spell(high)} at {_tokens(long, view)}: "
        f"{_spell(rise, signed=True)} ({_documents(view, rise.n)}; 95 % intervals)."
    )
    if view.name == "as_is":
        return _name_trend(rise, model, figures, uncut)
    named = Finding(*_name_rise(rise, model, figures))
    lowest = lowest_between(view)
    return _name_rise_from(lowest, view, model, figures) if lowest and named.kind != "bad" else named


def _name_rise_from(lowest: str, view: View, model: str, figures: str) -> Finding:
    """The rise where the shortest texts, which say too little to be told apart, would hide it."""
    rise, place = trends(view)["mean_cosine_rise_from_lowest"], _tokens(lowest, view)
    strongly = ", strongly" if rise.value >= LARGE_RISE else ""
    return Finding(
        f"{model} pulls long texts together from {place} on{strongly}",
        f"{figures} But in between it is lower: {_spell(cosine_curve(view)[lowest])} at {place}, and from there to "
        f"the longest it rises by {_spell(rise, signed=True)}. Texts cut to a few {view.unit} say too little to be "
        "told apart, so the rise is read from there.",
        "bad",
    )


def _too_few(view: View) -> str:
    counts = [max(estimate.n for estimate in row.values()) for row in view.estimates.values() if row]
    texts, fullest = sum(counts), max(counts, default=0)
    said = "The only text lies" if texts == 1 else f"These {texts} texts lie"
    where = "one bin, which" if len(counts) == 1 else f"{len(counts)} bins, the fullest of which"
    advice = "Use more texts, or --bins equal:2." if texts >= 3 * MINIMUM else "Use more texts."
    return (
        f"A verdict needs at least two length bins of {MINIMUM} texts each. {said} in {where} holds "
        f"{fullest}. {advice}"
    )


def _name_trend(rise: Estimate, model: str, figures: str, uncut: str) -> Finding:
    """The rise over texts at their own lengths, which may be due to what the long texts are about."""
    low, high = _interval(rise)
    caveat = (
        "This mixes the effect of length with what long texts are about. The same texts cut to several lengths would "
        f"tell the two apart, but {uncut or TOO_SHORT}."
    )
    if low > 0:
        return Finding(f"Longer texts lie closer together in {model}", f"{figures} {caveat}", "neutral")
    if high < SMALL_RISE:
        return Finding(f"Longer texts do not lie closer together in {model}", f"{figures} {caveat}", "neutral")
    return Finding(
        "These texts cannot tell", f"{figures} The interval holds zero and more: use more texts.", "unknown"
    )


def _name_rise(rise: Estimate, model: str, figures: str) -> tuple[str, str, str]:
    low, high = _interval(rise)
    none = f"{figures} A length collapse would be a sure rise."
    if low > 0 and rise.value >= LARGE_RISE:
        return f"{model} pulls long texts together, strongly", figures, "bad"
    if low > 0 and rise.value >= SMALL_RISE:
        return f"{model} pulls long texts together", figures, "bad"
    if low > 0:
        return f"{model} pulls long texts together, but hardly", figures, "neutral"
    if high < 0:
        return f"{model} spreads long texts out: no length collapse", none, "good"
    if high < SMALL_RISE:
        return f"{model} shows no length collapse on these texts", none, "good"
    return "These texts cannot tell", f"{figures} The interval holds zero and more: use more texts.", "unknown"


def _as_is(profile: Profile) -> Iterator[Finding]:
    view = profile.views["as_is"]
    if main_view(profile) is view or not (trend := trends(view)):
        return
    curve = list(cosine_curve(view))
    first, last = _tokens(curve[0], view), _tokens(curve[-1], view)
    rise = trend["mean_cosine_rise"]
    low, high = _interval(rise)
    change = f"{_spell(rise, signed=True)} in mean cosine"
    told = (
        f"texts of {last} are {'more' if low > 0 else 'less'} alike than texts of {first}: {change}"
        if low > 0 or high < 0
        else f"texts of {last} are about as alike as texts of {first}: {change}, which may be chance"
    )
    yield Finding(
        "At their own lengths",
        f"Taken as they are, {told}. This mixes the effect of length with what the long texts are about, which the "
        "first verdict keeps apart.",
        "neutral",
    )


def _rank(view: View) -> Iterator[Finding]:
    ranks = {label: row["effective_rank"] for label, row in view.estimates.items() if "effective_rank" in row}
    if len(ranks) < 2:
        return
    (long, last), lowest = list(ranks.items())[-1], lowest_between(view)
    short = lowest if lowest in ranks else next(iter(ranks))  # where the rise is read from, if it is read from there
    first = ranks[short]
    change = difference(last, first)
    low, high = _interval(change)
    figures = (
        f"their effective rank, about the number of directions that their vectors spread over, is "
        f"{_spell(first, digits=0)} at {_tokens(short, view)} and {_spell(last, digits=0)} at {_tokens(long, view)} "
        f"(n = {first.n} texts each; 95 % intervals)."
    )
    if short == lowest:
        figures += f" Texts of fewer {view.unit} say too little to be told apart, so this is read from there."
    if high < 0 or low > 0:
        few = high < 0
        sentence = f"Longer texts use {'fewer' if few else 'more'} directions to tell themselves apart: {figures}"
        if not few:
            sentence += " Texts can lie closer together and still differ in more ways."
        large = abs(change.value) > SMALL_RANK * first.value
        yield Finding("Directions in use", sentence, ("bad" if few else "good") if large else "neutral")
    elif max(-low, high) <= SMALL_RANK * first.value:
        yield Finding("Directions in use", f"Long and short texts use about as many: {figures}", "neutral")
    else:
        yield Finding("Directions in use", f"Whether their number changes cannot be told: {figures}", "unknown")


def judge_fix(before: Profile, after: Profile, fix: str) -> Finding:
    """What a fix does to the rise of the mean cosine."""
    share = recovered(main_view(before), main_view(after))
    if share is None or share.low is None or share.high is None:
        why = share.note if share is not None else "it is not sure that there is one"
        return Finding(f"{fix} has no rise to take back", f"No share of the rise can be given: {why}.", "unknown")
    value, ends = f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]", _changes(before, after)
    if share.low > 0:
        sentence = f"It takes back {value} of the rise of the mean cosine, on the same documents: {ends}."
        return _name_share(fix, share, from_short_end(main_view(before), main_view(after)), sentence)
    if share.high < 0:
        sentence = f"It adds to the rise of the mean cosine (share taken back: {value}): {ends}."
        return Finding(f"{fix} makes the rise worse", sentence, "bad")
    if max(-share.low, share.high) <= SMALL_SHARE:
        return Finding(f"{fix} changes the rise little", f"The share taken back is {value}: {ends}.", "neutral")
    return Finding(
        f"Whether {fix} helps cannot be told", f"The share taken back is {value}, which holds zero: {ends}.", "unknown"
    )


def _name_share(fix: str, share: Estimate, short: Estimate | None, sentence: str) -> Finding:
    """A share that is surely above zero: a gain where the long end came down for more than half of it."""
    title = f"{fix} takes back {share.value:.0%} of the rise"
    if short is None or short.value <= MOST_OF_IT:
        return Finding(title, sentence, "good")
    low, high = _interval(short)
    lifted = f"{short.value:.0%}" if np.isinf(low) else f"{short.value:.0%} [{low:.0%}, {high:.0%}]"
    return Finding(
        f"{title}, most of it by making short texts more alike",
        f"{sentence} Of what it takes back, {lifted} is the higher short end, where texts are harder to tell apart "
        "than before. That is no gain.",
        "neutral",
    )


def _changes(before: Profile, after: Profile) -> str:
    """Both ends without and with a fix: a rise gets smaller by a lower long end, but also by a higher short end."""
    view = main_view(before)
    ends = both_ends(view, main_view(after))
    return ", ".join(
        f"at {_tokens(label, view)} {first.value:.2f} -> {second.value:.2f} "
        f"({_spell(difference(second, first), signed=True)})"
        for label, (first, second) in reversed(ends.items())
    )


def recovery_rows(before: View, after: Mapping[str, View]) -> Iterator[Row]:
    """What each fix does to the mean cosine at both ends, the share of the rise it takes back, and at which end."""
    for fix, view in after.items():
        for label, (first, second) in both_ends(before, view).items():
            change, n_tokens = difference(second, first), view.n_tokens[label]
            yield row_of("mean_cosine_change", change, view=view.name, label=label, n_tokens=n_tokens, fix=fix)
        if (share := recovered(before, view)) is not None:
            yield row_of("share_recovered", share, view=view.name, fix=fix)
        if (short := from_short_end(before, view)) is not None and np.isfinite(short.value):
            yield row_of("share_from_short_end", short, view=view.name, fix=fix)


def _interval(estimate: Estimate) -> tuple[float, float]:
    """The interval, or one that excludes nothing."""
    if estimate.low is None or estimate.high is None:
        return -np.inf, np.inf
    return estimate.low, estimate.high


def _spell(estimate: Estimate, *, signed: bool = False, digits: int = 2) -> str:
    sign = "+" if signed else ""

    def shown(number: float) -> str:
        return f"{number:{sign}.{digits}f}" if round(number, digits) else f"{0:.{digits}f}"  # no -0.00

    if estimate.low is None or estimate.high is None:
        return f"{shown(estimate.value)} (no interval)"
    return f"{shown(estimate.value)} [{shown(estimate.low)}, {shown(estimate.high)}]"


def _tokens(label: str, view: View) -> str:
    return f"{label} {view.unit}"


def _documents(view: View, n: int) -> str:
    return f"the same {n} documents at every length" if view.name == "windows" else f"at least {n} texts in each"
