"""Choosing without labels by a number of the model: what is nearest is chosen, and what cannot be seen is refused."""

from pathlib import Path

import numpy as np
import pytest

from command_files import WORDS
from tiny import save_tiny
from uncollapse import load, tune
from uncollapse.cli import run
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import CorpusError, FixError, UncollapseError
from uncollapse.evaluation.tasks import Retrieval, Texts
from uncollapse.measures import unit
from uncollapse.pipelines.fitting import Unlabelled
from uncollapse.progress import Silent
from uncollapse.tuning.bench import STOCK, Bench
from uncollapse.tuning.contenders import Configuration, read_contenders
from uncollapse.tuning.criteria import (
    CRITERIA,
    CRITERION,
    Windows,
    check_seen_by,
    match,
    mean_pairwise,
    read_criterion,
    with_error,
)
from uncollapse.tuning.rules import Rules

TEMPERATURES = ("temperature(0.5)", "temperature(0.999)", "temperature(2.0)")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    found = load(str(save_tiny(tmp_path_factory.mktemp("models") / "tiny", max_tokens=32)))
    assert isinstance(found, SentenceEncoder)
    return found


@pytest.fixture(scope="module")
def texts() -> tuple[str, ...]:
    rng = np.random.default_rng(0)
    return tuple(" ".join(rng.choice(WORDS, 12)) for _ in range(24))  # forty tokens or more each


@pytest.fixture(scope="module")
def task(texts: tuple[str, ...]) -> Retrieval:
    names = [str(i) for i in range(24)]
    documents = Texts(tuple(f"d{i}" for i in names), texts)
    queries = Texts(tuple(f"q{i}" for i in names), tuple(text[:12] for text in texts))
    return Retrieval("words", "test", documents, queries, {f"q{i}": {f"d{i}": 1} for i in names})


def windows_of(texts: tuple[str, ...], short: int, long: int) -> Windows:
    names = tuple(map(str, range(len(texts))))
    return Windows(texts, short, long, Unlabelled(names, texts))


def members(*notations: str) -> tuple[Configuration, ...]:
    return tuple(one for family in read_contenders(notations) for one in family.configurations)


@pytest.mark.parametrize("name", CRITERIA)
def test_at_one_length_the_model_as_it_is_is_nowhere_apart_and_the_nearest_temperature_is_chosen(
    name: str, encoder: SentenceEncoder, texts: tuple[str, ...]
) -> None:
    same = windows_of(texts, 16, 16)
    found = match(CRITERIA[name], members(*TEMPERATURES), Bench(encoder, Rules()), same, Silent())
    assert found.apart["none"] == pytest.approx((0, 0), abs=1e-6)
    assert found.chosen == "temperature(0.999)"
    assert all(found.apart[one][0] > 1e-4 for one in ("temperature(0.5)", "temperature(2.0)"))
    for row in found.rows:
        assert (row.measure, row.view, row.n, row.bin) == (f"{name}_apart", CRITERION, 24, "16")
        assert 0 <= row.low <= row.value <= row.high


@pytest.mark.parametrize("name", ["filter_rate", "entropy"])
def test_a_temperature_that_differs_by_length_is_seen_by_what_counts_maps(
    name: str, encoder: SentenceEncoder, texts: tuple[str, ...]
) -> None:
    law = "temperature(law=log, n0=16)"
    found = match(CRITERIA[name], members(law), Bench(encoder, Rules()), windows_of(texts, 16, 32), Silent())
    assert found.chosen == law
    assert found.apart[law][0] != pytest.approx(found.apart["none"][0], abs=1e-4)


def test_a_model_is_left_as_it_came(encoder: SentenceEncoder, texts: tuple[str, ...]) -> None:
    before = encoder.model.encode(list(texts[:3]))
    for name in CRITERIA:
        match(CRITERIA[name], members("temperature(0.5)"), Bench(encoder, Rules()), windows_of(texts, 8, 16), Silent())
    assert np.array_equal(before, encoder.model.encode(list(texts[:3])))


def test_whitening_in_full_is_not_what_mean_cosine_chooses(encoder: SentenceEncoder, texts: tuple[str, ...]) -> None:
    """The lowest mean cosine would be: directions that are all alike have none left."""
    bench, some = Bench(encoder, Rules()), members("whitening(0.1)", "centering(all) + whitening(1)")
    windows = windows_of(texts, 16, 32)
    found = match(CRITERIA["mean_cosine"], some, bench, windows, Silent())
    lowest = CRITERIA["mean_cosine"].values(bench, windows, some[1], 32)
    wanted = CRITERIA["mean_cosine"].values(bench, windows, STOCK, 16)
    assert abs(mean_pairwise(lowest)) < 0.1 < mean_pairwise(wanted)
    assert found.apart[str(some[1])][0] == pytest.approx(abs(mean_pairwise(lowest) - mean_pairwise(wanted)))
    assert found.chosen == "whitening(0.1)"


def test_mean_cosine_and_its_error_agree_with_what_is_written_out() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(7, 5)) + 1)
    pairs = [vectors[i] @ vectors[j] for i in range(7) for j in range(7) if i != j]
    assert mean_pairwise(vectors) == pytest.approx(np.mean(pairs))
    draws = np.random.default_rng(1).normal(size=50)
    value, error = with_error(lambda a, b: float(b.mean() - a.mean()), np.zeros(50), draws)
    assert (value, error) == (pytest.approx(draws.mean()), pytest.approx(draws.std(ddof=1) / np.sqrt(50)))


@pytest.mark.parametrize(
    ("criterion", "fix", "message"),
    [
        ("filter_rate", "whitening(0.3)", "--criterion filter_rate cannot choose `whitening(0.3)`: it is a number of"),
        ("entropy", "cover(8)", "--criterion entropy cannot choose `cover(8)`"),
        ("entropy", "attnscale(0.2)", "which temperatures alone change. Use --criterion probe."),
        ("filter_rate", "temperature(0.9) + whitening(0.3)", "cannot choose `temperature(0.9) + whitening(0.3)`"),
        ("mean_cosine", "cover(8)", "fixes on texts and on scores leave alone"),
        ("mean_cosine", "csls(10)", "--criterion mean_cosine cannot choose `csls(10)`"),
    ],
)
def test_a_criterion_refuses_by_name_what_it_cannot_see(criterion: str, fix: str, message: str) -> None:
    with pytest.raises(FixError) as caught:
        check_seen_by(criterion, read_contenders([fix]))
    assert message in str(caught.value)


def test_an_unknown_criterion_is_refused_and_the_probe_takes_all() -> None:
    with pytest.raises(UncollapseError, match="--criterion has no 'filterrate'. Did you mean 'filter_rate'?"):
        read_criterion("filterrate")
    check_seen_by("probe", read_contenders(["cover(8)", "csls", "whitening"]))


def test_tune_says_what_was_matched_and_what_the_choice_loses_with_labels(
    encoder: SentenceEncoder, task: Retrieval
) -> None:
    rules = Rules(replicates=200, resamples=500, repeats=2)
    result = tune(encoder, task, read_contenders(TEMPERATURES), criterion="entropy", rules=rules)
    assert result.about["criterion"] == "entropy"
    chosen = result.about["chosen_without_labels"]
    assert chosen in TEMPERATURES
    assert result.verdict[-1].title == f"By its attention entropy: {chosen}"
    assert "whether a search gets better it does not say" in result.verdict[-1].sentence
    assert len(result.select(measure="entropy_apart")) == 4
    assert result.select(measure="ndcg@10_regret")[0].n == 24
    blind = tune(encoder, task, read_contenders(TEMPERATURES), criterion="entropy", labels=False, rules=rules)
    assert blind.about["chosen"] == chosen
    assert blind.about["chosen_with_labels"] is None


def test_texts_too_short_to_be_cut_are_refused(encoder: SentenceEncoder) -> None:
    names = tuple(f"d{i}" for i in range(20))
    few = Retrieval("few", "test", Texts(names, ("red",) * 20), Texts(("q0",), ("red",)), {"q0": {"d0": 1}})
    with pytest.raises(CorpusError, match="cuts the same texts to several lengths"):
        tune(encoder, few, read_contenders(TEMPERATURES), criterion="mean_cosine")


def test_the_command_line_refuses_before_it_loads_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs.txt").write_text("a text\n")
    command = ["tune", str(tmp_path / "docs.txt"), "--fix", "whitening", "-m", str(tmp_path), "--criterion"]
    assert run([*command, "filter_rate"]) == 2
    assert "cannot choose `whitening(0.15)`" in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert run([*command, "regret"]) == 2
    assert "--criterion has no 'regret'" in " ".join(capsys.readouterr().err.replace("│", " ").split())
