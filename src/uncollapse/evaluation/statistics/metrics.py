"""METRICS, the one table of scores: what each is, and how to get it from the columns of a sheet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from uncollapse.errors import UncollapseError, nearest
from uncollapse.evaluation.statistics.weighted import (
    Floats,
    weighted_average_precision,
    weighted_f1,
    weighted_mean,
    weighted_spearman,
    weighted_v_measure,
)


@dataclass(frozen=True)
class Metric:
    """One row of the table: what a score is, and how to get it from a sheet.

    Args:
        name: the key, as in results and on the command line.
        title: for headings.
        formula: plain text.
        reading: one sentence for someone who meets it for the first time.
        reference: where it comes from.
        columns: which columns of a `Sheet` it reads; labels, predictions and clusters as whole numbers.
        value: from those columns and weights [items, replicates] to [replicates].
        test: how two systems are compared: "sign" flips differences of items, "swap" swaps items' ranks, "bootstrap"
            is for what is no mean and no correlation.
        bounds: the least and the greatest value.
        undefined: where it has no value; a line that is NaN for this reason is left out of a mean.
        rests_on: from the columns, which lines carry the number, so that n counts only their groups; None for all.
    """

    name: str
    title: str
    formula: str
    reading: str
    reference: str
    columns: tuple[str, ...]
    value: Callable[..., Floats] = weighted_mean
    test: Literal["sign", "swap", "bootstrap"] = "sign"
    bounds: tuple[float, float] = (0.0, 1.0)
    undefined: str = ""
    rests_on: Callable[..., npt.NDArray[np.bool_]] | None = None
    better: Literal["higher"] = "higher"

    @property
    def range(self) -> str:
        """Least and greatest value as plain text."""
        return f"{self.bounds[0]:g} to {self.bounds[1]:g}"


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                name="ndcg@10",
                title="nDCG@10",
                formula="sum over ranks r <= 10 of grade_r / log2(r + 1), over the same of the ideal ranking of all "
                "judged documents; linear gain, as in trec_eval",
                reading="How much of the best possible first ten results a query got: 1 is all, in the best order.",
                reference="Järvelin & Kekäläinen 2002",
                columns=("ndcg@10",),
            ),
            Metric(
                name="ndcg@1",
                title="nDCG@1",
                formula="grade of the first document / highest grade of the query; linear gain",
                reading="How good the very first result is, next to the best there is.",
                reference="Järvelin & Kekäläinen 2002",
                columns=("ndcg@1",),
            ),
            Metric(
                name="rr@10",
                title="RR@10",
                formula="1 / rank of the first relevant document, 0 beyond rank 10",
                reading="How early the first useful result comes: 1 first, 0.5 second, 0 not among ten.",
                reference="Voorhees 1999",
                columns=("rr@10",),
            ),
            Metric(
                name="recall@10",
                title="Recall@10",
                formula="relevant documents among the first 10 / relevant documents",
                reading="Which share of a query's relevant documents is among its first ten.",
                reference="trec_eval",
                columns=("recall@10",),
            ),
            Metric(
                name="recall@100",
                title="Recall@100",
                formula="relevant documents among the first 100 / relevant documents",
                reading="Which share of a query's relevant documents a second stage could still put first.",
                reference="trec_eval",
                columns=("recall@100",),
            ),
            Metric(
                name="ap",
                title="AP",
                formula="mean over relevant documents of the precision at their ranks, 0 for those not ranked",
                reading="How far relevant documents stand above the others, over the whole ranking.",
                reference="Buckley & Voorhees 2000",
                columns=("ap",),
            ),
            Metric(
                name="found@10",
                title="Found in the first 10",
                formula="judged relevant documents ranked among the first 10 of their query / all of them",
                reading="Which share of the documents that should be found is found; each document counts once.",
                reference="",
                columns=("found@10",),
            ),
            Metric(
                name="accuracy",
                title="Accuracy",
                formula="texts whose label is predicted right / texts, mean over experiments",
                reading="How often a classifier trained on a few vectors of each label is right.",
                reference="Muennighoff et al. 2023 (MTEB)",
                columns=("correct",),
            ),
            Metric(
                name="f1",
                title="Macro F1",
                formula="mean over labels of 2 hits / (texts with the label + texts predicted to have it), mean over "
                "experiments",
                reading="As accuracy, with rare labels as important as common ones.",
                reference="Muennighoff et al. 2023 (MTEB)",
                columns=("prediction", "label"),
                value=weighted_f1,
                test="bootstrap",
            ),
            Metric(
                name="v_measure",
                title="V-measure",
                formula="2 I(labels, clusters) / (H(labels) + H(clusters)), mean over experiments",
                reading="How well clusters found without labels match the labels: 1 exactly, 0 not at all; few texts "
                "score higher than many, so compare at equal n.",
                reference="Rosenberg & Hirschberg 2007",
                columns=("cluster", "label"),
                value=weighted_v_measure,
                test="bootstrap",
            ),
            Metric(
                name="average_precision",
                title="Average precision",
                formula="sum over falling cosines of precision x gain in recall, equal cosines together",
                reading="How well the cosine tells pairs that belong together from others; their share is the floor.",
                reference="Muennighoff et al. 2023 (MTEB)",
                columns=("cosine", "label"),
                value=weighted_average_precision,
                test="bootstrap",
                undefined="no pair belongs together",
                rests_on=lambda _, label: label == (label.mean() <= 0.5),
            ),
            Metric(
                name="spearman",
                title="Spearman",
                formula="Pearson's correlation of the ranks of cosine and human score, mid-ranks for ties",
                reading="Whether pairs that people find more alike have the higher cosine: 1 always, 0 by chance.",
                reference="Reimers et al. 2016",
                columns=("cosine", "gold"),
                value=weighted_spearman,
                test="swap",
                bounds=(-1.0, 1.0),
                undefined="all cosines or all human scores are equal",
            ),
            Metric(
                name="summary_spearman",
                title="Spearman within articles",
                formula="mean over articles of Spearman's correlation of a summary's rating with its highest cosine "
                "to a reference",
                reading="Whether better summaries lie nearer to those that people wrote: 1 always, 0 by chance.",
                reference="Fabbri et al. 2021 (SummEval)",
                columns=("summary_spearman",),
                bounds=(-1.0, 1.0),
                undefined="all their ratings or all their cosines are equal",
            ),
        )
    }
)
"""Every metric by name. A new one is a row, and a function where it is no mean."""


def find_metric(name: str) -> Metric:
    """The row of METRICS of that name.

    >>> find_metric("rr@10").title
    'RR@10'
    """
    if name not in METRICS:
        raise UncollapseError(f"No metric is called {name!r}. {nearest(name, METRICS, 'Metrics')}")
    return METRICS[name]
