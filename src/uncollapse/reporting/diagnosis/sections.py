"""The sections of a diagnosis with causes that are drawn from rows of their own."""

from uncollapse.records import Result
from uncollapse.reporting.charts import Section
from uncollapse.reporting.diagnosis.causes import make_cause_section
from uncollapse.reporting.diagnosis.controls import make_control_section
from uncollapse.reporting.diagnosis.costs import make_cost_section
from uncollapse.reporting.diagnosis.hubness import make_hubness_section
from uncollapse.reporting.diagnosis.scores import make_score_section


def make_reason_sections(result: Result) -> list[Section]:
    """Why long texts drift together, then what it costs: those that this result was asked for."""
    makers = (make_cause_section, make_control_section, make_cost_section, make_hubness_section, make_score_section)
    return [section for make in makers if (section := make(result)) is not None]
