"""What a diagnosis says of a fix: how much of the rise it takes back, and at which end."""

import re

import numpy as np
import numpy.typing as npt
import pytest

from synthetic import ListCorpus, PlantedEncoder, corpus
from uncollapse.diagnosis.profiling import Profile, profile, survey
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.verdict import from_short_end, judge_fix, main_view, recovered, recovery_rows, trends

FAST = Settings(replicates=64)


def seen_by(encoder: PlantedEncoder, texts: ListCorpus) -> Profile:
    return profile(encoder, texts, FAST, surveyed=survey(encoder, texts, FAST))


def run(drift: float, texts: ListCorpus, mean: float | None = None) -> Profile:
    return seen_by(PlantedEncoder(drift) if mean is None else PlantedEncoder(drift, mean=mean), texts)


def test_a_fix_that_halves_the_drift_is_judged_by_paired_replicates() -> None:
    texts = corpus(600)
    before, after = run(0.25, texts), run(0.125, texts)
    share = recovered(main_view(before), main_view(after))
    assert share is not None
    assert share.low is not None
    assert share.high is not None
    assert 0.5 < share.low < share.value < share.high < 0.9
    half = judge_fix(before, after, "half")
    assert half.kind == "good"
    end = r"-?0\.\d\d -> -?0\.\d\d \([+-]?0\.\d\d \[.*\]\)"
    assert re.search(rf"on the same documents: at 128 tokens {end}, at 8 tokens {end}\.", half.sentence)
    assert judge_fix(before, before, "nothing").title == "nothing changes the rise little"
    other = run(0.25, corpus(600, seed=1))
    assert judge_fix(before, other, "chance").title == "Whether chance helps cannot be told"
    assert judge_fix(after, before, "double").title == "double makes the rise worse"
    flat = run(0.0, texts)
    assert judge_fix(flat, after, "any").title == "any has no rise to take back"
    spread = run(-0.12, texts, mean=0.6)
    assert judge_fix(spread, run(-0.06, texts, mean=0.6), "any").kind == "unknown"


class Lifted(PlantedEncoder):
    """Texts of a few words are more alike than in the model it is made of."""

    def __init__(self, lift: float, drift: float) -> None:
        super().__init__(drift)
        self.lift = lift

    def _vector(self, text: str) -> npt.NDArray[np.float64]:
        vector = super()._vector(text)
        vector[0] += self.lift * np.sqrt(len(vector)) * (min(len(text.split()) + 2, self.max_tokens) <= 8)
        return vector


def lifted(lift: float, drift: float, texts: ListCorpus) -> Profile:
    return seen_by(Lifted(lift, drift), texts)


def test_a_higher_short_end_is_no_gain_and_is_told_apart_from_a_lower_long_end() -> None:
    texts = corpus(600)
    before, cooler, worse = run(0.25, texts), run(0.125, texts), lifted(0.5, 0.25, texts)
    short, none = (from_short_end(main_view(before), main_view(after)) for after in (worse, cooler))
    assert short is not None
    assert none is not None
    assert short.value == pytest.approx(1)  # the long end is what it was, to the last document
    assert abs(none.value) < 0.1
    told = judge_fix(before, worse, "lift")
    assert (told.kind, judge_fix(before, cooler, "cool").kind) == ("neutral", "good")
    assert told.title.endswith("of the rise, most of it by making short texts more alike")
    assert "Of what it takes back, 100% [100%, 100%] is the higher short end" in told.sentence
    assert from_short_end(main_view(run(0.0, texts)), main_view(cooler)) is None


def test_the_changes_of_both_ends_add_up_to_what_is_taken_back() -> None:
    texts = corpus(600)
    before, after = main_view(run(0.25, texts)), main_view(lifted(0.3, 0.125, texts))
    rows = {(row.measure, row.bin): row for row in recovery_rows(before, {"fix": after})}
    first, last = rows["mean_cosine_change", "8"], rows["mean_cosine_change", "128"]
    rises = [trends(view)["mean_cosine_rise"].value for view in (before, after)]
    assert first.value - last.value == pytest.approx(rises[0] - rises[1])
    assert rows["share_recovered", ""].value == pytest.approx((first.value - last.value) / rises[0])
    assert rows["share_from_short_end", ""].value == pytest.approx(first.value / (first.value - last.value))
    assert (first.low or 0) > 0 > (last.high or 0)
