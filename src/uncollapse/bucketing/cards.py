"""What a folder of buckets says of itself to a reader."""

from collections.abc import Sequence

import uncollapse
from uncollapse.bucketing.buckets import Bucket
from uncollapse.bucketing.losses import BucketLoss, SearchLoss, warning


def write_section(
    source: str,
    law: str,
    buckets: Sequence[Bucket],
    losses: Sequence[BucketLoss],
    searches: Sequence[SearchLoss],
    *,
    remote_code: bool = False,
) -> str:
    """The section of a model card about buckets, in Markdown.

    Args:
        source: what the model was made from.
        law: its notation.
        buckets: the shortest first.
        losses, searches: against the law itself.
        remote_code: whether code that came with the source was trusted, and runs where the folder is loaded.
    """
    code = "the code that came with its source" if remote_code else "no other code, whatever the checkpoints name"
    alone = "as its source does" if remote_code else "without any code"
    return f"""## `{law}` in buckets, written with uncollapse {uncollapse.__version__}

`{source}` with a temperature that follows the length of a text, as {len(buckets)} ordinary checkpoints. Each has the
law's temperature at the geometric middle of its bucket in the weights. Tokens are counted with special tokens and
prompt, after the text was cut at the model's limit.

| texts of | folder | law taken at | tau |
|---|---|---|---|
{chr(10).join(_bucket(one) for one in buckets)}

With sentence-transformers, the whole of it (it runs length_router.py, so read that file first, and {code};
without `trust_remote_code=True` it is refused):

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".", trust_remote_code=True)
```

On servers, one for each folder, each of which loads {alone}: `python pick_bucket.py "a text"` prints the folder
of a text, and `pick(n_tokens)` of that file gives it to a program. **A folder serves the texts of its bucket alone.**
Vectors of all buckets go into one index.

### What buckets lose against the law itself

Probe texts of every length. The error is the distance of the two vectors of a text over the spread of the law's
vectors (their root mean square distance from their mean). "Without" is the error of the model with no temperature at
all.

| tokens | texts | mean cosine | smallest cosine | largest error | without |
|---|---|---|---|---|---|
{chr(10).join(_loss(one) for one in losses)}
{_warned(losses)}{_searches(searches)}
How the law was chosen is not recorded here, and whether it pays is not known: the table says what buckets lose against
it. `uncollapse evaluate DATA -m {source} --fix "{law}"` says what it gains.

Every number is in loss.json, with the versions and the fingerprint of the source.
"""


def write_bucket_section(source: str, law: str, bucket: Bucket, buckets: Sequence[Bucket]) -> str:
    """The section of the card of one bucket's folder, for whoever got that folder alone, in Markdown.

    Args:
        source, law, buckets: as for `write_section`.
        bucket: the one of the folder.
    """
    held = f"the temperature {bucket.tau:.4g} in its weights" if bucket.tau != 1 else "the weights of its source"
    rows = "\n".join(
        f"| {one.low} to {one.up_to} tokens | {one.folder}{', this one' if one == bucket else ''} |" for one in buckets
    )
    return f"""## One bucket of {len(buckets)}: for texts of {bucket.low} to {bucket.up_to} tokens

This folder is one part of `{source}` with `{law}` in buckets, written with uncollapse {uncollapse.__version__}. It has
{held}. **A text of another length must not go here**: it would get a vector, without any
warning, but not the one that it has in this model. Tokens are counted with special tokens and prompt, after the text
was cut at the model's limit.

| texts of | folder |
|---|---|
{rows}

These folders lie in one, whose README.md says what buckets lose, whose loss.json has versions and the fingerprint of
the source, and whose pick_bucket.py finds the folder of a text. If you have this one alone, you can serve texts of its
length alone. Vectors of all {len(buckets)} go into one index, and vectors of `{source}` into another.
"""


def _warned(losses: Sequence[BucketLoss]) -> str:
    said = warning(losses)
    return f"\n**{said}**\n" if said else ""


def _bucket(one: Bucket) -> str:
    return f"| {one.low} to {one.up_to} tokens | {one.folder} | {one.middle} tokens | {one.tau:.4g} |"


def _loss(one: BucketLoss) -> str:
    cosines = f"{_shown(one.mean_cosine, '.6f')} | {_shown(one.min_cosine, '.6f')}"
    errors = f"{_shown(one.largest_error, '.2g')} | {_shown(one.moved, '.2g')}"
    return f"| {one.bin} | {one.n} | {cosines} | {errors} |"


def _shown(value: float | None, form: str) -> str:
    return "not finite" if value is None else format(value, form)


def _searches(searches: Sequence[SearchLoss]) -> str:
    if not searches:
        return "\nWhat that costs in search was not measured: give a set with `--search`.\n"
    rows = "\n".join(
        f"| {one.dataset} | {one.n} | {one.exact:.4f} | {one.bucketed:.4f} | {one.difference:+.4f} {_interval(one)} |"
        for one in searches
    )
    metrics = ", ".join(dict.fromkeys(one.metric for one in searches))
    return f"""
| set | n | {metrics} with the law | in buckets | difference, 95 % interval |
|---|---|---|---|---|
{rows}
"""


def _interval(one: SearchLoss) -> str:
    return "(too few for an interval)" if one.low is None or one.high is None else f"[{one.low:+.4f}, {one.high:+.4f}]"
