"""Which causes lift the mean cosine of long texts, measured on one model and one set of documents."""

from collections.abc import Iterator, Sequence
from typing import Any

from uncollapse.diagnosis.causes.attribution import Split, split_rise
from uncollapse.diagnosis.causes.findings import explain_reach, explain_split, refuse
from uncollapse.diagnosis.causes.observation import FEWEST_TOKENS, PIECE_TOKENS, Observed, common_window, observe
from uncollapse.encoders import TextEncoder
from uncollapse.progress import Reporter
from uncollapse.records import Part, Row
from uncollapse.resampling import REPLICATES, Estimate
from uncollapse.reservoir import Kept


def measure_causes(
    encoder: TextEncoder,
    documents: Sequence[Kept],
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
    piece: int = PIECE_TOKENS,
    progress: Reporter | None = None,
) -> Part:
    """Split the rise of the mean cosine, from a first piece to the whole text, over its causes.

    Args:
        encoder: the model.
        documents: all about as long as the longest window to explain, or longer; the shortest sets it.
        seed: of the bootstrap, and of which documents are probed.
        replicates: of the bootstrap over documents.
        piece: tokens of a short piece, special tokens in.
        progress: told about every batch.

    Returns:
        The steps, the causes and the rise as rows; what they mean as findings. Without intervals for fewer than 30
        documents; nothing but a finding for fewer than 2, or for texts too short to be cut.
    """
    window = common_window(encoder, documents)
    fewest = encoder.n_special_tokens + 4 * FEWEST_TOKENS
    if len(documents) < 2 or window < fewest:
        return Part(verdict=(refuse(len(documents), window, fewest),))
    return split_observed(
        observe(encoder, documents, seed=seed, piece=piece, progress=progress), seed=seed, replicates=replicates
    )


def split_observed(observed: Observed, *, seed: int = 0, replicates: int = REPLICATES) -> Part:
    """The rows and findings of documents whose pieces are embedded already."""
    split = split_rise(observed.vectors, observed.positions, seed=seed, replicates=replicates)
    claimed = "it has no limit" if observed.claimed is None else f"{observed.claimed} tokens"
    short, long = (round(tokens) for tokens in observed.n_tokens)
    return Part(
        rows=tuple(_rows(observed, split)),
        verdict=(
            *explain_reach(observed.reach, observed.model, claimed),
            *explain_split(split, (short, long)),
        ),
        about={"causes": _about(observed)},
    )


def _rows(observed: Observed, split: Split) -> Iterator[Row]:
    short, long = observed.n_tokens
    for name, estimate in split.steps.items():
        yield _row("mean_cosine", estimate, name, short if name == "start" else long)
    for name, estimate in split.causes.items():
        yield _row("cause", estimate, name)
    yield _row("rise", split.rise, "")


def _row(measure: str, estimate: Estimate, label: str, n_tokens: float = 0.0) -> Row:
    return Row(
        measure,
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.n,
        view="causes",
        bin=label,
        n_tokens=round(n_tokens, 2),
        note=estimate.note,
    )


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
