"""What a whole diagnosis asks of models that cannot be cut, that count words, or that have long texts already read."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

import planted
from synthetic import ListCorpus, PlantedEncoder, corpus
from uncollapse.corpora import Text, open_corpus
from uncollapse.diagnosis.parts import COSTS
from uncollapse.diagnosis.profiling import profile, survey
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.study import diagnose
from uncollapse.diagnosis.verdict import judge
from uncollapse.diagnosis.windows import document_lengths, profile_windows
from uncollapse.encoders import SentenceEncoder, VectorFile, load_model
from uncollapse.records import Finding, Result
from vector_examples import whole

FAST = Settings(replicates=64)
ROOT = Path(__file__).parents[1]


def under(result: Result, heading: str) -> tuple[Finding, ...]:
    """The findings of a heading."""
    start = 0
    for name, count in result.about["verdict_groups"].items():
        if name == heading:
            return result.verdict[start : start + count]
        start += count
    return ()


# Vectors that are there already


def test_a_document_that_fills_the_longest_window_is_not_encoded_again() -> None:
    encoder, texts = PlantedEncoder(0.2), corpus(600)
    found = profile(encoder, texts, FAST, surveyed=survey(encoder, texts, FAST))
    windows = found.views["windows"]
    assert list(windows.n_tokens) == ["8", "16", "32", "64", "128"]
    assert encoder.encoded == 600 + 4 * len(found.documents)
    again = profile_windows(PlantedEncoder(0.2), found.documents, FAST)
    for label, row in windows.estimates.items():
        for measure, estimate in row.items():
            other = again.estimates[label][measure]
            np.testing.assert_allclose(
                [estimate.value, *estimate.replicates], [other.value, *other.replicates], rtol=1e-5, atol=1e-6
            )


def test_documents_leave_their_vectors_behind_since_a_fix_changes_them() -> None:
    encoder, texts = PlantedEncoder(0.2), corpus(600)
    found = profile(encoder, texts, FAST, surveyed=survey(encoder, texts, FAST))
    assert all(document.vector is None for document in found.documents)
    steeper = PlantedEncoder(0.4)
    after = profile_windows(steeper, found.documents, FAST)
    assert steeper.encoded == 5 * len(found.documents)
    assert after.estimates["128"]["mean_cosine"].value > found.views["windows"].estimates["128"]["mean_cosine"].value


# Models that cannot be cut


def topical(n: int = 80, length: int = 240) -> ListCorpus:
    _, texts = planted.topics(n, 4, length)
    return ListCorpus([Text(f"d{row}", _in_sentences(text)) for row, text in enumerate(texts)])


def _in_sentences(text: str) -> str:
    """Ten words each, a blank line between."""
    words = text.split()
    return "\n\n".join(" ".join(words[start : start + 10]) for start in range(0, len(words), 10))


def open_static(folder: Path) -> SentenceEncoder:
    table, _ = planted.topics(1, 4, 4)
    inner = planted.tokenizer(len(table))._tokenizer
    SentenceTransformer(modules=[StaticEmbedding(inner, embedding_weights=table)], device="cpu").save(str(folder))
    return load_model(str(folder), device="cpu")


def test_the_causes_and_costs_of_a_static_model_are_measured(tmp_path: Path) -> None:
    result = diagnose(open_static(tmp_path / "static"), topical(), settings=FAST)
    views = {row.view for row in result.rows}
    assert {"causes", "controls", "cost_overall", "hubness", "scores"} <= views
    assert "windows" not in views
    causes = {row.bin: row.value for row in result.select(view="causes", measure="cause")}
    assert causes["topic_mix"] > 0.1  # the texts pass through four topics
    assert abs(causes["attention"]) < 0.01
    assert result.about["causes"]["positions"] == "no table"
    assert not any("Too few long" in finding.title for finding in result.verdict)


def test_what_stood_in_the_way_of_nested_windows_is_said(tmp_path: Path) -> None:
    static, vectors = open_static(tmp_path / "static"), VectorFile(whole(tmp_path / "v.parquet"))
    short = ListCorpus([Text(f"d{row}", "w1 w2 " * (3 + row % 4)) for row in range(400)])
    cases: list[tuple[Any, Any, Settings, str]] = [
        (static, topical(), FAST, "has no limit on its length that could be set"),
        (vectors, vectors.corpus, FAST, "v.parquet holds vectors of whole texts only"),
        (PlantedEncoder(0.2), corpus(600), replace(FAST, windows=0), "none were asked for"),
        (PlantedEncoder(0.2), short, FAST, "too few of these are long enough"),
    ]
    for encoder, texts, settings, reason in cases:
        found = profile(encoder, texts, settings, surveyed=survey(encoder, texts, settings))
        assert reason in found.uncut
        assert "windows" not in found.views
    assert document_lengths(vectors) == ()


def test_the_verdict_says_what_stood_in_the_way() -> None:
    encoder, texts, settings = PlantedEncoder(0.2), corpus(600), replace(FAST, windows=0)
    found = profile(encoder, texts, settings, surveyed=survey(encoder, texts, settings))
    assert judge(found, "m")[0].sentence.endswith("tell the two apart, but none were asked for.")


def test_causes_that_nobody_asked_for_are_not_put_down_to_short_texts() -> None:
    asked, not_asked = (
        diagnose(PlantedEncoder(0.2), corpus(300, longest=12), settings=replace(FAST, windows=windows))
        for windows in (50, 0)
    )
    assert [finding.title for finding in under(not_asked, "Why")] == ["Causes were not looked for"]
    assert "(--windows 0)" in under(not_asked, "Why")[0].sentence
    assert [finding.title for finding in under(asked, "Why")] == ["Too few long documents to look for causes"]


@pytest.mark.parametrize("longest", [20, 24, 30, 40])
def test_texts_too_short_for_controls_are_told_and_stop_nothing(longest: int) -> None:
    texts = ListCorpus([Text(f"id{i}", " ".join(f"t{i}w{k}" for k in range(longest))) for i in range(120)])
    result = diagnose(PlantedEncoder(0.2), texts, settings=FAST)
    titles = [finding.title for finding in under(result, "Why")]
    told = "Too short documents for texts that change one thing only"
    measured = bool(result.select(view="controls"))
    assert measured == (told not in titles) == (longest + 2 >= 24)


def test_a_long_prompt_leaves_room_for_pieces() -> None:
    encoder = PlantedEncoder(0.2, max_tokens=256)
    encoder.n_special_tokens = 40  # type: ignore[misc]
    texts = ListCorpus([Text(f"id{i}", " ".join(f"t{i}w{k}" for k in range(300))) for i in range(60)])
    result = diagnose(encoder, texts, settings=FAST)
    about = result.about["controls"]
    assert (about["n_tokens"], about["piece_tokens"]) == (256, 64)


# Words instead of tokens


class WordEncoder(PlantedEncoder):
    """A model behind a wall, of whose texts only words can be counted."""

    unit, n_special_tokens, name, knows_limit = "words", 0, "box", True

    def count(self, texts: Any) -> Any:
        return np.array([len(text.split()) for text in texts], dtype=np.int64)


@pytest.mark.parametrize(("n", "settings"), [(400, FAST), (400, replace(FAST, windows=0)), (40, FAST), (8, FAST)])
def test_where_words_are_counted_no_finding_speaks_of_tokens(n: int, settings: Settings) -> None:
    texts = ListCorpus(
        [Text(text.id, _told_apart(row, text.text)) for row, text in enumerate(corpus(n, longest=400).texts)]
    )
    in_words = diagnose(WordEncoder(0.25, max_tokens=128), texts, settings=settings)
    spoken = [f"{finding.title} {finding.sentence}" for finding in in_words.verdict]
    assert not [text for text in spoken if re.search(r"(?<![-\w])token", text, re.IGNORECASE)]
    assert any(" words" in text for text in spoken)
    in_tokens = diagnose(PlantedEncoder(0.25, max_tokens=128), texts, settings=settings)
    assert any(" tokens" in finding.sentence for finding in in_tokens.verdict)


def _told_apart(row: int, text: str) -> str:
    """Sentences of eight words that are said only once."""
    words = text.split()
    return " ".join(f"{word}{place}t{row}" + "." * (place % 8 == 7) for place, word in enumerate(words))


# What a report needs to know


def test_the_causes_and_the_neighbours_are_described_in_the_result() -> None:
    result = diagnose(PlantedEncoder(0.2), corpus(600), settings=FAST)
    table = result.about["causes"]["table"]
    assert list(table) == [row.bin for row in result.select(view="causes", measure="cause")]
    for described in table.values():
        assert set(described) == {"title", "before", "after", "meaning", "against", "remedy"}
        assert all(described.values())
    (note,) = {row.note for row in result.select(view="hubness", measure="share_of_antihubs")}
    assert f"among the {result.about['costs']['neighbours']} nearest" in note


def test_too_few_texts_for_a_search_are_told() -> None:
    few = ListCorpus([Text(f"id{i}", f"one two three {i}") for i in range(4)])
    titles = [finding.title for finding in under(diagnose(PlantedEncoder(0.2), few, settings=FAST), COSTS)]
    assert "Too few texts to say what length costs in search" in titles


@pytest.mark.real
def test_the_benchmark_counts_every_token_of_every_stage() -> None:
    spec = importlib.util.spec_from_file_location("counting", ROOT / "benchmarks/diagnosis.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules["counting"] = benchmark  # its dataclasses look themselves up
    spec.loader.exec_module(benchmark)
    plain, whole, watch = benchmark.run_round(open_corpus("docstrings", limit=400), pretends=True)
    stages = watch.stages
    assert stages["texts as they are"].tokens == plain.tokens > 0
    assert whole.tokens == sum(stage.tokens for stage in stages.values())
    assert stages["what it costs: documents"].tokens > 0
    assert stages["reading the corpus"].tokens == 0
