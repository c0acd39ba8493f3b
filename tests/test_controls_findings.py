"""Controls: the words of the findings follow the whole interval."""

import numpy as np
import pytest

from uncollapse.diagnosis.causes.controls import CONTROLS
from uncollapse.diagnosis.causes.controls.cutting import Lengths
from uncollapse.diagnosis.causes.controls.findings import judge_controls
from uncollapse.resampling import Estimate

# Words of the findings


def planted(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, np.empty(0), low, high, 40)


TITLES = {
    "static_long": {
        "up": "A model without attention would show a rise too",
        "down": "A model without attention would show the opposite",
        "little": "A model without attention would hardly show a rise",
        "unknown": "Whether a model without attention would show a rise cannot be told",
    },
    "repeat_full": {
        "up": "More tokens pull texts together even if nothing new is said",
        "down": "More tokens set texts apart if nothing new is said",
        "little": "More tokens do little if nothing new is said",
        "unknown": "What more tokens do by themselves cannot be told",
    },
    "mixed_topic": {
        "up": "Mixed subjects pull texts together",
        "down": "Mixed subjects set texts apart",
        "little": "Mixed subjects matter little",
        "unknown": "What mixed subjects do cannot be told",
    },
}


@pytest.mark.parametrize("name", TITLES)
@pytest.mark.parametrize(
    ("interval", "way"),
    [
        ((0.1, 0.2), "up"),
        ((-0.2, -0.1), "down"),
        ((-0.02, 0.03), "little"),
        ((-0.1, 0.1), "unknown"),
        ((-0.02, 0.2), "unknown"),
    ],
)
def test_findings_follow_the_whole_interval(name: str, interval: tuple[float, float], way: str) -> None:
    effects = {"whole": planted(0.1, 0.2), "same_topic": planted(0, 0.1), name: planted(*interval)}
    cosines = dict.fromkeys(CONTROLS, planted(0.2, 0.3))
    near = {"same_topic": 0.4, "mixed_topic": 0.1}
    (finding,) = judge_controls("planted", Lengths(512, 32, 2), cosines, effects, near)
    assert finding.title == TITLES[name][way]
    assert (finding.kind == "unknown") == (way == "unknown")
    assert f"[{interval[0]:+.2f}, {interval[1]:+.2f}]" in finding.sentence
    assert "(the same 40 documents, 95 % intervals)" in finding.sentence


def test_late_positions_are_named_where_they_do_it() -> None:
    effects = {"repeat_full": planted(0.1, 0.2), "shifted": planted(0.1, 0.15), "filler": planted(0.7, 0.8)}
    cosines = dict.fromkeys(CONTROLS, planted(0.2, 0.3))
    (finding,) = judge_controls("planted", Lengths(512, 32, 2), cosines, effects, {})
    assert (
        "So late positions by themselves pull texts together; only the end of a whole text stands so late"
        in finding.sentence
    )
    assert "Said once, but at the last of these positions: +0.12 [+0.10, +0.15]." in finding.sentence
    assert "empty words (the, of, and, ...) up to the same length: +0.75 [+0.70, +0.80]" in finding.sentence
    effects["shifted"] = planted(-0.01, 0.01)
    (finding,) = judge_controls("planted", Lengths(512, 32, 2), cosines, effects, {})
    assert "late positions" not in finding.sentence
    assert "Embed smaller chunks." in finding.sentence


def test_subjects_that_cannot_be_sorted_are_not_called_unimportant() -> None:
    effects = {"same_topic": planted(0, 0.1), "mixed_topic": planted(-0.01, 0.02)}
    cosines = dict.fromkeys(CONTROLS, planted(0.2, 0.3))
    near = {"same_topic": 0.15, "mixed_topic": 0.1}
    (finding,) = judge_controls("planted", Lengths(512, 32, 2), cosines, effects, near)
    assert (finding.title, finding.kind) == ("What mixed subjects do cannot be told", "unknown")
    assert "too few subjects in common" in finding.sentence
