"""Rows of length bias, the table of its figures and their page say the same; bad input is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from rankings import make
from uncollapse.errors import UncollapseError
from uncollapse.evaluation.bias.figures import BIAS, bias_rows, describe, length_bias
from uncollapse.records import Result


def test_every_row_has_an_interval_or_says_why_not() -> None:
    rows = [
        row
        for options in ({}, {"queries": 5}, {"run": True, "width": 4}, {"documents": 8})
        for row in bias_rows(length_bias(make(23, **options)), model="m", fix="f", dataset="d/test")
    ]
    for row in rows:
        assert row.n > 0
        assert np.isfinite(row.value)
        assert (row.low is None) == (row.high is None)
        assert row.low is not None or "no interval" in row.note
        assert row.view == ("by_document_length" if row.bin else "overall")
        assert (row.n_tokens > 0) == bool(row.bin)
        assert (row.model, row.fix, row.dataset) == ("m", "f", "d/test")
    assert json.loads(Result(rows=tuple(rows)).to_json())["rows"]


def test_values_lie_in_the_range_of_the_table() -> None:
    limits = {"0 to 1": (0, 1), "-1 to 1": (-1, 1), "above 0": (0, np.inf), "any": (-np.inf, np.inf)}
    names = set()
    for seed in range(5):
        bias = length_bias(make(seed, slope=seed - 2), k=seed + 3)
        for (name, _), estimate in bias.estimates.items():
            low, high = limits[describe(name).range]
            assert low <= estimate.value <= high
            names.add(describe(name).name)
    assert names == set(BIAS)


def test_an_unknown_figure_is_answered_with_the_nearest() -> None:
    with pytest.raises(UncollapseError, match=r"'short_win' is no figure of length bias\. Did you mean 'short_wins'"):
        describe("short_win")


def test_the_page_explains_every_figure() -> None:
    page = (Path(__file__).parents[1] / "docs/bias.md").read_text()
    for name in BIAS:
        assert f"`{name}`" in page


@pytest.mark.parametrize("name", ["k", "bins"])
def test_k_and_bins_must_be_positive(name: str) -> None:
    with pytest.raises(UncollapseError, match=rf"`{name}` must be at least 1, got 0"):
        length_bias(make(), **{name: 0})


def test_replicates_are_checked_even_where_there_is_nothing_to_resample() -> None:
    ranked = dataclasses.replace(make(), lengths=np.full(120, 7))
    with pytest.raises(UncollapseError, match="multiple of 4, got 3"):
        length_bias(ranked, replicates=3)
