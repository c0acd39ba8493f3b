"""Results of a diagnosis with causes: a full one, one full of hostile text, and how to take rows away from them."""

from dataclasses import replace
from functools import cache

from reporting_examples import HOSTILE, charts_of, diagnose_result
from uncollapse.records import Finding, Result, Row
from uncollapse.reporting.charts import Chart
from uncollapse.reporting.sections import make_sections

BINS = ("1-7", "8-15", "16-31", "32-63", "64-127", "128-255", "256-511", "512-1023", "1024-2047")
SEARCHED = BINS[3:8]
STEPS = {
    "start": 0.147, "pieces": 0.159, "one_topic": 0.301, "all_pieces": 0.372, "read_pieces": 0.361,
    "placed_pieces": 0.365, "whole": 0.462,
}  # fmt: skip
CAUSES = {
    "beginnings": ("start", "pieces"), "content_averaging": ("pieces", "one_topic"),
    "topic_mix": ("one_topic", "all_pieces"), "truncation": ("all_pieces", "read_pieces"),
    "position": ("read_pieces", "placed_pieces"), "attention": ("placed_pieces", "whole"),
}  # fmt: skip
TITLES = {
    "beginnings": "How texts begin", "content_averaging": "Longer texts say more",
    "topic_mix": "Texts change their subject", "truncation": "Text that is never read", "position": "Late positions",
    "attention": "Attention over the whole text", "inseparable": "Reading the whole text at once",
}  # fmt: skip
TABLE = {
    name: {
        "title": title, "before": "", "after": "", "meaning": f"{title}: they grow more alike.",
        "against": f"{title}: they are kept apart.", "remedy": f"{title}: cut the texts.",
    }
    for name, title in TITLES.items()
}  # fmt: skip
CONTROLS = {
    "start": ("The first piece", "", 0.147, 0.0),
    "whole": ("All that is read", "start", 0.462, 0.315),
    "deep": ("A piece from the middle", "start", 0.160, 0.013),
    "repeat_2": ("The first piece twice", "start", 0.151, 0.004),
    "repeat_full": ("The first piece to full length", "start", 0.186, 0.039),
    "filler": ("Stop words to full length", "start", 0.402, 0.255),
    "shuffle": ("Sentences in random order", "whole", 0.459, -0.003),
    "same_topic": ("One subject, several documents", "whole", 0.431, -0.031),
    "mixed_topic": ("Many subjects", "same_topic", 0.523, 0.092),
    "shifted": ("The first piece at the last positions", "start", 0.149, 0.002),
    "chunk_mean": ("Mean of the pieces", "whole", 0.361, -0.101),
    "static_short": ("Word vectors of the first piece", "", 0.402, 0.0),
    "static_long": ("Word vectors of all that is read", "static_short", 0.861, 0.459),
}
QUERIES, DOCUMENTS = ("3-6", "7-9", "10-14", "15-61"), ("8-41", "42-77", "78-140", "141-303", "304-512")
DEPTHS, LENGTHS = ("0", "25", "50", "75", "100", "all"), ("64", "128", "256", "512", "1024")
ROOMS = ("audit", "causes", "controls", "costs", "hubness", "scores")

ORDER = ["audit", "cosine", "causes", "controls", "costs", "hubness", "scores", "points", "shape", "lengths"]
DRAWN = {
    "audit": {"audit-limits", "audit-lengths", "audit-sources", "audit-texts", "audit-servers"},
    "causes": {"causes", "causes-meanings"},
    "controls": {"controls"},
    "costs": {
        "costs", "costs-length", "costs-position", "costs-quotes", "costs-dilution", "costs-window", "costs-needles",
    },
    "hubness": {"hubness-lengths", "hubness"},
    "scores": {"scores-threshold", "scores-false-positive-rate"},
}  # fmt: skip


@cache
def full_result() -> Result:
    """A diagnosis that was asked for everything."""
    plain = diagnose_result()
    rows = (*_audit(), *_causes(), *_controls(), *_costs(), *_hubness(), *_scores())
    sizes = {"The verdict": 4, "Why": 3, "What it costs": 4, "What to try next": 2}
    about = {
        **plain.about, "command": "uncollapse diagnose notes/ --model minilm -o report", "verdict_groups": sizes,
        "audit": _audit_about(), "controls": _controls_about(),
        "causes": _causes_about(),
        "costs": {"documents": 800, "asked": 300, "encoded_texts": 5210, "neighbours": 10},
        "scores": {"queries": "first sentences of other documents"},
    }  # fmt: skip
    return replace(plain, rows=(*plain.rows, *rows), verdict=_verdict(), about=about)


@cache
def hostile_diagnosis() -> Result:
    """The same with markup, script and template text wherever a user's text can stand."""
    full = full_result()
    rows = tuple(
        replace(row, bin=HOSTILE[index % 6] if row.view == "audit_by_source" else row.bin, note=HOSTILE[0])
        for index, row in enumerate(full.rows)
    )
    texts = [
        {"id": HOSTILE[place], "source": HOSTILE[1], "n_tokens": 900, "lost": 388, "beginning": HOSTILE[5 - place]}
        for place in range(6)
    ]
    server = {"server": HOSTILE[0], "cuts": True, "default": HOSTILE[1], "advice": HOSTILE[2], "address": HOSTILE[4]}
    table = {name: dict.fromkeys(entry, HOSTILE[1]) for name, entry in _controls_about()["table"].items()}
    causes = {name: dict.fromkeys(entry, HOSTILE[2]) for name, entry in TABLE.items()}
    about = {
        **full.about,
        "causes": {"table": causes},
        "audit": {"texts": texts, "servers": [server], "notes": list(HOSTILE)},
        "controls": {"table": table, "notes": HOSTILE[3]},
        "scores": {"queries": HOSTILE[4]},
        "verdict_groups": {HOSTILE[0]: 3, HOSTILE[1]: 3},
    }
    return replace(full, rows=rows, about=about, verdict=tuple(Finding(text, text, text) for text in HOSTILE))


def only(room: str) -> Result:
    """The full result with the rows and words of one room alone."""
    full = full_result()
    kept = {"audit": _audit, "causes": _causes, "controls": _controls, "costs": _costs, "hubness": _hubness,
            "scores": _scores}[room]()  # fmt: skip
    return Result(rows=tuple(kept), about={room: full.about.get(room)})


def without(result: Result, **keys: object) -> Result:
    """The result without the rows whose fields equal `keys`."""
    gone = set(map(id, result.select(**keys)))
    return replace(result, rows=tuple(row for row in result.rows if id(row) not in gone))


def chart_of(result: Result, key: str) -> Chart:
    """One chart of a result's report."""
    return (_full_charts() if result is full_result() else charts_of(result))[key]


def section_keys(result: Result) -> list[str]:
    """The sections of a result's report, top to bottom."""
    return [section.key for section in make_sections(result)]


@cache
def _full_charts() -> dict[str, Chart]:
    return charts_of(full_result())


def _row(measure: str, value: float, spread: float, **keys: object) -> Row:
    n = keys.pop("n", 400)
    return Row(measure, round(value, 4), round(value - spread, 4), round(value + spread, 4), n, **keys)  # type: ignore[arg-type]


def _audit() -> list[Row]:
    rows = []
    tokens = (5, 12, 24, 48, 96, 190, 380, 760, 1480)
    for limit, (cut, lost) in {256: (0.312, 0.471), 512: (0.121, 0.214), 8192: (0.0, 0.0)}.items():
        rows += [
            _row(f"share_truncated@{limit}", cut, 0.05 * cut, view="overall", n=4000),
            _row(f"tokens_lost@{limit}", lost, 0.05 * lost, view="overall", n=4000),
        ]
        for label, n in zip(BINS, tokens, strict=True):
            part = max(0.0, 1 - limit / n)
            keys = {"view": "audit_by_length", "bin": label, "n_tokens": float(n)}
            rows += [
                _row(f"tokens_lost@{limit}", part, 0.02 * (part > 0), **keys),
                _row(f"share_truncated@{limit}", float(part > 0), 0.0, **keys),
            ]
        for place, source in enumerate(("handbook/policies.md", "tickets.jsonl", "wiki/engineering", "faq.csv")):
            part = max(0.0, 0.6 - limit / 1600 - 0.1 * place)
            rows.append(_row(f"tokens_lost@{limit}", part, 0.03 * (part > 0), view="audit_by_source", bin=source))
    return rows


def _audit_about() -> dict[str, object]:
    texts = [
        {
            "id": f"handbook/policies.md#{place}", "source": "handbook/policies.md", "n_tokens": 4100 - 300 * place,
            "lost": 3844 - 300 * place,
            "beginning": "Exceptions to this policy must be approved in writing by the head of the department ...",
        }
        for place in range(8)
    ]  # fmt: skip
    servers = [
        {
            "server": "sentence-transformers", "cuts": True, "default": "cuts at max_seq_length and says nothing",
            "address": "https://github.com/huggingface/sentence-transformers/issues/4060", "texts": 1248,
            "advice": "Raise max_seq_length, or cut the texts yourself.",
        },
        {
            "server": "vLLM /v1/embeddings", "cuts": False, "default": "refuses unless asked to truncate",
            "address": "https://github.com/vllm-project/vllm/issues/19798", "texts": 0,
            "advice": "Cut the texts yourself.",
        },
    ]  # fmt: skip
    limits = {"folder": 256, "in_use": 512, "named": [8192]}
    return {"limits": limits, "texts": texts, "servers": servers, "notes": ["200 sources have numbers of their own"]}


def _causes() -> list[Row]:
    rows = [_row("mean_cosine", value, 0.02, view="causes", bin=step) for step, value in STEPS.items()]
    rows += [
        _row("cause", STEPS[after] - STEPS[before], 0.011, view="causes", bin=name)
        for name, (before, after) in CAUSES.items()
    ]
    return [*rows, _row("rise", STEPS["whole"] - STEPS["start"], 0.024, view="causes")]


def _causes_about() -> dict[str, object]:
    sizes = {"documents": 200, "piece_tokens": 32, "pieces": 5210, "window_tokens": 2048, "read_tokens": 512}
    return {**sizes, "table": TABLE}


def _controls() -> list[Row]:
    rows = []
    for name, (_, reference, mean, effect) in CONTROLS.items():
        rows.append(_row("mean_cosine", mean, 0.02, view="controls", bin=name))
        if reference:
            rows.append(_row("control_effect", effect, 0.012, view="controls", bin=name))
    return rows


def _controls_about() -> dict[str, dict[str, dict[str, str]]]:
    return {
        "table": {
            name: {
                "title": title, "reference": reference, "reading": "Near 0: it does not matter.",
                "changes": "The sentences of all that is read, in random order.",
                "limits": "Sentences are found by a plain rule.",
            }
            for name, (title, reference, *_) in CONTROLS.items()
        }
    }  # fmt: skip


def _costs() -> list[Row]:
    totals = {
        "cloze_recall@1": 0.58, "cloze_recall@10": 0.81, "cloze_ndcg@10": 0.692, "quote_recall@1": 0.71,
        "quote_recall@1_loss": 0.35, "evidence_dilution": 0.184, "evidence_cosine_whole": 0.41,
        "evidence_cosine_piece": 0.594, "needle_recall@1": 0.44,
    }  # fmt: skip
    rows = [_row(measure, value, 0.03, view="cost_overall") for measure, value in totals.items()]
    for place, label in enumerate(SEARCHED):
        keys = {"view": "cost_by_length", "bin": label, "n_tokens": 48.0 * 2**place}
        rows += [
            _row("cloze_recall@10", 0.95 - 0.07 * place, 0.035, **keys),
            _row("cloze_recall@1", 0.80 - 0.11 * place, 0.045, **keys),
            _row("evidence_dilution", 0.05 + 0.06 * place, 0.012, **keys),
        ]
    for place, (label, quote) in enumerate((("beginning", 0.96), ("middle", 0.74), ("end", 0.61), ("cut off", 0.03))):
        if label != "cut off":
            rows.append(_row("cloze_recall@10", 0.89 - 0.08 * place, 0.03, view="cost_by_position", bin=label))
            rows.append(_row("cloze_recall@1", 0.70 - 0.11 * place, 0.04, view="cost_by_position", bin=label))
        rows.append(_row("quote_recall@1", quote, 0.03, view="cost_by_position", bin=label))
    for window, anywhere, beginning in ((64, 0.44, 0.93), (128, 0.57, 0.90), (256, 0.70, 0.84), (512, 0.81, 0.79)):
        keys = {"view": "cost_by_window", "bin": str(window), "n_tokens": float(window)}
        rows.append(_row("anywhere_recall@10", anywhere, 0.04, **keys))
        rows.append(_row("beginning_recall@10", beginning, 0.03, **keys))
    for across, length in enumerate(LENGTHS):
        for down, depth in enumerate(DEPTHS):
            value = max(0.0, 1.0 - 0.12 * across - 0.09 * down * (1 + across / 2))
            if (length, depth) != ("1024", "100"):
                rows.append(_row("needle_recall@1", value, 0.05, view="cost_grid", bin=f"{depth} x {length}"))
    return rows


def _hubness() -> list[Row]:
    rows = [
        _row("k_skewness", 2.41, 0.3, view="hubness", note="among the 10 nearest of 800 documents"),
        _row("share_of_antihubs", 0.134, 0.012, view="hubness"),
        _row("hub_length_ratio", 0.41, 0.05, view="hubness"),
    ]
    counts = (14.9, 15.8, 13.1, 11.7, 9.6, 8.0, 6.9, 5.2, 4.4)
    for label, value in zip(BINS, counts, strict=True):
        rows.append(_row("occurrence", value, 1.1, view="hubness", bin=label))
    return rows


def _scores() -> list[Row]:
    rows = [_row("threshold@0.01", 0.412, 0.01, view="scores_overall")]
    for y, document in enumerate(DOCUMENTS):
        for x, query in enumerate(QUERIES):
            keys = {"view": "scores", "bin": f"{query} x {document}", "n_tokens": 40.0 * (y + 1)}
            rows += [
                _row("score_mean", 0.05 + 0.03 * y, 0.01, **keys),
                _row("score_sd", 0.09, 0.01, **keys),
                _row("false_positive_rate@0.01", 0.002 * (1 + x) * 1.6**y, 0.001, **keys),
            ]
            if (x, y) != (0, 0):
                rows.append(_row("threshold@0.01", 0.29 + 0.02 * x + 0.035 * y, 0.015, **keys))
    return rows


def _verdict() -> tuple[Finding, ...]:
    command = '`uncollapse evaluate DATA --model minilm --fix "temperature(0.9)"`'
    return (
        Finding(
            "minilm pulls long texts together, strongly",
            "The mean cosine of pairs of different texts goes from 0.15 [0.13, 0.16] at 8 tokens to 0.46 [0.43, 0.49] "
            "at 512 tokens: +0.32 [+0.29, +0.34] (the same 200 documents at every length; 95 % intervals).",
            "bad",
        ),
        Finding(
            "At their own lengths",
            "Taken as they are, texts of 512 tokens are more alike than texts of 1-7 tokens by +0.21 [+0.17, +0.25] "
            "in mean cosine. This mixes the effect of length with what the long texts are about.",
        ),
        Finding(
            "Directions in use",
            "Longer texts use fewer directions to tell themselves apart: effective rank 92 [89, 95] at 8 tokens, 57 "
            "[54, 60] at 512 tokens (both at n = 120).",
            "bad",
        ),
        Finding(
            "21.4% of the tokens are never seen",
            "minilm reads 512 tokens of a text. 12.1% [11.1%, 13.2%] of 4,000 texts are longer, and 21.4% of all "
            "tokens lie beyond it, in no vector (95 % intervals).",
            "bad",
        ),
        Finding(
            "Why: Longer texts say more",
            "The largest part of the rise of +0.32 [+0.29, +0.34] between 32 and 512 tokens (n = 200 documents, 95 % "
            "intervals) comes from longer texts saying more things (+0.14 [+0.13, +0.15]).",
        ),
        Finding(
            "Attention over the whole text",
            "+0.10 [+0.09, +0.11] of mean cosine. Read at once, a text looks more like other texts than the mean of "
            "its pieces does.",
        ),
        Finding(
            "Texts change their subject",
            "+0.07 [+0.06, +0.08] of mean cosine. A text that moves from subject to subject lies nearer to the middle "
            "of all subjects.",
        ),
        Finding(
            "What stands late is harder to find",
            "A quote from the end of a text brings it up first in 61 % of 400 cases [58 %, 64 %], one from its "
            "beginning in 96 %.",
            "bad",
        ),
        Finding(
            "Short texts crowd the results",
            "Texts of 8-15 tokens are among the ten nearest of 15.8 others [14.7, 16.9] where 10 is their due.",
            "bad",
        ),
        Finding(
            "One threshold lets through more long texts by chance",
            "Over all lengths, 1 % of unrelated pairs score above 0.41; with the longest documents 5.2 % do.",
            "bad",
        ),
        Finding(
            "Whether reading more pays cannot be told",
            "From 256 to 512 tokens recall changes by +2 % [-1 %, +5 %]: use more texts.",
            "unknown",
        ),
        Finding("Score a temperature", f"It acts on the part that attention makes. Try {command}.", "neutral"),
        Finding("Cut long texts", "Chunks of at most 256 tokens, cut where the subject changes.", "neutral"),
    )
