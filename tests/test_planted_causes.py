"""Models and corpora whose cause is planted: the right one is named, and the others are near zero."""

from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import pytest
import torch

import planted
from tolerances import assert_close
from uncollapse import load, open_corpus
from uncollapse.diagnosis.causes.attribution import CAUSES, STEPS
from uncollapse.diagnosis.causes.measurement import measure_causes, split_observed
from uncollapse.diagnosis.causes.observation import observe
from uncollapse.encoders import TextEncoder
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.records import Part, Row
from uncollapse.reservoir import Kept

N = 48
NEAR_ZERO = 0.05
"""Mean cosine that a cause may have which is not planted."""


def rows(part: Part) -> dict[str, Row]:
    """Causes by name, and the rise."""
    return {row.bin or row.measure: row for row in part.rows if row.measure != "mean_cosine"}


def explain(encoder: TextEncoder, texts: list[str], limit: int, **keys: int) -> Part:
    return measure_causes(encoder, planted.kept(texts, limit), replicates=64, **keys)


def assert_named(part: Part, cause: str, *, near_zero: float = NEAR_ZERO) -> None:
    """The cause is surely above zero, carries most, is named first, and all others are near zero."""
    found = rows(part)
    planted_one, rise = found[cause], found.pop("rise")
    assert rise.low is not None
    assert rise.low > 0
    assert planted_one.low is not None
    assert planted_one.low > 0
    assert planted_one.value > 0.6 * rise.value
    others = {name: row.value for name, row in found.items() if name != cause}
    assert all(abs(value) < min(near_zero, planted_one.value / 2) for value in others.values()), others
    first = next(finding for finding in part.verdict if finding.kind == "neutral")
    assert first.title == f"Why: {CAUSES[cause].title[0].lower()}{CAUSES[cause].title[1:]}"
    assert f"n = {N} documents" in first.sentence


# 1. A static model, one topic a text: saying more is all there is.


def test_a_static_model_averages_content() -> None:
    table, texts = planted.topics(N, 1, 512, common=1.0, noise=6.0)
    part = explain(planted.encoder(table, max_tokens=512), texts, 512)
    assert_named(part, "content_averaging")
    assert abs(rows(part)["attention"].value) < 0.002  # pieces differ a little in length before they are scaled to 1


def test_a_static_model_whose_pieces_are_of_equal_length_has_no_attention_at_all() -> None:
    table, texts = planted.one_word_each(N, 128)
    part = explain(planted.encoder(table, max_tokens=128), texts, 128)
    assert_named(part, "content_averaging")
    assert_close([rows(part)[name].value for name in ("attention", "topic_mix", "truncation")], 0.0, 1e-6)


def test_averaging_is_as_large_as_algebra_says() -> None:
    table, texts = planted.one_word_each(N, 128, size=1000, common=1.0, spread=5.0)
    part = explain(planted.encoder(table, max_tokens=128), texts, 128)
    # A piece of p words that no other document says has the squared length 1 + 25 / p, of which 1 is common; one in
    # 1000 / 128 words of another document is the same by chance, which adds 25 / 1000.
    expected = [(1 + 25 / 1000) / (1 + 25 / p) for p in (32, 128)]
    steps = {row.bin: row.value for row in part.rows if row.measure == "mean_cosine"}
    assert_close([steps["pieces"], steps["whole"]], expected, 0.003)


# 2. A static model, texts that pass through several topics.


def test_texts_that_change_their_subject() -> None:
    table, texts = planted.topics(N, 4, 512, common=0.5, noise=1.0)
    part = explain(planted.encoder(table, max_tokens=512), texts, 512)
    assert_named(part, "topic_mix", near_zero=0.06)  # of which 0.05 is said to be averaging, and is


@pytest.mark.parametrize("noise", [1.0, 6.0])
def test_texts_that_keep_their_subject(noise: float) -> None:
    table, texts = planted.topics(N, 1, 512, common=0.5, noise=noise)
    part = explain(planted.encoder(table, max_tokens=512), texts, 512)
    assert abs(rows(part)["topic_mix"].value) < 0.005
    assert not any("subject" in finding.title for finding in part.verdict)


def test_the_more_subjects_the_more_topic_mix() -> None:
    shares = []
    for sections in (1, 2, 4, 8):
        table, texts = planted.topics(N, sections, 512)
        shares.append(rows(explain(planted.encoder(table, max_tokens=512), texts, 512))["topic_mix"].value)
    assert shares == sorted(shares)


# 3. Positions that are broken from some place on.


def broken(rows: int, first: int, dim: int, *, size: float = 3.0) -> npt.NDArray[np.float64]:
    """A table of positions that is empty up to `first` and one large vector from there on."""
    positions = np.zeros((rows, dim))
    positions[first:] = size * np.random.default_rng(1).standard_normal(dim) / dim**0.5
    return positions


def test_broken_late_positions() -> None:
    table, texts = planted.unlike(N, 512)
    positions = broken(512, 32, table.shape[1])
    part = explain(planted.encoder(table, max_tokens=512, positions=positions), texts, 512)
    assert part.about["causes"]["positions"] == "shifted"
    assert_named(part, "position")


def test_positions_that_do_nothing_are_not_blamed() -> None:
    table, texts = planted.topics(N, 1, 512, common=1.0, noise=6.0)
    positions = np.zeros((512, table.shape[1]))
    part = explain(planted.encoder(table, max_tokens=512, positions=positions), texts, 512)
    assert (rows(part)["position"].value, rows(part)["position"].high) == (0.0, 0.0)
    assert_named(part, "content_averaging")


# 4. Text that is never read.


def test_silent_truncation_is_found_and_named() -> None:
    table, texts = planted.boilerplate(N)
    part = explain(planted.BlackBox(table, max_tokens=256, really=64), texts, 256)
    assert_named(part, "truncation")
    assert part.verdict[0].kind == "bad"
    assert part.verdict[0].sentence.startswith("box says 256 tokens but reads only about 64: ")
    about = part.about["causes"]
    assert (about["claimed_tokens"], about["read_tokens"], about["window_tokens"]) == (256, 64, 256)


def test_a_black_box_that_says_nothing_is_not_said_to_have_no_limit() -> None:
    table, texts = planted.boilerplate(N)
    box = planted.BlackBox(table, max_tokens=NO_LIMIT, really=64)
    box.knows_limit, box.unit = False, "words"  # type: ignore[attr-defined]
    part = explain(box, texts, 256)
    assert part.verdict[0].title == "box reads only about 64 words"
    assert "no limit" not in part.verdict[0].sentence
    assert part.about["causes"]["claimed_tokens"] is None


def test_honest_truncation_is_named_but_not_called_a_lie() -> None:
    table, texts = planted.boilerplate(N)
    part = explain(planted.BlackBox(table, max_tokens=64), texts, 64)
    assert_named(part, "truncation")
    assert not any(finding.kind == "bad" for finding in part.verdict)


def test_silent_and_honest_truncation_are_the_same_but_for_the_finding() -> None:
    table, texts = planted.boilerplate(N)
    silent = explain(planted.BlackBox(table, max_tokens=256, really=64), texts, 256)
    honest = explain(planted.BlackBox(table, max_tokens=64), texts, 64)
    assert silent.rows == honest.rows


def test_nothing_beyond_the_limit_is_no_truncation() -> None:
    table, texts = planted.boilerplate(N)
    part = explain(planted.BlackBox(table, max_tokens=256), texts, 256)
    assert (rows(part)["truncation"].value, rows(part)["truncation"].high) == (0.0, 0.0)


def test_text_beyond_a_window_that_is_not_the_limit_is_not_truncated_by_the_model() -> None:
    """One short document sets the window; what the model would read of the others is left out of all steps."""
    table, texts = planted.boilerplate(N)
    texts[0] = " ".join(texts[0].split()[:128])
    part = explain(planted.BlackBox(table, max_tokens=256), texts, 256)
    assert part.about["causes"]["window_tokens"] == 128
    assert rows(part)["truncation"].value == 0.0


# 5. and 6. Attention.


def test_attention_that_flattens_as_texts_grow() -> None:
    table, texts, topical = planted.sprinkled(N, 512)
    pool = planted.flattening_attention(topical)
    part = explain(planted.encoder(table, pool, max_tokens=512), texts, 512)
    assert_named(part, "attention", near_zero=0.001)
    assert "part of attention" in rows(part)["attention"].note


def test_attention_that_flattens_is_told_from_positions_where_both_could_be() -> None:
    table, texts, topical = planted.sprinkled(N, 512)
    pool, positions = planted.flattening_attention(topical), np.zeros((512, table.shape[1]))
    part = explain(planted.encoder(table, pool, max_tokens=512, positions=positions), texts, 512)
    assert_named(part, "attention", near_zero=0.001)
    assert rows(part)["attention"].note == ""
    assert rows(part)["position"].value == 0.0


def test_from_outside_attention_and_position_are_one_cause() -> None:
    table, texts, topical = planted.sprinkled(N, 512)
    inside = planted.encoder(table, planted.flattening_attention(topical), max_tokens=512)
    box = planted.BlackBox(table, max_tokens=512)
    box.vectors = inside.vectors  # type: ignore[method-assign]  # the same model behind a wall
    part = explain(box, texts, 512)
    assert_named(part, "inseparable", near_zero=0.001)
    assert {"position", "attention"}.isdisjoint(rows(part))


def test_uniform_attention_is_averaging() -> None:
    """By algebra: no experiment on vectors can tell uniform attention from a model without attention."""
    table, texts = planted.one_word_each(N, 128, size=300)
    pool, dim = planted.uniform_attention(301), table.shape[1]
    values = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / dim**0.5
    static = planted.encoder(table @ (np.eye(dim) + values.numpy()), max_tokens=128)
    attentive = planted.encoder(table, pool, max_tokens=128)
    assert_close(attentive.vectors(texts), static.vectors(texts), 1e-5)
    part, other = explain(attentive, texts, 128), explain(static, texts, 128)
    assert_named(part, "content_averaging")
    assert abs(rows(part)["attention"].value) < 1e-4
    for name, row in rows(part).items():
        assert row.value == pytest.approx(rows(other)[name].value, abs=1e-6)


def test_uniform_attention_that_keeps_lengths_is_exactly_averaging() -> None:
    table, texts = planted.one_word_each(N, 128, size=300)
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).standard_normal((301, 301)))[0])

    def pool(states: torch.Tensor, mask: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        weights = (mask[:, None, :] / mask.sum(dim=1)[:, None, None]).expand(-1, mask.shape[1], -1)
        return planted.mean_pooled(weights @ states @ turn, mask, numbers)

    part = explain(planted.encoder(table, pool, max_tokens=128), texts, 128)
    assert_close(rows(part)["attention"].value, 0.0, 1e-6)
    assert_named(part, "content_averaging")


# 7. No cause, and what must hold always.


def test_no_cause_is_named_where_there_is_no_rise() -> None:
    table, texts = planted.unlike(N, 256)
    part = explain(planted.encoder(table), texts, 256)
    assert all(abs(row.value) < 0.005 for row in rows(part).values())
    assert [finding.title for finding in part.verdict] == ["There is no rise to explain"]
    assert {row.bin for row in part.rows if row.measure == "mean_cosine"} == set(STEPS)


def test_a_constant_model_has_no_rise() -> None:
    table, texts = planted.unlike(N, 128)
    part = explain(planted.BlackBox(np.ones_like(table), max_tokens=128), texts, 128)
    assert all(abs(row.value) < 1e-6 for row in rows(part).values())
    assert part.verdict[0].title == "There is no rise to explain"


def test_causes_add_up_and_are_in_the_table() -> None:
    table, texts = planted.topics(N, 4, 512)
    found = rows(explain(planted.encoder(table, max_tokens=512), texts, 512))
    rise = found.pop("rise")
    assert_close(sum(row.value for row in found.values()), rise.value, 1e-12)
    assert set(found) <= set(CAUSES)
    assert all(row.view == "causes" and row.n == N for row in (*found.values(), rise))


def test_the_order_of_documents_changes_nothing_at_all() -> None:
    table, texts = planted.topics(N, 4, 256)
    documents = planted.kept(texts, 256)
    a, b = (measure_causes(planted.encoder(table), order, replicates=64) for order in (documents, documents[::-1]))
    assert a == b


def test_the_same_seed_gives_the_same_report_and_another_does_not() -> None:
    table, texts = planted.topics(N, 4, 256)
    a, b, c = (explain(planted.encoder(table), texts, 256, seed=seed) for seed in (1, 1, 2))
    assert a == b
    assert a.rows != c.rows
    assert_close([row.value for row in a.rows], [row.value for row in c.rows], 1e-12)


def test_a_rotation_of_the_space_changes_nothing() -> None:
    table, texts = planted.topics(N, 4, 256)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((table.shape[1],) * 2))[0]
    a, b = (explain(planted.encoder(t), texts, 256) for t in (table, table @ turn))
    assert_close([row.value for row in a.rows], [row.value for row in b.rows], 1e-6)  # vectors are float32


def test_what_was_observed_can_be_split_again_and_used_elsewhere() -> None:
    table, texts = planted.topics(N, 4, 256)
    documents = planted.kept(texts, 256)
    observed = observe(planted.encoder(table), documents)
    assert split_observed(observed, replicates=64) == measure_causes(planted.encoder(table), documents, replicates=64)
    assert sum(len(cut) for cut in observed.cuts) == len(observed.vectors.alone)
    by_id = {document.id: document for document in documents}
    for row, name in enumerate(observed.vectors.ids):
        assert by_id[name].full.startswith(observed.cuts[row].whole)


def test_the_size_of_a_piece_follows_what_is_read() -> None:
    table, texts = planted.unlike(N, 256)
    for limit, piece, expected in ((256, 32, 32), (256, 16, 16), (64, 32, 16), (16, 32, 4)):
        part = explain(planted.encoder(table, max_tokens=limit), texts, limit, piece=piece)
        assert part.about["causes"]["piece_tokens"] == expected


def test_progress_reaches_its_end() -> None:
    table, texts = planted.unlike(N, 256)
    bars: dict[tuple[str, str], tuple[float | None, list[float]]] = {}

    class Watched:
        def track(self, what: str, total: float | None, unit: str) -> object:
            done: list[float] = []
            bars[what, unit] = (total, done)
            return nullcontext(done.append)

    positions = np.zeros((256, table.shape[1]))
    measure_causes(planted.encoder(table, positions=positions), planted.kept(texts), progress=Watched())  # type: ignore[arg-type]
    (unknown, tried), (total, done) = bars["how much is read", "texts"], bars["causes of the rise", "tokens"]
    assert unknown is None
    assert sum(tried) == 2 * 8  # as they are, and with another end
    assert sum(done) == total == N * (256 + 224 + 256)


# Too little to go on.


@pytest.mark.parametrize(("n", "length"), [(0, 256), (1, 256), (N, 15)])
def test_too_little_text_is_refused_in_words(n: int, length: int) -> None:
    table, texts = planted.unlike(N, length)
    part = explain(planted.encoder(table), texts[:n], 256)
    assert not part.rows
    (finding,) = part.verdict
    assert finding.kind == "unknown"
    assert f"needs at least 2 documents of 16 tokens or more, got {n}" in finding.sentence


def test_few_documents_give_numbers_without_intervals() -> None:
    table, texts = planted.topics(12, 4, 256)
    part = explain(planted.encoder(table), texts, 256)
    assert all(row.low is None and "12 documents, fewer than 30" in row.note for row in part.rows)
    (finding,) = part.verdict
    assert finding.kind == "unknown"
    assert "at least 30" in finding.sentence


# A real model.


@pytest.mark.real
def test_a_real_model_on_documentation_strings() -> None:
    encoder = load("minilm", max_tokens=128)
    documents: list[Kept] = []
    for text in open_corpus("docstrings", limit=2000):
        prepared = encoder.prepare([text.text])
        if prepared.n_tokens_full[0] >= 128:
            documents.append(Kept(text.id, prepared.texts[0], 128, full=text.text[:2000]))
        if len(documents) == 32:
            break
    part = measure_causes(encoder, documents, replicates=64)
    found = rows(part)
    rise = found.pop("rise")
    assert_close(sum(row.value for row in found.values()), rise.value, 1e-12)
    assert all(row.low is not None and row.n == 32 for row in found.values())
    assert set(found) == set(CAUSES) - {"inseparable"}
    assert part.about["causes"]["positions"] == "shifted"
    assert part.about["causes"]["read_tokens"] == 128
