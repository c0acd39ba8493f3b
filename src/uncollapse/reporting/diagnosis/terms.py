"""What the numbers of a diagnosis with causes are, in one table for the page's list of measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Args:
        name: as in results, with "k" for the number that ends it: a limit, a rate, or how many results are looked at.
        title: for headings.
        formula: plain text.
        range: least and greatest value, plain text.
        better: which way is better; "neither" where it depends.
        reading: one sentence for someone who meets it for the first time.
        reference: where it comes from, "" for elementary ones.
        given: of a diagnosis: "always", not by a --quick one ("deep"), or only by a "comparison" of fixes.
        changes: of a diagnosis: ends of the names of differences of two such numbers that it gives too.
    """

    name: str
    title: str
    formula: str
    range: str
    better: Literal["lower", "higher", "neither"]
    reading: str
    reference: str = ""
    given: Literal["always", "deep", "comparison"] = "deep"
    changes: tuple[str, ...] = ()


TERMS: Mapping[str, Entry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Entry(
                "mean_cosine_rise",
                "Rise of the mean cosine with length",
                "mean cosine of the longest texts minus mean cosine of the shortest",
                "-2 to 2",
                "lower",
                "How much more alike long texts look than short ones, over bins of 30 texts or more; above 0 is "
                "a length collapse where the same texts were cut to both lengths.",
                "Zhou et al. 2024",
                given="always",
            ),
            Entry(
                "mean_cosine_rise_from_lowest",
                "Rise of the mean cosine from its lowest point",
                "mean cosine of the longest texts minus mean cosine of the length where it is lowest",
                "0 to 2",
                "lower",
                "How much more alike long texts look than those of the length where texts are told apart best; given "
                "where the shortest ones, which say too little, would hide it.",
                given="always",
            ),
            Entry(
                "mean_cosine_per_doubling",
                "Rise for each doubling of the length",
                "least-squares slope of the mean cosine over log2 of the mean length of a bin",
                "-2 to 2",
                "lower",
                "How much more alike texts look whenever they get twice as long, on average over all lengths.",
                given="always",
            ),
            Entry(
                "share_recovered",
                "Share of the rise taken back",
                "(rise without the fix - rise with it) / rise without it",
                "any",
                "higher",
                "How much of the rise of the mean cosine a fix takes back: 0 nothing, 100 % all of it. Read it with "
                "the two ends: a rise also gets smaller where short texts become more alike, which is no gain.",
                given="comparison",
            ),
            Entry(
                "share_from_short_end",
                "Part of it that is a higher short end",
                "(mean cosine of the shortest texts with the fix - without) / (rise without it - rise with it)",
                "any",
                "lower",
                "How much of what a fix takes back of the rise comes from short texts that it makes more alike: 0 "
                "none, the long end came down; 100 % all of it, the long end stayed where it was.",
                given="comparison",
            ),
            Entry(
                "mean_cosine_change",
                "Change of the mean cosine",
                "mean cosine with the fix - without it, same documents",
                "-2 to 2",
                "lower",
                "What a fix does to the mean cosine at the shortest and at the longest length: below 0, texts of that "
                "length are easier to tell apart.",
                given="comparison",
            ),
            Entry(
                "effective_rank_isotropic",
                "Effective rank of random directions",
                "effective rank of as many vectors in random directions",
                "1 to min(n-1, dim)",
                "neither",
                "What the effective rank would be if vectors preferred no direction: the most to hope for.",
                "Roy & Vetterli 2007",
                given="always",
            ),
            Entry(
                "mean_reciprocal_rank",
                "Mean reciprocal rank",
                "mean of 1 / rank of the text that a query belongs to",
                "0 to 1",
                "higher",
                "How near the top the right text stands: 1 always first, 0.5 second.",
                "Voorhees 1999",
            ),
            Entry(
                "share_truncated@k",
                "Texts cut off",
                "texts longer than the limit of k / texts",
                "0 to 1",
                "lower",
                "How many of the texts are longer than a limit of k, so that their ends are never read.",
                given="always",
            ),
            Entry(
                "tokens_lost@k",
                "Text lost",
                "length beyond the limit of k / length of all texts, in tokens or words",
                "0 to 1",
                "lower",
                "How much of all text lies beyond a limit of k and is never read.",
                given="always",
            ),
            Entry(
                "cause",
                "Part of the rise",
                "mean cosine after a step minus mean cosine before it",
                "-2 to 2",
                "lower",
                "How much one cause adds to the mean cosine between first pieces and whole texts.",
            ),
            Entry(
                "rise",
                "Rise from the first piece",
                "mean cosine of whole texts minus mean cosine of their first pieces",
                "-2 to 2",
                "lower",
                "How much more alike whole texts are than their first pieces of about 32 tokens: the sum of all "
                "causes. The rise of the verdict is another: it goes from the shortest window to the longest.",
            ),
            Entry(
                "control_effect",
                "Effect of a control",
                "mean cosine with the control minus mean cosine of its reference, same documents",
                "-2 to 2",
                "neither",
                "How much more alike texts look when one thing is changed and nothing else.",
            ),
            Entry(
                "cloze_recall@k",
                "Text found by one of its sentences, rank k or better",
                "sentences whose own text, without that sentence, has rank k or better / sentences",
                "0 to 1",
                "higher",
                "How often a sentence, used as a query, brings up the text it was taken out of, at rank k or better.",
                "Lee, Chang & Toutanova 2019 (inverse cloze task)",
            ),
            Entry(
                "cloze_ndcg@k",
                "Rank of the text a sentence comes from",
                "mean of 1 / log2(1 + rank) of the own text, 0 beyond rank k",
                "0 to 1",
                "higher",
                "How near the top a sentence's own text stands: 1 always first, 0 always beyond rank k.",
                "Järvelin & Kekäläinen 2002",
            ),
            Entry(
                "quote_recall@k",
                "Text found by a quote, rank k or better",
                "quotes whose own text has rank k or better / quotes",
                "0 to 1",
                "higher",
                "How often words quoted from a text bring it up, at rank k or better.",
                changes=("_loss",),
            ),
            Entry(
                "needle_recall@k",
                "Text found by a planted sentence, rank k or better",
                "planted sentences whose text has rank k or better / planted sentences",
                "0 to 1",
                "higher",
                "How often a sentence that was planted in a text brings it up, at rank k or better.",
            ),
            Entry(
                "anywhere_recall@k",
                "Text found when only its beginning is indexed, rank k or better",
                "sentences from anywhere in their text whose text has rank k or better / sentences",
                "0 to 1",
                "higher",
                "How often a sentence from anywhere in a text brings it up, at rank k or better.",
            ),
            Entry(
                "beginning_recall@k",
                "The same for sentences that the shortest window holds",
                "sentences of the beginning whose text has rank k or better / sentences",
                "0 to 1",
                "higher",
                "How often a sentence from the very beginning of a text brings it up, at rank k or better.",
            ),
            Entry(
                "evidence_dilution",
                "Evidence dilution",
                "cosine of a sentence with the best chunk of its text minus cosine with the whole text",
                "-2 to 2",
                "lower",
                "How much of a sentence's likeness to its text is lost when the text is one vector and not chunks.",
            ),
            Entry(
                "evidence_cosine_whole",
                "Likeness of a sentence to its whole text",
                "mean cosine of a sentence with the text it stands in",
                "-1 to 1",
                "higher",
                "The score that a sentence gets with its own text.",
            ),
            Entry(
                "evidence_cosine_piece",
                "Likeness of a sentence to the best chunk of its text",
                "mean cosine of a sentence with the nearest piece of the text it stands in",
                "-1 to 1",
                "higher",
                "The score that a sentence would get with chunks of its own text.",
            ),
            Entry(
                "k_skewness",
                "Skewness of k-occurrence",
                "third standardised moment of how often each text is among the k nearest of others",
                "any",
                "lower",
                "How unevenly texts turn up among others' nearest: up to 1 / sqrt(k), 0.32 for k = 10, is chance; "
                "above 1 a few texts crowd the results.",
                "Radovanović, Nanopoulos & Ivanović 2010",
            ),
            Entry(
                "share_of_antihubs",
                "Texts that never turn up",
                "texts that are among no other text's k nearest / texts",
                "0 to 1",
                "lower",
                "How many texts are among the nearest of no other text, so that a search hardly ever shows them.",
                "Radovanović, Nanopoulos & Ivanović 2010",
            ),
            Entry(
                "hub_length_ratio",
                "Length of the most frequent results",
                "median length of texts found at least twice as often as their due / median length of all",
                "above 0",
                "neither",
                "Below 1: the texts that turn up everywhere are short; above 1: long; 1: length plays no part.",
            ),
            Entry(
                "occurrence",
                "Mean k-occurrence",
                "how often a text is among the k nearest of others, mean over the texts of a length",
                "0 to n - 1",
                "neither",
                "How often texts of one length turn up among others' nearest; the mean over all texts is k.",
                "Radovanović, Nanopoulos & Ivanović 2010",
            ),
            Entry(
                "score_mean",
                "Mean score of unrelated pairs",
                "mean cosine of queries with documents that are not theirs",
                "-1 to 1",
                "neither",
                "The score that a query and a document get for nothing.",
            ),
            Entry(
                "score_sd",
                "Spread of the scores of unrelated pairs",
                "standard deviation of those cosines",
                "0 to 1",
                "neither",
                "How far the scores of unrelated pairs lie from their mean.",
            ),
            Entry(
                "score_quantile@k",
                "Quantile of the scores of unrelated pairs",
                "the score that a share of k of those cosines does not exceed",
                "-1 to 1",
                "neither",
                "A share of k of all unrelated pairs scores no more than this.",
            ),
            Entry(
                "threshold@k",
                "Threshold",
                "least score that at most a rate of k of unrelated pairs exceed",
                "-1 to 1",
                "neither",
                "The score above which a rate of k of all unrelated pairs lies: below it, a match means nothing.",
            ),
            Entry(
                "false_positive_rate@k",
                "Unrelated pairs let through",
                "unrelated pairs above the one threshold that holds a rate of k over all lengths / pairs",
                "0 to 1",
                "lower",
                "How many unrelated pairs of these lengths pass a threshold that was set for all lengths together.",
            ),
        )
    }
)
"""Every number by name. Those of `uncollapse.measures.MEASURES` are not repeated."""
