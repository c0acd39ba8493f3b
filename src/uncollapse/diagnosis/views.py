"""Ways to look at length: every text at its own length, or the same documents cut to several."""

from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.diagnosis.units import TOKENS
from uncollapse.measures import MINIMUM, measure_bins
from uncollapse.moments import BinState
from uncollapse.resampling import Estimate


@dataclass(frozen=True)
class View:
    """One way to look at length: measured numbers by bin.

    Args:
        name: "as_is" or "windows".
        estimates: by bin label, by measure.
        n_tokens: mean token count by bin label.
        unit: what lengths are counted in.
    """

    name: str
    estimates: dict[str, dict[str, Estimate]]
    n_tokens: dict[str, float]
    unit: str = TOKENS


def make_view(name: str, states: Sequence[BinState], labels: Sequence[str], *, unit: str = TOKENS) -> View:
    """Every measure of every bin that holds texts."""
    filled = {label: state for label, state in zip(labels, states, strict=True) if state.count}
    measured = measure_bins(filled, minimum=MINIMUM)
    if name == "windows":
        measured = {
            label: {key: value for key, value in row.items() if key != "share_truncated"}
            for label, row in measured.items()
        }
    return View(name, measured, {label: state.mean_tokens for label, state in filled.items()}, unit)
