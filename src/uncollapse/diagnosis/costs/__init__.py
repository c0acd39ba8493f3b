"""What the length of texts costs in search on a corpus of its own, without a single label."""

from uncollapse.diagnosis.costs.measurement import measure_costs

__all__ = ["measure_costs"]
