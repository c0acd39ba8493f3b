"""Measure the controls: every distinct text embedded once, every effect paired with its reference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.causes.controls.cutting import (
    PIECE,
    Lengths,
    Made,
    choose_lengths,
    cutter,
    fit,
    read_pieces,
)
from uncollapse.diagnosis.causes.controls.findings import judge_controls, too_few_documents
from uncollapse.diagnosis.causes.controls.materials import Materials
from uncollapse.diagnosis.causes.controls.static import input_embeddings, static_vectors
from uncollapse.diagnosis.causes.controls.table import Control, choose
from uncollapse.diagnosis.causes.shifting import has_positions, leading_tokens, shifted
from uncollapse.encoders import SentenceEncoder, TextEncoder
from uncollapse.errors import ModelError
from uncollapse.measures import MINIMUM, mean_cosine, unit
from uncollapse.moments import Moments
from uncollapse.progress import Reporter, Silent
from uncollapse.records import FloatArray, Part, Row, chunks
from uncollapse.resampling import REPLICATES, Estimate, difference, document_keys
from uncollapse.reservoir import Kept

_BATCH = 64


def measure_controls(
    encoder: TextEncoder,
    documents: Sequence[Kept],
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
    piece: int = PIECE,
    names: Sequence[str] | None = None,
    progress: Reporter | None = None,
) -> Part:
    """What changing one thing only does to the mean cosine of unrelated texts.

    Every control makes one text of each document; n and the tokens are those of its reference but for what it changes
    (CONTROLS says what). Its effect is its mean cosine minus that of its reference, replicate by replicate, so that
    what both share cancels.

    How to read it: an effect above 0 means that the change pulls texts together. An effect is not a share of the rise:
    effects of different controls overlap and do not add up.

    Args:
        encoder: the model; patch it first to measure a fix.
        documents: the same for all controls, each at least as long as the longest window; at least 30 for intervals.
        seed: of every random choice.
        replicates: of the bootstrap, a multiple of 4.
        piece: tokens of a piece, special tokens in.
        names: controls to measure, their references come along; None for all.
        progress: told about every batch.

    Returns:
        Rows "mean_cosine" and "control_effect" of the view "controls", whose bin is the control's name. What a model
        has no way to show is left out, and `about["controls"]["left_out"]` says why.

    Raises:
        UncollapseError: documents too short; an unknown control.
        ModelError: a model whose texts cannot be cut.

    >>> from uncollapse.encoders import load
    >>> part = measure_controls(load("minilm"), documents, names=["repeat_4"])  # doctest: +SKIP
    >>> [row.bin for row in part.rows if row.measure == "control_effect"]  # doctest: +SKIP
    ['repeat_4']
    """
    _refuse_uncut(encoder)
    chosen = choose(names)
    if len(documents) < 2:
        return Part(verdict=(too_few_documents(len(documents)),), about={"controls": {"documents": len(documents)}})
    lengths = choose_lengths(encoder, documents, piece)
    left_out = _left_out(encoder, chosen, lengths)
    controls = [control for control in chosen if control.name not in left_out]
    bench = _Bench(encoder, documents, lengths, seed, progress or Silent(), controls)
    measured = bench.measure(controls, replicates)
    effects = {
        name: difference(found.estimate, measured[found.control.reference].estimate)
        for name, found in measured.items()
        if found.control.reference
    }
    return Part(
        rows=tuple(_rows(measured, effects)),
        verdict=judge_controls(
            encoder.name, lengths, {n: m.estimate for n, m in measured.items()}, effects, bench.closeness(measured)
        ),
        about={"controls": bench.describe(measured, left_out)},
    )


def _refuse_uncut(encoder: TextEncoder) -> None:
    # A static model has no limit to set, yet its texts can be cut by their tokens like any others.
    if not encoder.can_cut and input_embeddings(encoder) is None:
        raise ModelError(
            f"Controls embed texts of chosen lengths, but the texts of {encoder.name!r} cannot be cut. Use the model "
            "itself, or an endpoint that embeds new texts."
        )


def _left_out(encoder: TextEncoder, controls: Sequence[Control], lengths: Lengths) -> dict[str, str]:
    """Why a chosen control cannot be measured on this model at this length, by name."""
    reasons = {}
    for control in controls:
        if control.embedding == "shifted" and not has_positions(encoder):
            reasons[control.name] = "the model has no table of positions, or its inside cannot be seen"
        elif control.embedding == "static" and input_embeddings(encoder) is None:
            reasons[control.name] = "the model's input embeddings cannot be seen"
        elif control.name == "repeat_4" and lengths.count <= 4:
            reasons[control.name] = f"only {lengths.count} pieces fit into {lengths.full} tokens: see repeat_full"
    return reasons


@dataclass(frozen=True, eq=False)
class Measured:
    """What was found of one control."""

    control: Control
    estimate: Estimate
    n_tokens: float
    note: str


class _Bench:
    """Everything that is shared between the controls of one model and one set of documents."""

    def __init__(
        self,
        encoder: TextEncoder,
        documents: Sequence[Kept],
        lengths: Lengths,
        seed: int,
        progress: Reporter,
        controls: Sequence[Control],
    ) -> None:
        self.encoder, self.lengths, self.seed, self.progress = encoder, lengths, seed, progress
        self.tokens_embedded = 0
        self._known: dict[str, npt.NDArray[np.float32]] = {}
        pieces = tuple(read_pieces(encoder, document, lengths) for document in documents)
        texts = [text for one in pieces for text in one.texts]
        wanted = texts if any(control.needs_pieces for control in controls) else []
        self._embed(wanted, "pieces of documents")
        self.materials = Materials(
            pieces,
            document_keys([document.id for document in documents]),
            room=lengths.room,
            seed=seed,
            cut=cutter(encoder),
            vectors=self._rows(wanted).reshape(len(pieces), -1, encoder.dim),
        )

    def measure(self, controls: Sequence[Control], replicates: int) -> dict[str, Measured]:
        """The mean cosine of every control, by name."""
        made = {c.name: fit(self.encoder, c.make(self.materials), self.lengths, c.name) for c in controls}
        plain = (text for c in controls if c.embedding == "model" for text in made[c.name].texts)
        self._embed(plain, "controls")
        return {c.name: self._measured(c, made, replicates) for c in controls}

    def _measured(self, control: Control, made: Mapping[str, Made], replicates: int) -> Measured:
        own = made[control.name]
        vectors = unit(self._vectors(control, own))
        moments = Moments(vectors.shape[1], replicates, self.seed)
        moments.update(vectors, self.materials.keys)
        special = self.lengths.special if control.embedding == "static" else 0
        return Measured(control, mean_cosine(moments), float(own.n_tokens.mean()) - special, _note(control, made))

    def _vectors(self, control: Control, made: Made) -> FloatArray:
        if control.embedding == "model":
            return self._rows(made.texts)
        if control.embedding == "chunks":
            return chunk_means(self.materials)
        if control.embedding == "static":
            return static_vectors(self.encoder, made.texts)
        assert isinstance(self.encoder, SentenceEncoder)  # only its inside shows positions
        self.tokens_embedded += int(made.n_tokens.sum())
        offset = self.lengths.full - int(made.n_tokens.max())
        with shifted(self.encoder.model, offset, leading=leading_tokens(self.encoder)):
            return self.encoder.vectors(made.texts, made.n_tokens)

    def _embed(self, texts: Iterable[str], what: str) -> None:
        """Embed the texts that are new, the longest first."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if not new:
            return
        counts = self.encoder.count(new)
        self.tokens_embedded += int(counts.sum())
        with self.progress.track(what, float(counts.sum()), "tokens") as advance:
            for rows in chunks(np.argsort(-counts, kind="stable").tolist(), _BATCH):
                batch = [new[row] for row in rows]
                self._known.update(zip(batch, self.encoder.vectors(batch, counts[rows]), strict=True))
                advance(float(counts[rows].sum()))

    def _rows(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.array([self._known[text] for text in texts], np.float32).reshape(len(texts), self.encoder.dim)

    def closeness(self, measured: Iterable[str]) -> dict[str, float]:
        """Mean cosine of a first piece with the pieces that joined it, by name of the control."""
        deals = {"same_topic": "nearest", "mixed_topic": "random"}
        return {
            name: self.materials.mean_closeness(getattr(self.materials, deals[name]))
            for name in measured
            if name in deals
        }

    def describe(self, measured: Mapping[str, Measured], left_out: Mapping[str, str]) -> dict[str, Any]:
        """What a reader needs to judge the numbers."""
        return {
            "documents": len(self.materials),
            "n_tokens": self.lengths.full,
            "piece_tokens": self.lengths.piece,
            "pieces": self.lengths.count,
            "tokens_embedded": self.tokens_embedded,
            "mean_closeness": {name: round(value, 4) for name, value in self.closeness(measured).items()},
            "left_out": dict(left_out),
            "table": {name: _described(found.control) for name, found in measured.items()},
        }


def _described(control: Control) -> dict[str, str]:
    return {
        "title": control.title,
        "changes": control.changes,
        "reference": control.reference,
        "reading": control.reading,
        "limits": control.limits,
    }


def chunk_means(materials: Materials) -> npt.NDArray[np.float64]:
    """The mean of the vectors of each document's pieces, weighted by their tokens: float64 [documents, dim].

    v = sum_k n_k v_k / sum_k n_k over the pieces of n_k tokens, special tokens not counted, and the vectors as the
    model gives them. For a plain average of word vectors this is exactly the vector of the whole.
    """
    weights = np.stack([pieces.n_tokens for pieces in materials.pieces]).astype(np.float64)
    sums = np.einsum("dk,dkv->dv", weights, materials.vectors.astype(np.float64))
    return np.asarray(sums / weights.sum(axis=1, keepdims=True), np.float64)


def _note(control: Control, made: Mapping[str, Made]) -> str:
    """What a reader must know of the texts of a control, "" for nothing."""
    own, n = made[control.name], len(made[control.name].texts)
    notes = [f"{own.cut} of {n} texts lost their last words to fit"] if own.cut else []
    if control.reference and control.embedding == "model":
        same = sum(a == b for a, b in zip(own.texts, made[control.reference].texts, strict=True))
        notes += [f"{same} of {n} texts are those of {control.reference}"] if same else []
    return "; ".join(notes)


def _rows(measured: Mapping[str, Measured], effects: Mapping[str, Estimate]) -> Iterable[Row]:
    for name, found in measured.items():
        yield _row("mean_cosine", found.estimate, found)
        if name in effects:
            yield _row("control_effect", effects[name], found)


def _row(measure: str, estimate: Estimate, found: Measured) -> Row:
    few = estimate.n < MINIMUM
    why = f"no interval: {estimate.n} documents, fewer than {MINIMUM}" if few else estimate.note
    return Row(
        measure,
        float(estimate.value),
        None if few else estimate.low,
        None if few else estimate.high,
        estimate.n,
        view="controls",
        bin=found.control.name,
        n_tokens=round(found.n_tokens, 2),
        note="; ".join(note for note in (why, found.note) if note),
    )
