"""What the option --fail-if takes, looked at before anybody waits for torch."""

from collections.abc import Sequence

from uncollapse.gate import Condition, check_names, parse_condition


def read_conditions(texts: Sequence[str], *, quick: bool) -> list[Condition]:
    """The conditions of a diagnosis, on numbers that it can have.

    Args:
        texts: as the user gave them.
        quick: whether the diagnosis leaves causes and costs out.

    Raises:
        NotationError: a text is no condition.
        UncollapseError: a name or view that no row of such a diagnosis has.
    """
    conditions = [parse_condition(text) for text in texts]
    if conditions:
        from uncollapse.measures import MEASURES
        from uncollapse.reporting.glossary import numbers_of_diagnosis
        from uncollapse.reporting.words import VIEWS

        check_names(conditions, numbers_of_diagnosis(quick=quick), by_bin=MEASURES, views=VIEWS)
    return conditions
