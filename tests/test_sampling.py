"""Sampling with error bars: a fixed memory, every text of a bin as likely, and encoding stops when it is sure."""

from collections.abc import Sequence

import numpy as np
import pytest

from synthetic import PlantedEncoder
from uncollapse.corpora import Text
from uncollapse.diagnosis.sampling import Rounds, Strata, half_width
from uncollapse.measures import unit
from uncollapse.moments import BinState, update_bins
from uncollapse.records import LengthBins
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept

BINS = LengthBins.powers_of_two(512)


def corpus(n: int, words: Sequence[int] = (5, 20, 90, 400)) -> list[Text]:
    return [Text(f"id{k}", f"t{k} " + "word " * words[k % len(words)]) for k in range(n)]


def strata(texts: Sequence[Text], size: int, portion: int = 64, **options) -> Strata:
    kept = Strata(PlantedEncoder(0.1, max_tokens=512), size=size, most=10_000, **options)
    for start in range(0, len(texts), portion):
        kept.add(texts[start : start + portion])
    return kept


def ids(drawn) -> list[str]:
    return [text.id for text in drawn.texts]


def test_what_is_kept_depends_on_no_order_and_no_portion():
    texts = corpus(600)
    backwards = strata(texts[::-1], 40, portion=7).drawn(BINS)
    assert ids(strata(texts, 40).drawn(BINS)) == ids(backwards)
    assert ids(strata(texts, 40, seed=1).drawn(BINS)) != ids(backwards)


def test_a_small_corpus_is_kept_whole_and_is_its_own_uniform_sample():
    drawn = strata(corpus(100), 400).drawn(BINS)
    assert len(drawn.texts) == drawn.uniform == 100


def test_of_every_bin_the_first_of_a_random_line_are_kept():
    """Whatever stratum a text is of: in its bin, no text is left out that stands before one that is kept."""
    rng = np.random.default_rng(0)
    texts = [Text(f"id{k}", "x" * int(rng.integers(1, 30)) + " word" * int(rng.integers(3, 40))) for k in range(2000)]
    encoder, drawn = PlantedEncoder(0.1, max_tokens=512), strata(texts, 100).drawn(BINS)
    places = dict(zip(map(id, texts), sampling_order(document_keys([t.id for t in texts])), strict=True))
    of_bin = BINS.assign(encoder.prepare([text.text for text in texts]).n_tokens)
    for place in np.unique(drawn.bins):
        line = [
            text.id
            for text in sorted(
                (t for t, b in zip(texts, of_bin, strict=True) if b == place), key=lambda t: places[id(t)]
            )
        ]
        kept = [text.id for text, b in zip(drawn.texts, drawn.bins, strict=True) if b == place]
        assert kept == line[: len(kept)]
        assert len(kept) > 20


def test_the_uniform_part_is_the_beginning_of_the_line_of_all_texts():
    texts = corpus(3000, words=(5, 5, 5, 5, 5, 5, 5, 400))
    drawn = strata(texts, 100).drawn(BINS)
    line = sorted(texts, key=lambda text: sampling_order(document_keys([text.id]))[0])
    assert 50 < drawn.uniform < len(drawn.texts)
    assert ids(drawn)[: drawn.uniform] == [text.id for text in line[: drawn.uniform]]


def encode_into(states: list[BinState], encoder: PlantedEncoder, seen: list[str]):
    def encode(few: list[Kept]) -> None:
        prepared = encoder.prepare([text.text for text in few])
        update_bins(
            states,
            BINS.assign(prepared.n_tokens),
            vectors=unit(encoder.vectors(prepared.texts)),
            keys=document_keys([text.id for text in few]),
            n_tokens=prepared.n_tokens,
            truncated=np.zeros(len(few), bool),
        )
        seen.extend(text.id for text in few)

    return encode


@pytest.mark.parametrize("precision", [0.2, 0.01, 0.004])
def test_encoding_stops_where_every_bin_is_sure_or_used_up(precision: float):
    texts, encoder = corpus(4000, words=(5, 5, 5, 5, 20, 20, 90)), PlantedEncoder(0.1, max_tokens=512)
    drawn = strata(texts, 1500).drawn(BINS)
    states, seen = [BinState(encoder.dim) for _ in BINS.labels], []
    rounds = Rounds(drawn, precision=precision, whole=50)
    rounds.run(states, encode_into(states, encoder, seen))
    assert len(seen) == len(set(seen)) == sum(state.count for state in states)
    for place, state in enumerate(states):
        width, there = half_width(state), int(np.sum(drawn.bins == place))
        assert width is None or width <= precision or state.count == there
    assert bool(rounds.unsure(states, BINS.labels)) == any((half_width(s) or 0) > precision for s in states)


def test_a_looser_precision_encodes_less():
    counts = []
    for precision in (0.2, 0.004):
        texts, encoder, seen = corpus(4000), PlantedEncoder(0.1, max_tokens=512), []
        states = [BinState(encoder.dim) for _ in BINS.labels]
        Rounds(strata(texts, 1500).drawn(BINS), precision=precision, whole=0).run(
            states, encode_into(states, encoder, seen)
        )
        counts.append(len(seen))
    assert counts[0] < counts[1]
