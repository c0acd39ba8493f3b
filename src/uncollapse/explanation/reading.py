"""Which documents are looked at, and at which lengths."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from uncollapse.corpora import Text, portions
from uncollapse.diagnosis.windows import window_lengths
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import CorpusError
from uncollapse.explanation.settings import FEWEST, Settings
from uncollapse.progress import Reporter, Silent
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept, Reservoir


@dataclass(frozen=True)
class Chosen:
    """The documents of an explanation.

    Args:
        documents: all at least as long as the longest length.
        lengths: tokens they are cut to, special tokens in, shortest first.
        n_texts: texts of the corpus.
        too_short: texts shorter than the longest length, which are not looked at.
        fingerprint: of ids and texts.
    """

    documents: tuple[Kept, ...]
    lengths: tuple[int, ...]
    n_texts: int
    too_short: int
    fingerprint: str


def choose(
    encoder: SentenceEncoder, corpus: Iterable[Text], settings: Settings, *, progress: Reporter | None = None
) -> Chosen:
    """Draw documents at random among those that reach the longest length that enough of them reach.

    Raises:
        CorpusError: too few texts are long enough to be cut to two lengths.
    """
    levels = {n: Reservoir(settings.documents, settings.seed) for n in window_lengths(encoder)}
    digest, counts = hashlib.blake2b(digest_size=16), []
    with (progress or Silent()).track("reading the corpus", None, "texts") as advance:
        for batch in portions(corpus):
            prepared = encoder.prepare([text.text for text in batch])
            counts += prepared.n_tokens.tolist()
            digest.update("\0".join(f"{text.id}\0{text.text}" for text in batch).encode())
            places = sampling_order(document_keys([text.id for text in batch]), seed=settings.seed).tolist()
            for text, cut, place, n in zip(batch, prepared.texts, places, prepared.n_tokens.tolist(), strict=True):
                for level in (level for level in levels if n >= level):
                    levels[level].offer(place, Kept(text.id, cut, n))
            advance(len(batch))
    longest = _longest(levels, counts)
    lengths = tuple(level for level in levels if level <= longest)
    short = sum(n < longest for n in counts)
    return Chosen(levels[longest].documents(), lengths, len(counts), short, digest.hexdigest())


def _longest(levels: dict[int, Reservoir], counts: list[int]) -> int:
    reached = [level for level, reservoir in levels.items() if len(reservoir) >= FEWEST]
    if len(reached) > 1:
        return max(reached)
    wanted = sorted(levels)[1] if len(levels) > 1 else 0
    raise CorpusError(
        f"An explanation cuts the same texts to several lengths, so it needs at least {FEWEST} texts of {wanted} "
        f"tokens or more; the corpus has {sum(n >= wanted for n in counts)} among {len(counts)}. Use more or longer "
        "texts."
    )
