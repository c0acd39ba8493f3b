"""Which causes lift the mean cosine of long texts, measured on one model and one set of documents."""

from collections.abc import Iterator, Sequence
from typing import Any

from uncollapse.diagnosis.causes.attribution import CAUSES, Cause, Split, split_rise
from uncollapse.diagnosis.causes.findings import explain_reach, explain_split, refuse
from uncollapse.diagnosis.causes.observation import FEWEST_TOKENS, PIECE_TOKENS, Observed, common_window, observe
from uncollapse.diagnosis.memory import Memory
from uncollapse.diagnosis.rows import row_of
from uncollapse.diagnosis.units import unit_of
from uncollapse.encoders import TextEncoder
from uncollapse.progress import Reporter
from uncollapse.records import Part, Row
from uncollapse.resampling import REPLICATES
from uncollapse.reservoir import Kept


def measure_causes(
    encoder: TextEncoder,
    documents: Sequence[Kept],
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
    piece: int = PIECE_TOKENS,
    memory: Memory | None = None,
    progress: Reporter | None = None,
) -> Part:
    """Split the rise of the mean cosine, from a first piece to the whole text, over its causes.

    Args:
        encoder: the model.
        documents: all about as long as the longest window to explain, or longer; the shortest sets it.
        seed: of the bootstrap, and of which documents are probed.
        replicates: of the bootstrap over documents.
        piece: tokens of a short piece, special tokens in.
        memory: of what other rooms embedded already; None starts a new one.
        progress: told about every batch.

    Returns:
        The steps, the causes and the rise as rows; what they mean as findings. Without intervals for fewer than 30
        documents; nothing but a finding for fewer than 2, or for texts too short to be cut.
    """
    window = common_window(encoder, documents)
    fewest = encoder.n_special_tokens + 4 * FEWEST_TOKENS
    if len(documents) < 2 or window < fewest:
        return Part(verdict=(refuse(len(documents), window, fewest, unit_of(encoder)),))
    observed = observe(encoder, documents, seed=seed, piece=piece, memory=memory, progress=progress)
    return split_observed(observed, seed=seed, replicates=replicates)


def split_observed(observed: Observed, *, seed: int = 0, replicates: int = REPLICATES) -> Part:
    """The rows and findings of documents whose pieces are embedded already."""
    split = split_rise(observed.vectors, observed.positions, seed=seed, replicates=replicates)
    short, long = (round(tokens) for tokens in observed.n_tokens)
    return Part(
        rows=tuple(_rows(observed, split)),
        verdict=(
            *explain_reach(observed.reach, observed.model, _claim(observed), observed.unit),
            *explain_split(split, (short, long), observed.unit),
        ),
        about={"causes": {**_about(observed), "table": _table(split)}},
    )


def _claim(observed: Observed) -> str:
    """What the model says it reads, "" where it says nothing."""
    if observed.claimed is None:
        return "it has no limit" if observed.says else ""
    return f"{observed.claimed} {observed.unit}"


def _rows(observed: Observed, split: Split) -> Iterator[Row]:
    short, long = observed.n_tokens
    for name, estimate in split.steps.items():
        yield row_of("mean_cosine", estimate, view="causes", label=name, n_tokens=short if name == "start" else long)
    for name, estimate in split.causes.items():
        yield row_of("cause", estimate, view="causes", label=name)
    yield row_of("rise", split.rise, view="causes")


def _about(observed: Observed) -> dict[str, Any]:
    vectors, reach = observed.vectors, observed.reach
    return {
        "documents": len(vectors.ids),
        "piece_tokens": observed.size,
        "pieces": len(vectors.alone),
        "pieces_read": int(vectors.read.sum()),
        "window_tokens": reach.window,
        "claimed_tokens": observed.claimed,
        "read_tokens": reach.tokens,
        "probed_documents": reach.probes,
        "positions": str(observed.positions),
    }


def _table(split: Split) -> dict[str, dict[str, str]]:
    """What each cause of this split means, in the order of the steps."""
    return {name: _described(CAUSES[name]) for name in split.causes}


def _described(cause: Cause) -> dict[str, str]:
    return {
        "title": cause.title,
        "before": cause.before,
        "after": cause.after,
        "meaning": cause.meaning,
        "against": cause.against,
        "remedy": cause.remedy,
    }
