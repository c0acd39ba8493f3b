"""What a folder that reads long texts says of itself to a reader."""

from collections.abc import Sequence

import uncollapse
from uncollapse.exporting.parity import Agreement, worst_by_bin


def write_section(
    source: str, text_fix: str, max_tokens: int, rows: Sequence[Agreement], *, limit: float, spread: float
) -> str:
    """The section of a model card about long texts, in Markdown.

    Args:
        source: what the model was made from.
        text_fix: notation of the fix on texts.
        max_tokens: that the model reads at once.
        rows: how near its code comes to this package.
        limit: largest error that was allowed.
        spread: of the vectors that errors are told in.
    """
    return f"""## Reads texts to their end: `{text_fix}`, written with uncollapse {uncollapse.__version__}

`{source}` reads {max_tokens} tokens of a text. This folder reads the rest in chunks and makes one vector of
all of it. Texts that fit, and queries, keep the vector that they had; it is scaled to norm 1 where the model compares
by cosine and does not do so itself.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".", trust_remote_code=True)  # runs long_texts.py and cutting.py: read them first
documents = model.encode_document(["a text of any length"])
queries = model.encode_query(["a question"])
```

- **`model/` is the same model without any code**: an ordinary folder, for servers that take no code. It cuts texts
  off at {max_tokens} tokens. Texts that fit and queries have the same vectors in both, but for that scale, so it can
  answer queries for an index that was made with this folder.
- What was fixed in the model besides stands in model/README.md and model/uncollapse.json.
- A text beyond the limit costs as much as all its tokens, and its first {max_tokens} once more.
- A program that cuts texts before this code sees them gets vectors of what is left.
- Without `trust_remote_code=True` this folder is refused.

### How near it comes to the package that it was written with

Texts of every length in every role, alone and all together. The error is the distance of the two vectors of a text
over the spread of the vectors (their root mean square distance from their mean, {spread:.3g}); at most {limit:g} is
allowed. Of each length the way that came least near is shown.

| tokens | texts | worst way | smallest cosine | largest error |
|---|---|---|---|---|
{chr(10).join(_row(row) for row in worst_by_bin(rows))}

Every number, by role, is in parity.json, with versions and the fingerprint of the source. What reading on is worth in
search depends on your texts: `uncollapse evaluate DATA -m ORIGINAL --fix "{text_fix}"` says it, by length, with the
model as it was before any fix.
"""


def _row(row: Agreement) -> str:
    known = row.min_cosine is not None and row.largest_error is not None
    told = f"{row.min_cosine:.6f} | {row.largest_error:.1g}" if known else "not finite | not finite"
    return f"| {row.bin} | {row.n} | {row.how} | {told} |"
