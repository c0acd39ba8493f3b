"""Texts of every length that a model reads, to hold an export against its source."""

import numpy as np

from uncollapse.encoders import SentenceEncoder
from uncollapse.encoders.tokens import cut_text
from uncollapse.records import LengthBins

TEXTS_OF_A_BIN = 3

LONGEST = 4096
"""Tokens of the longest probe of a model that reads more: attention in its plain form takes memory by their square."""

SENTENCES = (
    "The ferry to the island leaves at a quarter past seven, weather permitting.",
    "Compilers turn source code into machine code; linkers put the pieces together.",
    "In 1911, 23 % of the harvest was lost to rust, a fungus that spreads by wind.",
    "She sold the piano, kept the violin, and never spoke of either again.",
    "El puerto estaba vacío, salvo por dos barcos de pesca y un perro dormido.",
    "Die Straßenbahn fährt sonntags nur jede halbe Stunde über die Brücke.",
    "Le conseil a voté la motion à l'unanimité, puis s'est séparé sans débat.",
    "def area(r): return 3.14159 * r ** 2  # [SEP] is no end here, nor is </s>",
    "Insulin lowers the glucose in the blood; glucagon raises it, within minutes.",
    "Зимой Волга замерзает, и корабли ждут весны.",
    "東京の夏は湿度が高く、夜になっても気温があまり下がらない。",
    "The appeal was dismissed: the tenant had been given notice in writing, twice.",
    "Add the flour by the spoonful, stir, and let the dough rest for an hour.",
    "Galaxies rotate faster at their edges than the stars we see can explain.",
)


def make_probes(encoder: SentenceEncoder, *, seed: int = 0) -> tuple[list[str], LengthBins]:
    """Texts whose lengths are spread over every bin up to the model's limit or LONGEST, and those bins.

    Sentences of several languages in random order, cut at the token where the length is reached; the first text is
    empty, and those that reach the limit go beyond it.

    Args:
        encoder: counts the tokens.
        seed: of the order.
    """
    limit = min(encoder.max_tokens, LONGEST)
    bins, special = LengthBins.powers_of_two(limit), encoder.n_special_tokens
    generator = np.random.default_rng(seed)
    texts = []
    for low, high in zip(bins.edges, bins.edges[1:], strict=False):
        for wanted in np.linspace(low, high - 1, TEXTS_OF_A_BIN).round().astype(int).tolist():
            beyond = wanted // 4 if wanted == limit else 0
            texts.append(make_text(encoder, max(0, wanted + beyond - special), generator))
    return texts, bins


def make_text(encoder: SentenceEncoder, n_tokens: int, generator: np.random.Generator) -> str:
    """Sentences in random order, cut at some number of tokens, special tokens and prompt not counted."""
    text = ""
    while n_tokens and len(spans := encoder.spans(text)) < n_tokens:
        text += " ".join(generator.permutation(SENTENCES)) + " "
    return cut_text(text, spans, n_tokens) if n_tokens else ""
