"""The texts that lose most: the same ones in any order, with the place where the model stops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits import LIMITS, Model, make_audit, state
from tiny import save_tiny
from uncollapse.corpora import Text
from uncollapse.diagnosis.audit import (
    BEGINNING,
    MOST_TEXTS,
    Audit,
    CutText,
    Limits,
    lost_beginning,
)
from uncollapse.encoders import load
from uncollapse.errors import UncollapseError


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), chunk=st.integers(1, 70))
def test_the_greatest_losses_do_not_depend_on_the_order(seed, chunk):
    rng = np.random.default_rng(seed)
    full = rng.integers(200, 290, 70)  # many ties
    ids = [f"t{i}" for i in range(70)]
    audit = Audit(LIMITS, replicates=4)
    order = rng.permutation(70)
    for start in range(0, 70, chunk):
        rows = order[start : start + chunk]
        audit.add([ids[row] for row in rows], ["s"] * len(rows), full[rows])
    expected = sorted((256 - int(full[i]), ids[i]) for i in range(70) if full[i] > 256)[:MOST_TEXTS]
    assert [(-text.lost, text.id) for text in audit.worst] == expected
    assert all(text.n_tokens - 256 == text.lost for text in audit.worst)


def test_only_texts_that_enter_the_table_are_looked_into():
    asked = []

    def beginning(row):
        asked.append(row)
        return f"row {row}"

    audit = Audit(LIMITS, replicates=4)
    audit.add([f"a{i}" for i in range(100)], [""] * 100, np.arange(300, 400), beginning=beginning)
    assert sorted(asked) == list(range(80, 100))
    asked.clear()
    audit.add(["short", "fits", "long"], [""] * 3, np.array([350, 10, 999]), beginning=beginning)
    assert asked == [2]
    assert audit.worst[0] == CutText("long", "", 999, 743, "row 2")
    assert audit.worst[1].beginning == "row 99"


def test_an_error_while_looking_leaves_the_audit_as_it_was():
    audit = make_audit([300, 20])
    before = state(audit)

    def broken(row):
        raise UncollapseError(f"row {row} cannot be read")

    with pytest.raises(UncollapseError, match="row 0 cannot be read"):
        audit.add(["x"], [""], np.array([900]), beginning=broken)
    assert state(audit) == before


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("tiny") / "model", max_tokens=20)), max_tokens="model")


def test_the_lost_part_begins_where_the_model_stops(encoder):
    letters = np.random.default_rng(0).choice(list("abcdefghij"), 400)
    text = " ".join("".join(letters[i : i + 5]) for i in range(0, 400, 5))
    full = int(encoder.count([text])[0])
    lost = lost_beginning(encoder, text, 20, full)
    seen = encoder.prepare([text]).n_tokens[0]
    start = text.index(lost.removesuffix(" ..."))
    assert encoder.count([text[:start]])[0] == seen == 20
    assert lost_beginning(encoder, text, full, full) == ""
    assert len(lost) == BEGINNING + 4


def test_texts_of_a_corpus_are_added_with_what_they_lose(encoder):
    texts = [Text("long", "abc def. " * 40, source="a.txt"), Text("short", "abc", source="a.txt")]
    audit = Audit(Limits.of(encoder), replicates=4)
    audit.add_texts(encoder, texts, encoder.count([text.text for text in texts]))
    (cut,) = audit.worst
    assert (cut.id, cut.source, cut.n_tokens - cut.lost) == ("long", "a.txt", 20)
    assert cut.beginning == lost_beginning(encoder, texts[0].text, 20, cut.n_tokens) != ""


def test_without_token_positions_the_place_is_taken_in_proportion():
    text = " ".join(f"w{i}" for i in range(100))
    assert lost_beginning(Model(), text, 52, 102).startswith("w50 w51")
    assert lost_beginning(Model(), text, 102, 202).startswith("w50 w51")  # two tokens a word
    assert lost_beginning(Model(), "w0  w1\n\nw2", 4, 5) == "w2"


@pytest.mark.real
def test_the_bundled_model_is_cut_at_its_folders_limit():
    encoder = load("minilm", max_tokens="table")
    text = " ".join(f"Sentence number {i} says something else." for i in range(200))
    audit = Audit(Limits.of(encoder), replicates=4)
    audit.add_texts(encoder, [Text("a", text)], encoder.count([text]))
    assert (audit.limits.folder, audit.limits.in_use) == (256, 512)
    start = text.index(audit.worst[0].beginning.removesuffix(" ...")[:80])
    assert encoder.count([text[:start]])[0] == 256
