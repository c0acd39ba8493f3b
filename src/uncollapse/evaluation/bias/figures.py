"""Whether a ranking prefers short or long texts, as figures a search engineer can read; needs no model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from uncollapse.errors import UncollapseError
from uncollapse.evaluation.bias.slope import draw_both, ends_early, slope_texts
from uncollapse.evaluation.bias.table import BIAS, Bias, describe
from uncollapse.evaluation.bias.tallies import (
    Floats,
    Pairs,
    Profile,
    Tally,
    average,
    count_pairs,
    mean,
    over,
    profile,
    shorter_above,
)
from uncollapse.evaluation.rankings.ranked import Ranked
from uncollapse.evaluation.statistics.intervals import interval
from uncollapse.evaluation.statistics.significance import REPLICATES, numbered_groups
from uncollapse.records import LengthBins, Row
from uncollapse.resampling import Estimate, check_replicates, document_keys, poisson_weights

__all__ = ["BIAS", "Bias", "LengthBias", "bias_rows", "describe", "length_bias"]

_GROUPS = 4096

_ENDS_EARLY = (
    "Not defined for a run that ends before the last document: which documents are in it depends on their score."
)

Key = tuple[str, str]
"""Name of a figure and label of the length bin, "" for a figure about all lengths."""


@dataclass(frozen=True, eq=False)
class LengthBias:
    """The figures of one ranking.

    Args:
        estimates: by name and bin; paired across models and fixes of one task, so that `resampling.difference` of two
            with the same key is a paired comparison.
        missing: by name, a sentence that says why a figure is not defined on these data.
        n_tokens: mean length of the documents of each bin, by label.
    """

    estimates: Mapping[Key, Estimate]
    missing: Mapping[str, str]
    n_tokens: Mapping[str, float]


def length_bias(
    ranked: Ranked, *, k: int = 10, bins: int = 5, replicates: int = REPLICATES, seed: int = 0
) -> LengthBias:
    """Every figure of BIAS that is defined for a ranking.

    Queries count equally (except in the regression, where texts do); intervals resample groups of queries and take the
    corpus as it is, but those of the regression resample documents too; fewer than 10 of either have none. A corpus of
    one length has no figures.

    How to read them: see the `reading` of each, and first `length_ratio@R`, `short_wins` and `length_slope_sd`.

    Args:
        ranked: the ranking, its judgements and the lengths of all documents.
        k: how many documents are shown to a reader.
        bins: length bins of about equally many documents of the corpus.
        replicates: of the bootstrap, a multiple of 4.
        seed: of the bootstrap.

    Raises:
        UncollapseError: `k` or `bins` below 1, or a number of replicates that is no multiple of 4.

    Example:
        >>> from uncollapse.evaluation.rankings.ranked import Judged
        >>> judged = Judged(*np.array([[0], [1], [1], [2]]), score=np.array([0.6]))
        >>> bias = length_bias(Ranked(("q",), ("q",), np.array([50, 100]), np.array([[0, 1]]), judged), k=1)
        >>> bias.estimates["length_ratio@1", ""]
        Estimate(0.5 [no interval], n=1, note='no interval: 1 independent items are too few to tell, 10 are needed')
        >>> bias.missing["length_slope"]
        'No two texts of one query and one grade have known scores and different lengths.'

    Reference:
        Singhal, Buckley & Mitra (1996), Pivoted document length normalization, SIGIR: retrieval against relevance by
        length. Intervals: Hanley & MacGibbon (2006), Creating non-parametric bootstrap samples using Poisson
        frequencies.
    """
    for name, number in (("k", k), ("bins", bins)):
        if number < 1:
            raise UncollapseError(f"`{name}` must be at least 1, got {number}.")
    check_replicates(replicates)
    shortest, longest = int(ranked.lengths.min()), int(ranked.lengths.max())
    if shortest == longest:
        why = f"All {len(ranked.lengths)} documents have the same length ({shortest})."
        return LengthBias({}, {_named(name, k): why for name in BIAS}, {})
    edges = LengthBins.equal_count(ranked.lengths, bins)
    tallies = (
        _profile_tallies(ranked, edges, k)
        | _slope_tallies(ranked, replicates, seed)
        | _pair_tallies(count_pairs(ranked))
    )
    tallies["beaten_by_shorter", ""] = _beaten_tally(ranked, k)
    estimates = _estimates(tallies, ranked.groups, replicates, seed)
    missing = {name: tallies[name, bin_].otherwise for name, bin_ in tallies if (name, bin_) not in estimates}
    corpus, n_tokens = _corpus(ranked, edges)
    return LengthBias(corpus | estimates, missing, n_tokens)


def bias_rows(bias: LengthBias, *, model: str = "", fix: str = "none", dataset: str = "") -> tuple[Row, ...]:
    """The figures as rows: views "overall" and "by_document_length".

    >>> bias_rows(LengthBias({("short_wins", ""): Estimate.of_share(1, 2)}, {}, {}))[0].view
    'overall'
    """
    return tuple(
        Row(
            measure=name,
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            n=estimate.n,
            view="by_document_length" if label else "overall",
            bin=label,
            n_tokens=bias.n_tokens.get(label, 0.0),
            model=model,
            fix=fix,
            dataset=dataset,
            note=estimate.note,
        )
        for (name, label), estimate in bias.estimates.items()
    )


# --- the figures as sums over queries


def _named(name: str, k: int) -> str:
    return re.sub(r"(@|top)k$", rf"\g<1>{k}", name)


def _corpus(ranked: Ranked, edges: LengthBins) -> tuple[dict[Key, Estimate], dict[str, float]]:
    place = edges.assign(ranked.lengths)
    counts = np.bincount(place, minlength=len(edges))
    sums = np.bincount(place, ranked.lengths, minlength=len(edges))
    n = len(ranked.lengths)
    shares = {
        ("share_of_corpus", label): Estimate(count / n, np.empty(0), None, None, n, "no interval: it is the corpus")
        for label, count in zip(edges.labels, counts.tolist(), strict=True)
    }
    return shares, dict(zip(edges.labels, over(sums, counts).tolist(), strict=True))


def _profile_tallies(ranked: Ranked, edges: LengthBins, k: int) -> dict[Key, Tally]:
    found = profile(ranked, edges, k)
    note = _top_note(ranked, found, k)
    either = "No query has both a retrieved and a relevant document."
    tallies: dict[Key, Tally] = {}
    for cut, top, why in ((str(k), found.at_k, note), ("R", found.at_r, "")):
        less = top - found.relevant
        tallies[f"length_ratio@{cut}", ""] = replace(average(less[:, 0], either, note=why), finish=_exp2_mean)
        tallies[f"short_surplus@{cut}", ""] = average(less[:, 1], either, note=why)
        tallies[f"long_surplus@{cut}", ""] = average(less[:, 2], either, note=why)
    for i, label in enumerate(edges.labels, start=3):
        tallies["share_of_relevant", label] = average(found.relevant[:, i], "No query has a relevant document.")
        tallies[f"share_of_top{k}", label] = average(found.at_k[:, i], "No query has a retrieved document.", note=note)
    return tallies


def _top_note(ranked: Ranked, found: Profile, k: int) -> str:
    if len(ranked.lengths) <= k:
        return f"the corpus has {len(ranked.lengths)} documents, so that the top {k} is all of it"
    return f"{found.cut_short} of {len(ranked)} queries have fewer than {k} documents" if found.cut_short else ""


def _exp2_mean(totals: Floats) -> Floats:
    return np.exp2(mean(totals))


def _slope_tallies(ranked: Ranked, replicates: int, seed: int) -> dict[Key, Tally]:
    if ends_early(ranked):
        nothing = Tally(np.zeros((len(ranked), 1)), _ENDS_EARLY)
        return {(name, ""): nothing for name in ("length_slope", "length_slope_sd", "length_explained")}
    texts = slope_texts(ranked)
    sums, names = texts.by_query(len(ranked)), ranked.document_names
    drawn = draw_both(texts, ranked.groups, names, replicates=replicates, seed=seed)
    whole = Tally(sums, "", note=texts.note, drawn=drawn, most=texts.n_documents)
    why = "No two texts of one query and one grade have known scores and different lengths."
    flat = f"{why[:-1]}, or all their scores are equal."
    return {
        ("length_slope", ""): replace(whole, otherwise=why),
        ("length_slope_sd", ""): replace(whole, otherwise=flat, finish=_slope_in_sd),
        ("length_explained", ""): replace(whole, otherwise=flat, finish=_correlation, squared=True),
    }


def _slope_in_sd(totals: Floats) -> Floats:
    return over(mean(totals), np.sqrt(over(totals[..., 1], totals[..., 2])))


def _correlation(totals: Floats) -> Floats:
    return over(totals[..., 0], np.sqrt(totals[..., 1] * totals[..., 3]))


def _pair_tallies(pairs: Pairs) -> dict[Key, Tally]:
    kinds = {
        "short_wins": "were judged alike for it",
        "short_wins_wrongly": "were judged differently for it with the shorter the worse",
        "long_wins_wrongly": "were judged differently for it with the longer the worse",
    }
    return {
        (name, ""): average(
            over(pairs.wins[:, kind], pairs.counts[:, kind]),
            f"No query has two documents that {what}, differ in length by a tenth, and are not both unretrieved.",
            note=_pair_note(pairs, kind),
        )
        for kind, (name, what) in enumerate(kinds.items())
    }


def _pair_note(pairs: Pairs, kind: int) -> str:
    count, unknown = int(pairs.counts[:, kind].sum()), int(pairs.unknown[kind])
    note = f"over {count} pairs of documents"
    if unknown:
        note += f", {unknown} more left out as neither document was retrieved"
    return f"{note}; a random {pairs.share:.0%} of all pairs" if pairs.share < 1 else note


def _beaten_tally(ranked: Ranked, k: int) -> Tally:
    sums, counts = shorter_above(ranked, k)
    otherwise = f"No relevant document has a non-relevant one above it in the top {k}."
    return average(over(sums, counts), otherwise, note=f"over {int(counts.sum())} relevant documents")


# --- intervals


def _estimates(
    tallies: Mapping[Key, Tally], groups: tuple[str, ...], replicates: int, seed: int
) -> dict[Key, Estimate]:
    sums, drawn = _totals(
        np.concatenate([tally.columns for tally in tallies.values()], axis=1), groups, (replicates, seed)
    )
    estimates: dict[Key, Estimate] = {}
    start = 0
    for key, tally in tallies.items():
        part = slice(start, start := start + tally.columns.shape[1])
        n = int((sums[:, part][:, -1] > 0).sum())
        n = n if tally.most is None else min(n, tally.most)
        value = float(tally.finish(sums[:, part].sum(axis=0)))
        if n and np.isfinite(value):
            estimate = interval(value, tally.finish(drawn[:, part] if tally.drawn is None else tally.drawn), n=n)
            estimate = _squared(estimate) if tally.squared else estimate
            estimates[key] = estimate.noted(tally.note) if tally.note else estimate
    return estimates


def _totals(columns: Floats, groups: tuple[str, ...], bootstrap: tuple[int, int]) -> tuple[Floats, Floats]:
    """Sums of each group [groups, columns], and of each resample of groups [replicates, columns]."""
    replicates, seed = bootstrap
    names, group = numbered_groups(groups)
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, group, columns)
    keys = document_keys(names)
    drawn = np.zeros((replicates, columns.shape[1]))
    for first in range(0, len(keys), _GROUPS):
        weights = poisson_weights(keys[first : first + _GROUPS], replicates, seed=seed)
        drawn += weights.T.astype(np.float64) @ sums[first : first + _GROUPS]
    return sums, drawn


def _squared(root: Estimate) -> Estimate:
    """The square, with the interval of the root squared: replicates of a square near 0 all lie above it."""
    squared = replace(root, value=root.value**2, replicates=root.replicates**2)
    if root.low is None or root.high is None:
        return squared
    ends = (root.low**2, root.high**2)
    return replace(squared, low=0.0 if root.low <= 0 <= root.high else min(ends), high=max(ends))
