"""A memory of vectors changes what is embedded and never what is found."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planted
from costs_corpora import BagEncoder, make_documents
from synthetic import ListCorpus
from tiny import save_tiny
from tolerances import FLOAT32, assert_close
from uncollapse.corpora import Text
from uncollapse.diagnosis import parts
from uncollapse.diagnosis.causes.controls import measure_controls
from uncollapse.diagnosis.causes.measurement import measure_causes
from uncollapse.diagnosis.costs import measure_costs
from uncollapse.diagnosis.memory import Memory
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import diagnose
from uncollapse.encoders import SentenceEncoder, load_model
from uncollapse.progress import Advance
from uncollapse.records import Part, Row

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class Counting(SentenceEncoder):
    """Counts the texts that go through the model."""

    seen = 0

    def vectors(self, texts: Any, n_tokens: Any = None) -> Any:
        Counting.seen += len(texts)
        return super().vectors(texts, n_tokens)


def open_tiny(folder: Path, *, prompts: dict[str, str] | None = None) -> Counting:
    save_tiny(folder, max_tokens=40)
    settings = {"__version__": {}, "prompts": prompts or {}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    made = load_model(str(folder), device="cpu")
    return Counting(made.model, "tiny", source=folder, folder_max_tokens=40)


def corpus(n: int = 70) -> ListCorpus:
    """Texts of letters, in sentences of seven."""
    rng = np.random.default_rng(0)
    made = []
    for row in range(n):
        letters = rng.choice(list(LETTERS), size=rng.integers(48, 90))
        made.append(Text(f"id{row}", " ".join(a + "." * (i % 7 == 6) for i, a in enumerate(letters))))
    return ListCorpus(made)


def ask(memory: Memory, encoder: Any, texts: list[str]) -> tuple[Any, float]:
    done: list[float] = []
    counts = encoder.count(texts)
    vectors = memory.vectors(encoder, texts, counts, advance=done.append)
    assert sum(done) == counts.sum()
    return vectors, counts.sum()


# Laws of the memory


def test_every_text_is_embedded_once_and_all_have_their_vectors() -> None:
    encoder, memory = BagEncoder(), Memory()
    texts = ["a b", "c", "a b", "d e f"]
    expected = encoder.vectors(texts)
    encoder.encoded.clear()
    first, _ = ask(memory, encoder, texts)
    again, _ = ask(memory, encoder, ["d e f", "new", "c"])
    assert encoder.encoded == ["d e f", "a b", "c", "new"]  # longest first
    assert np.array_equal(first, expected)
    assert np.array_equal(again[[0, 2]], expected[[3, 1]])
    assert memory.tokens == encoder.count(encoder.encoded).sum()
    assert ask(memory, encoder, [])[0].shape == (0, encoder.dim)


def test_another_prompt_or_another_window_is_another_vector(tmp_path: Path) -> None:
    encoder = open_tiny(tmp_path, prompts={"query": "q q q ", "document": ""})
    memory, texts = Memory(), ["a b c d e f g h", "i j k l m n o p"]
    as_document, as_query = (ask(memory, one, texts)[0] for one in (encoder, encoder.as_role("query")))
    assert_close(as_query, encoder.as_role("query").vectors(texts), FLOAT32)
    assert abs(as_query - as_document).max() > 0.01
    with encoder.window(5):
        short, _ = ask(memory, encoder, texts)
        assert_close(short, encoder.vectors(texts), FLOAT32)
    assert abs(short - as_document).max() > 0.01
    before = memory.tokens
    assert np.array_equal(ask(memory, encoder.as_role("document"), texts)[0], as_document)
    assert memory.tokens == before


def test_what_does_not_fit_is_embedded_again() -> None:
    encoder = BagEncoder()
    memory = Memory(most=2 * encoder.dim)
    texts = ["a", "b", "c"]
    for few in (texts[:2], texts[2:], texts):
        assert np.array_equal(
            ask(memory, encoder, few)[0], np.stack([encoder.vector(text) for text in few]).astype(np.float32)
        )
    assert encoder.encoded == ["a", "b", "c", "c"]


# Laws of a diagnosis


def assert_same(ours: tuple[Row, ...], theirs: tuple[Row, ...]) -> None:
    assert [(row.measure, row.view, row.bin, row.n, row.note) for row in ours] == [
        (row.measure, row.view, row.bin, row.n, row.note) for row in theirs
    ]
    for ends in ("value", "low", "high"):
        mine, other = ([np.nan if (x := getattr(row, ends)) is None else x for row in rows] for rows in (ours, theirs))
        assert_close(mine, other, FLOAT32)


def test_a_diagnosis_is_the_same_with_and_without_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, settings = open_tiny(tmp_path), Settings(replicates=64, windows=60)
    Counting.seen = 0
    ours = diagnose(encoder, corpus(), settings=settings)
    fewer, Counting.seen = Counting.seen, 0
    monkeypatch.setattr(parts, "Memory", partial(Memory, most=0))
    theirs = diagnose(encoder, corpus(), settings=settings)
    assert {"causes", "controls", "cost_overall", "scores"} <= {row.view for row in ours.rows}
    assert_same(ours.rows, theirs.rows)
    assert [finding.title for finding in ours.verdict] == [finding.title for finding in theirs.verdict]
    pieces = ours.about["causes"]["pieces_read"]
    assert pieces > 100
    assert fewer <= Counting.seen - pieces  # the pieces of the causes are those of the controls


@pytest.mark.parametrize("first", [measure_causes, measure_controls])
def test_shifted_positions_are_not_remembered(first: Any) -> None:
    """The same words at other positions have other vectors, whichever room embeds them first."""
    table, texts = planted.unlike(34, 128)
    positions = np.zeros((128, table.shape[1]))
    positions[32:] = np.random.default_rng(1).standard_normal(table.shape[1])
    encoder, documents = planted.encoder(table, positions=positions, max_tokens=128), planted.kept(texts)
    memory, alone = (
        Memory(),
        {one: one(encoder, documents, replicates=64) for one in (measure_causes, measure_controls)},
    )
    for measure in (first, *(one for one in alone if one is not first)):
        found: Part = measure(encoder, documents, replicates=64, memory=memory)
        assert_same(found.rows, alone[measure].rows)
    effects = {row.bin: row.value for row in alone[measure_controls].rows if row.measure == "control_effect"}
    assert effects["shifted"] > 0.1


def test_queries_and_documents_of_the_costs_share_what_they_may() -> None:
    encoder = BagEncoder()
    documents, memory = make_documents(encoder, 40), Memory()
    first = measure_costs(encoder, documents, replicates=64, memory=memory)
    encoder.encoded.clear()
    again = measure_costs(encoder, documents, replicates=64, memory=memory)
    assert encoder.encoded == []
    assert again.about["costs"]["encoded_tokens"] == 0
    assert_same(first.rows, again.rows)


def test_bars_reach_their_end_though_texts_are_known(tmp_path: Path) -> None:
    bars: dict[str, list[float]] = {}

    class Watched:
        @contextmanager
        def track(self, what: str, total: float | None, unit: str) -> Iterator[Advance]:  # noqa: ARG002
            bars[what] = [] if total is None else [-total]
            yield bars[what].append

    diagnose(open_tiny(tmp_path), corpus(), settings=Settings(replicates=64, windows=60), progress=Watched())
    known = {what: sum(done) for what, done in bars.items() if done and done[0] < 0}
    assert {"causes of the rise", "pieces of documents", "controls", "scores of queries"} <= set(known)
    assert set(known.values()) == {0.0}
