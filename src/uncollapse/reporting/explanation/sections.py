"""The sections of an explanation, from the heads to the embedding, and the numbers that sum it up."""

from uncollapse.records import Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Section, Tile
from uncollapse.reporting.explanation.embedding import make_embedding_section
from uncollapse.reporting.explanation.frequencies import make_frequency_section
from uncollapse.reporting.explanation.heads import make_head_section
from uncollapse.reporting.explanation.rows import ALL_HEADS, Explanation
from uncollapse.reporting.explanation.stages import last_rows, make_stage_section
from uncollapse.reporting.explanation.temperatures import make_temperature_section
from uncollapse.reporting.explanation.theory import make_theory_section


def make_explanation_sections(result: Result) -> list[Section]:
    """Heads, steps, frequencies, temperatures, embedding, theory: those that this result was asked for."""
    explanation = Explanation.of(result)
    if explanation is None:
        return []
    makers = (
        make_head_section, make_stage_section, make_frequency_section, make_temperature_section,
        make_embedding_section, make_theory_section,
    )  # fmt: skip
    return [section for make in makers if (section := make(explanation)) is not None]


def make_explanation_tiles(result: Result) -> list[Tile]:
    """At the longest length, the median filter rate and what is left at the end of the model."""
    explanation = Explanation.of(result)
    if explanation is None:
        return []
    rates, left = explanation.curve("filter_rate", ALL_HEADS), last_rows(explanation, "hc_share")
    return [
        *_tile(rates, "median filter rate of attention at {} tokens; 1 leaves differences as they are"),
        *_tile(left, "of the energy after the last layer tells tokens apart, at {} tokens"),
    ]


def _tile(rows: list[Row], label: str) -> list[Tile]:
    if not rows:
        return []
    row = rows[-1]
    return [
        Tile(
            words.number(row.value, row.measure),
            label.format(words.count(row.n_tokens)),
            words.interval(row),
            "before",
            row.n,
        )
    ]
