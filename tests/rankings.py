"""Rankings with known truth, and the figures of length bias by loops that a reader can check."""

import math
from itertools import combinations, pairwise

import numpy as np

from uncollapse.evaluation.bias.figures import BIAS, LengthBias
from uncollapse.evaluation.rankings.ranked import Background, Judged, Ranked, draw_background, find_ranks

NEUTRAL = {name.replace("@k", "@10"): figure.neutral for name, figure in BIAS.items() if figure.neutral is not None}


def values(bias: LengthBias) -> dict[str, float]:
    """The figures about all lengths, by name."""
    return {name: estimate.value for (name, label), estimate in bias.estimates.items() if not label}


def make_lengths(rng, n):
    return np.maximum(1, np.exp(rng.normal(4, 1, n))).astype(np.int64)


def make_grades(rng, queries, documents, each=6, grades=(0, 1, 2)):
    """query, document, grade of `each` documents a query, drawn at random."""
    each = min(each, documents)
    chosen = np.argsort(rng.random((queries, documents)), axis=1)[:, :each]
    return np.repeat(np.arange(queries), each), chosen.ravel(), rng.choice(grades, queries * each)


def rank(scores, lengths, grades, *, width=20, background=30, run=False, groups=None):
    """What a search by these scores [queries, documents] returns; as a run file would tell it with `run`."""
    queries, documents = scores.shape
    order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
    query, document, grade = grades
    ranks = find_ranks(order, query, document)
    score = np.where((ranks > 0) | (not run), scores[query, document], np.nan)
    drawn = draw_background(queries, documents, size=background)
    names = tuple(f"q{i}" for i in range(queries))
    missing = ((0, 0), (0, max(0, width - documents)))
    return Ranked(
        query_ids=names,
        groups=groups or names,
        lengths=lengths,
        top=np.pad(order, missing, constant_values=-1),
        judged=Judged(query, document, grade, ranks, score),
        background=None if run else Background(drawn, np.take_along_axis(scores, drawn, axis=1)),
        top_scores=np.pad(np.take_along_axis(scores, order, axis=1), missing),
    )


def make(seed=0, *, queries=40, documents=120, slope=0.0, gain=1.0, noise=1.0, each=6, **options):
    """Scores gain * grade + slope * log2 length + noise, with a level of its own for every query."""
    rng = np.random.default_rng(seed)
    lengths = make_lengths(rng, documents)
    grades = make_grades(rng, queries, documents, each)
    scores = rng.normal(0, noise, (queries, documents)) + rng.normal(0, 3, (queries, 1)) + slope * np.log2(lengths)
    scores[grades[0], grades[1]] += gain * grades[2]
    return rank(scores, lengths, grades, **options)


def naive(ranked, k, edges=()):
    """Every figure by its definition; a figure that is not defined is left out."""
    lists = _per_query(ranked, k, edges)
    figures = {name: np.mean(values) for name, values in lists.items() if values}
    for cut in (k, "R"):
        if f"length_ratio@{cut}" in figures:
            figures[f"length_ratio@{cut}"] = math.exp(figures[f"length_ratio@{cut}"])
    return figures | _regression(ranked)


def _per_query(ranked, k, edges):
    lists = {}
    lengths = ranked.lengths.tolist()
    for q in range(len(ranked)):
        judged = _judged(ranked, q)
        relevant = [d for d, (grade, _, _) in judged.items() if grade > 0]
        listed = [d for d in ranked.top[q].tolist() if d >= 0]
        for cut, top in ((k, listed[:k]), ("R", listed[: len(relevant)])):
            if top and relevant:
                by_log = [np.mean([math.log(max(1, lengths[d])) for d in part]) for part in (top, relevant)]
                lists.setdefault(f"length_ratio@{cut}", []).append(by_log[0] - by_log[1])
                for side, sign in (("short", 1), ("long", -1)):
                    part = [np.mean([_quarter(lengths, d, sign) for d in docs]) for docs in (top, relevant)]
                    lists.setdefault(f"{side}_surplus@{cut}", []).append(part[0] - part[1])
        for name, docs in ((f"share_of_top{k}", listed[:k]), ("share_of_relevant", relevant)):
            for low, high in pairwise(edges):
                if docs:
                    share = np.mean([low <= lengths[d] < high for d in docs])
                    lists.setdefault((name, low), []).append(share)
        for name, wins in _wins(judged, lengths).items():
            lists.setdefault(name, []).append(np.mean(wins))
        if beaten := _beaten(judged, relevant, listed[:k], lengths):
            lists.setdefault("beaten_by_shorter", []).append(np.mean(beaten))
    return lists


def _judged(ranked, q):
    j = ranked.judged
    rows = [i for i in range(len(j)) if j.query[i] == q]
    return {int(j.document[i]): (int(j.grade[i]), int(j.rank[i]), float(j.score[i])) for i in rows}


def _quarter(lengths, document, sign):
    """Chance to be in the first quarter of the corpus if ties are ordered at random."""
    own = sign * lengths[document]
    before = sum(sign * length < own for length in lengths)
    ties = sum(sign * length == own for length in lengths)
    return min(1.0, max(0.0, (len(lengths) / 4 - before) / ties))


def _wins(judged, lengths):
    wins = {}
    for a, b in combinations(judged, 2):
        short, long = sorted((a, b), key=lambda d: max(1, lengths[d]))
        if 10 * max(1, lengths[long]) < 11 * max(1, lengths[short]):
            continue
        win = _win(judged[short][1:], judged[long][1:])
        if win is None:
            continue
        gap = judged[short][0] - judged[long][0]
        name = "short_wins" if gap == 0 else "short_wins_wrongly" if gap < 0 else "long_wins_wrongly"
        wins.setdefault(name, []).append(1 - win if gap > 0 else win)
    return wins


def _win(first, second):
    (rank_a, score_a), (rank_b, score_b) = first, second
    if (rank_a > 0) != (rank_b > 0):
        return float(rank_a > 0)
    if math.isnan(score_a) or math.isnan(score_b):
        return float(rank_a < rank_b) if rank_a else None
    return 0.5 if score_a == score_b else float(score_a > score_b)


def _beaten(judged, relevant, top, lengths):
    others = [length for d, length in enumerate(lengths) if d not in relevant]
    excesses = []
    for d in relevant:
        place = judged[d][1]
        above = [lengths[e] for e in (top[: place - 1] if place else top) if e not in relevant]
        if above:
            shares = [np.mean([(x < lengths[d]) + (x == lengths[d]) / 2 for x in part]) for part in (above, others)]
            excesses.append(shares[0] - shares[1])
    return excesses


def _listed(ranked):
    return [[d for d in row if d >= 0] for row in ranked.top.tolist()]


def _regression(ranked):
    if ranked.background is None and any(sorted(row) != list(range(len(ranked.lengths))) for row in _listed(ranked)):
        return {}
    strata = {}
    for q in range(len(ranked)):
        judged = _judged(ranked, q)
        for d, (grade, _, score) in judged.items():
            strata.setdefault((q, grade), []).append((d, score))
        chosen = (ranked.background.documents, ranked.background.scores) if ranked.background else None
        for d, score in zip(*(a[q].tolist() for a in chosen or (ranked.top, ranked.top_scores)), strict=True):
            if d >= 0 and d not in judged:
                strata.setdefault((q, "unjudged"), []).append((d, score))
    x, y, freedom = [], [], 0
    for pairs in strata.values():
        known = [(math.log2(max(1, ranked.lengths[d])), score) for d, score in pairs if not math.isnan(score)]
        if known:
            x.extend(np.array(known)[:, 0] - np.mean([p[0] for p in known]))
            y.extend(np.array(known)[:, 1] - np.mean([p[1] for p in known]))
            freedom += len(known) - 1
    xx, xy, yy = np.dot(x, x), np.dot(x, y), np.dot(y, y)
    if xx < 1e-12:
        return {}
    if yy < 1e-12:
        return {"length_slope": 0.0}
    slope = xy / xx
    return {
        "length_slope": slope,
        "length_slope_sd": slope / math.sqrt(yy / freedom),
        "length_explained": xy**2 / (xx * yy),
    }
