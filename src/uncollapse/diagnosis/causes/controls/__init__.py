"""Texts that change one thing only, and what each of them does to the mean cosine."""

from uncollapse.diagnosis.causes.controls.cutting import fewest_tokens as fewest_tokens
from uncollapse.diagnosis.causes.controls.measurement import measure_controls as measure_controls
from uncollapse.diagnosis.causes.controls.table import CONTROLS as CONTROLS
from uncollapse.diagnosis.causes.controls.table import Control as Control
