"""Random samples of a corpus: decided by ids alone, nested, as large as asked, and never the first texts of a file."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tiny import save_tiny
from uncollapse.cli import run
from uncollapse.corpora import open_corpus
from uncollapse.corpora.drawing import Draw
from uncollapse.encoders import VectorFile
from uncollapse.errors import CorpusError
from uncollapse.records import Result
from vector_examples import IDS, MADE, read, whole

NAMES = [f"doc-{number}" for number in range(2500)]


def drawn(names: list[str], size: int, seed: int = 0) -> set[str]:
    draw = Draw.first(iter(names), size, seed=seed)
    return {name for name in names if name in draw}


def test_a_sample_is_as_large_as_asked_and_the_same_in_every_order() -> None:
    shuffled = random.Random(1).sample(NAMES, len(NAMES))
    for size in (1, 7, 1024, 2499):
        assert len(drawn(NAMES, size)) == size
        assert drawn(shuffled, size) == drawn(NAMES, size)
    for size in (2500, 9999):
        assert drawn(NAMES, size) == set(NAMES)


def test_smaller_samples_are_part_of_larger_ones_and_seeds_differ() -> None:
    assert drawn(NAMES, 50) < drawn(NAMES, 500)
    assert len(drawn(NAMES, 500) & drawn(NAMES, 500, seed=1)) < 200  # 100 by chance


def test_a_sample_takes_from_every_part_of_a_file() -> None:
    found = drawn(NAMES, 1000)
    tenths = [len(found & set(NAMES[start : start + 250])) for start in range(0, 2500, 250)]
    assert min(tenths) > 60  # 100 each by chance


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    lines = [json.dumps({"id": name, "text": f"text of {name}"}) for name in NAMES[:300]]
    (tmp_path / "c.jsonl").write_text(
        "\n".join([*lines[:150], json.dumps({"id": "blank", "text": " "}), *lines[150:]])
    )
    return tmp_path / "c.jsonl"


def test_a_corpus_reads_the_sample_in_its_own_order_at_every_pass(corpus: Path) -> None:
    texts = open_corpus(corpus, sample=40, seed=3)
    ids = [text.id for text in texts]
    assert ids == [name for name in NAMES[:300] if name in drawn(NAMES[:300], 40, seed=3)]
    assert [text.id for text in texts] == ids
    assert texts.skipped.counts == {"empty text": 1}
    assert texts.notes == ("40 of 300 texts are read, drawn at random (seed 3)",)


@pytest.mark.parametrize("sample", [300, 5000])
def test_where_there_are_no_more_texts_none_is_said_to_be_drawn(sample: int, corpus: Path) -> None:
    texts = open_corpus(corpus, sample=sample, seed=3)
    assert texts.notes == (f"where there are more than {sample:,} texts, so many are drawn at random (seed 3)",)
    assert len(list(texts)) == 300
    assert texts.notes == (f"all 300 texts are read; there are no more than the {sample:,} to be drawn",)
    assert open_corpus(corpus).notes == ()


def test_what_was_drawn_can_be_told_before_any_text_is_read(corpus: Path) -> None:
    texts, whole = open_corpus(corpus, sample=299), open_corpus(corpus)
    texts.draw()
    assert texts.notes == ("299 of 300 texts are read, drawn at random (seed 0)",)
    whole.draw()
    assert whole.notes == ()


def test_a_limit_says_that_it_takes_the_first_texts(corpus: Path) -> None:
    texts = open_corpus(corpus, limit=3)
    assert [text.id for text in texts] == NAMES[:3]
    assert texts.notes == (
        "only the first 3 texts in the order of the corpus are read, and the rest may be of another kind; `diagnose` "
        "and `explain` can draw as many at random (--sample 3)",
    )
    assert open_corpus(corpus).notes == ()


def test_what_cannot_be_drawn_is_refused(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CorpusError, match=r"sample random ones, got limit=2 and sample=3. Leave one out"):
        open_corpus(corpus, limit=2, sample=3)
    with pytest.raises(CorpusError, match="sample must be at least 1, got 0"):
        open_corpus(corpus, sample=0)
    for command in ("diagnose", "explain"):
        assert run([command, str(corpus), "--limit", "2", "--sample", "3"]) == 2
        assert "Leave one out (--limit, --sample)" in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("model"), max_tokens=40))


@pytest.mark.parametrize("command", ["diagnose", "explain"])
@pytest.mark.parametrize("seed", [0, 5])
def test_the_commands_draw_as_many_as_asked_by_the_seed_they_are_given(
    command: str, seed: int, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws: list[tuple[int, int]] = []

    def first(ids: Iterable[str], size: int, *, seed: int) -> Draw:
        draws.append((size, seed))
        return Draw.first(ids, size, seed=seed)

    monkeypatch.setattr("uncollapse.corpora.texts.Draw", SimpleNamespace(first=first))
    lines = [
        json.dumps({"id": name, "text": " ".join("abcdefghij"[n % 7 :] * 9)}) for n, name in enumerate(NAMES[:60])
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    asked = [command, str(tmp_path / "c.jsonl"), "-m", model, "-o", str(tmp_path / "out"), "--quick", "-q"]
    assert run([*asked, "--sample", "30", "--seed", str(seed)]) == 0
    assert draws == [(30, seed)]
    about = Result.from_json((tmp_path / "out" / "result.json").read_text()).about
    assert about["corpus"]["n_texts"] == 30
    assert f"30 of 60 texts are read, drawn at random (seed {seed})" in about["notes"]


def test_a_file_of_vectors_draws_the_same_texts_as_a_corpus_of_the_same_ids(tmp_path: Path) -> None:
    vectors = VectorFile(whole(tmp_path / "v.parquet"))
    texts, made = read(vectors, sample=20, seed=3)
    assert [text.id for text in texts] == [name for name in IDS if name in drawn(IDS, 20, seed=3)]
    assert np.array_equal(made, MADE[[IDS.index(text.id) for text in texts]])
    assert {text.id for text in texts} != {text.id for text in vectors.read(sample=20, seed=4)}
