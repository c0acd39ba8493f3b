"""Evaluations to draw: three tasks under three settings, one without any fix, and one full of hostile text."""

from dataclasses import replace
from functools import cache

import numpy as np

import reporting_examples
from reporting_examples import HOSTILE
from uncollapse.records import Finding, Item, Result, Row
from uncollapse.reporting.charts import Chart, Table

FIXES = ("none", "temperature(0.9)", "temperature(0.8)")
DOCUMENT_BINS = {"41-186": 128.0, "187-241": 214.0, "242-297": 268.0, "298-384": 336.0, "385-1512": 492.0}
QUERY_BINS = {"6-12": 9.8, "13-16": 14.6, "17-20": 18.4, "21-26": 23.1, "27-52": 33.7}
PAIR_BINS = {"6-10": 8.9, "11-13": 12.0, "14-18": 15.9, "19-27": 22.6, "28-61": 35.4}
NEWS_BINS = {"12-38": 31.0, "39-46": 42.6, "47-54": 50.4, "55-66": 59.8, "67-248": 84.1}
GAINS = {
    "temperature(0.9)": (0.001, 0.002, 0.004, 0.009, 0.021),
    "temperature(0.8)": (-0.019, -0.006, 0.003, 0.013, 0.034),
}
BIASES = {
    "none": (
        ("length_ratio@10", 0.91, 0.03), ("length_ratio@R", 0.94, 0.02), ("short_surplus@10", 0.09, 0.02),
        ("long_surplus@10", -0.08, 0.02), ("length_slope", -0.011, 0.002), ("length_slope_sd", -0.13, 0.03),
        ("length_explained", 0.021, 0.006), ("short_wins", 0.57, 0.02), ("beaten_by_shorter", 0.06, 0.03),
    ),
    "temperature(0.9)": (("length_ratio@R", 0.95, 0.02), ("short_wins", 0.555, 0.02), ("length_slope_sd", -0.1, 0.03)),
    "temperature(0.8)": (
        ("length_ratio@10", 0.97, 0.03), ("length_ratio@R", 0.98, 0.025), ("short_surplus@10", 0.04, 0.02),
        ("long_surplus@10", -0.05, 0.02), ("length_slope", -0.006, 0.002), ("length_slope_sd", -0.07, 0.03),
        ("length_explained", 0.011, 0.005), ("short_wins", 0.53, 0.02), ("beaten_by_shorter", 0.02, 0.03),
    ),
}  # fmt: skip
NASTY = (
    "<script>window.pwned=1</script> is a claim, isn't it?",
    "She said \"2 < 3 & 5 > 4\" and then 'nothing'.",
    "השפעת אורך הטקסט על הטמעות \u202eabc\u202c مرحبا بالعالم",
    "very long " * 400,
    "🧪🧬 zebrafish 👩\u200d🔬 with 🏳️\u200d🌈 and e\u0301\u0323",
    "unbroken" * 60,
    "<b>bold</b><br>%{y} {{7*7}} &lt;i&gt;",
    "长文本会聚集在一起" * 12,
)


@cache
def task_result() -> Result:
    """Three tasks under the stock model and two temperatures; nasty text in the items."""
    rows = (*_retrieval(), *_similarity(), *_classification())
    items = (*_queries(), *_pairs(), *_news())
    return Result(rows=rows, verdict=_verdict(), items=items, about=_about())


@cache
def single_result() -> Result:
    """One retrieval task with one fix."""
    full = task_result()
    kept = ("none", "temperature(0.8)")
    return replace(
        full,
        rows=tuple(row for row in full.rows if row.dataset == "scifact/test" and row.fix in kept),
        items=tuple(item for item in full.items if item.dataset == "scifact/test"),
        about={**full.about, "tasks": full.about["tasks"][:1], "fixes": list(kept)},
    )


@cache
def stock_result() -> Result:
    """The three tasks without any fix."""
    full = task_result()
    items = tuple(replace(item, values={"none": item.values["none"]}) for item in full.items)
    rows = tuple(row for row in full.rows if row.fix == "none")
    return replace(full, rows=rows, items=items, verdict=(), about={**full.about, "fixes": ["none"]})


@cache
def hostile_task_result() -> Result:
    """Markup, script and template text wherever a user's text can stand."""
    full = task_result()
    names = {"scifact/test": HOSTILE[0], "stsb/test": HOSTILE[1], "agnews/test": HOSTILE[4]}
    fixes = {"none": "none", "temperature(0.9)": HOSTILE[1], "temperature(0.8)": HOSTILE[2]}
    rows = tuple(
        replace(row, dataset=names[row.dataset], fix=fixes[row.fix], note=HOSTILE[i % 6] if row.note else "")
        for i, row in enumerate(full.rows)
    )
    items = tuple(
        replace(
            item, dataset=names[item.dataset], id=HOSTILE[i % 6], snippet=HOSTILE[(i + 1) % 6],
            values={fixes[fix]: value for fix, value in item.values.items()},
        )
        for i, item in enumerate(full.items)
    )  # fmt: skip
    tasks = [{**task, "dataset": names[task["dataset"]], "notes": [HOSTILE[5]]} for task in full.about["tasks"]]
    about = {**full.about, "title": HOSTILE[0], "tasks": tasks, "fixes": list(fixes.values())}
    return replace(full, rows=rows, items=items, about={**about, "chosen_fix": HOSTILE[2]})


_CHARTS: dict[int, tuple[Result, dict[str, Chart]]] = {}


def charts_of(result: Result) -> dict[str, Chart]:
    """Every chart of a result's report by its key, made once for each result."""
    if id(result) not in _CHARTS:
        _CHARTS[id(result)] = (result, reporting_examples.charts_of(result))
    return _CHARTS[id(result)][1]


def drawn(result: Result, key: str) -> dict:  # type: ignore[type-arg]
    """The figure of a chart that must be there."""
    figure = charts_of(result)[key].figure
    assert figure, key
    return figure


def table_of(result: Result, key: str) -> Table:
    """The table of a chart that must be there."""
    table = charts_of(result)[key].table
    assert table, key
    return table


def without(result: Result, **keys: str) -> Result:
    """The result without the rows whose fields are these."""
    gone = set(result.select(**keys))
    assert gone
    return replace(result, rows=tuple(row for row in result.rows if row not in gone))


def ladder(figure: dict) -> dict[str, tuple[float, str]]:  # type: ignore[type-arg]
    """Of every line of a ladder its height and the words beside it."""
    axis = figure["layout"]["yaxis"]
    beside = {note["y"]: note["text"] for note in figure["layout"]["annotations"] if note["x"] == 1}
    texts = (beside.get(height, "") for height in axis["tickvals"])
    return dict(zip(zip(axis["ticktext"], axis["tickvals"], strict=True), texts, strict=True))  # type: ignore[arg-type]


def _score(dataset: str, measure: str, value: float, spread: float, n: int, **keys: object) -> Row:
    low, high = round(value - spread, 4), round(value + spread, 4)
    return Row(measure, round(value, 4), low, high, n, dataset=dataset, model="minilm", **keys)  # type: ignore[arg-type]


def _gain(dataset: str, measure: str, value: float, spread: float, n: int, **keys: object) -> Row:
    row = _score(dataset, f"{measure}_gain", value, spread, n, **keys)
    p = round(float(np.clip(2 ** -((2.1 * value / spread) ** 2), 0.0001, 1.0)), 4)
    return replace(row, p=p, p_holm=min(1.0, round(3 * p, 4)), effect=round(value / spread / n**0.5 * 1.96, 3))


def _by_length(
    dataset: str, measure: str, view: str, bins: dict[str, float], scores: tuple[float, ...], n: int
) -> list[Row]:
    """Scores of every fix in every bin, and what each fix adds."""
    rows = []
    for place, (label, tokens) in enumerate(bins.items()):
        keys = {"view": view, "bin": label, "n_tokens": tokens}
        for fix in FIXES:
            gain = GAINS.get(fix, (0.0,) * 5)[place] * (0.5 if view == "by_query_length" else 1.0)
            rows.append(_score(dataset, measure, scores[place] + gain, 0.9 * n**-0.5, n, fix=fix, **keys))
            if fix != "none":
                rows.append(_gain(dataset, measure, gain, 0.11 * n**-0.5, n, fix=fix, **keys))
    return rows


def _overall(dataset: str, measure: str, score: float, n: int, gains: tuple[float, float]) -> list[Row]:
    rows = [_score(dataset, measure, score, 0.8 * n**-0.5, n, view="overall")]
    for fix, gain in zip(FIXES[1:], gains, strict=True):
        rows.append(_score(dataset, measure, score + gain, 0.8 * n**-0.5, n, view="overall", fix=fix))
        rows.append(_gain(dataset, measure, gain, 0.11 * n**-0.5, n, view="overall", fix=fix))
        rows.append(
            _bare(_score(dataset, f"{measure}_detectable", 0.0091, 0.0, n, view="overall", fix=fix), "no interval")
        )
    return rows


def _grid(dataset: str, measure: str, documents: dict[str, float], queries: dict[str, float]) -> list[Row]:
    """Both lengths at once: one cell is empty and so not there, two hold too few queries."""
    draw, rows = np.random.default_rng(3), []
    for i, (long, tokens) in enumerate(documents.items()):
        for j, short in enumerate(queries):
            n = (17, 11, 14, 9, 3)[abs(i - j)] if (i, j) != (0, 4) else 0
            for fix in FIXES if n else ():
                gain = GAINS.get(fix, (0.0,) * 5)[i] + (0.006 * float(draw.normal()) if fix != "none" else 0)
                keys = {"view": "grid", "bin": f"{long} x {short}", "n_tokens": tokens, "fix": fix}
                cell = [_score(dataset, measure, 0.66 - 0.03 * i + gain, 0.2, n, **keys)]
                if fix != "none":
                    cell.append(_gain(dataset, measure, gain, 0.02, n, **keys))
                rows += cell if n > 3 else [_bare(row, "fewer than 5 queries") for row in cell]
    return rows


def _bare(row: Row, note: str) -> Row:
    return replace(row, low=None, high=None, note=note, p=None, p_holm=None, effect=None)


def _retrieval() -> list[Row]:
    name, measure = "scifact/test", "ndcg@10"
    rows = _overall(name, measure, 0.645, 300, (0.007, 0.005))
    rows += _overall(name, "rr@10", 0.605, 300, (0.008, 0.004)) + _overall(
        name, "recall@100", 0.925, 300, (0.001, -0.002)
    )
    rows += _by_length(name, measure, "by_document_length", DOCUMENT_BINS, (0.701, 0.682, 0.643, 0.628, 0.571), 60)
    rows += _by_length(name, measure, "by_query_length", QUERY_BINS, (0.598, 0.627, 0.651, 0.668, 0.681), 60)
    rows += _grid(name, measure, DOCUMENT_BINS, QUERY_BINS)
    rows += _shares(name)
    rows += [
        Row("share_truncated", share, None, None, n, "overall", what, dataset=name, note="a count, not an estimate")
        for what, share, n in (("documents", 0.412, 5183), ("queries", 0.0, 300))
    ]
    return rows


def _shares(name: str) -> list[Row]:
    """Lengths of the corpus, of the relevant documents and of what was found, and the bias figures."""
    rows = []
    top = {
        "none": (0.26, 0.22, 0.20, 0.18, 0.14),
        "temperature(0.9)": (0.25, 0.22, 0.2, 0.18, 0.15),
        "temperature(0.8)": (0.23, 0.21, 0.2, 0.19, 0.17),
    }
    for place, (label, tokens) in enumerate(DOCUMENT_BINS.items()):
        keys = {"view": "by_document_length", "bin": label, "n_tokens": tokens}
        rows.append(
            Row("share_of_corpus", 0.2, None, None, 5183, dataset=name, note="a count, not an estimate", **keys)
        )  # type: ignore[arg-type]
        rows.append(_score(name, "share_of_relevant", (0.17, 0.19, 0.21, 0.21, 0.22)[place], 0.045, 300, **keys))
        rows += [
            _score(name, "share_of_top10", shares[place], 0.012, 300, fix=fix, **keys) for fix, shares in top.items()
        ]
    for (measure, before, _), (_, after, _) in zip(BIASES["none"], BIASES["temperature(0.8)"], strict=True):
        keys = {"view": "overall", "fix": "temperature(0.8)"}
        rows.append(_score(name, f"{measure}_change", after - before, 0.004, 300, **keys))
    for fix, figures in BIASES.items():
        rows += [
            _score(name, measure, value, spread, 300, view="overall", fix=fix) for measure, value, spread in figures
        ]
    return rows


def _similarity() -> list[Row]:
    name, measure = "stsb/test", "spearman"
    rows = _overall(name, measure, 0.8203, 1379, (0.0002, -0.0006))
    rows += _by_length(name, measure, "by_document_length", PAIR_BINS, (0.86, 0.85, 0.82, 0.79, 0.78), 276)
    rows += _by_length(name, measure, "by_query_length", PAIR_BINS, (0.85, 0.84, 0.82, 0.80, 0.79), 276)
    rows.append(
        Row("share_truncated", 0.0, None, None, 2758, "overall", dataset=name, note="a count, not an estimate")
    )
    return rows


def _classification() -> list[Row]:
    name, measure = "agnews/test", "accuracy"
    rows = _overall(name, measure, 0.884, 2000, (-0.001, -0.009)) + _overall(name, "f1", 0.883, 2000, (-0.001, -0.009))
    rows += _by_length(name, measure, "by_document_length", NEWS_BINS, (0.86, 0.88, 0.89, 0.89, 0.90), 400)
    rows.append(
        Row("share_truncated", 0.004, None, None, 2000, "overall", dataset=name, note="a count, not an estimate")
    )
    return rows


def _items(
    dataset: str, measure: str, texts: tuple[str, ...], lengths: tuple[float, float], scores: tuple[float, ...], n: int
) -> list[Item]:
    draw, items = np.random.default_rng(len(dataset)), []
    tokens = np.exp2(draw.uniform(*lengths, n)).astype(int)
    for i, length in enumerate(tokens):
        late = (np.log2(length) - lengths[0]) / (lengths[1] - lengths[0])
        values = {"none": float(draw.choice(scores))}
        for fix, pull in zip(FIXES[1:], (0.5, 1.0), strict=True):
            moved = draw.random() < 0.25 * pull
            step = (0.28 * late - 0.1) * pull + 0.12 * draw.normal() if moved else 0.0
            values[fix] = round(float(np.clip(values["none"] + step, 0, 1)), 4)
        text = texts[i % len(texts)]
        items.append(Item(f"{dataset}-{i}", text, int(length), 8 + i % 37, measure, values, dataset))
    return items


def _queries() -> list[Item]:
    claims = (
        *NASTY,
        "Antibiotic-induced alterations of the gut microbiome reduce resistance against Clostridium difficile.",
        "Vitamin D deficiency is unrelated to birth weight.",
        "A deficiency of folate increases blood levels of homocysteine.",
        "Microarray results from culture-amplified mixtures of serotypes correlate poorly with uncultured mixtures.",
    )
    return _items("scifact/test", "ndcg@10", claims, (5.4, 10.5), (0.0, 0.3869, 0.5, 0.6309, 1.0, 1.0, 1.0), 300)


def _pairs() -> list[Item]:
    texts = (
        "A man is playing a flute. | A man plays a bamboo flute.",
        NASTY[0],
        "A girl is styling her hair. | A girl is brushing her hair.",
    )
    return _items("stsb/test", "cosine", texts, (2.6, 5.9), (0.31, 0.44, 0.58, 0.71, 0.83, 0.92), 400)


def _news() -> list[Item]:
    texts = (
        "Fears for T N pension after talks: unions representing workers at Turner Newall say they are disappointed.",
        NASTY[1],
    )
    items = _items("agnews/test", "accuracy", texts, (3.6, 7.9), (0.0, 1.0, 1.0, 1.0), 400)
    return [
        replace(
            item,
            n_query_tokens=None,
            values={fix: float(value > 0.02 * (i % 49)) for fix, value in item.values.items()},
        )
        for i, item in enumerate(items)
    ]


def _verdict() -> tuple[Finding, ...]:
    return (
        Finding(
            "temperature(0.8) helps long documents and hurts short ones",
            "On scifact/test it adds 0.034 to nDCG@10 where the answer lies in the longest fifth of the documents and "
            "takes 0.019 from the shortest; over all queries the two cancel (+0.005, 95 % interval -0.001 to 0.011).",
            "neutral",
        ),
        Finding("It costs accuracy on agnews/test", "Accuracy falls by 0.009 (95 % interval 0.007 to 0.011).", "bad"),
        Finding(
            "41 % of the documents of scifact/test are cut off",
            "2,135 of 5,183 documents are longer than the 256 tokens the model reads.",
            "bad",
        ),
    )


def _about() -> dict[str, object]:
    return {
        "title": "What does a temperature buy on these tasks?",
        "model": {"name": "minilm", "architecture": "bert", "dim": 384, "max_tokens": 256},
        "tasks": [
            {
                "dataset": "scifact/test", "kind": "retrieval", "main": "ndcg@10", "n_documents": 5183,
                "n_queries": 300, "n_judged": 339, "limit_tokens": 256, "notes": ["BEIR folder: 5,183 documents"],
                "undefined": {"long_wins_wrongly": "No query has two documents that were judged differently."},
            },
            {
                "dataset": "stsb/test", "kind": "similarity", "main": "spearman", "n_pairs": 1379,
                "limit_tokens": 256,
            },
            {
                "dataset": "agnews/test", "kind": "classification", "main": "accuracy", "n_texts": 2000,
                "limit_tokens": 256,
            },
        ],
        "fixes": list(FIXES),
        "chosen_fix": "temperature(0.8)",
        "seed": 0,
        "command": 'uncollapse evaluate data/scifact data/stsb data/agnews --model minilm --fix "temperature(0.8)"',
        "created": "2026-03-01T10:20:30+00:00",
        "versions": {"uncollapse": "0.1.0", "torch": "2.13.0", "sentence-transformers": "6.2.0"},
        "notes": ["Intervals come from resampling queries 10,000 times; queries that share a document stay together."],
    }  # fmt: skip
