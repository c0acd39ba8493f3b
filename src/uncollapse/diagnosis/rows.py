"""Estimates as rows of the one table of results."""

from uncollapse.records import Row
from uncollapse.resampling import Estimate


def row_of(
    measure: str,
    estimate: Estimate,
    *,
    view: str = "",
    label: str = "",
    n_tokens: float = 0.0,
    fix: str = "none",
    note: str = "",
) -> Row:
    """An estimate as a row of the table.

    Args:
        measure: what it is.
        estimate: the number; without an interval it should say why, else the row says "no interval".
        view, label, n_tokens, fix: as `view`, `bin`, `n_tokens` and `fix` of `Row`.
        note: what a reader must know besides, before the estimate's own note.

    >>> row = row_of("mean_cosine", Estimate(0.25, (), None, None, 4), note="a guess")
    >>> row.value, row.low, row.n, row.note
    (0.25, None, 4, 'a guess; no interval')
    """
    low, high = estimate.low, estimate.high
    why = estimate.note or ("no interval" if low is None else "")
    return Row(
        measure,
        float(estimate.value),
        None if low is None else float(low),
        None if high is None else float(high),
        estimate.n,
        view=view,
        bin=label,
        n_tokens=round(n_tokens, 2),
        fix=fix,
        note="; ".join(part for part in (note, why) if part),
    )
