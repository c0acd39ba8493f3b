"""Results of an explanation: a full one of 6 layers of 12 heads, others of any size, and how to take rows away."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from reporting_examples import charts_of
from uncollapse.records import Finding, Result, Row
from uncollapse.reporting.charts import Chart

LENGTHS = (16, 32, 64, 128, 256, 512)
TEMPERATURES = ("temperature(0.8)", "temperature(0.6)")
STAGES = ("input", "attention", "after attention", "attention norm", "mlp", "after mlp", "mlp norm")
BANDS = 16
N0 = 128
HEAD_MEASURES = (
    "filter_rate", "entropy", "output_hc_share", "share_special", "share_own", "share_window", "score_spread",
)  # fmt: skip
LAWS = ("gaussian law", "quoted bound", "n^-1/2 law")
GROUPS = (
    "What attention does", "What the layers put back", "What a temperature does", "What reaches the embedding",
    "Theory beside measurement",
)  # fmt: skip


@cache
def full_result() -> Result:
    """An explanation of everything that can be asked for."""
    return make_result()


def make_result(layers: int = 6, heads: int = 12, lengths: tuple[int, ...] = LENGTHS) -> Result:
    """An explanation of a made-up model of any size."""
    sharpness = _sharpness(layers, heads)
    rows = [
        *_heads(sharpness, lengths), *_states(layers, lengths), *_spectra(layers, lengths), *_laws(lengths),
        *_solved(sharpness, lengths), *_pooled(layers, lengths), *_changes(layers), *_trends(layers),
    ]  # fmt: skip
    rows = [replace(row, model="minilm", dataset="notes") for row in rows]
    about = {
        "title": "Inside minilm",
        "command": "uncollapse explain notes/ --model minilm -o inside",
        "created": "2026-03-01T10:20:30+00:00",
        "model": {"name": "minilm", "architecture": "BertModel", "dim": 384, "max_tokens": 512},
        "corpus": {"name": "notes", "n_texts": 800},
        "verdict_groups": {name: len(found) for name, found in zip(GROUPS, _verdict(), strict=True)},
        "explanation": {
            "n0": N0, "layers": layers, "heads": heads, "lengths": list(lengths), "documents": 48, "window": 8,
            "cut": 0.1, "bands": [edge / (2 * BANDS) for edge in range(BANDS + 1)], "stages": list(STAGES),
            "temperatures": list(TEMPERATURES),
        },
    }  # fmt: skip
    return Result(rows=tuple(rows), verdict=tuple(one for found in _verdict() for one in found), about=about)


def chart_of(key: str, result: Result | None = None) -> Chart:
    """One chart of a result's report, the full one's by default."""
    return (_full_charts() if result is None else charts_of(result))[key]


def figure_of(key: str, result: Result | None = None) -> dict[str, Any]:
    """Its figure, which must be there."""
    figure = chart_of(key, result).figure
    assert figure is not None, key
    return figure


@cache
def _full_charts() -> dict[str, Chart]:
    return charts_of(full_result())


def without(result: Result, **keys: object) -> Result:
    """The result without the rows whose fields equal `keys`."""
    gone = set(map(id, result.select(**keys)))
    return replace(result, rows=tuple(row for row in result.rows if id(row) not in gone))


def with_about(result: Result, **keys: object) -> Result:
    """The result with other words about itself."""
    return replace(result, about={**result.about, "explanation": {**result.about["explanation"], **keys}})


def without_temperatures() -> Result:
    """What a quick run gives: nothing under a temperature, nothing solved for."""
    full = full_result()
    about = {**full.about, "explanation": {**full.about["explanation"], "temperatures": []}}
    rows = (row for row in full.rows if row.fix == "none" and row.measure not in ("solved_tau", "mean_cosine_rise"))
    return replace(full, rows=tuple(rows), about=about)


def _row(measure: str, value: float, spread: float, n: int = 48, **keys: object) -> Row:
    low, high = round(value - spread, 5), round(value + spread, 5)
    if "bin" in keys:
        keys["n_tokens"] = float(str(keys["bin"]))
    return Row(measure, round(value, 5), low, high, n, **keys)  # type: ignore[arg-type]


def _sharpness(layers: int, heads: int) -> np.ndarray:
    """How sharp every head is, from 0 to 1: the middle layers have the sharpest."""
    depth = np.linspace(0, math.pi, layers + 2)[1:-1]
    made = np.random.default_rng(0).beta(1.4, 1.8, (layers, heads))
    return np.clip(0.25 * np.sin(depth)[:, None] + 0.8 * made, 0.02, 0.98)


def _head_values(sharp: np.ndarray, n: int, tau: float) -> dict[str, np.ndarray]:
    """Every measure of every head: a sharp head keeps or amplifies, a flat one smooths more on longer texts."""
    spread = (0.6 + 2.6 * sharp) / tau
    grown = 0.1 * math.log2(n / 16)
    filter_rate = 0.25 * spread**1.3 * (1 + grown * (spread - 1.4)) + 4 * sharp / n
    entropy = np.clip(1 - 0.12 * spread**1.6 / math.log(n) ** 0.7, 0.03, 0.99)
    return {
        "filter_rate": np.maximum(filter_rate, 0.02),
        "entropy": entropy,
        "output_hc_share": np.clip(0.08 + 0.19 * spread - 0.02 * math.log2(n / 16), 0.01, 0.95),
        "share_special": np.clip(0.1 + 0.35 * sharp + 1.2 / n, 0.01, 0.9),
        "share_own": np.clip(0.04 + 0.08 * sharp + 1.5 / n, 0.005, 0.9),
        "share_window": np.clip(0.15 + 0.2 * sharp + 6 / n, 0.01, 0.95),
        "score_spread": spread * (1 + 0.02 * math.log2(n / 16)),
    }


def _heads(sharp: np.ndarray, lengths: tuple[int, ...]) -> Iterator[Row]:
    for fix, tau in {"none": 1.0, **{fix: float(fix[12:-1]) for fix in TEMPERATURES}}.items():
        for n in lengths:
            values = _head_values(sharp, n, tau)
            for measure in HEAD_MEASURES[: 3 if fix != "none" else None]:
                found, keys = values[measure], {"bin": str(n), "fix": fix}
                for layer, head in np.ndindex(*found.shape):
                    value = float(found[layer, head])
                    yield _row(measure, value, 0.06 * value, view="heads", layer=layer, head=head, **keys)
                middle = float(np.median(found))
                yield _row(measure, middle, 0.04 * middle, view="all heads", **keys)


def _states(layers: int, lengths: tuple[int, ...]) -> Iterator[Row]:
    """Attention takes differences away, norm and MLP put most of them back; longer texts lose more."""
    steps = {"attention norm": 0.02, "after mlp": 0.06, "mlp norm": 0.015}
    for n in lengths:
        share = 0.86
        for layer in range(layers):
            lost = (0.07 + 0.02 * math.log2(n / 16)) * (1.1 - layer / (2 * layers)) * 6 / max(layers, 6)
            for stage in STAGES:
                shown = {
                    "attention": 0.36 - 0.03 * math.log2(n / 16),
                    "mlp": 0.8 - 0.12 * layer / layers - 0.02 * math.log2(n / 16),
                }.get(stage)
                if shown is None:
                    share = (
                        share - lost
                        if stage == "after attention"
                        else share + steps.get(stage, 0.0) * 6 / max(layers, 6)
                    )
                    share = min(max(share, 0.05), 0.97)
                value = share if shown is None else shown
                keys = {"view": stage, "layer": layer, "bin": str(n)}
                yield _row("hc_share", value, 0.012, **keys)
                yield _row("token_cosine", 1 - value - 0.02, 0.014, **keys)


def _spectra(layers: int, lengths: tuple[int, ...]) -> Iterator[Row]:
    for n in lengths:
        for layer in range(layers):
            shared = 0.14 + 0.4 * (layer + 1) / layers + 0.02 * math.log2(n / 16)
            fall = np.exp(-np.arange(BANDS) * (0.05 + 0.22 * (layer + 1) / layers))
            power = (1 - shared) * fall / fall.sum() + shared * (np.arange(BANDS) == 0)
            keys = {"view": "spectrum", "layer": layer, "bin": str(n)}
            yield _row("low_share", float(power[:3].sum() + 0.2 * power[3]), 0.01, **keys)
            for band, value in enumerate(power.tolist()):
                yield _row("power", value, 0.05 * value, frequency=(band + 0.5) / (2 * BANDS), **keys)


def _laws(lengths: tuple[int, ...]) -> Iterator[Row]:
    spread = 1.9
    for n in lengths:
        law = 2 * math.sqrt((math.exp(spread**2) - 1) / n)
        bound = math.sqrt(n / (2 * math.sqrt(1 + math.exp(-2 * spread**2)) * (n - 1) ** 1.5 + 1))
        for view, value in zip(LAWS, (law, bound, 0.76 * math.sqrt(lengths[0] / n)), strict=True):
            yield _row("filter_rate", value, 0.05 * value, view=view, bin=str(n))


def _solved(sharp: np.ndarray, lengths: tuple[int, ...]) -> Iterator[Row]:
    for n in lengths:
        for kept in ("filter_rate", "entropy"):
            for layer, head in np.ndindex(*sharp.shape):
                keys = {"view": f"keeps {kept}", "layer": layer, "head": head, "bin": str(n)}
                if kept == "filter_rate" and (sharp[layer, head] > 0.85 or (layer, head) == (0, 1)):
                    continue  # no temperature keeps it
                steep = 0.4 * (0.9 - sharp[layer, head]) if kept == "filter_rate" else 0.12 + 0.2 * sharp[layer, head]
                missed = (layer, head) == (0, 2)
                note = "5 of 16 documents have no value" if missed else ""
                yield _row("solved_tau", float((N0 / n) ** steep), 0.03, n=11 if missed else 16, note=note, **keys)


def _pooled(layers: int, lengths: tuple[int, ...]) -> Iterator[Row]:
    for n in lengths:
        grown = math.log2(n / 8)
        yield _row(
            "pooled_mean_cosine", 0.32 + 0.08 * grown, 0.015, view="what enters the first layer", layer=0, bin=str(n)
        )
        for layer in range(layers):
            depth = (layer + 1) / layers
            value = (0.45 + 0.06 * grown) * (1 - depth) + depth * (0.1 + 0.012 * grown**1.9)
            yield _row("pooled_mean_cosine", value, 0.02, view="layers", layer=layer, bin=str(n))


def _changes(layers: int) -> Iterator[Row]:
    yield _row("mean_cosine_rise", 0.315, 0.024, view="one layer")
    for layer in range(layers):
        taus = ", ".join("0.8" if place == layer else "1.0" for place in range(layers))
        value = 0.004 - 0.03 * math.sin(math.pi * (layer + 0.5) / layers) * (1 + layer / layers)
        yield _row("rise_change", value, 0.009, view="one layer", layer=layer, fix=f"temperature([{taus}])")
    yield _row("rise_change", -0.118, 0.02, view="one layer", fix="temperature(0.8)")


def _trends(layers: int) -> Iterator[Row]:
    """From the shortest to the longest length; and what every step leaves in the mean over layers."""
    for measure in HEAD_MEASURES:
        yield _row(f"{measure}_change", 0.04, 0.02, view="all heads")
    for layer in range(layers):
        yield _row("pooled_mean_cosine_change", 0.3, 0.02, view="layers", layer=layer)
    for stage in STAGES:
        yield _row("hc_share", 0.6, 0.01, view=stage, bin="512")


def _verdict() -> tuple[tuple[Finding, ...], ...]:
    return (
        (
            Finding(
                "Most heads of minilm smooth, and some amplify",
                "The median filter rate goes from 0.76 [0.73, 0.79] at 16 tokens to 0.82 [0.79, 0.86] at 512 tokens "
                "(48 documents, 72 heads): attention alone does not smooth more on longer texts.",
            ),
            Finding(
                "Attention spreads out",
                "Its entropy grows from 82 % to 90 % of log n between 16 and 512 tokens.",
                "bad",
            ),
        ),
        (
            Finding(
                "The MLP puts back what attention takes",
                "At 512 tokens attention takes 15 points of the energy that tells tokens apart, norm and MLP put back "
                "9 points, in the mean over layers.",
                "good",
            ),
        ),
        (
            Finding(
                "A temperature of 0.8 raises the filter rate",
                "With temperature(0.8) the median filter rate at 512 tokens is 1.31 [1.26, 1.36] instead of 0.82.",
                "good",
            ),
        ),
        (
            Finding(
                "Layer 3 matters most",
                "A temperature of 0.8 in layer 3 alone changes the rise of the mean cosine by -0.039 "
                "[-0.048, -0.030].",
            ),
        ),
        (
            Finding(
                "The law for Gaussian scores does not hold here",
                "It puts the filter rate at 0.53 at 512 tokens, where 0.82 [0.79, 0.86] was measured: scores are not "
                "independent, and their spread of 2.2 is beyond where the law applies.",
                "bad",
            ),
            Finding(
                "The quoted bound is exceeded",
                "At 512 tokens it allows 0.15. It is quoted second-hand, so nothing here rests on it.",
                "bad",
            ),
        ),
    )
