"""An explanation of a tiny model: against other ways to the same numbers, and under what must not change them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tiny import LETTERS, save_tiny
from uncollapse.attention.observing import Logits
from uncollapse.attention.patching import patch
from uncollapse.attention.sites import backbone
from uncollapse.attention.temperature import Temperature
from uncollapse.corpora import Corpus, open_corpus
from uncollapse.encoders import SentenceEncoder, load
from uncollapse.errors import ArchitectureError, CorpusError, ModelError, UncollapseError
from uncollapse.explanation import maps as observed_maps
from uncollapse.explanation.recording import Recording, looking, special_ids
from uncollapse.explanation.settings import Settings
from uncollapse.explanation.solving import KEPT, Targets, solve
from uncollapse.explanation.study import explain
from uncollapse.explanation.temperatures import solved_temperatures
from uncollapse.records import Result, Row
from uncollapse.spectra import entropy, filter_rate
from uncollapse.tables import HeadTable

SETTINGS = Settings(documents=18, temperatures=(0.5,), at_one_layer=0.5, solved=16, n0=16, replicates=64, bands=4)


def texts(count: int = 20, *, letters: int = 70) -> list[str]:
    """Texts of single letters, which are tokens, and of spaces, so that as many tokens are not as many characters."""
    random = np.random.default_rng(0)
    spaces = np.arange(count) % 7 + 1
    return [(" " * int(gap)).join(random.choice(list(LETTERS[:30]), letters)) for gap in spaces]


def corpus(folder: Path, lines: Sequence[str]) -> Corpus:
    path = folder / "texts.txt"
    for number, line in enumerate(lines):
        (folder / f"{number:02d}.txt").write_text(line)
    assert not path.exists()
    return open_corpus(str(folder))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    found = load(str(save_tiny(tmp_path_factory.mktemp("model"), max_tokens=40)))
    assert isinstance(found, SentenceEncoder)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    for number, line in enumerate(texts()):
        (path / f"{number:02d}.txt").write_text(line)
    return path


@pytest.fixture(scope="module")
def result(model: SentenceEncoder, folder: Path) -> Result:
    return explain(model, open_corpus(str(folder)), settings=SETTINGS)


def look(model: SentenceEncoder, lines: Sequence[str], n: int, settings: Settings = SETTINGS) -> Recording:
    with looking(model, settings) as looker:
        return looker.record(lines, n)


# Against other ways to the same numbers


def test_every_head_has_the_largest_singular_value_of_its_centred_map(model: SentenceEncoder) -> None:
    lines = texts(3)
    seen = look(model, lines, 24).heads["filter_rate"]
    inner = backbone(model.model)
    before = inner.config._attn_implementation
    inner.set_attn_implementation("eager")
    with model.window(24), torch.no_grad():
        batch = model.model.preprocess(lines)
        found = inner(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_attentions=True)
    inner.set_attn_implementation(before)
    for layer, maps in enumerate(found.attentions):
        wanted = torch.linalg.svdvals(maps - maps.mean(-2, keepdim=True))[..., 0]
        assert np.allclose(seen[:, layer], wanted.numpy(), rtol=1e-3)


def test_what_is_pooled_after_the_last_layer_is_the_embedding(model: SentenceEncoder) -> None:
    seen = look(model, texts(4), 16)
    assert seen.pooled is not None
    assert np.allclose(seen.pooled[-1], seen.vectors, atol=1e-5)


def test_power_at_frequency_zero_and_the_share_that_tells_tokens_apart_sum_to_one(model: SentenceEncoder) -> None:
    settings = replace(SETTINGS, bands=8, cut=1 / 32)
    seen = look(model, texts(4), 16, settings)
    last = list(dict.fromkeys(stage for stage, _ in seen.states))[-1]
    assert seen.low_share is not None
    assert seen.power is not None
    assert np.allclose(seen.low_share + seen.states[last, "hc_share"], 1, atol=1e-5)
    assert np.allclose(np.nansum(seen.power, axis=-1), seen.states[last, "hc_share"], atol=1e-5)


def test_a_temperature_that_is_solved_for_keeps_the_heads(model: SentenceEncoder, result: Result) -> None:
    """With every head of a layer at its own tau, the first layer's entropy is that of n0: nothing below it changed."""
    found = solved_temperatures(result)["keeps"]["entropy"]["40"]
    tau = Temperature.from_json(found["temperature"])
    assert isinstance(tau.tau, tuple)
    lines = texts()
    with patch(model.model, tau):
        kept = look(model, lines, 40).heads["entropy"][:, 0].mean(0)
    wanted, stock = (look(model, lines, n).heads["entropy"][:, 0].mean(0) for n in (16, 40))
    reached = [head for head in range(len(kept)) if [0, head] not in found["unreached"]]
    assert reached
    assert np.abs(kept - wanted)[reached].max() < 0.2 * np.abs(stock - wanted)[reached].max()


def test_every_number_is_that_of_its_own_text(model: SentenceEncoder) -> None:
    """A library that sorts texts before it runs them would mix them up."""
    lines = texts(6)
    together = look(model, lines, 24)
    for row, line in enumerate(lines):
        alone = look(model, [line], 24)
        assert np.allclose(together.heads["entropy"][row], alone.heads["entropy"][0], atol=1e-5)
        assert np.allclose(together.vectors[row], alone.vectors[0], atol=1e-5)
        assert together.pooled is not None
        assert alone.pooled is not None
        assert np.allclose(together.pooled[:, row], alone.pooled[:, 0], atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_a_solved_temperature_gives_the_value_it_was_solved_for(masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, 50, 8, generator=generator) for _ in range(2))
    bias = torch.full((50, 50), -torch.inf).triu(1) if masked else None
    logits = Logits(2 * query, key, 8**-0.5, bias)
    goals = {"entropy": 0.6, "filter_rate": 1.5}
    tau = solve(logits, Targets(8, {measure: np.full((1, 3), goal) for measure, goal in goals.items()}), 0)
    for measure, found in tau.items():
        attention = logits.map(1 / found[..., None, None])
        reached = entropy(attention) / math.log(50) if measure == "entropy" else filter_rate(attention).value
        assert bool(found.isfinite().all())
        assert np.allclose(reached, goals[measure], rtol=0.02), measure


def test_what_no_temperature_gives_is_not_solved_for() -> None:
    logits = Logits(torch.randn(1, 2, 20, 4), torch.randn(1, 2, 20, 4), 0.5)
    assert bool(solve(logits, Targets(8, {"entropy": np.full((1, 2), 1.5)}), 0)["entropy"].isnan().all())


def test_a_temperature_of_one_changes_nothing(model: SentenceEncoder) -> None:
    stock = look(model, texts(3), 16)
    with patch(model.model, Temperature(1.0)):
        same = look(model, texts(3), 16)
    for measure, values in stock.heads.items():
        assert np.array_equal(values, same.heads[measure], equal_nan=True)


def test_rows_are_means_of_what_the_table_of_heads_holds(model: SentenceEncoder, folder: Path, tmp_path: Path) -> None:
    with HeadTable(tmp_path / "heads.parquet") as sink:
        result = explain(model, open_corpus(str(folder)), settings=SETTINGS, sink=sink)
    table = pq.read_table(tmp_path / "heads.parquet").to_pylist()
    row = result.select(measure="entropy", view="heads", bin="32", layer=1, head=2, fix="temperature(0.5)")[0]
    keys = {"measure": "entropy", "n_tokens": 32, "layer": 1, "head": 2, "fix": "temperature(0.5)"}
    values = [line["value"] for line in table if all(line[key] == value for key, value in keys.items())]
    assert len(values) == row.n == 18
    assert math.isclose(float(np.mean(values)), row.value, rel_tol=1e-9)


# What must not change a number


def test_the_order_of_the_corpus_and_the_batches_do_not_matter(
    model: SentenceEncoder, folder: Path, result: Result
) -> None:
    backwards = open_corpus(str(folder))
    lines = list(backwards)[::-1]
    other = SentenceEncoder(
        model.model, model.name, source=model.source, folder_max_tokens=model.folder_max_tokens, batch_size=3
    )
    again = explain(other, _Listed(backwards, lines), settings=SETTINGS)
    assert [_key(row) for row in again.rows] == [_key(row) for row in result.rows]
    for one, two in zip(result.rows, again.rows, strict=True):
        assert math.isclose(one.value, two.value, rel_tol=2e-3, abs_tol=1e-5), one


def test_the_model_is_bit_for_bit_as_before(model: SentenceEncoder, folder: Path) -> None:
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    vectors = model.vectors(texts(2))
    explain(model, open_corpus(str(folder)), settings=replace(SETTINGS, temperatures=(), at_one_layer=1.0, solved=0))
    assert all(torch.equal(value, model.model.state_dict()[name]) for name, value in before.items())
    assert np.array_equal(vectors, model.vectors(texts(2)))


# What it holds and says


def test_every_row_has_an_interval_or_says_why_not(result: Result) -> None:
    assert len(result.rows) > 200
    for row in result.rows:
        assert math.isfinite(row.value)
        assert row.n >= 8
        if row.low is None or row.high is None:
            assert row.note
        elif not row.measure.startswith("solved"):
            assert row.low <= row.high


def test_the_findings_are_counted_out_under_their_headings(result: Result) -> None:
    groups = result.about["verdict_groups"]
    assert sum(groups.values()) == len(result.verdict)
    assert list(groups) == [
        "What attention does",
        "What the rest of the layer puts back",
        "What a temperature does",
        "What reaches the embedding",
        "Theory beside measurement",
    ]


def test_a_quick_look_has_no_temperatures(model: SentenceEncoder, folder: Path) -> None:
    quick = replace(SETTINGS, temperatures=(), at_one_layer=1.0, solved=0)
    found = explain(model, open_corpus(str(folder)), settings=quick)
    assert {row.fix for row in found.rows} == {"none"}
    assert not found.select(measure="solved_tau")
    assert solved_temperatures(found) == {}
    assert "What a temperature does" not in found.about["verdict_groups"]


def test_texts_that_are_too_short_are_counted(model: SentenceEncoder, tmp_path: Path) -> None:
    few = corpus(tmp_path, [*texts(17), "a", "b c", ""])
    found = explain(model, few, settings=replace(SETTINGS, temperatures=(), at_one_layer=1.0, solved=0))
    assert found.about["explanation"]["documents"] == 17
    assert any(
        "2 of 19 texts are shorter" in note or "3 of 20 texts are shorter" in note for note in found.about["notes"]
    )


def test_half_precision_is_taken_to_single(tmp_path: Path, folder: Path) -> None:
    half = load(str(save_tiny(tmp_path / "half", max_tokens=40, dtype=torch.bfloat16)))
    assert isinstance(half, SentenceEncoder)
    half.model.to(torch.bfloat16)
    found = explain(half, open_corpus(str(folder)), settings=replace(SETTINGS, solved=0, at_one_layer=1.0))
    assert all(math.isfinite(row.value) for row in found.rows)


# Bad input


def test_too_few_long_texts_are_refused_with_how_many_there_are(model: SentenceEncoder, tmp_path: Path) -> None:
    few = corpus(tmp_path, [*texts(5), *["a b"] * 20])
    with pytest.raises(CorpusError, match="at least 16 texts of 16 tokens or more; the corpus has 5"):
        explain(model, few, settings=SETTINGS)


def test_only_vectors_are_refused(folder: Path) -> None:
    class Box:
        name, model = "box", None

    with pytest.raises(ModelError, match="only vectors can be seen"):
        explain(Box(), open_corpus(str(folder)))  # type: ignore[arg-type]


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path, folder: Path) -> None:
    broken = load(str(save_tiny(tmp_path / "nan", max_tokens=40)))
    assert isinstance(broken, SentenceEncoder)
    with torch.no_grad():
        next(iter(backbone(broken.model).encoder.parameters())).fill_(torch.nan)
    with pytest.raises(ArchitectureError, match="NaN|nan"):
        explain(broken, open_corpus(str(folder)), settings=SETTINGS)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("documents", 3, "at least 16 documents"),
        ("n0", -1, "0 or more"),
        ("solved", 4, "at least 16"),
        ("cut", 0.7, "between 0 and 0.5"),
        ("bands", 1, "at least 2 bands"),
        ("temperatures", (0.5, -1.0), "finite and > 0"),
        ("at_one_layer", float("nan"), "finite and > 0"),
        ("replicates", 5, "multiple of 4"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name: str, value: object, said: str) -> None:
    with pytest.raises(UncollapseError, match=said):
        replace(SETTINGS, **{name: value})


class _Listed:
    """A corpus in another order."""

    def __init__(self, corpus: Corpus, lines: Sequence[object]) -> None:
        self.corpus, self.lines = corpus, lines
        self.name, self.description, self.notes, self.skipped = (
            corpus.name, corpus.description, corpus.notes, corpus.skipped,
        )  # fmt: skip

    def __iter__(self):
        return iter(self.lines)


def _key(row: Row) -> tuple[object, ...]:
    return (row.measure, row.view, row.bin, row.fix, row.layer, row.head, row.frequency, row.n)


@pytest.mark.parametrize("name", ["qwen2", "mistral", "gemma2"])
def test_maps_too_large_to_be_formed_give_the_same_numbers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that look back only, near only, and under a soft-cap: no map is formed, and no number changes."""
    other = load(str(save_tiny(tmp_path / name, name, max_tokens=24)))
    assert isinstance(other, SentenceEncoder)
    lines = texts(3)
    formed = look(other, lines, 24)
    targets = Targets(8, {name: np.nanmean(look(other, lines, 8).heads[name], axis=0) for name in KEPT})
    with looking(other, SETTINGS) as looker:
        solved = looker.record(lines, 24, targets=targets).solved
    monkeypatch.setattr(observed_maps, "MOST_ENTRIES", 1)
    for forms in ("measure_maps", "DenseMap"):
        monkeypatch.setattr(observed_maps, forms, None)
    with looking(other, SETTINGS) as looker:
        streamed = looker.record(lines, 24, targets=targets)
    for measure, values in formed.heads.items():
        assert np.allclose(streamed.heads[measure], values, rtol=2e-3, atol=1e-5, equal_nan=True), measure
    for measure, values in solved.items():
        assert np.allclose(streamed.solved[measure], values, rtol=2e-2, equal_nan=True), measure


def test_special_tokens_are_known_by_their_ids_not_by_their_places(model: SentenceEncoder) -> None:
    """[SEP] within a text counts, unknown words do not: against the columns of the model's own maps."""
    lines = ["a b [SEP] c ~ e f g h i j k", "[SEP] b c d e f ~ ~ i j k l"]
    seen = look(model, lines, 10).heads["share_special"]
    inner = backbone(model.model)
    before = inner.config._attn_implementation
    inner.set_attn_implementation("eager")
    with model.window(10), torch.no_grad():
        batch = model.model.preprocess(lines)
        found = inner(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_attentions=True)
    inner.set_attn_implementation(before)
    special = (batch["input_ids"] == 2) | (batch["input_ids"] == 3)
    assert special.sum(1).tolist() == [3, 3]
    assert bool((batch["input_ids"] == 1).any())
    for layer, maps in enumerate(found.attentions):
        wanted = (maps * special[:, None, None]).sum(-1).mean(-1)
        assert np.allclose(seen[:, layer], wanted.numpy(), atol=1e-5)


def test_the_token_of_unknown_words_is_special_only_where_it_ends_texts() -> None:
    class Tokenizer:
        all_special_ids: ClassVar[list[int]] = [0, 1, 2]
        unk_token_id, cls_token_id, eos_token_id = 1, 2, None

    assert special_ids(Tokenizer()).tolist() == [0, 2]
    Tokenizer.eos_token_id = 1
    assert special_ids(Tokenizer()).tolist() == [0, 1, 2]
    assert special_ids(object()) is None
