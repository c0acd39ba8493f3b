"""What an exported model says of itself to a reader."""

import uncollapse
from uncollapse.encoders.exported import Export
from uncollapse.encoders.runtimes import FORMATS
from uncollapse.exporting.parity import Agreement, Parity

_SNIPPETS = {
    "onnxruntime": """import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")  # cuts and pads by itself
model = onnxruntime.InferenceSession("model.onnx")
texts = {texts}
tokens = tokenizer.encode_batch(texts)
feed = {feed}
(vectors,) = model.run(None, feed)
""",
    "openvino": """import numpy as np
import openvino
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")  # cuts and pads by itself
model = openvino.Core().compile_model("openvino_model.xml", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
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
    fixed = "" if export.folded_fix == "none" else f" Its weights hold the fix `{export.folded_fix}`."
    return f"""## Exported with uncollapse {uncollapse.__version__}

{kind.said}, of `{export.source["name"]}`: transformer, pooling, dense layers and normalisation in one graph, from
tokens to `sentence_embedding` [texts, {export.dim}].{fixed} It runs without torch and without this package:

```python
{_snippet(export, inputs)}```

### How near it comes to the model it was made from

{parity.n_texts} probe texts of every length up to {parity.longest} tokens were encoded by both, one by one, and a
short one padded to a long one. The error is the distance of the two vectors of a text over the spread of the source's
vectors (their root mean square distance from their mean, {parity.spread:.3g}); at most {parity.limit:g} is allowed.

| tokens | texts | how | mean cosine | smallest cosine | largest difference | largest error |
|---|---|---|---|---|---|---|
{chr(10).join(_row(row) for row in parity.rows)}

- Tokens of all probes, with the prompt of every role, are those of the source.
- Size: {size / 1e6:.1f} MB; the source's weights are {before / 1e6:.1f} MB.
- {_speed(parity)}
- It cuts texts at {export.max_tokens or "no number of"} tokens. What a longer limit would give was not checked.
- The probes say whether the vectors agree, not what a difference costs in search: measure that on your own texts.
- Vectors of this folder and of its source {_mixing(export)}
- Every number is in parity.json; versions and the fingerprint of the source are in export.json.
"""


def _snippet(export: Export, inputs: tuple[str, ...]) -> str:
    parts = [f'"{name}": np.array([one.{_SPELLED[name]} for one in tokens], dtype=np.int64)' for name in inputs]
    prompt = export.prompts["document"]
    texts = f"[{prompt!r} + text for text in [...]]" if prompt else '["a text", "another one"]'
    feed = "{\n    " + ",\n    ".join(parts) + ",\n}"
    return _SNIPPETS[FORMATS[export.format].runtime].format(texts=texts, feed=feed)


def _row(row: Agreement) -> str:
    cosines = (_shown(row.mean_cosine, ".6f"), _shown(row.min_cosine, ".6f"))
    numbers = (*cosines, _shown(row.largest_difference, ".1g"), _shown(row.largest_error, ".1g"))
    return f"| {row.bin} | {row.n} | {row.batching} | {' | '.join(numbers)} |"


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
