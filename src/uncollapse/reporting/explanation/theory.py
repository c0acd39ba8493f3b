"""Theory beside measurement: the filter rate of real heads, and what laws for Gaussian scores say it should be."""

from uncollapse.reporting.charts import Section
from uncollapse.reporting.diagnosis.bars import Frame
from uncollapse.reporting.explanation.curves import curve_chart
from uncollapse.reporting.explanation.rows import ALL_HEADS, Explanation
from uncollapse.reporting.plots import Line

LAWS = {
    "gaussian law": ("after", "law for Gaussian scores of the measured spread"),
    "quoted bound": ("relevant", "bound for them, as quoted second-hand"),
    "n^-1/2 law": ("reference", "1/\N{SQUARE ROOT}n from the shortest length on"),
}
"""Views of the filter rate under a law: role and name of its line."""
HEADING = "Theory beside measurement"


def make_theory_section(explanation: Explanation) -> Section | None:
    """Measured and predicted filter rates, with what the verdict says of them; None where nobody asked."""
    laws = [Line(explanation.curve("filter_rate", view), name, role) for view, (role, name) in LAWS.items()]
    if not any(line.rows for line in laws):
        return None
    measured = Line(explanation.curve("filter_rate", ALL_HEADS), "measured, median over heads", "before")
    rates = curve_chart(
        Frame(
            "theory", "Filter rate, measured and predicted",
            "Where the solid line leaves the others, the assumptions behind them do not hold for these heads: a law "
            "that holds runs through the band, and a bound that holds lies above it",
            "This result holds no filter rate under any law.",
            "What theory says knows of this model no more than the spread of its scores, or its value at the shortest "
            "length; the axis is a log axis.",
        ), [measured, *laws], level=1.0, log=True,
    )  # fmt: skip
    spread = curve_chart(
        Frame(
            "theory-spread", "Spread of the scores, by length",
            "The larger the spread, the sharper the heads: up to about 1 the law for Gaussian scores is close where "
            "scores are Gaussian, and far beyond it heads hold on to a few tokens whatever the length",
            "This result holds no spread of scores.",
            "The median over heads of the standard deviation of a token's scores before the softmax.",
        ), [Line(explanation.curve("score_spread", ALL_HEADS), "median over heads", "before")],
    )  # fmt: skip
    findings = explanation.findings.get(HEADING, ())
    return Section(
        "theory", HEADING, (rates, spread), look="explanation",
        notes=tuple(f"{finding.title.rstrip('.')}. {finding.sentence}" for finding in findings),
        lead="Theory says how a filter rate falls with length if scores are independent and Gaussian. Real scores are "
        "neither, so here is what it predicts beside what was measured.",
    )  # fmt: skip
