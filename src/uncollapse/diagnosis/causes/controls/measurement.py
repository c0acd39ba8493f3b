"""Measure the controls: every distinct text embedded once, every effect paired with its reference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.causes.controls.cutting import (
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
from uncollapse.diagnosis.memory import Memory
from uncollapse.diagnosis.rows import row_of
from uncollapse.diagnosis.units import unit_of
from uncollapse.encoders import SentenceEncoder, TextEncoder, VectorFile
from uncollapse.errors import ModelError
from uncollapse.measures import MINIMUM, mean_cosine, unit
from uncollapse.moments import Moments
from uncollapse.progress import Advance, Reporter, Silent
from uncollapse.records import FloatArray, Part, Row
from uncollapse.resampling import REPLICATES, Estimate, difference, document_keys
from uncollapse.reservoir import Kept


def measure_controls(
    encoder: TextEncoder,
    documents: Sequence[Kept],
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
    piece: int | None = None,
    names: Sequence[str] | None = None,
    memory: Memory | None = None,
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
        piece: tokens of a piece, special tokens in; None for 32, or more where a prompt takes much of that.
        names: controls to measure, their references come along; None for all.
        memory: of what other rooms embedded already; None starts a new one.
        progress: told about every batch.

    Returns:
        Rows "mean_cosine" and "control_effect" of the view "controls", whose bin is the control's name. What a model
        has no way to show is left out, and `about["controls"]["left_out"]` says why.

    Raises:
        UncollapseError: documents too short; an unknown control.
        ModelError: a file of vectors, which embeds no new texts.

    >>> from uncollapse.encoders import load
    >>> part = measure_controls(load("minilm"), documents, names=["repeat_4"])  # doctest: +SKIP
    >>> [row.bin for row in part.rows if row.measure == "control_effect"]  # doctest: +SKIP
    ['repeat_4']
    """
    _refuse_vectors(encoder)
    chosen = choose(names)
    if len(documents) < 2:
        return Part(verdict=(too_few_documents(len(documents)),), about={"controls": {"documents": len(documents)}})
    lengths = choose_lengths(encoder, documents, piece)
    left_out = _left_out(encoder, chosen, lengths)
    controls = [control for control in chosen if control.name not in left_out]
    bench = _Bench(encoder, lengths, seed, memory or Memory(), progress or Silent())
    bench.read(documents, embed=any(control.needs_pieces for control in controls))
    measured = bench.measure(controls, replicates)
    effects = {
        name: difference(found.estimate, measured[found.control.reference].estimate)
        for name, found in measured.items()
        if found.control.reference
    }
    return Part(
        rows=tuple(_rows(measured, effects)),
        verdict=judge_controls(
            encoder.name,
            lengths,
            {name: found.estimate for name, found in measured.items()},
            effects,
            bench.closeness(measured),
            unit_of(encoder),
        ),
        about={"controls": bench.describe(measured, left_out)},
    )


def _refuse_vectors(encoder: TextEncoder) -> None:
    # A limit that cannot be set is no hindrance: texts are cut by their tokens before the model sees them.
    if isinstance(encoder, VectorFile):
        raise ModelError(
            f"Controls embed texts of chosen lengths, but {encoder.name!r} holds vectors of its own texts only. Use "
            "the model itself, or an endpoint that embeds new texts."
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
            reasons[control.name] = (
                f"only {lengths.count} pieces fit into {lengths.full} {unit_of(encoder)}: see repeat_full"
            )
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

    materials: Materials

    def __init__(self, encoder: TextEncoder, lengths: Lengths, seed: int, memory: Memory, progress: Reporter) -> None:
        self.encoder, self.lengths, self.seed, self.progress = encoder, lengths, seed, progress
        self._memory, self._before, self._shifted = memory, memory.tokens, 0

    @property
    def tokens_embedded(self) -> int:
        """Tokens that went through the model for these controls alone."""
        return self._memory.tokens - self._before + self._shifted

    def read(self, documents: Sequence[Kept], *, embed: bool) -> None:
        """Cut the documents into pieces, and embed these if a control needs it."""
        pieces = tuple(read_pieces(self.encoder, document, self.lengths) for document in documents)
        texts = [text for one in pieces for text in one.texts] if embed else []
        counts = self.encoder.count(texts) if texts else np.empty(0, np.int64)
        with self.progress.track("pieces of documents", float(counts.sum()), "tokens") as advance:
            vectors = self._memory.vectors(self.encoder, texts, counts, advance=advance)
        self.materials = Materials(
            pieces,
            document_keys([document.id for document in documents]),
            room=self.lengths.room,
            seed=self.seed,
            cut=cutter(self.encoder),
            vectors=vectors.reshape(len(pieces), -1, self.encoder.dim),
        )

    def measure(self, controls: Sequence[Control], replicates: int) -> dict[str, Measured]:
        """The mean cosine of every control, by name."""
        made = {c.name: fit(self.encoder, c.make(self.materials), self.lengths, c.name) for c in controls}
        total = sum(int(made[c.name].n_tokens.sum()) for c in controls if c.embedding in {"model", "shifted"})
        with self.progress.track("controls", float(total), "tokens") as advance:
            return {c.name: self._measured(c, made, replicates, advance) for c in controls}

    def _measured(self, control: Control, made: Mapping[str, Made], replicates: int, advance: Advance) -> Measured:
        own = made[control.name]
        vectors = unit(self._vectors(control, own, advance))
        moments = Moments(vectors.shape[1], replicates, self.seed)
        moments.update(vectors, self.materials.keys)
        special = self.lengths.special if control.embedding == "static" else 0
        return Measured(control, mean_cosine(moments), float(own.n_tokens.mean()) - special, _note(control, made))

    def _vectors(self, control: Control, made: Made, advance: Advance) -> FloatArray:
        if control.embedding == "model":
            return self._memory.vectors(self.encoder, made.texts, made.n_tokens, advance=advance)
        if control.embedding == "chunks":
            return chunk_means(self.materials)
        if control.embedding == "static":
            return static_vectors(self.encoder, made.texts)
        assert isinstance(self.encoder, SentenceEncoder)  # only its inside shows positions
        tokens = int(made.n_tokens.sum())
        self._shifted += tokens
        offset = self.lengths.full - int(made.n_tokens.max())
        with shifted(self.encoder.model, offset, leading=leading_tokens(self.encoder)):
            vectors = self.encoder.vectors(made.texts, made.n_tokens)
        advance(float(tokens))
        return vectors

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
    if few:
        why = f"no interval: {estimate.n} documents, fewer than {MINIMUM}"
        estimate = replace(estimate, low=None, high=None, note=why)
    noted = estimate.noted(found.note)
    return row_of(measure, noted, view="controls", label=found.control.name, n_tokens=found.n_tokens)
