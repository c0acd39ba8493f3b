"""What the numbers of an explanation are, in one table for the page's list of measures."""

from collections.abc import Mapping
from types import MappingProxyType

from uncollapse.reporting.diagnosis.terms import Entry

EXPLAINED: Mapping[str, Entry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Entry(
                "filter_rate",
                "Filter rate",
                "largest singular value of A - JA, where A is the attention map of a head and JA its column means",
                "0 to the square root of n",
                "neither",
                "The most that a head leaves of the differences between tokens: below 1 it makes all of them smaller, "
                "above 1 it makes some of them larger.",
                "Wang et al. 2022 (AttnScale); Zhou et al. 2024 (TempScale)",
            ),
            Entry(
                "entropy",
                "Entropy of attention",
                "mean over tokens of -sum of a log a, where a is where a token looks, divided by log n",
                "0 to 1",
                "neither",
                "How widely a token looks around: 0 at one token alone, 100 % at all tokens alike.",
                "Shannon 1948; Ghader & Monz 2017",
            ),
            Entry(
                "share_special",
                "Attention on special tokens",
                "mean over tokens of the attention on tokens that are no part of the text, such as [CLS] and [SEP]",
                "0 to 1",
                "neither",
                "How much attention rests on tokens that no text has of its own.",
                "Clark et al. 2019",
            ),
            Entry(
                "share_own",
                "Attention on the token itself",
                "mean of the diagonal of the attention map",
                "0 to 1",
                "neither",
                "How much of its attention a token keeps for itself: 100 % leaves all tokens as they are.",
                "Clark et al. 2019",
            ),
            Entry(
                "share_window",
                "Attention on near tokens",
                "mean over tokens of the attention on tokens that are a few places away at most, the token itself in",
                "0 to 1",
                "neither",
                "How much attention stays near by: mixing with neighbours smooths less than mixing with all tokens.",
                "Clark et al. 2019",
            ),
            Entry(
                "score_spread",
                "Spread of the scores",
                "mean over tokens of the standard deviation of their scores before the softmax",
                "0 or more",
                "neither",
                "How sharply a head tells tokens apart: the larger it is, the fewer tokens get the attention.",
                "Zhou et al. 2024",
            ),
            Entry(
                "output_hc_share",
                "Differences in what a head puts out",
                "squared norm of AV minus its mean over tokens / squared norm of AV",
                "0 to 1",
                "neither",
                "How much of what a head puts out tells tokens apart: 0 when every token gets the same.",
                "Wang et al. 2022",
            ),
            Entry(
                "hc_share",
                "Differences between tokens",
                "squared norm of the token states minus their mean / squared norm of the token states",
                "0 to 1",
                "neither",
                "How much of the energy of the token states tells them apart; the rest is what all tokens share.",
                "Wang et al. 2022",
            ),
            Entry(
                "token_cosine",
                "Mean cosine of tokens",
                "mean cosine of pairs of different tokens of one text",
                "-1 to 1",
                "neither",
                "How alike the tokens of one text have become: 1 when all of them point the same way.",
                "Ethayarajh 2019; Shi et al. 2022",
            ),
            Entry(
                "power",
                "Share of power",
                "squared Fourier coefficients over token positions in a band of frequencies / those of all",
                "0 to 1",
                "neither",
                "How much of the token states changes at this rate from token to token; all bands together, with what "
                "all tokens share, are 100 %.",
                "Wang et al. 2022; Tamkin, Jurafsky & Goodman 2020",
            ),
            Entry(
                "low_share",
                "Share of low frequencies",
                "power below a frequency, what all tokens share included / power of all frequencies",
                "0 to 1",
                "neither",
                "How much of the token states changes slowly along the text, or not at all.",
                "Wang et al. 2022; Tamkin, Jurafsky & Goodman 2020",
            ),
            Entry(
                "pooled_mean_cosine",
                "Mean cosine of texts",
                "mean cosine of pairs of different texts, each the pooled token states after a layer",
                "-1 to 1",
                "lower",
                "How alike different texts would look if the model ended after this layer.",
                "Ethayarajh 2019",
            ),
            Entry(
                "rise_change",
                "Change of the rise",
                "rise of the mean cosine with a temperature in one layer minus the rise without",
                "-2 to 2",
                "lower",
                "Below 0: a temperature in this layer alone makes long texts drift together less.",
                "Zhou et al. 2024, here one layer at a time",
            ),
            Entry(
                "solved_tau",
                "Temperature that keeps a head as it was",
                "tau at which softmax(scores / tau) has the filter rate, or entropy, of another length",
                "above 0",
                "neither",
                "Below 1: at this length the head must be sharpened to act as it does at the other, above 1 softened.",
            ),
        )
    }
)
"""Every number by name. Those of `uncollapse.measures.MEASURES` are not repeated."""
