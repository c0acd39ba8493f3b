"""What a race measures with a real (tiny) model: the scores of evaluate, each text through the model once, probes."""

from pathlib import Path

import numpy as np
import pytest

from command_files import WORDS
from tiny import save_tiny
from uncollapse import load, parse
from uncollapse.corpora.texts import Text
from uncollapse.encoders import CachedEncoder, SentenceEncoder
from uncollapse.encoders.sources import write_record
from uncollapse.errors import ModelError
from uncollapse.evaluation.scoring import learned_note, score_task, unlabelled
from uncollapse.evaluation.tasks import Retrieval, Texts
from uncollapse.fixes.composition import compose
from uncollapse.pipelines.fitting import Unlabelled, fit_pipeline
from uncollapse.tuning.bench import STOCK, Bench
from uncollapse.tuning.contenders import Configuration
from uncollapse.tuning.probe import make_probe, sample_texts
from uncollapse.tuning.rules import Rules

NOTATIONS = (
    "temperature(0.7)",
    "whitening(0.5)",
    "centering(role)",
    "centering(length)",
    "temperature(0.7) + centering(role)",
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    return load(str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=32)))


@pytest.fixture(scope="module")
def task() -> Retrieval:
    rng = np.random.default_rng(0)
    texts = tuple(" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(40))
    documents = Texts(tuple(f"d{i}" for i in range(40)), texts)
    queries = Texts(tuple(f"q{i}" for i in range(25)), tuple(text[:16] for text in texts[:25]))
    judgements = {f"q{i}": {f"d{i}": 2, f"d{(i + 7) % 40}": 1} for i in range(25)}
    return Retrieval("words", "test", documents, queries, judgements)


def configurations() -> list[Configuration]:
    return [STOCK, *(Configuration(name, compose(parse(name))) for name in NOTATIONS)]


def test_a_model_whose_folder_asks_for_a_fix_on_texts_races_with_it(tmp_path: Path, task: Retrieval) -> None:
    write_record(save_tiny(tmp_path / "asking", max_tokens=12), {"fix": "cover(4)", "text_fix": "cover(4)"})
    asking = load(str(tmp_path / "asking"))
    assert isinstance(asking, SentenceEncoder)
    some = [Configuration(name, compose(parse(name))) for name in ("whitening(0.5)", "chunks(4)")]
    bench = Bench(asking, Rules())
    found = bench.measure(task, [STOCK, *some])
    for name, said in (("none", "cover(4)"), ("whitening(0.5)", "cover(4) + whitening(0.5)")):
        fix = compose(parse(said))
        sheet = score_task(task, fit_pipeline(CachedEncoder(asking), fix, unlabelled(task))).sheets[0]
        assert found[name].scores == pytest.approx(sheet.columns["ndcg@10"], abs=1e-12), name
    assert "Expected at most one fix on texts, got cover(4) + chunks(4)" in bench.refusals(task)["chunks(4)"]
    assert bench.work(task, [STOCK, *some]) == bench.work(task, [STOCK])  # what cannot run costs nothing
    assert any("asks for `cover(4)`" in note for note in asking.notes)


def test_the_bench_gives_the_scores_of_evaluate(encoder: SentenceEncoder, task: Retrieval) -> None:
    bench = Bench(encoder, Rules())
    found = bench.measure(task, configurations())
    for one in configurations():
        base = CachedEncoder(encoder, one.fix.model)
        sheet = score_task(task, fit_pipeline(base, one.fix, unlabelled(task))).sheets[0]
        assert found[str(one)].scores == pytest.approx(sheet.columns["ndcg@10"], abs=1e-12), one
    assert bench.sheet(task).columns["ndcg@10"] == pytest.approx(found["none"].scores)
    assert found["centering(role)"].fitted == {"documents": 40, "queries": 25}
    assert found["centering(length)"].fitted["windows"] >= 80


def test_fixes_after_the_model_cost_no_encoding(encoder: SentenceEncoder, task: Retrieval) -> None:
    bench = Bench(encoder, Rules())
    windowed = "centering(length)"  # learns from windows of the documents, which are encoded beside them
    some = [one for one in configurations() if one.inside == "none" and str(one) != windowed]
    bench.measure(task, some)
    texts = len(set(task.documents.texts) | set(task.queries.texts))
    assert bench.counts["encoded"] <= texts + 1  # a query and a document may be the same text in two roles
    assert len({one.tokens for one in bench.measure(task, some).values()}) == 1
    assert bench.counts["encoded"] <= texts + 1


def test_a_fix_that_reads_on_is_charged_for_the_rest_alone_whatever_is_on_disk(
    encoder: SentenceEncoder, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    texts = tuple(" ".join(rng.choice(WORDS, 40)) for _ in range(10))  # of which the model reads 32 tokens
    documents = Texts(tuple(f"d{i}" for i in range(10)), texts)
    task = Retrieval("long", "test", documents, Texts(("q0",), ("red dog",)), {"q0": {"d0": 1}})
    cover = Configuration("cover", compose(parse("cover(8)")))
    found = [Bench(encoder, Rules(), cache=tmp_path).measure(task, [STOCK, cover]) for _ in range(2)]
    for one in found:
        assert one["none"].fresh == one["none"].tokens
        assert (
            0 < one["cover(8)"].fresh <= one["cover(8)"].tokens - one["none"].tokens
        )  # pieces that are alike are read once
    assert found[0]["cover(8)"].fresh == found[1]["cover(8)"].fresh


def test_what_is_forgotten_is_encoded_again_to_the_same_vectors(encoder: SentenceEncoder) -> None:
    base, plain = CachedEncoder(encoder, remember=True), CachedEncoder(encoder)
    texts = ["red dog", "blue cat", "red dog"]
    first, again = base.encode(texts), base.encode(texts[::-1])
    assert (base.encoded, base.reused) == (2, 2)
    assert np.array_equal(first.vectors, plain.encode(texts).vectors)
    assert np.array_equal(first.vectors, again.vectors[::-1])
    assert base.tokens == 2 * int(first.n_tokens.sum())
    base.forget()
    assert np.array_equal(base.encode(texts).vectors, first.vectors)
    assert base.encoded == 4


def test_memory_keeps_roles_and_the_disk_cache_apart(encoder: SentenceEncoder, tmp_path: Path) -> None:
    base = CachedEncoder(encoder, folder=tmp_path, remember=True)
    made = base.encode(["red dog"], role="query")
    other = CachedEncoder(encoder, folder=tmp_path, remember=True)
    assert np.array_equal(other.encode(["red dog", "cat"], role="query").vectors[:1], made.vectors)
    assert (other.encoded, other.reused) == (1, 1)


def test_a_fix_that_cannot_be_fitted_is_refused_with_its_reason(encoder: SentenceEncoder, task: Retrieval) -> None:
    few = Retrieval(
        "few", "test", Texts(task.documents.ids[:12], task.documents.texts[:12]), Texts(("q0",), ("red dog",)),
        {"q0": {"d0": 1}},
    )  # fmt: skip
    bench = Bench(encoder, Rules())
    some = [one for one in configurations() if str(one) in ("none", "whitening(0.5)")]
    assert list(bench.measure(few, some)) == ["none"]
    assert "`whitening(0.5)` needs at least 20 documents to be fitted, got 12" in bench.refusals(few)["whitening(0.5)"]
    assert bench.refusals(task) == {}


def test_what_the_inside_cannot_take_is_refused_before_anything_is_encoded(encoder: SentenceEncoder) -> None:
    bench = Bench(encoder, Rules())
    per_layer = Configuration("t", compose(parse("temperature([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])")))
    with pytest.raises(ModelError):
        bench.base(per_layer)
    assert bench.counts["encoded"] == 0


def test_evaluate_learns_from_the_queries_of_a_task_unless_told_otherwise(task: Retrieval) -> None:
    assert unlabelled(task).queries == task.queries.texts
    assert unlabelled(task, "sentences").queries == ()
    fix = compose(parse("centering(role)"))
    assert "all of them and without their answers" in learned_note(fix, [task], "task")[0]
    assert "sentences of the documents" in learned_note(fix, [task], "sentences")[0]
    assert learned_note(compose(parse("whitening(0.5)")), [task], "task") == []
    few = Retrieval("few", "test", task.documents, Texts(("q0",), ("red",)), {"q0": {"d0": 1}})
    assert unlabelled(few).queries == ()
    assert "on few/test, with fewer than 20 queries, from sentences" in learned_note(fix, [few], "task")[0]


SENTENCES = [f"This is sentence number {i} of a document about {WORDS[i % 10]} things." for i in range(400)]


def corpus(n: int = 60) -> Unlabelled:
    """Documents of four sentences, and every tenth of one alone."""
    texts = [" ".join(SENTENCES[4 * i : 4 * i + (1 if i % 10 == 0 else 4)]) for i in range(n)]
    return Unlabelled(tuple(f"d{i}" for i in range(n)), tuple(texts))


def test_a_probe_leaves_documents_as_they_are_and_asks_for_each_by_its_own_words() -> None:
    texts = corpus()
    probe = make_probe(texts, "corpus", most=1000, seed=0)
    whole = dict(zip(texts.ids, texts.documents, strict=True))
    assert dict(zip(probe.task.documents.ids, probe.task.documents.texts, strict=True)) == whole
    assert len(probe.task.queries) == 54
    for number, (name, query) in enumerate(zip(probe.task.queries.ids, probe.task.queries.texts, strict=True)):
        ((document, grade),) = probe.task.judgements[name].items()
        assert grade == 1
        assert [one for one, text in whole.items() if query in text] == [document]
        assert probe.asked[probe.task.documents.ids.index(document)] == number
    unasked = [name for name, asked in zip(probe.task.documents.ids, probe.asked, strict=True) if asked < 0]
    assert {len(whole[name].split()) for name in unasked} == {11}
    assert "54 of 60 documents are asked for" in probe.task.notes[0]


def test_what_is_told_of_a_probe_counts_documents(encoder: SentenceEncoder) -> None:
    task = make_probe(corpus(), "corpus", most=1000, seed=0).task
    assert len(set(Bench(encoder, Rules()).sheet(task).groups)) == 54


def test_a_probe_teaches_fixes_no_query_of_its_own(encoder: SentenceEncoder) -> None:
    probe = make_probe(corpus(), "corpus", most=1000, seed=0)
    alone = Retrieval("corpus", "test", probe.task.documents, Texts(("q",), ("red dog",)), {"q": {"d1": 1}})
    fix = Configuration("r", compose(parse("centering(role)")))
    bench = Bench(encoder, Rules())
    measured = bench.measure(probe.task, [fix])[str(fix)]
    learned = bench.measure(alone, [fix])[str(fix)]
    assert measured.fitted == learned.fitted


def test_samples_grow_around_each_other_and_follow_the_seed() -> None:
    probe = make_probe(corpus(), "corpus", most=1000, seed=0)
    small, large = probe.first(20), probe.first(60)
    assert small.documents.texts == large.documents.texts[:20]
    assert set(small.queries.ids) < set(large.queries.ids)
    assert len(small.queries) == probe.count(20)
    assert all(next(iter(small.judgements[name])) in small.documents.ids for name in small.queries.ids)
    assert make_probe(corpus(), "corpus", most=1000, seed=0) == probe
    assert make_probe(corpus(), "corpus", most=1000, seed=1).task.documents.ids != probe.task.documents.ids
    assert probe.sizes() == (60,)
    assert len(make_probe(corpus(), "corpus", most=50, seed=0).asked) == 50


def test_a_streamed_sample_does_not_depend_on_the_order() -> None:
    texts = [Text(f"d{i}", f"text {i}") for i in range(200)]
    found = sample_texts(texts, most=50, seed=0)
    assert sample_texts(texts[::-1], most=50, seed=0) == found
    assert len(found.documents) == 50
