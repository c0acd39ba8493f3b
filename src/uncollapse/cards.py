"""What was written when a model was fixed, and the section of its card that says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uncollapse
from uncollapse.attention.modelfixes import FACTS
from uncollapse.encoders.sources import fingerprint
from uncollapse.fixes import compose, parse
from uncollapse.history import CARD, compose_card, read_card
from uncollapse.provenance import describe_run


@dataclass(frozen=True)
class FixReport:
    """What was written and how exactly it is what was asked for.

    Args:
        folder: the new model.
        fix: its notation.
        changed: tensors and config entries that changed, as the model calls them.
        effect: how far the fix moves hidden states on the probe batch.
        fold_difference: folded against softmax(scores / tau), largest absolute difference of hidden states.
        vector_effect: how far the fix moves the vectors of the probe texts.
        reload_difference: the folder, reloaded by sentence-transformers, against the patched model, of vectors.
        left_out: files of the source that held the unfixed weights.
        dtype: precision of the changed weights.
        max_tokens: where the folder cuts texts; None for nowhere.
        source_max_tokens: where its source does.
        modules: that were added after the transformer.
        text_fix: notation of the fix on texts that only this package applies; "" for none.
        fitted: what fixes on vectors were fitted to.
        source_fix: what was in the source before; "none" for nothing that is known.
        source_fingerprint: of everything in the source's folder that decides its vectors.
        reasons: why this fix was chosen, where `choose` did.
    """

    folder: Path
    fix: str
    changed: tuple[str, ...]
    effect: float
    fold_difference: float
    vector_effect: float
    reload_difference: float
    left_out: tuple[str, ...]
    dtype: str
    max_tokens: int | None
    source_max_tokens: int | None
    modules: tuple[str, ...] = ()
    text_fix: str = ""
    fitted: Mapping[str, Any] = field(default_factory=dict)
    source_fix: str = "none"
    source_fingerprint: str = ""
    reasons: tuple[str, ...] = ()


def write_card(folder: Path, base: str, report: FixReport) -> None:
    """Say in a model's card what was done to it, before what its source's card says.

    Args:
        folder: of the new model, complete but for its card, which is still that of its source, if that has one.
        base: what it was made from.
        report: what was done.
    """
    parts = (_of_loading(report), _of_weights(report), _of_modules(report), _of_texts(report))
    section = f"""## Fixed with uncollapse {uncollapse.__version__}

This is `{base}` with `{report.fix}`.{_together(report)}

{"".join(parts)}On padded probe texts, as documents, as queries and as neither:

| quantity | largest absolute value |
|---|---|
{_exactness(report)}| how far the fix moves vectors | {report.vector_effect:.2g} |
| this folder, loaded by sentence-transformers, against the original with the fix on | {report.reload_difference:.1g} |

- {_how_chosen(report)}
- Its benefit is not known to this card, neither in all nor by length: nothing was evaluated. Measure it on your own
  texts: `uncollapse evaluate DATA -m {base} --against THIS-FOLDER` compares the two, by length.
- It cuts texts at {report.max_tokens or "no number of"} tokens.
- Vectors of this model must not be mixed with vectors of `{base}` in one index.
{_fingerprints(folder, report)}- Versions: {_versions()}.
"""
    (folder / CARD).write_text(compose_card(section, read_card(folder), is_stock=True), encoding="utf-8")


def _how_chosen(report: FixReport) -> str:
    if not report.reasons:
        return "How the fix was chosen is not recorded here."
    return f"How the fix was chosen, without labels: {'; '.join(report.reasons)}."


def _versions() -> str:
    return ", ".join(f"{name} {version}" for name, version in describe_run()["versions"].items())


def _together(report: FixReport) -> str:
    if report.source_fix == "none":
        return ""
    return f" `{report.source_fix}` was in its source before, and still is."


def _of_loading(report: FixReport) -> str:
    calls = """documents = model.encode_document(["a text", "another one"])
queries = model.encode_query(["a question"])
"""
    return f"""```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".")  # this folder; with trust_remote_code=True if its source needs that
{calls if _is_routed(report) else ""}```

"""


def _is_routed(report: FixReport) -> bool:
    return any(path.endswith("Router") for path in report.modules)


def _fingerprints(folder: Path, report: FixReport) -> str:
    texts = report.fitted.get("fingerprint", "")
    fitted = f"- Fingerprint of the texts that it was fitted to: {texts}.\n" if texts else ""
    return f"""- Fingerprint of weights, configs and tokenizer: {fingerprint(folder)}; of the source's: \
{report.source_fingerprint or "not known"}.
{fitted}"""


def _of_weights(report: FixReport) -> str:
    if not report.changed:
        return ""
    facts = [FACTS[type(one)] for one in compose(parse(report.fix)).model]
    said = " ".join(f"{one.name}: {one.formula}; {one.source}." for one in facts)
    longer = (
        f"Texts are cut at {report.max_tokens:,} tokens, in the source at {report.source_max_tokens or 'no number'}; "
        "longer texts take the time and memory that they take. "
        if report.max_tokens and report.max_tokens != report.source_max_tokens
        else ""
    )
    return f"""In the weights, with no code and at no cost: {len(report.changed)} tensors or config entries changed. \
{longer}config.json carries the entry `uncollapse`, so that nothing is folded twice. {said}

"""


def _of_modules(report: FixReport) -> str:
    if not report.modules:
        return ""
    how = (
        "Queries and documents go through maps of their own: call `encode_query` for the one and `encode_document` "
        "for the other, and never mix them with plain `encode`, which is for texts that are compared as equals. "
        if _is_routed(report)
        else ""
    )
    paths = ", ".join(f"`{path}`" for path in report.modules)
    return f"""In stock modules after the transformer: {paths}. {how}They were \
fitted, without labels, to {_learned(report.fitted)}; on texts of another kind they may hurt. Where a Dense has an \
offset, as any centering makes, text-embeddings-inference and vLLM give other vectors: they scale once, at the end. \
Files for llama.cpp and Ollama (GGUF) leave these modules out, in silence.

"""


def _learned(fitted: Mapping[str, Any]) -> str:
    documents = f"{fitted['documents']:,} documents"
    if not fitted["queries"]:
        return documents
    return f"{documents} and {fitted['queries']:,} queries ({fitted['queries_are']})"


def _of_texts(report: FixReport) -> str:
    if not report.text_fix:
        return ""
    return f"""**Not in this folder's modules: `{report.text_fix}`**, which cuts texts before they are encoded. It \
stands in `uncollapse.json`, and uncollapse applies it; sentence-transformers alone does not, and cuts texts off at \
{report.max_tokens or "no"} tokens. `uncollapse export FOLDER -o OUT --format sentence-transformers` writes a folder \
with code of its own, which does it there.

"""


def _exactness(report: FixReport) -> str:
    if not report.changed:
        return ""
    return f"""| how far the fix moves hidden states | {report.effect:.2g} |
| folded weights against the fix taken literally, hidden states | {report.fold_difference:.1g} |
"""
