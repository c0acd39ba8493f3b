"""A small corpus for a tiny model."""

import numpy as np

from uncollapse.pipelines.fitting import Unlabelled

WORDS = ("the", "river", "bends", "near", "a", "mill", "where", "old", "men", "mend", "nets", "until", "dusk", "falls")


def made_corpus(documents: int = 50, queries: int = 30) -> Unlabelled:
    """Documents of one to three sentences of six words, and queries of three."""
    rng = np.random.default_rng(0)

    def sentence(words: int) -> str:
        return " ".join(rng.choice(WORDS, words)) + "."

    texts = tuple(" ".join(sentence(6) for _ in range(rng.integers(1, 4))) for _ in range(documents))
    asked = tuple(sentence(3) for _ in range(queries))
    return Unlabelled(tuple(f"d{i}" for i in range(documents)), texts, asked)
