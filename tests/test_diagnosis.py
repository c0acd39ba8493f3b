"""The pass over a corpus and what is concluded from it, on encoders whose truth is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthetic import DIM, ListCorpus, PlantedEncoder, corpus
from uncollapse.corpora import Text, portioning
from uncollapse.diagnosis.audit import measure_audit
from uncollapse.diagnosis.profiling import Profile, TextColumns, profile, survey
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import diagnose, labelled, profile_rows
from uncollapse.diagnosis.verdict import (
    judge,
    main_view,
    trends,
)
from uncollapse.diagnosis.windows import window_lengths
from uncollapse.errors import ModelError, UncollapseError
from uncollapse.records import Result
from uncollapse.reservoir import Kept, Reservoir

FAST = Settings(replicates=64)


class Rows:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.columns: list[TextColumns] = []

    def write(self, columns: TextColumns) -> None:
        self.columns.append(columns)


def run(drift: float, texts: ListCorpus | None = None, settings: Settings = FAST, **keys: Any) -> Profile:
    encoder, texts = PlantedEncoder(drift, **keys), texts or corpus(600)
    return profile(encoder, texts, settings, surveyed=survey(encoder, texts, settings))


def numbers(found: Profile) -> dict[tuple[str, str, str], tuple[float, float | None, float | None, int]]:
    rows = profile_rows(found, "none")
    return {(row.view, row.bin, row.measure): (row.value, row.low, row.high, row.n) for row in rows}


def assert_same(a: Profile, b: Profile) -> None:
    first, second = numbers(a), numbers(b)
    assert set(first) == set(second)
    for key, value in first.items():
        assert np.allclose([x or 0 for x in value], [x or 0 for x in second[key]], rtol=1e-5, atol=1e-6), key


def test_a_planted_collapse_is_found_and_its_size_is_right() -> None:
    found = run(0.25)
    rise = trends(main_view(found))["mean_cosine_rise"]
    # A mean of length m beside noise of length 1 gives a mean cosine of m^2 / (1 + m^2), up to the noise's own spread.
    ends = [(0.25 * np.log2(n / 8)) ** 2 for n in (8, 128)]
    expected = ends[1] / (1 + ends[1]) - ends[0] / (1 + ends[0])
    assert rise.low is not None
    assert rise.high is not None
    assert rise.low - 0.03 < expected < rise.high + 0.03
    verdict = judge(found, "planted")
    assert verdict[0].title == "planted pulls long texts together, strongly"
    assert f"{rise.value:+.2f}" in verdict[0].sentence
    assert f"the same {len(found.documents)} documents at every length" in verdict[0].sentence
    assert len(found.documents) > 50


def test_no_collapse_is_not_found() -> None:
    assert judge(run(0.0), "planted")[0].title == "planted shows no length collapse on these texts"


def test_the_opposite_of_a_collapse_is_called_so() -> None:
    assert judge(run(-0.12, mean=0.6), "planted")[0].title == "planted spreads long texts out: no length collapse"


def test_a_rise_that_a_fall_of_the_shortest_texts_would_hide_is_told_from_where_it_begins() -> None:
    """The mean goes through 0 at 32 tokens and comes out as long as it was: from end to end there is no rise."""
    found = run(-0.3, mean=0.6)
    told = trends(main_view(found))
    rise, ends = told["mean_cosine_rise_from_lowest"], told["mean_cosine_rise"]
    for estimate, expected in ((rise, 0.6**2 / (1 + 0.6**2)), (ends, 0.0)):
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low - 0.03 < expected < estimate.high + 0.03
    first = judge(found, "planted")[0]
    assert (first.title, first.kind) == ("planted pulls long texts together from 32 tokens on, strongly", "bad")
    assert "But in between it is lower: " in first.sentence
    assert f"from there to the longest it rises by {rise.value:+.2f} [" in first.sentence
    (rank,) = (one for one in judge(found, "planted") if one.title == "Directions in use")
    assert " at 32 tokens and " in rank.sentence
    assert rank.sentence.endswith("say too little to be told apart, so this is read from there.")


@pytest.mark.parametrize(
    ("drift", "mean", "title", "there"),
    [
        (0.25, 0.0, "planted pulls long texts together, strongly", False),
        (-0.12, 0.6, "planted spreads long texts out: no length collapse", False),
        (-0.3, 0.3, "planted pulls long texts together, strongly", True),
    ],
)
def test_where_nothing_is_hidden_the_rise_is_that_from_end_to_end(
    drift: float, mean: float, title: str, there: bool
) -> None:
    found = run(drift, mean=mean)
    assert judge(found, "planted")[0].title == title
    assert ("mean_cosine_rise_from_lowest" in trends(main_view(found))) == there
    assert "mean_cosine_rise_from_lowest" not in trends(found.views["as_is"])


def test_a_small_collapse_is_called_small() -> None:
    assert judge(run(0.05), "planted")[0].title == "planted pulls long texts together, but hardly"


def test_too_few_texts_are_said_to_be_too_few() -> None:
    found = run(0.25, corpus(40))
    assert "windows" not in found.views
    first = judge(found, "planted")[0]
    assert (first.title, first.kind) == ("Too few texts to tell", "unknown")
    assert "at least two length bins of 30 texts each. These 40 texts lie in" in first.sentence
    assert "equal" not in first.sentence
    (sentence,) = (finding.sentence for finding in judge(run(0.25, corpus(1)), "planted")[:1])
    assert "30 texts each. The only text lies in one bin, which holds 1. Use more texts." in sentence


def test_a_raised_limit_does_not_hide_what_the_folder_cuts() -> None:
    encoder, texts = PlantedEncoder(0.1, max_tokens=512), corpus(300)
    encoder.folder_max_tokens = 64
    found = profile(encoder, texts, FAST, surveyed=survey(encoder, texts, FAST))
    cut = int((encoder.count([text.text for text in texts]) > 64).sum())
    part = measure_audit(found.audit, "planted")
    shares = {row.measure: row.value for row in part.rows if row.view == "overall"}
    assert (shares["share_truncated@64"], shares["share_truncated@512"]) == (cut / 300, 0)
    assert "are never seen" in part.verdict[0].title


def test_without_long_texts_the_verdict_rests_on_the_texts_as_they_are() -> None:
    found = run(0.25, corpus(600), replace(FAST, windows=0))
    assert set(found.views) == {"as_is"}
    first, *rest = judge(found, "planted")
    assert (first.title, first.kind) == ("Longer texts lie closer together in planted", "neutral")
    assert "This mixes the effect of length with what long texts are about" in first.sentence
    assert "At their own lengths" not in {finding.title for finding in rest}


@pytest.mark.parametrize(("strength", "said"), [(0.25, "are more alike than"), (0.0, "are about as alike as")])
def test_texts_at_their_own_lengths_are_called_more_alike_only_where_that_is_sure(strength: float, said: str) -> None:
    found = {finding.title: finding.sentence for finding in judge(run(strength, corpus(600), FAST), "planted")}
    assert said in found["At their own lengths"]
    assert ("which may be chance" in found["At their own lengths"]) == (strength == 0)


def test_streaming_gives_the_same_numbers_and_keeps_no_vectors() -> None:
    texts = corpus(600)
    assert_same(run(0.25, texts), run(0.25, texts, replace(FAST, stream=True)))


def test_chunks_and_order_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus(600)
    whole = run(0.25, texts)
    monkeypatch.setattr(portioning, "TEXTS", 70)
    pieces = run(0.25, texts)
    assert_same(whole, pieces)
    backwards = run(0.25, ListCorpus(texts.texts[::-1]))
    assert_same(whole, backwards)
    assert {kept.id for kept in whole.points} == {kept.id for kept in backwards.points}
    assert whole.documents == pieces.documents == backwards.documents


def test_long_books_are_held_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus(300).texts
    whole = run(0.25, ListCorpus(texts))
    monkeypatch.setattr(portioning, "CHARACTERS", 500)
    few = list(portioning.portions(texts))
    assert [text for batch in few for text in batch] == texts
    assert max(sum(len(text.text) for text in batch) for batch in few if len(batch) > 1) <= 500
    assert_same(whole, run(0.25, ListCorpus(texts)))


def test_another_seed_gives_another_sample() -> None:
    texts = corpus(600)
    first, second = run(0.25, texts), run(0.25, texts, replace(FAST, seed=1, points=100))
    assert {kept.id for kept in first.points[:100]} != {kept.id for kept in second.points}


def test_every_text_is_counted_once_in_the_histogram_and_in_the_bins() -> None:
    texts = corpus(300)
    found = run(0.1, texts)
    assert sum(count.texts for count in found.lengths) == 300
    full = PlantedEncoder(0).count([text.text for text in texts])
    for count in found.lengths:
        inside = (count.low <= full) & (full < count.high)
        assert (count.texts, count.truncated) == (inside.sum(), (inside & (full > 128)).sum())
    counts = [row["share_truncated"].n for row in found.views["as_is"].estimates.values()]
    assert sum(counts) == 300


def test_windows_hold_the_same_documents_cut_to_exact_lengths() -> None:
    found = run(0.1)
    assert list(found.views["windows"].n_tokens.values()) == [8.0, 16.0, 32.0, 64.0, 128.0]
    assert {row["mean_cosine"].n for row in found.views["windows"].estimates.values()} == {len(found.documents)}
    assert all(document.n_tokens >= 128 for document in found.documents)


def test_windows_stop_where_too_few_documents_reach() -> None:
    found = run(0.1, corpus(600, longest=70))
    assert list(found.views["windows"].n_tokens.values()) == [8.0, 16.0, 32.0]


def test_window_lengths_leave_room_for_text() -> None:
    encoder = PlantedEncoder(0, max_tokens=100)
    assert window_lengths(encoder) == (8, 16, 32, 64, 100)
    encoder.n_special_tokens = 13
    assert window_lengths(encoder) == (32, 64, 100)
    encoder.can_cut = False
    assert window_lengths(encoder) == ()


def test_equal_count_bins_hold_about_equally_many_texts() -> None:
    found = run(0.1, corpus(800), replace(FAST, equal_bins=4))
    counts = [row["share_truncated"].n for row in found.views["as_is"].estimates.values()]
    assert len(counts) == 4
    assert max(counts) < 1.4 * min(counts)


def test_per_text_rows_hold_every_text_and_the_cosine_to_its_centroid() -> None:
    texts, encoder, sink = corpus(300), PlantedEncoder(0.2), Rows()
    profile(encoder, texts, FAST, surveyed=survey(encoder, texts, FAST), sink=sink)
    ids = [name for columns in sink.columns for name in columns.ids]
    assert ids == [text.id for text in texts]
    labels = [label for columns in sink.columns for label in columns.bins]
    cosine = np.concatenate([columns.cosine for columns in sink.columns if columns.cosine is not None])
    vectors = encoder.vectors([text.text for text in texts]).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [row for row, label in enumerate(labels) if label == labels[0]]
    centre = vectors[rows].mean(axis=0)
    assert np.allclose(cosine[rows], vectors[rows] @ centre / np.linalg.norm(centre), atol=1e-6)


def test_a_streamed_table_has_no_cosines() -> None:
    texts, encoder, sink = corpus(100), PlantedEncoder(0.2), Rows()
    settings = replace(FAST, stream=True)
    profile(encoder, texts, settings, surveyed=survey(encoder, texts, settings), sink=sink)
    assert all(columns.cosine is None for columns in sink.columns)


def test_every_text_is_encoded_once_as_it_is() -> None:
    texts, encoder = corpus(300), PlantedEncoder(0.2)
    profile(encoder, texts, replace(FAST, windows=0), surveyed=survey(encoder, texts, FAST))
    assert encoder.encoded == 300


def test_a_vector_that_is_not_finite_names_its_text() -> None:
    class Broken(PlantedEncoder):
        def vectors(self, texts: Any, n_tokens: Any = None) -> Any:
            out = super().vectors(texts, n_tokens)
            out[[text.startswith("t7 ") for text in texts]] = np.nan
            return out

    texts, encoder = corpus(50), Broken(0.1)
    with pytest.raises(ModelError, match="1 of 50 hold NaN or infinity; the first is text 'id7'"):
        profile(encoder, texts, FAST, surveyed=survey(encoder, texts, FAST))


@pytest.mark.parametrize("wrong", [{"windows": 10}, {"points": -1}, {"equal_bins": -2}, {"seed": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(
        UncollapseError, match=r"must be 0 or more, got|need at least 50 documents, got windows=10 \(--windows\)"
    ):
        Settings(**wrong)


def test_reservoir_keeps_the_first_in_line() -> None:
    reservoir = Reservoir(3, 0)
    for place in (5, 1, 9, 3, 7):
        reservoir.offer(place, Kept(str(place), "", 1))
    assert [kept.id for kept in reservoir.documents()] == ["1", "3", "5"]
    empty = Reservoir(0, 0)
    empty.offer(1, Kept("1", "", 1))
    assert empty.documents() == ()


def test_the_result_reads_back_and_every_row_has_n_and_an_interval_or_says_why() -> None:
    texts = corpus(600)
    result = diagnose(PlantedEncoder(0.2), texts, settings=FAST)
    assert Result.from_json(result.to_json()).to_json() == result.to_json()
    for row in result.rows:
        assert row.n > 0
        assert (row.low is not None and row.high is not None and row.low <= row.high) or row.note
        assert (row.model, row.dataset) == ("planted", "made")
    assert result.about["corpus"]["n_texts"] == 600
    assert len(result.points) == 600
    assert texts.passes == 2


def test_the_same_seed_gives_the_same_result_but_for_the_time() -> None:
    first, second = (diagnose(PlantedEncoder(0.2), corpus(300), settings=FAST) for _ in range(2))
    assert replace(first, about={}).to_json() == replace(second, about={}).to_json()
    assert first.about["corpus"]["fingerprint"] == second.about["corpus"]["fingerprint"]


def test_unrelated_rows_keep_their_labels() -> None:
    rows = labelled(profile_rows(run(0.1), "none"), "m", "d")
    assert {row.dataset for row in rows} == {"d"}
    assert {row.fix for row in rows} == {"none"}
    assert {row.measure for row in rows} >= {
        "mean_cosine",
        "centroid_distance",
        "uniformity",
        "effective_rank",
        "share_truncated",
        "effective_rank_isotropic",
        "mean_cosine_rise",
        "mean_cosine_per_doubling",
    }


def test_slope_is_that_of_ordinary_least_squares() -> None:
    view = run(0.2).views["windows"]
    curve = [view.estimates[label]["mean_cosine"].value for label in view.n_tokens]
    slope = np.polyfit(np.log2(list(view.n_tokens.values())), curve, 1)[0]
    assert trends(view)["mean_cosine_per_doubling"].value == pytest.approx(slope, abs=1e-9)


def test_a_corpus_of_one_text_is_measured_without_a_verdict() -> None:
    result = diagnose(PlantedEncoder(0.2), ListCorpus([Text("a", "only one text")]), settings=FAST)
    assert result.verdict[0].kind == "unknown"
    assert result.points == ()
    assert DIM == 32


def test_with_a_precision_only_so_many_texts_are_encoded_and_shares_stay_those_of_the_corpus() -> None:
    texts = [Text(f"id{k}", f"t{k} " + "word " * (400 if k % 50 == 0 else 20)) for k in range(6000)]
    source = ListCorpus(texts)
    encoder = PlantedEncoder(0.1, max_tokens=300)
    settings = replace(FAST, precision=0.01, windows=0, points=60)
    surveyed = survey(encoder, source, settings)
    sampled = profile(encoder, source, settings, surveyed=surveyed)
    everything = replace(surveyed, drawn=None)
    complete = replace(settings, precision=None)
    whole = profile(PlantedEncoder(0.1, max_tokens=300), source, complete, surveyed=everything)
    assert encoder.encoded == sampled.n_texts < 3000 < whole.n_texts == 6000
    for label, measured in sampled.views["as_is"].estimates.items():
        found, truth = measured["mean_cosine"], whole.views["as_is"].estimates[label]["mean_cosine"]
        assert found.high - found.low <= 0.02 or found.n == truth.n
        assert abs(found.value - truth.value) <= 0.02
    share = sum(count.truncated for count in sampled.lengths) / sum(count.texts for count in sampled.lengths)
    assert abs(share - 0.02) < 0.01
    assert {point.id for point in sampled.points} == {point.id for point in whole.points}


def test_a_bin_that_cannot_be_made_sure_is_noted() -> None:
    texts, encoder = corpus(200), PlantedEncoder(0.1)
    settings = replace(FAST, precision=0.001, windows=0)
    found = profile(encoder, texts, settings, surveyed=survey(encoder, texts, settings))
    assert encoder.encoded == 200
    assert "known to" in found.notes[0]
    assert "not to 0.001" in found.notes[0]
