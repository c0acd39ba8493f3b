"""What an exported model says of itself to a reader."""

import uncollapse
from uncollapse.encoders.exported import Export
from uncollapse.encoders.runtimes import FORMATS, route_file
from uncollapse.exporting.parity import Agreement, Parity, worst_by_bin
from uncollapse.fixes import Composition, Fix, compose, parse

_SNIPPETS = {
    "onnxruntime": """import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")  # cuts and pads by itself
model = onnxruntime.InferenceSession("{file}")
texts = {texts}
tokens = tokenizer.encode_batch(texts)
feed = {feed}
(vectors,) = model.run(None, feed)
""",
    "openvino": """import numpy as np
import openvino
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")  # cuts and pads by itself
model = openvino.Core().compile_model("{file}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
texts = {texts}
tokens = tokenizer.encode_batch(texts)
feed = {feed}
vectors = model(feed)[0]
""",
}
_SPELLED = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def write_section(export: Export, parity: Parity, sizes: tuple[int, int], inputs: tuple[str, ...]) -> str:
    """The section of a model card about an export, in Markdown.

    Args:
        export: what the folder says of itself.
        parity: how it was checked.
        sizes: bytes of the graph with its weights, and of the source's weights.
        inputs: of the graph.
    """
    kind, (size, before) = FORMATS[export.format], sizes
    held = compose(parse(export.folded_fix) if export.folded_fix != "none" else None).parts
    held = tuple(part for part in held if str(part) != export.text_fix)
    fixed = f" The graph holds the fix `{Composition(held)}`." if held else ""
    return f"""## Exported with uncollapse {uncollapse.__version__}

{kind.said}, of `{export.source["name"]}`: transformer, pooling, dense layers and normalisation in one graph, from
tokens to `sentence_embedding` [texts, {export.dim}].{fixed} It runs without torch and without this package:

```python
{_snippet(export, inputs)}```
{_PROGRAMS if export.format == "onnx" else ""}{_routes(export)}{_left_out(export)}

### How near it comes to the model it was made from

{parity.n_texts} probe texts of every length up to {parity.longest} tokens were encoded by both, one by one, and a
short one padded to a long one. The error is the distance of the two vectors of a text over the spread of the source's
vectors (their root mean square distance from their mean, {parity.spread:.3g}); at most {parity.limit:g} is allowed. Of
each length the way that came least near is shown; parity.json has every way.

| tokens | texts | worst way | mean cosine | smallest cosine | largest difference | largest error |
|---|---|---|---|---|---|---|
{chr(10).join(_row(row) for row in worst_by_bin(parity.rows))}

- Tokens of all probes, with the prompt of every role, are those of the source.
- Size: {size / 1e6:.1f} MB; the source's weights are {before / 1e6:.1f} MB.
- {_speed(parity)}
- It cuts texts at {export.max_tokens or "no number of"} tokens. What a longer limit would give was not checked.
- The probes say whether the vectors agree, not what a difference costs in search: measure that on your own texts.
{_unknown(held)}- Vectors of this folder and of its source {_mixing(export)}
- Every number is in parity.json; versions and the fingerprint of the source are in export.json.
"""


_PROGRAMS = """
tokenizer_config.json and config.json are for programs that ask for them: fastembed (`PoolingType.DISABLED`,
`normalization=False`; it takes no model without a token limit) and transformers.js (output `sentence_embedding`; give
it texts that fit, and no encoder that has a decoder beside it).
"""


def _unknown(held: tuple[Fix, ...]) -> str:
    if not held:
        return ""
    return """- How the fix was chosen, and what it gains on which texts and at which lengths, is not recorded here.
"""


def _snippet(export: Export, inputs: tuple[str, ...]) -> str:
    parts = [f'"{name}": np.array([one.{_SPELLED[name]} for one in tokens], dtype=np.int64)' for name in inputs]
    prompt = export.prompts["document"]
    texts = f"[{prompt!r} + text for text in [...]]" if prompt else '["a text", "another one"]'
    feed = "{\n    " + ",\n    ".join(parts) + ",\n}"
    kind = FORMATS[export.format]
    file = route_file(kind.file, "document" if export.routes else "")
    return _SNIPPETS[kind.runtime].format(texts=texts, feed=feed, file=file)


def _routes(export: Export) -> str:
    if not export.routes:
        return ""
    file = FORMATS[export.format].file
    rows = "".join(
        f"| {_WHO[role]} | {route_file(file, role)} | {_quoted(export.prompts[role])} |\n" for role in export.routes
    )
    return f"""
Each kind of text has a graph of its own, with the same inputs and output. Take the one of its kind, always: a document
that went through the graph of queries is not found.

| texts | graph | put before every text |
|---|---|---|
{rows}{_WEIGHTS if export.format == "onnx" else ""}"""


_WEIGHTS = """
All of them read their weights from model.onnx.data, which must lie beside them.
"""

_WHO = {"document": "documents that are searched", "query": "queries", "text": "texts compared as equals"}


def _quoted(prompt: str) -> str:
    return f"`{prompt!r}`" if prompt else "nothing"


def _left_out(export: Export) -> str:
    if not export.text_fix:
        return ""
    return f"""
**Not in the graph: `{export.text_fix}`**, which cuts texts before they are encoded. It stands in export.json, and
uncollapse applies it; other programs do not, and cut texts off at {export.max_tokens or "no"} tokens.
"""


def _row(row: Agreement) -> str:
    cosines = (_shown(row.mean_cosine, ".6f"), _shown(row.min_cosine, ".6f"))
    numbers = (*cosines, _shown(row.largest_difference, ".1g"), _shown(row.largest_error, ".1g"))
    return f"| {row.bin} | {row.n} | {row.how} | {' | '.join(numbers)} |"


def _shown(value: float | None, form: str) -> str:
    return "not finite" if value is None else format(value, form)


def _speed(parity: Parity) -> str:
    speed = parity.speed
    if speed is None:
        return "Speed was not measured."
    return (
        f"Speed: {speed.ratio:.2f} times torch's on the probes, {speed.low:.2f} to {speed.high:.2f} over "
        f"{speed.rounds} rounds, {speed.threads} threads each, on the machine that exported it."
    )


def _mixing(export: Export) -> str:
    if export.format == "onnx-int8":
        return "differ by the error above; do not mix them in one index."
    return "are equal but for rounding, and may be mixed in one index."
