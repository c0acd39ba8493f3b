"""Results to draw: one like the demo's, one full of hostile text, and small ones with pieces missing."""

import math
from dataclasses import replace

import numpy as np

from uncollapse.records import Finding, LengthCount, Point, Result, Row
from uncollapse.reporting.sections import Chart, make_sections

LENGTHS = (8, 16, 32, 64, 128, 256, 512)
COSINES = {
    "none": (0.147, 0.148, 0.189, 0.222, 0.268, 0.320, 0.462),
    "temperature(0.9)": (0.150, 0.152, 0.190, 0.221, 0.262, 0.305, 0.437),
    "temperature(0.8)": (0.153, 0.156, 0.191, 0.221, 0.257, 0.293, 0.415),
    "temperature(0.7)": (0.157, 0.161, 0.194, 0.224, 0.258, 0.289, 0.398),
    "temperature(0.5)": (0.165, 0.171, 0.201, 0.232, 0.264, 0.290, 0.385),
}
RANKS = {
    "none": (92.0, 82.0, 75.0, 75.0, 74.0, 67.0, 57.0),
    "temperature(0.9)": (92.0, 82.4, 76.0, 76.4, 76.0, 69.0, 59.5),
    "temperature(0.8)": (92.0, 83.0, 77.0, 78.0, 78.0, 71.0, 62.0),
    "temperature(0.7)": (91.6, 83.0, 77.6, 79.8, 80.4, 74.6, 66.4),
    "temperature(0.5)": (91.0, 83.0, 78.0, 82.0, 83.0, 79.0, 74.0),
}
CHANGES = {
    "temperature(0.9)": (0.004, -0.002, 0.011),
    "temperature(0.8)": (0.007, -0.001, 0.015),
    "temperature(0.7)": (0.003, -0.008, 0.014),
    "temperature(0.5)": (-0.021, -0.035, -0.008),
}
HOSTILE = (
    "</script><script>window.pwned=1</script>",
    '<img src=x onerror="window.pwned=1">',
    '<a href="javascript:window.pwned=1">click</a>',
    "{{7*7}} {% raw %} %{x} ${1+1} `${window.pwned=1}`",
    "<!--<script>\u2028window.pwned=1\u2029//]]>",
    "\"'><b>bold</b> &lt;i&gt; &amp;amp; \\u003c \x00 \ud800",
)


def demo_result() -> Result:
    """What the demo gives: five settings, two views, a projection before and after."""
    rows = [row for fix in COSINES for row in (*_windows(fix), *_as_is(fix), *_summary(fix))]
    isotropic = [
        Row("effective_rank_isotropic", 96.4, 95.1, 97.7, 120, "windows", str(n), float(n), "minilm") for n in LENGTHS
    ]
    return Result(rows=(*rows, *isotropic), verdict=_verdict(), points=_points(), lengths=_histogram(), about=_about())


def diagnose_result() -> Result:
    """What a diagnosis without any fix gives."""
    full = demo_result()
    about = {key: value for key, value in full.about.items() if key != "chosen_fix"}
    return replace(
        full,
        rows=tuple(row for row in full.rows if row.fix == "none"),
        verdict=(full.verdict[0], full.verdict[3]),
        points=tuple(point for point in full.points if point.fix == "none"),
        about={**about, "command": "uncollapse diagnose docstrings --model minilm --out report"},
    )


def hostile_result() -> Result:
    """The demo's result with markup, script and template text wherever a user's text can stand."""
    full = demo_result()
    rename = {"none": "none", "temperature(0.8)": HOSTILE[1]}
    rows = tuple(
        replace(row, fix=rename[row.fix], note=HOSTILE[0], bin=HOSTILE[5], dataset=HOSTILE[2], model=HOSTILE[3])
        for row in full.rows
        if row.fix in rename
    )
    points = tuple(
        replace(point, id=HOSTILE[i % 6], snippet=HOSTILE[(i + 1) % 6], fix=rename[point.fix])
        for i, point in enumerate(full.points)
    )
    about = {
        "title": HOSTILE[0], "command": HOSTILE[0], "notes": list(HOSTILE), "created": HOSTILE[1], "seed": HOSTILE[2],
        "model": {"name": HOSTILE[1], "architecture": HOSTILE[4], "max_tokens": HOSTILE[0], "fingerprint": HOSTILE[3]},
        "corpus": {"name": HOSTILE[2], "description": HOSTILE[5], "n_texts": HOSTILE[0], "skipped": HOSTILE[1]},
        "versions": {HOSTILE[0]: HOSTILE[1]}, "chosen_fix": HOSTILE[1],
    }  # fmt: skip
    verdict = tuple(Finding(text, text, text) for text in HOSTILE)
    return replace(full, rows=rows, points=points, verdict=verdict, about=about)


def charts_of(result: Result) -> dict[str, Chart]:
    """Every chart of a result's report by its key."""
    return {chart.key: chart for section in make_sections(result) for chart in section.charts}


def _row(measure: str, value: float, spread: float, **keys: object) -> Row:
    return Row(
        measure, round(value, 4), round(value - spread, 4), round(value + spread, 4), 120, model="minilm", **keys
    )  # type: ignore[arg-type]


def _windows(fix: str) -> list[Row]:
    rows = []
    for n, cosine, rank in zip(LENGTHS, COSINES[fix], RANKS[fix], strict=True):
        keys = {"view": "windows", "bin": str(n), "n_tokens": float(n), "fix": fix}
        rows += [
            _row("mean_cosine", cosine, 0.008 + 0.05 * cosine, **keys),
            _row("centroid_distance", math.sqrt(1 - cosine), 0.02, **keys),
            _row("uniformity", -3.9 + 4.4 * cosine, 0.06, **keys),
            _row("effective_rank", rank, 2.4, **keys),
        ]
    return rows


def _as_is(fix: str) -> list[Row]:
    rows = []
    for n, cosine, rank in zip(LENGTHS, COSINES[fix], RANKS[fix], strict=True):
        keys = {"view": "as_is", "bin": f"{n}-{2 * n - 1}", "n_tokens": min(1.41 * n, 512.0), "fix": fix}
        rows += [
            _row("mean_cosine", cosine + 0.05 - 0.0001 * n, 0.014 + 0.07 * cosine, **keys),
            _row("uniformity", -3.7 + 4.1 * cosine, 0.09, **keys),
            _row("effective_rank", rank - 4, 3.1, **keys),
            Row(
                "share_truncated", 0.41 if n == 512 else 0.0, None, None, 120, note="a count, not an estimate", **keys
            ),  # type: ignore[arg-type]
        ]
    return rows


def _summary(fix: str) -> list[Row]:
    rise, stock = (COSINES[name][-1] - COSINES[name][0] for name in (fix, "none"))
    rows = [
        _row("mean_cosine_rise", rise, 0.024, view="windows", fix=fix),
        _row("mean_cosine_per_doubling", rise / 6, 0.004, view="windows", fix=fix),
    ]
    if fix in CHANGES:
        rows.append(_row("share_recovered", 1 - rise / stock, 0.035, view="windows", fix=fix))
        for end in (0, -1):
            keys = {"view": "windows", "bin": str(LENGTHS[end]), "n_tokens": float(LENGTHS[end]), "fix": fix}
            rows.append(_row("mean_cosine_change", COSINES[fix][end] - COSINES["none"][end], 0.004, **keys))
        value, low, high = CHANGES[fix]
        rows.append(Row("mean_reciprocal_rank", 0.612 + value, 0.58, 0.64, 480, "retrieval", model="minilm", fix=fix))
        change = Row("mean_reciprocal_rank_change", value, low, high, 480, "retrieval", model="minilm", fix=fix)
        rows.append(change)
    return rows


def _verdict() -> tuple[Finding, ...]:
    return (
        Finding(
            "Longer texts drift together",
            "The mean cosine of unrelated texts rises from 0.147 at 8 tokens to 0.462 at 512, on the same texts cut "
            "to those lengths, so it is length and not content.",
            "bad",
        ),
        Finding(
            "temperature(0.8) takes back a sixth of it",
            "The rise falls from 0.315 to 0.262 (17 %, 95 % interval 13 to 20 %). Most of the drift stays.",
            "good",
        ),
        Finding(
            "Retrieval does not move",
            "Mean reciprocal rank changes by +0.007 (-0.001 to +0.015): no proven gain on these texts.",
            "neutral",
        ),
        Finding(
            "8 % of the texts are cut off",
            "63 of 800 texts are longer than the 512 tokens the model reads. No temperature brings that back.",
            "bad",
        ),
    )


def _points() -> tuple[Point, ...]:
    draw = np.random.default_rng(7)
    tokens = np.exp2(draw.uniform(3, 9, 400)).astype(int)
    noise = draw.normal(size=(400, 2))
    points = []
    for fix, pull in (("none", 1.0), ("temperature(0.8)", 0.8)):
        for i, n in enumerate(tokens):
            late = (math.log2(n) - 3) / 6
            x = 0.26 * pull * late + 0.12 * (1 - 0.45 * pull * late) * noise[i, 0]
            y = 0.10 * math.sin(2.2 * late) + 0.13 * (1 - 0.5 * pull * late) * noise[i, 1]
            snippet = f"Return array {i}, with every element <= limit replaced & averaged over the last axis."
            points.append(Point(f"numpy.example.function_{i}", x, y, int(n), snippet, fix))
    return tuple(points)


def _histogram() -> tuple[LengthCount, ...]:
    edges = (8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024, 1448)
    counts = (14, 31, 58, 77, 92, 101, 98, 84, 66, 51, 38, 27, 34, 19, 10)
    return tuple(
        LengthCount(low, high, texts, texts if low >= 512 else 0)
        for low, high, texts in zip(edges, edges[1:], counts, strict=False)
    )


def _about() -> dict[str, object]:
    return {
        "title": "Does length change these embeddings?",
        "model": {
            "name": "minilm", "architecture": "bert", "dim": 384, "max_tokens": 512, "folder_max_tokens": 256,
            "fix": "none", "fingerprint": "9f3c21d07a4e",
        },
        "corpus": {
            "name": "docstrings", "description": "documentation strings of 14 installed packages", "n_texts": 800,
            "skipped": {"empty": 3, "duplicate": 41},
        },
        "seed": 0,
        "command": "uncollapse demo --out demo --seed 0",
        "created": "2026-03-01T10:20:30+00:00",
        "versions": {"uncollapse": "0.1.0", "torch": "2.13.0", "sentence-transformers": "6.2.0"},
        "notes": [
            "The model's folder caps texts at 256 tokens; its position table has 512 rows, so the cap was raised.",
            "Intervals come from resampling documents 1,000 times.",
        ],
        "chosen_fix": "temperature(0.8)",
    }  # fmt: skip
