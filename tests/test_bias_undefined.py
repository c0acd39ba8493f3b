"""A figure of length bias that is not defined is left out with its reason, and a weak one says what it rests on."""

import dataclasses
import re

import numpy as np
import pytest

from rankings import make
from uncollapse.evaluation.bias.figures import BIAS, bias_rows, length_bias
from uncollapse.evaluation.rankings.ranked import Background, Judged
from uncollapse.evaluation.statistics.linked import BOTH_DRAWN
from uncollapse.evaluation.statistics.significance import MIN_GROUPS
from uncollapse.resampling import difference


def test_documents_of_one_length_have_no_figures() -> None:
    ranked = dataclasses.replace(make(15), lengths=np.full(120, 7))
    bias = length_bias(ranked)
    assert (bias.estimates, bias.n_tokens, bias_rows(bias)) == ({}, {}, ())
    assert set(bias.missing) == {re.sub("(@|top)k", r"\g<1>10", name) for name in BIAS}
    assert set(bias.missing.values()) == {"All 120 documents have the same length (7)."}


def test_without_judgements_only_shares_and_the_slope_remain() -> None:
    ranked = make(16)
    nothing = Judged(*(np.zeros(0, np.int64) for _ in range(4)), score=np.zeros(0))
    bias = length_bias(dataclasses.replace(ranked, judged=nothing))
    left = {"share_of_corpus", "share_of_top10", "length_slope", "length_slope_sd", "length_explained"}
    assert {name for name, _ in bias.estimates} == left
    assert bias.missing["length_ratio@10"] == "No query has both a retrieved and a relevant document."
    assert bias.missing["share_of_relevant"] == "No query has a relevant document."
    assert bias.missing["short_wins"].startswith("No query has two documents that were judged alike for it, differ")
    assert "with the longer the worse" in bias.missing["long_wins_wrongly"]


def test_a_query_that_retrieves_nothing_is_left_out_and_said() -> None:
    ranked = make(17, run=True)
    top, judged = ranked.top.copy(), ranked.judged
    top[3] = -1
    judged = dataclasses.replace(judged, rank=np.where(judged.query == 3, 0, judged.rank))
    bias = length_bias(dataclasses.replace(ranked, top=top, judged=judged))
    ratio = bias.estimates["length_ratio@10", ""]
    assert (ratio.n, ratio.note) == (39, "1 of 40 queries have fewer than 10 documents")
    assert bias.estimates["share_of_relevant", next(iter(bias.n_tokens))].n == 40


def test_a_search_that_retrieves_nothing_has_no_shares() -> None:
    bias = length_bias(make(18, width=0, run=True))
    assert bias.missing["share_of_top10"] == "No query has a retrieved document."
    assert {name for name, _ in bias.estimates} == {"share_of_corpus", "share_of_relevant"}


def test_a_corpus_smaller_than_k_is_shown_whole() -> None:
    bias = length_bias(make(19, documents=8, each=3), k=10)
    assert bias.estimates["length_ratio@10", ""].note == "the corpus has 8 documents, so that the top 10 is all of it"
    assert bias.estimates["length_ratio@R", ""].note == ""


def test_equal_scores_have_a_slope_of_zero_that_explains_nothing() -> None:
    ranked = make(20)
    level = np.random.default_rng(0).random(len(ranked))  # means of equal numbers are not always that number
    judged = dataclasses.replace(ranked.judged, score=level[ranked.judged.query])
    scores = np.broadcast_to(level[:, None], ranked.background.scores.shape)
    flat = Background(ranked.background.documents, scores)
    bias = length_bias(dataclasses.replace(ranked, judged=judged, background=flat))
    assert bias.estimates["length_slope", ""].value == 0
    assert bias.missing["length_explained"].endswith("different lengths, or all their scores are equal.")


def test_figures_from_a_run_say_what_they_rest_on() -> None:
    whole = make(21)
    notes = [
        length_bias(ranked).estimates["length_slope", ""].note
        for ranked in (
            whole,
            make(21, width=120, run=True),
            dataclasses.replace(whole, background=None, top_scores=None),
            dataclasses.replace(
                whole,
                background=Background(np.tile(whole.background.documents[0], (40, 1)), whole.background.scores),
            ),
        )
    ]
    assert notes == [
        BOTH_DRAWN,
        BOTH_DRAWN,
        f"{BOTH_DRAWN}; from judged documents only",
        f"{BOTH_DRAWN}; one sample of documents for all queries",
    ]


SLOPES = ("length_slope", "length_slope_sd", "length_explained")
ENDS_EARLY = (
    "Not defined for a run that ends before the last document: which documents are in it depends on their score."
)


@pytest.mark.parametrize("width", [10, 119])
def test_a_run_that_ends_early_has_no_slope(width: int) -> None:
    bias = length_bias(make(23, slope=-0.3, width=width, run=True), replicates=4)
    assert not bias.estimates.keys() & {(name, "") for name in SLOPES}
    assert [bias.missing[name] for name in SLOPES] == [ENDS_EARLY] * 3
    assert ("short_wins", "") in bias.estimates


def test_one_query_that_lacks_one_document_is_enough_to_have_no_slope() -> None:
    run = make(23, width=120, run=True)
    top, judged = run.top.copy(), run.judged
    last, top[5, -1] = top[5, -1], -1
    gone = (judged.query == 5) & (judged.document == last)
    cut = {"rank": np.where(gone, 0, judged.rank), "score": np.where(gone, np.nan, judged.score)}
    short = dataclasses.replace(run, top=top, judged=dataclasses.replace(judged, **cut))
    assert length_bias(short, replicates=4).missing["length_slope"] == ENDS_EARLY
    assert "length_slope" not in length_bias(run, replicates=4).missing


def test_scores_of_retrieved_judged_documents_alone_have_no_slope() -> None:
    run = dataclasses.replace(make(23, run=True), top_scores=None)
    assert length_bias(run, replicates=4).missing["length_slope"] == ENDS_EARLY


def test_few_queries_have_no_interval() -> None:
    for queries in (MIN_GROUPS - 1, MIN_GROUPS):
        estimate = length_bias(make(22, queries=queries)).estimates["length_slope", ""]
        assert estimate.n == queries
        assert (estimate.low is None, len(estimate.replicates) == 0) == (queries < MIN_GROUPS, queries < MIN_GROUPS)
    few = length_bias(make(22, queries=9)).estimates["length_slope", ""]
    assert few.note.startswith("no interval: 9 independent")
    assert difference(few, few).low is None
