"""What `fix --auto` chooses, and what it reads to choose."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from text_fix_examples import sentences
from tiny import save_tiny
from uncollapse.cli import app
from uncollapse.encoders import load_model
from uncollapse.errors import CorpusError
from uncollapse.pipelines.automatic import choose
from uncollapse.pipelines.fitting import LEARNED_FROM, Unlabelled
from uncollapse.pipelines.reading import read_unlabelled


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "source")


@pytest.fixture(scope="module")
def encoder(source):
    return load_model(str(source), device="cpu")


def corpus(n, longest, queries=0):
    return Unlabelled(tuple(f"d{i}" for i in range(n)), sentences(n, 0, longest), sentences(queries, 1, 8))


def test_long_texts_are_covered_and_vectors_centred_and_whitened(encoder):
    chosen = choose(encoder, corpus(40, 200, 30))
    assert str(chosen.fix) == "cover(58) + centering(role) + whitening(0.2, role)"
    assert "of 40 documents are longer than the 60 tokens" in chosen.reasons[0]
    assert "30 queries" in chosen.reasons[1]


def test_short_texts_need_no_cover(encoder):
    chosen = choose(encoder, corpus(40, 10))
    assert str(chosen.fix) == "centering(role) + whitening(0.2, role)"
    assert "sentences of the documents, for want of queries" in chosen.reasons[1]


def test_few_documents_are_nothing_to_fit_to(encoder):
    assert str(choose(encoder, corpus(29, 200)).fix) == "cover(58)"
    assert choose(encoder, corpus(29, 10)).fix.parts == ()


def test_a_model_of_inner_products_keeps_its_vectors(source):
    encoder = load_model(str(source), device="cpu")
    encoder.model.similarity_fn_name = "dot"
    chosen = choose(encoder, corpus(40, 10))
    assert chosen.fix.parts == ()
    assert "compares by inner product" in chosen.reasons[-1]


def test_queries_of_a_beir_folder_are_read_and_a_corpus_is_sampled_alike_in_any_order(tmp_path):
    lines = [json.dumps({"_id": f"d{i}", "text": f"text number {i}"}) for i in range(LEARNED_FROM + 50)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "which number"}))
    first = read_unlabelled(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("\n".join(reversed(lines)))
    again = read_unlabelled(tmp_path)
    assert first == again
    assert len(first.documents) == LEARNED_FROM
    assert first.queries == ("which number",)


def test_queries_may_be_a_file_of_lines(tmp_path):
    (tmp_path / "docs.txt").write_text("one text\nanother text\n")
    (tmp_path / "log.txt").write_text("what is one\nwho is another\n")
    found = read_unlabelled(tmp_path / "docs.txt", queries=tmp_path / "log.txt")
    assert sorted(found.queries) == ["what is one", "who is another"]


def test_nothing_to_read_is_said(tmp_path):
    (tmp_path / "docs.txt").write_text("\n\n")
    with pytest.raises(CorpusError):
        read_unlabelled(tmp_path / "docs.txt")


@pytest.fixture
def docs(tmp_path):
    file = tmp_path / "docs.txt"
    file.write_text("\n".join(sentences(40, 0, 200)))
    return file


def test_the_command_writes_a_model_and_says_why(source, docs, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "log.txt").write_text("what is one\nwho is another\n")
    asked = ["fix", str(source), "--auto", str(docs), "--queries", str(tmp_path / "log.txt")]
    ran = CliRunner().invoke(app, [*asked, "-o", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    assert "--queries holds 2, fewer than the 20" in ran.output
    for said in ("cover(58)", "whitening(0.2, role)", "encode_query", "sentence-transformers alone does not"):
        assert said in ran.output
    assert load_model(str(tmp_path / "out"), device="cpu").text_fix == "cover(58)"
    record, card = json.loads((tmp_path / "out/uncollapse.json").read_text()), (tmp_path / "out/README.md").read_text()
    assert len(record["reasons"]) == 3
    assert "How the fix was chosen, without labels: cover(58): 36 of 40 documents are longer than the 60" in card
    vectors = load_model(str(tmp_path / "out"), device="cpu").vectors(["a man"])
    assert np.isfinite(vectors).all()


def test_a_few_long_documents_are_covered_and_nothing_is_fitted(source, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "few.txt").write_text("\n".join(sentences(10, 0, 200)))
    asked = ["fix", str(source), "--auto", str(tmp_path / "few.txt"), "-o", str(tmp_path / "out")]
    ran = CliRunner().invoke(app, asked)
    assert ran.exit_code == 0, ran.output
    assert load_model(str(tmp_path / "out"), device="cpu").text_fix == "cover(58)"


def test_a_fix_that_changes_nothing_is_said_to_be_nowhere(source, tmp_path):
    ran = CliRunner().invoke(app, ["fix", str(source), "whole_and_chunks(8, 0)", "-o", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    assert "changes nothing" in ran.output
    assert "uncollapse.json" not in ran.output


def test_a_temperature_above_one_gets_a_word_in_company_too(source, tmp_path):
    ran = CliRunner().invoke(app, ["fix", str(source), "temperature(1.2) + cover(8)", "-o", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    assert "a temperature above 1 softens attention" in ran.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "got neither"),
        (["temperature(0.8)", "--auto", "docs.txt"], "got both"),
        (["--auto", "docs.txt", "--corpus", "docs.txt"], "--corpus would do nothing"),
        (["temperature(0.8)", "--queries", "log.txt"], "--queries goes with a corpus"),
        (["temperature(0.8)", "--seed", "0"], "`temperature(0.8)` is fitted to nothing, so --seed would do nothing"),
        (["temperature(0.8)", "--text-field", "body"], "--text-field goes with a corpus"),
        (["temperature(0.8)", "--corpus", "docs.txt"], "learns nothing from texts, so a corpus would do nothing"),
        (["temperatur(0.8)", "--corpus", "docs.txt"], "Did you mean 'temperature'?"),
        (
            ["whitening(0.3)", "--corpus", "docs.txt", "--queries", "q.txt"],
            "learns nothing from queries, so --queries would",
        ),
    ],
)
def test_options_that_would_do_nothing_are_refused(source, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("docs.txt", "q.txt"):
        (tmp_path / name).write_text("one text\n")
    ran = CliRunner().invoke(app, ["fix", str(source), *options, "-o", str(tmp_path / "out")])
    assert ran.exit_code != 0
    assert message in f"{ran.output}{ran.exception}"
