"""From an audit to rows, findings and what goes with them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from uncollapse.diagnosis.audit.counting import Audit
from uncollapse.diagnosis.audit.counting import Limits as Limits
from uncollapse.diagnosis.audit.findings import judge_losses
from uncollapse.diagnosis.audit.losses import (
    HELD,
    OTHER_SOURCES,
    groups,
    limit_to_hold,
    main_column,
    share_truncated,
    shown_sources,
    tokens_lost,
)
from uncollapse.diagnosis.audit.servers import SERVERS
from uncollapse.diagnosis.rows import row_of
from uncollapse.errors import UncollapseError
from uncollapse.records import Part, Row


def measure_audit(audit: Audit, model: str, *, representative: bool = True) -> Part:
    """Say how much of the texts is never seen, where it stands, and which limit would hold it.

    share_truncated@L = texts longer than L / texts, with Wilson's interval; tokens_lost@L = sum of max(tokens - L, 0)
    / sum of tokens, with a bootstrap over texts. Both over all texts, by length bin and by source. What follows from
    a bin's length alone is no estimate: its interval is its value.

    How to read it: 0 means every text is read to its end. What is lost is in no vector.

    Args:
        audit: of at least one text.
        model: what to call the model, in a command too.
        representative: whether shares of these texts are shares of the corpus; where not, there is no verdict.

    Raises:
        UncollapseError: an audit of no text.

    >>> import numpy as np
    >>> audit = Audit(Limits(256, 512))
    >>> audit.add([str(i) for i in range(40)], [""] * 40, np.full(40, 100))
    >>> measure_audit(audit, "minilm").verdict[0].title
    'Nothing is cut off'
    """
    if not audit.total.texts:
        raise UncollapseError("A truncation audit needs at least one text, got none. Add texts before it is read.")
    whole = "" if representative else "of texts chosen by their length, not of the corpus"
    verdict = tuple(judge_losses(audit, model)) if representative else ()
    return Part(tuple(_rows(audit, whole)), verdict, {"audit": _about(audit)})


def _rows(audit: Audit, whole: str) -> Iterator[Row]:
    for view, label, sums, ends in groups(audit):
        for column, limit in enumerate(audit.limits.every):
            reach = audit.limits.reach
            note = (
                f"what-if: the model was run with at most {reach:,} {audit.limits.unit}"
                if reach and limit > reach
                else ""
            )
            for name, estimate in {
                "share_truncated": share_truncated(sums, column, limit, ends),
                "tokens_lost": tokens_lost(sums, column, limit, ends),
            }.items():
                noted = estimate.noted(note).noted("" if ends else whole)
                mean = sums.tokens / sums.texts if label else 0.0
                yield row_of(f"{name}@{limit}", noted, view=view, label=label, n_tokens=mean)


def _about(audit: Audit) -> dict[str, Any]:
    column, held = main_column(audit), limit_to_hold(audit)
    longer = None if column is None else int(audit.total.truncated[column])
    return {
        "limits": {"folder": audit.limits.folder, "in_use": audit.limits.in_use, "named": list(audit.limits.named)},
        "n_texts": audit.total.texts,
        "n_tokens": audit.total.tokens,
        "longest": audit.longest,
        "limit_to_hold": {"share": HELD, "limit": held.value, "low": held.low, "high": held.high, "note": held.note},
        "texts": [asdict(text) for text in audit.worst],
        "servers": [
            {**server._asdict(), "texts": longer if server.cuts or longer is None else 0} for server in SERVERS
        ],
        "notes": list(_notes(audit)),
    }


def _notes(audit: Audit) -> Iterator[str]:
    if None in audit.sources:
        others = audit.sources[None].texts
        yield (
            f"{audit.most_sources} sources, drawn by their names, have numbers of their own; the {others:,} texts of "
            f"all others are counted together as {OTHER_SOURCES}"
        )
    if len(audit.sources) > 1 and not shown_sources(audit):
        yield "every source holds one text, so sources have no numbers of their own; see the texts that lose most"
