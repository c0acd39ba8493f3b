"""What the numbers of a race are, in one table for the page's list of measures."""

from collections.abc import Mapping
from types import MappingProxyType

from uncollapse.reporting.diagnosis.terms import Entry

RACED: Mapping[str, Entry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Entry(
                "encode_cost",
                "Cost of encoding",
                "tokens that go through the model for all documents / the same for the model as it is",
                "0 or more",
                "lower",
                "How much more there is to encode: 1 as much as without the fix, 2 twice as much.",
            ),
            Entry(
                "storage_cost",
                "Cost of storage",
                "vectors a document x their dimensions / the same for the model as it is",
                "0 or more",
                "lower",
                "How much larger an index gets: 1 as large as without the fix, 2 twice as large.",
            ),
            Entry(
                "vectors_per_document",
                "Vectors of a document",
                "vectors kept / documents",
                "0 or more",
                "lower",
                "How many vectors an index holds for each document, on average.",
            ),
            Entry(
                "dimensions",
                "Dimensions of a vector",
                "numbers in each vector",
                "1 or more",
                "lower",
                "How many numbers each vector has, those that a fix on scores adds among them.",
            ),
            Entry(
                "fitted_documents",
                "Documents that a fix was fitted to",
                "count, without labels",
                "0 or more",
                "higher",
                "How many documents a fix learned from; none of their answers.",
            ),
            Entry(
                "fitted_queries",
                "Queries that a fix was fitted to",
                "count, without labels",
                "0 or more",
                "higher",
                "How many queries a fix learned from; none of their answers.",
            ),
            Entry(
                "fitted_windows",
                "Windows that a fix was fitted to",
                "count, without labels",
                "0 or more",
                "higher",
                "How many stretches of documents, cut to several lengths, a fix learned from.",
            ),
            Entry(
                "known_item_ndcg@k",
                "Rank of the document that a query was made out of",
                "mean of 1 / log2(1 + rank) of the document, 0 beyond rank k",
                "0 to 1",
                "higher",
                "How near the top a document stands for queries made out of it: 1 always first, 0 beyond rank k.",
                "Azzopardi, de Rijke & Balog 2007 (known-item queries made out of documents)",
            ),
            Entry(
                "mean_cosine_apart",
                "Mean cosine away from that of shorter texts",
                "|mean cosine of pairs of long texts, with the fix - that of the same texts cut short, without|",
                "0 to 2",
                "neither",
                "What `tune --criterion mean_cosine` makes small: at 0 as alike as shorter texts. It knows no search.",
            ),
            Entry(
                "filter_rate_apart",
                "Filter rates away from those of shorter texts",
                "mean over heads of |log(filter rate of long texts with the fix / of the same cut short, without)|",
                "0 or more",
                "neither",
                "What `tune --criterion filter_rate` makes small: 0.1 is about 10 % off. It knows no search.",
            ),
            Entry(
                "entropy_apart",
                "Entropy of attention away from that of shorter texts",
                "mean over heads of |log(share of log n of long texts with the fix / of the same cut short, without)|",
                "0 or more",
                "neither",
                "What `tune --criterion entropy` makes small: 0.1 is about 10 % off. It knows no search.",
            ),
        )
    }
)
"""Name to entry."""
