"""The part of a report about a race of fixes: what each adds, what it costs, and at which lengths."""

from uncollapse.reporting.races.sections import make_race_sections as make_race_sections
from uncollapse.reporting.races.sections import make_race_tiles as make_race_tiles
