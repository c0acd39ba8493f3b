"""Texts that fixes cut, a fix of every row, and the same done by hand."""

import numpy as np

from uncollapse.evaluation.comparison import Plan
from uncollapse.evaluation.tasks import Retrieval, Texts
from uncollapse.fixes import compose, parse
from uncollapse.fixes.texts.cutting import cut_ranges, piece_text
from uncollapse.pipelines.encoder import FixedEncoder

# One or more of every row, with pieces that texts of some ten words need several of.
WRITTEN = {
    "chunks": ("chunks(8)", "chunks(8, 3)", "chunks(8, 0, length)", "chunks(8, 0, norm)"),
    "cover": ("cover(8)",),
    "head_tail": ("head_tail(8, 4)", "head_tail(8, 0)"),
    "sentence_mean": ("sentence_mean(4)",),
    "whole_and_chunks": ("whole_and_chunks(8, 1.0)", "whole_and_chunks(8, 0)"),
    "late_chunking": ("late_chunking(8)", "late_chunking(8, best)"),
    "best_chunk": ("best_chunk(8)", "best_chunk(8, 3)"),
}
ALL = [written for several in WRITTEN.values() for written in several]
READS_PART = ("head_tail(8, 4)", "head_tail(8, 0)", "whole_and_chunks(8, 0)")
SHORT = ["a dog", "x", "", " \n ", "\U0001f600"]
WORDS = ("a", "man", "plays", "the", "flute", "two", "dogs", "run", "over", "green", "grass.", "near", "old", "water!")


def sentences(n, seed, longest=40):
    rng = np.random.default_rng(seed)
    return tuple(" ".join(rng.choice(WORDS, rng.integers(2, longest))) for _ in range(n))


LONG = (
    *sentences(6, 0),
    " ".join(sentences(3, 1, 90)),
    "abc" * 30,  # one word
    "一二三 四五六。七八 九十 " * 5 + "a\U0001f600b " * 30,
    "\n\n".join("abcdefghijklmnop"),
)


def fixed(base, written):
    return FixedEncoder(base, compose(parse(written)))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def naive(encoder, text, size, mean):
    """Chunks one by one with the model's own encode, put together by hand."""
    spans = encoder.spans(text)
    pieces, counts, vectors = [], [], []
    for start, stop in cut_ranges(text, spans, size):
        pieces.append(piece_text(text, spans, (start, stop)))
        counts.append(stop - start)
    model = encoder.model
    for piece in pieces:
        if mean == "norm":
            features = model[1](model[0](model.preprocess([piece])))
            vectors.append(features["sentence_embedding"][0].detach().numpy())
        else:
            vectors.append(model.encode([piece])[0])
    weights = counts if mean == "length" else np.ones(len(counts))
    return unit(sum(w * v.astype(float) for w, v in zip(weights, vectors, strict=True)))


def split(encoder, written):
    return [parse(written).split(text, encoder.spans(text), 58) for text in LONG]


PLAN = Plan(bins=3, cells=2, replicates=200, resamples=400)


def retrieval() -> Retrieval:
    documents = (*sentences(60, 0, 60), "")
    asked = tuple(" ".join(text.split()[-4:]) + f" {i}" for i, text in enumerate(documents[:30]))
    judged = {f"q{i}": {f"d{i}": 2, f"d{(i + 31) % 61}": i % 2} for i in range(30)}
    names = tuple(f"d{i}" for i in range(61))
    return Retrieval("docs", "test", Texts(names, documents), Texts(tuple(judged), asked), judged)
