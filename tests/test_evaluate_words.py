"""Word matching beside a model in `evaluate`: a rival by name, with every number that another model has."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from command_files import go_alone, load_nothing, write_rankings, write_words
from tiny import save_tiny
from uncollapse.cli import run
from uncollapse.encoders import load
from uncollapse.errors import UncollapseError
from uncollapse.evaluation.comparison import Plan
from uncollapse.evaluation.rankings.words import rank_words
from uncollapse.evaluation.reading.judgements import read_lengths
from uncollapse.evaluation.reading.trec import read_run
from uncollapse.evaluation.tasks import Retrieval, Similarity, Texts
from uncollapse.evaluation.trial import evaluate
from uncollapse.evaluation.verdicts import judge
from uncollapse.fixes import parse
from uncollapse.records import Result, Row

PLAN = Plan(bins=3, cells=2, replicates=200, resamples=400)
WORDS = ("red", "blue", "green", "dog", "cat", "house", "tree", "river", "stone", "cloud", "boat", "water")
FIX = "temperature(0.7)"


def words_task(name: str = "docs") -> Retrieval:
    """Each query holds words of its document, and most of them one that no other document has."""
    rng = np.random.default_rng(0)
    documents = [f"{' '.join(rng.choice(WORDS, rng.integers(3, 40)))} word{i}" for i in range(60)]
    asked = tuple(" ".join(text.split()[:2]) + f" word{i}" * (i % 5 > 0) for i, text in enumerate(documents[:30]))
    judged = {f"q{i}": {f"d{i}": 1, f"d{i + 30}": 0} for i in range(30)}
    return Retrieval(
        name, "test", Texts(tuple(f"d{i}" for i in range(60)), tuple(documents)), Texts(tuple(judged), asked), judged
    )  # fmt: skip


def pairs() -> Similarity:
    rng = np.random.default_rng(1)
    first, second = ([" ".join(rng.choice(WORDS, 5)) for _ in range(30)] for _ in range(2))
    return Similarity("sts", "test", tuple(first), tuple(second), rng.uniform(0, 5, 30))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return save_tiny(place / "model", max_tokens=32), save_tiny(place / "other", "mpnet", max_tokens=16)


@pytest.fixture(scope="module")
def models(folders):
    return [load(str(folder)) for folder in folders]


@pytest.fixture(scope="module")
def found(models):
    model, other = models
    tasks = [words_task(), pairs()]
    return evaluate(model, tasks, [parse(FIX)], against=[other], bm25="english", plan=PLAN)


def test_it_is_a_rival_after_fixes_and_models_and_what_made_it_is_kept(found, models):
    assert found.about["fixes"] == ["none", FIX, models[1].name, "bm25"]
    assert [one["name"] for one in found.about["against"]] == [models[1].name, "bm25"]
    words = found.about["against"][1]
    assert (words["language"], words["k1"], words["b"], words["stop_words"]) == ("english", 1.5, 0.75, "english")
    assert found.about["tasks"][0]["bm25"] == "english"
    assert "bm25" not in found.about["tasks"][1]
    assert "bm25" not in found.about["tasks"][0]["limits_tokens"]


def test_it_has_every_row_that_another_model_has_in_the_same_bins(found, models):
    keys = ("measure", "view", "bin", "n_tokens")
    theirs, mine = (
        {
            tuple(getattr(row, key) for key in keys)
            for row in found.rows
            if (row.dataset, row.fix) == ("docs/test", fix)
        }
        for fix in (models[1].name, "bm25")
    )
    assert len(mine) > 40
    assert {key for key in mine if "detectable" not in key[0]} == {key for key in theirs if "detectable" not in key[0]}
    for row in found.select(measure="ndcg@10_gain", fix="bm25"):
        (before,), (after,) = (
            found.select(measure="ndcg@10", view=row.view, bin=row.bin, fix=fix) for fix in ("none", "bm25")
        )
        assert row.value == pytest.approx(after.value - before.value, abs=1e-12)
        assert row.p_holm is None or row.p_holm >= row.p
    assert found.select(measure="length_slope_sd", fix="bm25", view="overall")


def test_its_score_is_that_of_its_ranking(found):
    (row,) = found.select(measure="ndcg@1", fix="bm25", view="overall")
    task = words_task()
    best = [task.documents.ids[i] for i in rank_words(task, "english").ranked.top[:, 0]]
    assert row.value == np.mean([f"d{i}" == name for i, name in enumerate(best)])
    assert 0.8 <= row.value < 1


def test_it_is_left_out_of_what_is_no_search_and_that_is_said(found):
    assert not [row for row in found.rows if row.dataset == "sts/test" and row.fix == "bm25"]
    assert "bm25 ranks documents, so it was left out of sts/test (similarity)" in found.about["notes"]
    assert not [one for one in found.verdict if one.title.startswith("bm25 ") and "sts/test" in one.title]


def test_it_reads_all_and_nothing_is_said_to_be_cut_off_by_it(found, models):
    keys = {"measure": "share_truncated", "dataset": "docs/test"}
    shares = {(row.fix, row.bin): row.value for row in found.select(**keys)}
    assert shares["bm25", "documents"] == 0
    assert shares["none", "documents"] > 0.5
    cut = [finding.title for finding in found.verdict if "cut off" in finding.title]
    assert any(models[0].name in title for title in cut)
    assert not any(title.endswith("cut off by bm25") for title in cut)
    for finding in found.verdict:
        assert not ("ranked by bm25" in finding.title and "cannot have seen" in finding.sentence)


def test_where_words_are_surely_better_the_verdict_says_so_and_what_to_do(found, models):
    (better,) = [one for one in found.verdict if one.title == f"bm25 is better than {models[0].name} on docs/test"]
    assert better.kind == "good"
    assert "for bm25, +0." in better.sentence
    assert "Search words too, and fuse both rankings: score each document by the sum of 1 / (60 + its rank)" in (
        better.sentence
    )
    others = [one for one in found.verdict if one is not better]
    assert not any("fuse both rankings" in one.sentence for one in others)


def test_a_run_of_that_name_is_given_no_advice():
    keys = {"view": "overall", "dataset": "set/test"}
    rows = [Row("ndcg@10", 0.5, 0.4, 0.6, 90, fix="none", **keys)]
    rows += [Row("ndcg@10_gain", 0.2, 0.1, 0.3, 90, fix="bm25", p=0.01, p_holm=0.01, **keys)]
    facts = {"dataset": "set/test", "kind": "retrieval", "main": "ndcg@10"}
    for one, told in ((facts, False), ({**facts, "bm25": "english"}, True)):
        first, *_ = judge(rows, [one], ["none", "bm25"], "a", ["bm25"])
        assert first.title == "bm25 is better than a on set/test"
        assert ("fuse both rankings" in first.sentence) == told


def test_queries_that_share_no_word_are_told_of_and_not_held_against_the_model(models):
    task = words_task()
    asked = replace(task.queries, texts=("violins", *task.queries.texts[1:]))
    result = evaluate(models[0], [replace(task, queries=asked)], bm25="plain", plan=PLAN)
    said = "bm25: 1 of 30 queries share no word with a document that they may find, and count as 0"
    assert said in result.about["tasks"][0]["notes"]


def test_what_it_adds_does_not_depend_on_what_stands_beside_it(found, models):
    alone = evaluate(models[0], [words_task()], bm25="english", plan=PLAN)
    keys = {"measure": "ndcg@10", "view": "overall", "dataset": "docs/test", "fix": "bm25"}
    (one,), (beside,) = (result.select(**keys) for result in (alone, found))
    assert (one.value, one.low, one.high, one.n) == (beside.value, beside.low, beside.high, beside.n)


def test_without_it_nothing_is_said_of_it(models):
    assert '"bm25"' not in evaluate(models[0], [words_task()], plan=PLAN).to_json()


@pytest.mark.parametrize(
    ("tasks", "language", "message"),
    [([pairs()], "english", "what was given is similarity"), ([words_task()], "klingon", "got 'klingon'")],
)
def test_what_it_cannot_do_is_refused_before_anything_is_encoded(models, monkeypatch, tasks, language, message):
    monkeypatch.setattr("uncollapse.evaluation.trial.score_task", lambda *_, **__: pytest.fail("encoded"))
    with pytest.raises(UncollapseError, match=message):
        evaluate(models[0], tasks, bm25=language)


def test_a_search_that_finds_nothing_is_refused_before_it_is_encoded(models, monkeypatch):
    monkeypatch.setattr("uncollapse.evaluation.trial.score_task", lambda *_, **__: pytest.fail("encoded"))
    task = words_task()
    texts = tuple("長い文書は互いに近づく" for _ in task.queries.ids)
    with pytest.raises(UncollapseError, match="got 30 of docs/test that share none: word matching"):
        evaluate(models[0], [replace(task, queries=replace(task.queries, texts=texts))], bm25="plain")


# --- the command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    go_alone(tmp_path, monkeypatch)
    return write_words(tmp_path / "a<b>&").name


@pytest.mark.usefixtures("bars")
def test_the_command_writes_reports_rows_items_and_runs_of_it(
    folder: str, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model, other = map(str, folders)
    given = ["evaluate", folder, "-m", model, "--fix", FIX, "--against", other, "--bm25", "english", "-o", "out"]
    assert run([*given, "--save-runs"]) == 0
    printed = capsys.readouterr()
    assert "bm25" in printed.out
    assert "bm25" in printed.err, "a bar of its own"
    result = Result.from_json(Path("out/result.json").read_text())
    assert result.about["fixes"] == ["none", FIX, other, "bm25"]
    (row,) = result.select(measure="ndcg@10", fix="bm25", view="overall")
    items = pq.read_table("out/items.parquet").to_pylist()
    scores = [one["value"] for one in items if (one["fix"], one["measure"]) == ("bm25", "ndcg@10")]
    assert np.mean(scores) == pytest.approx(row.value)
    (saved,) = Path("out/runs").glob("*.bm25.trec")
    assert read_run(saved).name == "bm25"
    (lengths,) = Path("out/runs").glob("*.lengths.tsv")
    assert max(read_lengths(lengths).values()) > 20, "in tokens of the first model, whose letters are tokens"
    assert result.select(measure="share_of_corpus")[0].fix == "none"
    page = Path("out/report.html").read_text()
    assert "gain, bm25" in page
    assert "with bm25" not in page
    assert "a<b>" not in page
    assert "a&lt;b&gt;&amp;" in page


def test_the_command_says_what_it_left_out(
    folder: str, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{' '.join(WORDS[i % 5 : i % 5 + 3])}\t{WORDS[i % 7]} {WORDS[i % 3]}\t{i % 6}" for i in range(20)]
    Path("sts.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *lines]))
    assert run(["evaluate", folder, "sts.tsv", "-m", str(folders[0]), "--bm25", "plain", "-o", "out"]) == 0
    printed = capsys.readouterr()
    told = " ".join((printed.out + printed.err).split())
    assert told.count("bm25 ranks documents, so it was left out of") == 1
    assert "note: bm25 ranks documents, so it was left out of" in told
    assert json.loads(Path("out/result.json").read_text())["about"]["against"][0]["stems"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "--bm25", "englisch"], "Did you mean 'english'"),
        (["sts.tsv", "--bm25", "english"], "what was given is similarity, so bm25 (--bm25) would do nothing"),
    ],
)
def test_wrong_usage_is_told_before_a_model_is_loaded(
    folder: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    Path(folder).rename("data")
    Path("sts.tsv").write_text("sentence1\tsentence2\tscore\n" + "a man\ta dog\t3\n" * 9 + "a\tb\t1\n")
    load_nothing(monkeypatch)
    assert run(["evaluate", *arguments, "-o", "out"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("out").exists()


def test_without_the_packages_the_command_says_what_to_install(
    folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_nothing(monkeypatch)
    monkeypatch.setitem(sys.modules, "bm25s", None)
    assert run(["evaluate", folder, "--bm25", "english", "-o", "out"]) == 2
    assert "pip install 'uncollapse[bm25]'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("folder")
def test_rankings_hold_no_texts_to_match_words_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_nothing(monkeypatch)
    assert run(["evaluate", "--run", "a.trec", *write_rankings(), "--bm25", "english"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Rankings (--run) hold ids and no texts to match words in, so --bm25 would do nothing" in said
