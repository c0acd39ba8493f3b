"""Write the generated pages of the documentation; `--check` says whether they are current.

python docs/tables.py [--check]
"""

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Protocol

import uncollapse
from uncollapse.attention.laws import LAWS
from uncollapse.attention.modelfixes import FACTS, ModelFix
from uncollapse.attention.sites import SPECS, Layout, Spec, Term
from uncollapse.evaluation.bias.table import BIAS
from uncollapse.evaluation.statistics.metrics import METRICS, Metric
from uncollapse.measures import MEASURES
from uncollapse.reporting.diagnosis.terms import TERMS
from uncollapse.reporting.explanation.terms import EXPLAINED
from uncollapse.reporting.races.terms import RACED
from uncollapse.reporting.words import VIEWS

HERE = Path(__file__).parent


def measures_page() -> str:
    """One section a measure, from the table of measures."""
    head = (
        "# Measures\n\nGenerated from `uncollapse.measures.MEASURES` by `python docs/tables.py`. Vectors are scaled "
        "to length 1 first: u_i is the direction of text i.\nMeasures that depend on how many texts there are (marked "
        "*at equal n*) are taken on equally many texts in every length bin.\n"
    )
    return head + "".join(_measure(name) for name in MEASURES)


def _measure(name: str) -> str:
    measure = MEASURES[name]
    unbiased = "its square is unbiased at every n >= 2" if measure.root else "unbiased at every n >= 2"
    needs = {"count": "", "pairs": unbiased, "equal_n": "*at equal n*"}[measure.needs]
    facts = {
        "formula": f"`{measure.formula}`",
        "range": measure.range,
        "better": measure.better,
        "sample size": needs,
        "source": measure.reference,
    }
    return f"\n## {measure.title}\n\n`{name}`. {measure.reading}\n\n{_facts(facts)}"


def _facts(facts: dict[str, str]) -> str:
    cells = {key: value.replace("|", "\\|") for key, value in facts.items() if value}  # a bar would end the cell
    return "| | |\n|---|---|\n" + "".join(f"| {key} | {value} |\n" for key, value in cells.items())


def architectures_page() -> str:
    """One row a spec, from the table of sites."""
    head = (
        "# Architectures\n\nGenerated from `uncollapse.attention.sites.SPECS` by `python docs/tables.py`.\n\n"
        "`fold` writes the temperature into the weights; `patch` applies it while a program runs. *scalar*: one tau; "
        "*layers*: one a layer;\n*heads*: one a layer and head. Where layers share one module (ALBERT), a fold needs "
        "equal temperatures in all layers that share it. *law*: whether each text of a batch can have the "
        "temperature of its own length.\nWhatever is not in the table is refused by name.\n\n"
        "| attention classes | what is multiplied by 1 / tau | fold | patch | law |\n|---|---|---|---|---|\n"
    )
    rows = sorted(SPECS.items(), key=lambda item: (_row(item[1]), item[0]))
    return head + "".join(
        f"| {', '.join(f'`{key}`' for key, _ in group)} {row}\n" for row, group in groupby(rows, lambda i: _row(i[1]))
    )


def _row(spec: Spec) -> str:
    terms = ", ".join(_term(term) for term in spec.terms)
    if spec.then:
        terms += f"; with `{spec.when}`: {', '.join(_term(term) for term in spec.then)}"
    if spec.bias:
        terms += f", `{spec.bias.path}` shared by all layers" if spec.bias.path else ", the position bias"
    return f"| {terms} | {_fold(spec)} | {_patch(spec)} | {_law(spec)} |"


def _term(term: Term) -> str:
    return f"`{term.path}` ({term.layout})"


def _fold(spec: Spec) -> str:
    if spec.fixed:
        return f"no: {spec.fixed}"
    used = (*spec.terms, *spec.then)
    if any(term.layout is Layout.NUMBER and not term.config_key for term in used):
        return "only without the number that code makes"
    if any(term.layout is Layout.NUMBER for term in used):
        return "scalar (with a soft-cap); heads (without)"
    if spec.bias:
        return "scalar, heads if equal in all layers"
    return "scalar, layers" if any(term.layout is Layout.SHARED for term in used) else "heads"


def _patch(spec: Spec) -> str:
    used = (*spec.terms, *spec.then)
    return "layers" if any(term.layout is Layout.NUMBER for term in used) else "heads"


def _law(spec: Spec) -> str:
    if spec.batched:
        return "no"
    if any(term.layout is Layout.NUMBER for term in spec.terms):
        return "only without a soft-cap"
    return f"only without `{spec.when}`" if any(term.layout is Layout.NUMBER for term in spec.then) else "yes"


def fixes_page() -> str:
    """One section a fix of the model, from the tables of fixes and laws."""
    head = (
        "# Fixes of attention and positions\n\nGenerated from `uncollapse.attention.modelfixes.FACTS` and `LAWS` of "
        "`uncollapse.attention.laws` by `python docs/tables.py`.\n\n"
        "`patch(model, fix)` puts a fix on while a program runs and takes it off bit for bit. `fold(model, fix)` "
        "writes it into the weights:\nan ordinary checkpoint at no cost; a fix that depends on the text that runs "
        "cannot fold and says so.\nA, V: a head's attention map and values; n: tokens of one text, special tokens and "
        "prompt in, padding never.\nEvery fix gives a text the same vector whatever it is batched with.\n\n"
        "A model that cannot take a fix is refused by name. [Architectures](architectures.md) says which take a "
        "temperature and a law;\nfixes that change attention's map need an attention function that transformers can "
        "exchange.\n\n"
        "| fix | cost | folds |\n|---|---|---|\n"
    )
    table = "".join(
        f"| `{facts.example}` | {facts.cost} | {'no' if facts.unfoldable else 'yes'} |\n" for facts in FACTS.values()
    )
    return head + table + _LIMITS + "".join(_fix(kind) for kind in FACTS) + _laws()


_LIMITS = """
## How far texts are read

A model has two limits: the number of tokens at which its folder cuts texts, and the reach of its positions, which may
be larger (all-MiniLM-L6-v2: 256 of 512). `--max-tokens` is the limit of the model as it is: `model` for the folder's,
`table` for the reach, or a number. Fixes of positions go beyond it, and as long as they are on the limit is theirs:

| fix | limit while it is on, and of a folder that it is written to |
|---|---|
| `positions(mode, max_tokens)` | `max_tokens`, whatever the limit was |
| `rope(type, factor)` | `factor` times the limit that was |
| `self_extend(group, window)` | limit + (group - 1) (limit - window); the limit that was where the window is longer |
| any other | the limit that was |

So `uncollapse evaluate SET --model minilm --fix "positions(grouped, 1024)"` compares 1,024 tokens with 256, and a note
says so: part of the difference is text that only one of the two read. With `--max-tokens table` it compares 1,024 with
512. Cached vectors of different limits are kept apart. `patch` and `fold` change a transformers model alone: whoever
uses them gives sentence-transformers the limit of `token_limit(model, fix, limit)` as `max_seq_length`, or uses
`applied(encoder, [fix])` of `uncollapse.encoders`, which does both and takes both off again.

`uncollapse fix MODEL "positions(grouped, 1024)" -o NEW` writes a folder that any sentence-transformers loads: a longer
table in the weights, `max_position_embeddings` in config.json, the limit in sentence_bert_config.json and
tokenizer_config.json. Of `rope(...)` no weight changes; config.json gets the slower rotations, under the keys that it
has. `truncation` in tokenizer.json stays as it was: sentence-transformers and transformers do not heed it.
`self_extend(...)` is for a running program alone.
"""


def _fix(kind: type[ModelFix]) -> str:
    facts = FACTS[kind]
    rows = {
        "formula": facts.formula,
        "cost": facts.cost,
        "folds": f"no: {facts.unfoldable}" if facts.unfoldable else "yes",
        "source": facts.source,
    }
    effect = facts.effect[0].upper() + facts.effect[1:]
    return f"\n## {kind.__name__}\n\n`{facts.example}`. {effect}.\n\n{_facts(rows)}"


def _laws() -> str:
    head = (
        "\n## Laws\n\n1 / tau(n) of `temperature(law=...)`. With `above_only=True` it is never below 1: texts shorter "
        "than n0 stay as they are.\n\n| law | 1 / tau(n) | needs | source |\n|---|---|---|---|\n"
    )
    return head + "".join(
        f"| {name} | `{law.formula}` | {', '.join(law.needs)} | {law.source} |\n" for name, law in LAWS.items()
    )


def metrics_page() -> str:
    """One section a metric, from the table of metrics."""
    head = (
        "# Metrics\n\nGenerated from `METRICS` of `uncollapse.evaluation.statistics.metrics` by "
        "`python docs/tables.py`: the scores of `uncollapse evaluate`. Higher is better for all of them.\n"
    )
    return head + "".join(_metric(metric) for metric in METRICS.values())


def _metric(metric: Metric) -> str:
    tests = {
        "sign": "paired randomisation of signs",
        "swap": "paired randomisation of ranks",
        "bootstrap": "paired bootstrap",
    }
    facts = {
        "formula": f"`{metric.formula}`",
        "range": metric.range,
        "comparison": tests[metric.test],
        "source": metric.reference,
    }
    return f"\n## {metric.title}\n\n`{metric.name}`. {metric.reading}\n\n{_facts(facts)}"


class Named(Protocol):
    """What the entries of all tables of numbers have in common."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def formula(self) -> str: ...
    @property
    def range(self) -> str: ...
    @property
    def better(self) -> str: ...
    @property
    def reading(self) -> str: ...
    @property
    def reference(self) -> str: ...


def numbers_page() -> str:
    """Every other number that a result can hold, by command, and where it was taken."""
    head = (
        "# Numbers\n\nGenerated by `python docs/tables.py` from the tables that the reports use. What is not here is\n"
        "in [measures](measures.md) (numbers about vectors) or [metrics](metrics.md) (scores of an evaluation). The\n"
        "k that ends a name stands for a limit, a rate, or how many results are looked at. A name with `_change`,\n"
        "`_gain` or `_loss` behind it is the difference of two of its numbers, with `_detectable` the least gain\n"
        "that so many queries could show, with `_lag` how far a family is behind the first, with `_regret` how far\n"
        "a choice without labels is behind the best.\n"
    )
    tables = {"Diagnosis": TERMS.values(), "Explanation": EXPLAINED.values(), "Length bias": BIAS.values()}
    tables["Race"] = RACED.values()
    parts = [f"\n## {title}\n\n{_numbers(entries)}" for title, entries in tables.items()]
    return head + "".join(parts) + f"\n## Where a number was taken\n\n{_views()}"


def _numbers(entries: Iterable[Named]) -> str:
    lines = [("name", "what it is", "how to read it", "formula", "range", "better", "source"), ("---",) * 7]
    lines += [
        (f"`{entry.name}`", entry.title, entry.reading, entry.formula, entry.range, entry.better, entry.reference)
        for entry in entries
    ]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _views() -> str:
    rows = "".join(f"| `{view}` | {said} |\n" for view, said in VIEWS.items())
    return (
        "The `view` of a row in result.json, and what the table of all numbers calls it. An explanation has a view\n"
        "for every stage of a layer too.\n\n| view | in words |\n|---|---|\n" + rows
    )


def python_page() -> str:
    """Every public name, with the first paragraph of its documentation."""
    head = (
        "# From Python\n\nGenerated from `uncollapse.__all__` by `python docs/tables.py`. `help(uncollapse.diagnose)` "
        "has the arguments, their units and the errors.\nEvery error that a user can cause is an `UncollapseError` "
        "whose message says what was expected, what came, where, and what to do.\n\n"
    )
    names = [name for name in uncollapse.__all__ if not name.startswith("_")]
    classes = [name for name in names if inspect.isclass(getattr(uncollapse, name))]
    rest = [name for name in names if name not in classes]
    told = "\n## Classes\n\nEvery class of this package that a function above takes as an argument is here.\n\n"
    functions = [name for name in rest if inspect.isfunction(getattr(uncollapse, name))]
    takers = "| name | what it is | taken by |\n|---|---|---|\n" + "".join(
        f"| `{name}` | {_said(name)} | {', '.join(f'`{one}`' for one in functions if _takes(one, name))} |\n"
        for name in classes
    )
    rows = "".join(f"| `{_call(name)}` | {_said(name)} |\n" for name in rest)
    return f"{head}| name | what it does or is |\n|---|---|\n{rows}{told}{takers}"


def _takes(function: str, name: str) -> bool:
    """Whether a class is in the annotation of an argument of a function."""
    wanted = getattr(uncollapse, name)
    arguments = inspect.signature(getattr(uncollapse, function)).parameters.values()
    full = re.escape(f"{wanted.__module__}.{wanted.__qualname__}")
    return any(re.search(rf"\b{full}\b", inspect.formatannotation(one.annotation)) for one in arguments)


def _call(name: str) -> str:
    """A function with the names of its arguments, those after the * by keyword only; of anything else the name."""
    thing = getattr(uncollapse, name)
    if not inspect.isfunction(thing):
        return name
    arguments = inspect.signature(thing).parameters.values()
    keyword = [one.name for one in arguments if one.kind is one.KEYWORD_ONLY]
    said = [f"**{one.name}" if one.kind is one.VAR_KEYWORD else one.name for one in arguments]
    first = said.index(keyword[0]) if keyword else len(said)
    return f"{name}({', '.join([*said[:first], *(['*'] if keyword else []), *said[first:]])})"


def _said(name: str) -> str:
    thing = getattr(uncollapse, name)
    if isinstance(thing, Mapping):
        return "The table of measures, by name ([measures](measures.md))."
    first = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|")


PAGES = {
    "measures.md": measures_page,
    "metrics.md": metrics_page,
    "numbers.md": numbers_page,
    "architectures.md": architectures_page,
    "fixes-attention.md": fixes_page,
    "python.md": python_page,
}


def main() -> None:
    stale = []
    for name, make in PAGES.items():
        path = HERE / name
        if "--check" not in sys.argv:
            path.write_text(make(), encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != make():
            stale.append(name)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}. Run: python docs/tables.py")


if __name__ == "__main__":
    main()
