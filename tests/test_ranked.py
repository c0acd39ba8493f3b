"""A ranking whose arrays contradict each other is refused, with the query or the array that does."""

import dataclasses

import numpy as np
import pytest

from rankings import make
from uncollapse.errors import UncollapseError
from uncollapse.evaluation.rankings import ranked as module
from uncollapse.evaluation.rankings.ranked import Background, find_ranks

RANKED = make(queries=5, documents=30)


def change_judged(**columns):
    return {"judged": dataclasses.replace(RANKED.judged, **columns)}


def at(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


JUDGED, BACKGROUND, TOP = RANKED.judged, RANKED.background, RANKED.top


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": ("a",)}, r"one group and one row of `top` a query.*got 5 queries.*'groups': \(1,\)"),
        ({"top": TOP[:3]}, r"`top` of shape \(3, 20\)"),
        ({"top": TOP[0]}, r"`top` of shape \(20,\)"),
        ({"lengths": RANKED.lengths[:0]}, "at least one query and one document.* 0 documents"),
        ({"top_scores": np.zeros((5, 2))}, r"'top_scores': \(5, 2\)"),
        (change_judged(score=JUDGED.score[:2]), r"'judged.score': \(2,\)"),
        ({"background": Background(BACKGROUND.documents, BACKGROUND.scores[:, :1])}, r"'background.scores': \(5, 1\)"),
        (
            {"background": Background(BACKGROUND.documents[:2], BACKGROUND.scores[:2])},
            r"'background.documents': \(2, 30\)",
        ),
        ({"lengths": at(RANKED.lengths, 0, -1)}, r"`lengths` must lie in \[0, \], got -1 to"),
        ({"top": at(TOP, (0, 0), 30)}, r"`top` must lie in \[-1, 29\], got .* to 30 \(5 queries, 30 documents"),
        (change_judged(query=at(JUDGED.query, 0, 5)), r"`judged.query` must lie in \[0, 4\], got 0 to 5"),
        (change_judged(document=at(JUDGED.document, 0, -1)), r"`judged.document` must lie in \[0, 29\]"),
        (change_judged(rank=at(JUDGED.rank, 0, -1)), r"`judged.rank` must lie in \[0, 30\]"),
        (
            {"background": Background(at(BACKGROUND.documents, (0, 0), 30), BACKGROUND.scores)},
            r"`background.documents` must lie in \[0, 29\]",
        ),
        (change_judged(score=at(JUDGED.score, 0, np.inf)), "`judged.score` holds infinity; a score is finite, or NaN"),
        ({"top_scores": at(RANKED.top_scores, (0, 0), -np.inf)}, "`top_scores` holds infinity"),
        (
            {"background": Background(BACKGROUND.documents, at(BACKGROUND.scores, (0, 0), np.inf))},
            "`background.scores` holds infinity",
        ),
        ({"top": at(TOP, (2, 3), -1)}, r"1 of 5 queries: query 'q2' has -1 before the end of its row of `top`\. Fill"),
        ({"top": at(TOP, (2, 3), TOP[2, 0])}, r"query 'q2' has one document twice in `top`\. Keep its best place"),
        (
            change_judged(document=at(JUDGED.document, 1, JUDGED.document[0])),
            r"query 'q0' has two judgements of one document\. Keep one",
        ),
        (
            change_judged(rank=at(JUDGED.rank, -1, (JUDGED.rank[-1] + 1) % 20)),
            r"1 of 5 queries: query 'q4' has a judged document whose rank is not its place in `top`\. Take ranks from",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(changes, message):
    with pytest.raises(UncollapseError, match=message):
        dataclasses.replace(RANKED, **changes)


def test_ranks_may_go_on_below_the_list():
    below = np.where(JUDGED.rank == 0, 25, JUDGED.rank)
    assert (dataclasses.replace(RANKED, **change_judged(rank=below)).judged.rank > 0).all()


def test_ranks_are_found_in_any_portions(monkeypatch):
    expected = [
        [*row.tolist(), document].index(document) + 1 if document in row else 0
        for row, document in zip(TOP[JUDGED.query], JUDGED.document, strict=True)
    ]
    assert find_ranks(TOP, JUDGED.query, JUDGED.document).tolist() == expected
    monkeypatch.setattr(module, "CELLS", 7)
    assert find_ranks(TOP, JUDGED.query, JUDGED.document).tolist() == expected


def test_portions_change_no_figure(monkeypatch):
    from uncollapse.evaluation.bias.figures import length_bias

    whole = length_bias(RANKED, replicates=4).estimates
    monkeypatch.setattr(module, "CELLS", 50)
    for key, estimate in length_bias(RANKED, replicates=4).estimates.items():
        assert estimate.value == pytest.approx(whole[key].value, abs=1e-12)
