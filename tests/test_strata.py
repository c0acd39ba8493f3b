"""Cuts by length: every line once in each view, and bins that say what is in them."""

import numpy as np
import pytest

from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.strata import VIEWS, cut_by_length


def sheet(n=97, *, queries=True, seed=0) -> Sheet:
    rng = np.random.default_rng(seed)
    names = tuple(map(str, range(n)))
    lengths = rng.integers(5, 900, n)
    return Sheet("texts", names, names, lengths, rng.integers(3, 30, n) if queries else None, {})


@pytest.mark.parametrize("bins", [2, 5, 7])
def test_every_line_is_once_in_every_view(bins):
    one = sheet()
    strata = list(cut_by_length(one, bins=bins, cells=3))
    assert [*dict.fromkeys(stratum.view for stratum in strata)] == list(VIEWS)
    for view in VIEWS:
        lines = np.stack([stratum.lines for stratum in strata if stratum.view == view])
        assert (lines.sum(axis=0) == 1).all()


def test_bins_hold_about_equally_many_and_name_their_bounds():
    one = sheet(500)
    for stratum in cut_by_length(one, bins=5, cells=3):
        if stratum.view == "by_document_length":
            low, high = map(int, stratum.bin.split("-"))
            inside = one.n_tokens[stratum.lines]
            assert 90 <= len(inside) <= 110
            assert low <= inside.min() <= stratum.n_tokens <= inside.max() <= high


def test_the_grid_is_the_intersection_of_its_axes():
    one = sheet(300)
    cells = [stratum for stratum in cut_by_length(one, bins=5, cells=3) if stratum.view == "grid"]
    assert len(cells) == 9
    for cell in cells:
        (low, high), (short, long) = (map(int, part.split("-")) for part in cell.bin.split(" x "))
        expected = (one.n_tokens >= low) & (one.n_tokens <= high)
        expected &= (one.n_query_tokens >= short) & (one.n_query_tokens <= long)
        np.testing.assert_array_equal(cell.lines, expected)


def test_texts_without_queries_are_cut_along_one_axis():
    assert {stratum.view for stratum in cut_by_length(sheet(queries=False), bins=5, cells=3)} == set(VIEWS[:2])


def test_lines_of_one_length_are_not_cut():
    one = sheet(20)
    same = Sheet("texts", one.ids, one.groups, np.full(20, 9), np.full(20, 4), {})
    assert [stratum.view for stratum in cut_by_length(same, bins=5, cells=3)] == ["overall"]
