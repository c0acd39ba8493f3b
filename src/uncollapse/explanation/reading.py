"""Which documents are looked at, and at which lengths."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from uncollapse.corpora import Fingerprint, Text, portions
from uncollapse.diagnosis.windows import window_lengths
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import CorpusError
from uncollapse.explanation.settings import FEWEST, Settings
from uncollapse.progress import Reporter, Silent
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept, Levels


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
    levels, read, count = Levels(window_lengths(encoder), settings.documents, settings.seed), Fingerprint(), 0
    with (progress or Silent()).track("reading the corpus", None, "texts") as advance:
        for batch in portions(corpus):
            prepared = encoder.prepare([text.text for text in batch])
            read.add(batch)
            count += len(batch)
            places = sampling_order(document_keys([text.id for text in batch]), seed=settings.seed).tolist()
            for text, cut, place, n in zip(batch, prepared.texts, places, prepared.n_tokens.tolist(), strict=True):
                levels.offer(place, Kept(text.id, cut, n))
            advance(len(batch))
    longest = levels.longest(FEWEST)
    if not longest:
        raise _too_few(levels.reached, count)
    lengths = tuple(n for n in levels.reached if n <= longest)
    return Chosen(levels.documents(longest), lengths, count, count - levels.reached[longest], str(read))


def _too_few(reached: Mapping[int, int], count: int) -> CorpusError:
    wanted = sorted(reached)[1] if len(reached) > 1 else 0
    return CorpusError(
        f"An explanation cuts the same texts to several lengths, so it needs at least {FEWEST} texts of {wanted} "
        f"tokens or more; the corpus has {reached.get(wanted, 0)} among {count}. Use more or longer texts."
    )
