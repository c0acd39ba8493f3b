"""What a score means by length: how high unrelated texts score, and the threshold for so many of them."""

from uncollapse.diagnosis.scores.measurement import measure_scores
from uncollapse.diagnosis.scores.thresholds import Threshold, Thresholds, export_thresholds

__all__ = ["Threshold", "Thresholds", "export_thresholds", "measure_scores"]
