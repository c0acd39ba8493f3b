"""What each figure of length bias is, in one table for reports and documents."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from uncollapse.errors import UncollapseError, nearest


@dataclass(frozen=True)
class Bias:
    """One row of the table: what a figure of length bias is.

    Args:
        name: as in results, with "k" for the number of documents looked at.
        title: for headings.
        formula: plain text.
        range: least and greatest value, plain text.
        better: which way is better; "neither" where the best value is `neutral`.
        neutral: its value without bias; None where there is no such value. For ratios and surpluses that is the value
            of a ranking whose lengths are those that people find relevant; for all others, of a ranking in which
            length plays no part among equally relevant texts.
        reading: one sentence for someone who meets it for the first time.
        reference: where it comes from, "" for elementary ones.
    """

    name: str
    title: str
    formula: str
    range: str
    better: Literal["lower", "higher", "neither"]
    neutral: float | None
    reading: str
    reference: str = ""


_SINGHAL = "Singhal, Buckley & Mitra 1996"

BIAS: Mapping[str, Bias] = MappingProxyType(
    {
        figure.name: figure
        for figure in (
            Bias(
                "length_ratio@k",
                "Length of the top k over length of relevant documents",
                "exp(mean over queries of (mean log length of the top k - mean log length of the relevant))",
                "above 0",
                "neither",
                1.0,
                "Below 1: what is shown is shorter than what people find relevant; above 1: longer. Where few "
                "documents are relevant, most of the top k cannot be, and draw this towards the usual length.",
                _SINGHAL,
            ),
            Bias(
                "length_ratio@R",
                "Length of the top R over length of relevant documents",
                "the same with, for each query, as many top documents as are relevant (R)",
                "above 0",
                "neither",
                1.0,
                "Below 1: short texts take the places of the relevant ones; above 1: long ones do; exactly 1 where "
                "every relevant document is found first.",
                _SINGHAL,
            ),
            *(
                Bias(
                    f"{side}_surplus@{cut}",
                    f"Surplus of {side} documents in the top {cut}",
                    f"share of the {side}est quarter of the corpus among the top {cut}, less its share among the "
                    "relevant documents; mean over queries",
                    "-1 to 1",
                    "neither",
                    0.0,
                    f"Above 0: the top {cut} holds more {side} texts than people find relevant; below 0: fewer.",
                    _SINGHAL,
                )
                for side in ("short", "long")
                for cut in ("k", "R")
            ),
            Bias(
                "share_of_corpus",
                "Share of the corpus",
                "documents in the length bin / documents",
                "0 to 1",
                "neither",
                None,
                "How many of the documents have this length: what to hold the other two shares against.",
            ),
            Bias(
                "share_of_relevant",
                "Share of the relevant documents",
                "relevant documents in the length bin / relevant documents; mean over queries",
                "0 to 1",
                "neither",
                None,
                "How many of the documents people found relevant have this length.",
                _SINGHAL,
            ),
            Bias(
                "share_of_topk",
                "Share of the top k",
                "documents of the top k in the length bin / documents of the top k; mean over queries",
                "0 to 1",
                "neither",
                None,
                "How many of the documents that are shown have this length.",
                _SINGHAL,
            ),
            Bias(
                "length_slope",
                "Score per doubling of length",
                "least squares of score on log2 length, both less their mean among the texts of one query and grade",
                "any",
                "neither",
                0.0,
                "What a text twice as long gains in score although it is no more relevant; below 0: it loses.",
            ),
            Bias(
                "length_slope_sd",
                "Score per doubling of length, in standard deviations",
                "length_slope / standard deviation of the score among texts of one query and grade",
                "any",
                "neither",
                0.0,
                "The same, held against how much scores of equally relevant texts vary; comparable between models.",
            ),
            Bias(
                "length_explained",
                "Share of the score that length explains",
                "R^2 of that regression",
                "0 to 1",
                "lower",
                0.0,
                "How much of the variation of scores among equally relevant texts is length alone.",
            ),
            Bias(
                "short_wins",
                "Short wins",
                "pairs in which the shorter is ranked above / pairs judged alike for one query whose lengths differ "
                "by a tenth or more; ties half; mean over queries",
                "0 to 1",
                "neither",
                0.5,
                "Of two equally relevant texts, how often the shorter is ranked above: 0.5 is no preference.",
            ),
            Bias(
                "short_wins_wrongly",
                "Short wins wrongly",
                "the same over pairs in which the shorter was judged worse",
                "0 to 1",
                "lower",
                None,
                "How often a worse text that is shorter is ranked above a better one; hold it against "
                "long_wins_wrongly: equal where length plays no part.",
            ),
            Bias(
                "long_wins_wrongly",
                "Long wins wrongly",
                "pairs in which the longer is ranked above / pairs in which the longer was judged worse",
                "0 to 1",
                "lower",
                None,
                "How often a worse text that is longer is ranked above a better one; see short_wins_wrongly.",
            ),
            Bias(
                "beaten_by_shorter",
                "Relevant documents beaten by shorter ones",
                "share shorter than a relevant document, among non-relevant ones above it in the top k less among "
                "all non-relevant ones; mean over its query's relevant documents, then over queries",
                "-1 to 1",
                "neither",
                0.0,
                "Above 0: what pushes relevant texts down is shorter than chance would have it; below 0: longer.",
            ),
        )
    }
)
"""Every figure by name. Results say `length_ratio@10` for `length_ratio@k`; `describe` finds the entry."""


def describe(measure: str) -> Bias:
    """The entry of BIAS for a name in a result.

    >>> describe("share_of_top10").name
    'share_of_topk'
    """
    name = re.sub(r"(@|top)\d+$", r"\1k", measure)
    if name not in BIAS:
        raise UncollapseError(f"{measure!r} is no figure of length bias. {nearest(name, BIAS)}")
    return BIAS[name]
