"""What one temperature a bucket loses against a law that follows the length of every text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from uncollapse.attention.laws import TemperatureLaw
from uncollapse.bucketing.buckets import Bucket
from uncollapse.encoders import CachedEncoder, SentenceEncoder
from uncollapse.evaluation.comparison import Plan
from uncollapse.evaluation.scoring import Scored, score_task
from uncollapse.evaluation.statistics.scores import gain, score
from uncollapse.evaluation.tasks import Task
from uncollapse.exporting.parity import agreement
from uncollapse.exporting.probes import make_probes
from uncollapse.fixes import Composition
from uncollapse.pipelines.encoder import FixedEncoder

LEAST = 0.01
"""Difference of two errors, as a share of the spread, that is worth a word."""


@dataclass(frozen=True)
class BucketLoss:
    """How near the vectors of one length bin come to those of the law, on probe texts.

    Args:
        bin: its label, in tokens.
        n: texts.
        mean_cosine, min_cosine: between the vector of the bucket and that of the law.
        largest_error: length of their difference over the spread, the root mean square distance of the law's vectors
            from their mean.
        moved: the same between the model without any temperature and the law: what there is to lose.
    """

    bin: str
    n: int
    mean_cosine: float | None
    min_cosine: float | None
    largest_error: float | None
    moved: float | None

    @property
    def is_worse_than_nothing(self) -> bool:
        """Whether the bucket is further from the law than the model without any temperature."""
        return self.largest_error is None or self.moved is None or self.largest_error > self.moved + LEAST


def warning(losses: Sequence[BucketLoss]) -> str:
    """What to do about bins that buckets serve worse than no temperature would; "" where there is none."""
    if not (bad := [one.bin for one in losses if one.is_worse_than_nothing]):
        return ""
    return (
        f"At {', '.join(bad)} tokens the bucket is further from the law than the model without any temperature: it "
        "spans too many lengths. Give more ends there, or a law with above_only=True, which leaves short texts as "
        "they are."
    )


@dataclass(frozen=True)
class SearchLoss:
    """The score of the buckets against that of the law, on one set.

    Args:
        dataset: its name and split.
        metric: such as ndcg@10.
        n: independent groups of items.
        exact, bucketed: the two scores.
        difference, low, high: bucketed - exact, with the 95 % interval; None where there are too few items for one.
    """

    dataset: str
    metric: str
    n: int
    exact: float
    bucketed: float
    difference: float
    low: float | None
    high: float | None


def measure_loss(
    stock: SentenceEncoder, law: TemperatureLaw, routed: SentenceEncoder, buckets: Sequence[Bucket]
) -> tuple[BucketLoss, ...]:
    """Encode probes of every length three times: with the law, with the buckets, and with neither.

    Args:
        stock: the model as it came.
        law: patched on, exact for every text.
        routed: the folder of the buckets, with the same token limit.
        buckets: of the folder; a bin of lengths is cut where a bucket ends.
    """
    texts, _ = make_probes(stock)
    counts = stock.prepare(texts).n_tokens
    exact = CachedEncoder(stock, (law,)).encode(texts).vectors
    bucketed, plain = routed.vectors(texts, counts), stock.vectors(texts, counts)
    spread = float(np.sqrt(np.square(exact - exact.mean(axis=0)).sum(axis=1).mean()))
    return tuple(
        BucketLoss(label, len(rows), near.mean_cosine, near.min_cosine, near.largest_error, far.largest_error)
        for label, rows in _bins(counts.tolist(), buckets)
        for near in [agreement(bucketed[rows], exact[rows], label=label, batching="", spread=spread)]
        for far in [agreement(plain[rows], exact[rows], label=label, batching="", spread=spread)]
    )


def _bins(counts: Sequence[int], buckets: Sequence[Bucket]) -> Iterator[tuple[str, list[int]]]:
    """Texts by length: bins that double, none of which lies in two buckets."""
    ends = sorted({bucket.up_to for bucket in buckets} | {2**k - 1 for k in range(3, 31)})
    low = 1
    for end in ends:
        if rows := [row for row, count in enumerate(counts) if low <= count <= end]:
            yield f"{low}-{end}", rows
        low = end + 1


def measure_search(stock: SentenceEncoder, law: TemperatureLaw, routed: SentenceEncoder, task: Task) -> SearchLoss:
    """Score a set with the law and with the buckets, and their difference in pairs.

    Args:
        stock, law, routed: as for `measure_loss`.
        task: from `open_tasks`; its texts are encoded twice.
    """
    plan = Plan()
    exact = _scored(stock, Composition((law,)), task)
    bucketed = _scored(routed, Composition(()), task)
    before, after = exact.sheets[0], bucketed.sheets[0]
    scores = [score(one, task.main, replicates=plan.replicates, seed=plan.seed) for one in (before, after)]
    found = gain(before, after, task.main, scores=(scores[0], scores[1]), seed=plan.seed).estimate
    return SearchLoss(
        f"{task.name}/{task.split}",
        task.main,
        found.n,
        scores[0].value,
        scores[1].value,
        found.value,
        found.low,
        found.high,
    )


def _scored(encoder: SentenceEncoder, fix: Composition, task: Task) -> Scored:
    return score_task(task, FixedEncoder(CachedEncoder(encoder, fix.model), fix))
