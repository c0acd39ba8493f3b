"""What a model reads of each document, and the sentences in it that can be asked for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.costs.sentences import Sentence, locate_sentences, once_only, quotable
from uncollapse.diagnosis.pieces import Spans, cut_pieces
from uncollapse.encoders import TextEncoder
from uncollapse.resampling import Keys, document_keys
from uncollapse.reservoir import Kept

FEWEST_SENTENCES = 4
"""Sentences a document must have: one is taken out of it, and something must be left to find."""

FEW_SENTENCES, NO_SENTENCE = "fewer than 4 sentences are read", "no sentence of 6 to 40 words that occurs only once"


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model reads of a document.

    Args:
        row: its number among the documents.
        id: of the document.
        text: up to the last token that the model reads.
        n_tokens: of it, special tokens and prompt in.
        special: how many of them are special tokens and prompt.
        spans: of its tokens; of its words, where the tokenizer does not tell.
        sentences: whole sentences in it that can be asked for.
        cut_off: the same, of what the model does not read.
    """

    row: int
    id: str
    text: str
    n_tokens: int
    special: int
    spans: Spans
    sentences: tuple[Sentence, ...]
    cut_off: tuple[Sentence, ...]

    def first(self, n_tokens: int) -> str:
        """The beginning of the text, at most so many tokens long with special tokens in, up to the end of a word."""
        if n_tokens >= self.n_tokens:
            return self.text
        return self.words((n_tokens - self.special) / (self.n_tokens - self.special))

    def words(self, share: float) -> str:
        """The beginning of the text that holds this share of its tokens, up to the end of a word."""
        size = max(1, int(share * len(self.spans) + 1e-9))
        return cut_pieces(self.text, self.spans, size).texts[0]

    def within(self, low: float, high: float) -> tuple[Sentence, ...]:
        """Sentences that lie whole between two shares of the text."""
        ends = low * len(self.text), high * len(self.text)
        return tuple(s for s in self.sentences if ends[0] <= s.start and s.stop <= ends[1])


def read_documents(encoder: TextEncoder, documents: Sequence[Kept]) -> tuple[tuple[Reading, ...], Mapping[str, int]]:
    """The documents that can be asked for, in their order, and how many cannot, by reason."""
    located = [locate_sentences(_full(document)) for document in documents]
    once = once_only(sentence for sentences in located for sentence in sentences)
    ends = _read_ends(encoder, documents)
    special = encoder.n_special_tokens
    readings, left_out = [], Counter[str]()
    for row, (document, sentences) in enumerate(zip(documents, located, strict=True)):
        read = [sentence for sentence in sentences if sentence.stop <= ends[row]]
        asked = quotable(read, once)
        if len(read) < FEWEST_SENTENCES or not asked:
            left_out[FEW_SENTENCES if len(read) < FEWEST_SENTENCES else NO_SENTENCE] += 1
            continue
        beyond = quotable((sentence for sentence in sentences if sentence.start >= ends[row]), once)
        text = document.text[: ends[row]]
        spans = encoder.spans(text)
        readings.append(Reading(row, document.id, text, document.n_tokens, special, spans, asked, beyond))
    return tuple(readings), dict(left_out)


def _full(document: Kept) -> str:
    """The text beyond the model's limit too, where it was kept."""
    return document.full if document.full.startswith(document.text) else document.text


def _read_ends(encoder: TextEncoder, documents: Sequence[Kept]) -> list[int]:
    """Where the last token that is read ends, in characters of each text."""
    ends = [len(document.text) for document in documents]
    full = [row for row, document in enumerate(documents) if document.n_tokens >= encoder.max_tokens]
    if not full:
        return ends
    special = encoder.n_special_tokens
    counts = encoder.count([documents[row].text for row in full])
    for row, count in zip(full, counts.tolist(), strict=True):
        if count > encoder.max_tokens:
            spans = encoder.spans(documents[row].text)
            read = len(spans) * (encoder.max_tokens - special) // (count - special)
            ends[row] = int(spans[max(read, 1) - 1, 1])
    return ends


def lengths_of(readings: Sequence[Reading]) -> npt.NDArray[np.int64]:
    """Tokens of each reading: int64 [readings]."""
    return np.array([reading.n_tokens for reading in readings], np.int64)


def rows_of(readings: Sequence[Reading]) -> npt.NDArray[np.int64]:
    """The number of each among the documents: int64 [readings]."""
    return np.array([reading.row for reading in readings], np.int64)


def keys_of(readings: Sequence[Reading]) -> Keys:
    """The key of each: uint64 [readings]."""
    return document_keys([reading.id for reading in readings])
