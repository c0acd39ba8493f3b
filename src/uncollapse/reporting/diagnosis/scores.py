"""What a score means by the lengths of query and document."""

from collections.abc import Mapping

from uncollapse.records import Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, Section, remarks
from uncollapse.reporting.diagnosis import plots
from uncollapse.reporting.diagnosis.rows import asked, by_length, cut_at, find_by_cut, find_fields, noted

VIEW, TOTAL = "scores", "scores_overall"


def make_score_section(result: Result) -> Section | None:
    """Thresholds and false alarms by both lengths; None where nobody asked."""
    if not asked(result, "scores", VIEW, TOTAL):
        return None
    rates = find_by_cut(result, VIEW, "threshold") or find_by_cut(result, VIEW, "false_positive_rate")
    rate = next(iter(rates), "")
    others = [other for other in rates if other != rate]
    rest = [f"Thresholds at {', '.join(map(_percent, others))} are in the table of all numbers."] if others else []
    queries = words.listing(words.entry(result.about, "scores", "queries"))
    told = (*cut_at(result, "scores"), *([f"Queries: {queries}."] if queries else []))
    return Section(
        "scores", "What does a score mean?", (_thresholds(result, rate), _alarms(result, rate)), look="diagnosis",
        notes=(*told, *rest, *noted(result, "scores")),
        lead="A query and a text that have nothing to do with each other still get a score: here is how high it can "
        "be by chance, by the lengths of both.",
    )  # fmt: skip


def _thresholds(result: Result, rate: str) -> Chart:
    reading = (
        "Each field is one length of the query and one of the document: only a score above the number in it is rare "
        "among unrelated texts of these lengths, and the stronger the colour the higher it must be."
    )
    lead = f"The score that only {_percent(rate)} of unrelated pairs exceed." if rate else ""
    missing = "This result holds no thresholds: they take more pairs of texts."
    return _fields(result, f"threshold@{rate}", "Threshold by both lengths", lead, reading, missing)


def _alarms(result: Result, rate: str) -> Chart:
    reading = (
        "Each field is the share of unrelated pairs of these lengths that the one threshold lets through: without any "
        "effect of length the number is the same in all fields, and a stronger colour is more false alarms."
    )
    level = next(iter(find_by_cut(result, TOTAL, "threshold").get(rate, {}).values()), None)
    one = f"One threshold of {words.number(level.value, level.measure)}" if level else "One threshold"
    lead = f"{one} for all lengths lets through {_percent(rate)} of all unrelated pairs." if rate else ""
    missing = "This result holds no share of unrelated pairs above one threshold."
    return _fields(result, f"false_positive_rate@{rate}", "False alarms under one threshold", lead, reading, missing)


def _fields(result: Result, measure: str, title: str, lead: str, reading: str, missing: str) -> Chart:
    key = f"scores-{measure.partition('@')[0].replace('_', '-')}"
    found = find_fields(result, VIEW, measure)
    if not found:
        return Chart(key, title, reading, missing=missing, lead=lead)
    queries, documents = (by_length([cell[axis] for cell in found]) for axis in (0, 1))
    unit = words.unit(result.about)
    figure = plots.fields(found, xs=queries, ys=documents, axes=(f"query {unit}", f"document {unit}"))
    return Chart(
        key, title, reading, figure, _alt(title, found, unit), remarks=remarks(list(found.values())), lead=lead
    )


def _alt(title: str, found: Mapping[tuple[str, str], Row], unit: str) -> str:
    said = ", ".join(
        f"{words.number(row.value, row.measure)} for queries of {query} and documents of {document} {unit}"
        for (query, document), row in found.items()
    )
    return f"Table of fields. {title}: {said}."


def _percent(rate: str) -> str:
    try:
        return f"{100 * float(rate):g} %"
    except ValueError:
        return rate
