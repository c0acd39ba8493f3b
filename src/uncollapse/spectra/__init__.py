"""Numbers about attention maps and token states: pure functions on tensors of any leading shape.

They know no model: what tensors are observed where is not their business.
"""

from uncollapse.spectra.energies import dc_energy, hc_energy, hc_share, token_cosine
from uncollapse.spectra.filtering import FilterRates, filter_rate
from uncollapse.spectra.frequencies import bands, low_share, power_spectrum
from uncollapse.spectra.joint import (
    HeadNumbers,
    StateNumbers,
    measure_entropy,
    measure_heads,
    measure_maps,
    measure_states,
    measure_streamed,
    score_spread_of,
)
from uncollapse.spectra.laws import (
    LAWS,
    block_map,
    freezing_length,
    gaussian_law,
    gaussian_map,
    identity_map,
    inverse_temperature,
    quoted_bound,
    sink_map,
    uniform_map,
)
from uncollapse.spectra.maps import Shares, entropy, score_spread, shares
from uncollapse.spectra.operators import AttentionMap, DenseMap, StreamedMap

__all__ = [
    "LAWS",
    "AttentionMap",
    "DenseMap",
    "FilterRates",
    "HeadNumbers",
    "Shares",
    "StateNumbers",
    "StreamedMap",
    "bands",
    "block_map",
    "dc_energy",
    "entropy",
    "filter_rate",
    "freezing_length",
    "gaussian_law",
    "gaussian_map",
    "hc_energy",
    "hc_share",
    "identity_map",
    "inverse_temperature",
    "low_share",
    "measure_entropy",
    "measure_heads",
    "measure_maps",
    "measure_states",
    "measure_streamed",
    "power_spectrum",
    "quoted_bound",
    "score_spread",
    "score_spread_of",
    "shares",
    "sink_map",
    "token_cosine",
    "uniform_map",
]
