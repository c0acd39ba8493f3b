"""A whole explanation: what attention does, what the rest of a layer puts back, and what reaches the embedding."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from uncollapse.attention.observing import find_support
from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.diagnosis.profiling import TextSource
from uncollapse.diagnosis.study import labelled
from uncollapse.encoders import SentenceEncoder, TextEncoder, inside
from uncollapse.errors import ArchitectureError
from uncollapse.explanation.findings import conclude
from uncollapse.explanation.layers import Ablation, ablate
from uncollapse.explanation.pooling import pooling_mode
from uncollapse.explanation.reading import Chosen, choose
from uncollapse.explanation.recording import Recording, looking
from uncollapse.explanation.rows import Rows
from uncollapse.explanation.settings import Settings
from uncollapse.explanation.solving import KEPT, Targets
from uncollapse.progress import Reporter, Silent
from uncollapse.provenance import describe_model, describe_run
from uncollapse.records import Result, Row

N0 = 128
"""Tokens at which heads are kept, unless told otherwise: about what embedding models were trained on."""


@dataclass(frozen=True, eq=False)
class HeadColumns:
    """Numbers of every head of every document at one length, for the table of heads.

    Args:
        ids: of the documents.
        n_tokens: their length.
        fix: what was on.
        values: by measure, float64 [documents, layers, heads].
    """

    ids: tuple[str, ...]
    n_tokens: int
    fix: str
    values: Mapping[str, npt.NDArray[np.float64]]


class HeadSink(Protocol):
    """Where the numbers of single documents go."""

    def write(self, columns: HeadColumns) -> None: ...


def explain(
    encoder: TextEncoder,
    corpus: TextSource,
    *,
    settings: Settings | None = None,
    sink: HeadSink | None = None,
    progress: Reporter | None = None,
) -> Result:
    """Show what attention does to differences between tokens, what the rest of each layer puts back, and what of it
    reaches the embedding, by layer, head and length, with the theory beside the measurement.

    The same documents are cut to 8, 16, 32, ... tokens; means over documents have 95 % intervals.

    Args:
        encoder: from `load`; a model whose inside can be seen.
        corpus: from `open_corpus`.
        settings: what to look at.
        sink: gets the numbers of every head of every document.
        progress: shows how far the work is.

    Raises:
        UncollapseError: a corpus too small, or a model that cannot be observed; each says why.

    >>> from uncollapse import explain, load, open_corpus
    >>> result = explain(load("minilm"), open_corpus("docstrings", limit=2000))  # doctest: +SKIP
    >>> result.select(measure="filter_rate", view="all heads")[-1].bin  # doctest: +SKIP
    '512'

    Source: Wang et al., Anti-Oversmoothing in Deep Vision Transformers, ICLR 2022; Zhou et al., Length-Induced
    Embedding Collapse in PLM-based Models, ACL 2025 (arXiv 2410.24200).
    """
    settings, reporter = settings or Settings(), progress or Silent()
    seen, unseen = _seeable(encoder)
    chosen = choose(seen, corpus, settings, progress=progress)
    looking = _Looking(seen, chosen, settings, reporter, sink, streams=not unseen)
    rows = tuple(looking.rows())
    groups = conclude(rows, looking.about)
    return Result(
        rows=labelled(rows, encoder.name, corpus.name),
        verdict=tuple(finding for findings in groups.values() for finding in findings),
        about={
            "title": f"What happens inside {encoder.name}",
            **_describe(seen, corpus, chosen, settings, unseen),
            "explanation": looking.about,
            "verdict_groups": {heading: len(findings) for heading, findings in groups.items()},
        },
    )


def _seeable(encoder: TextEncoder) -> tuple[SentenceEncoder, str]:
    """The encoder, if its attention can be observed, and why its stream cannot, else ""; found out before reading."""
    support = find_support(inside(encoder, "explain"))
    if support.heads:
        raise ArchitectureError(support.heads)
    assert isinstance(encoder, SentenceEncoder)
    return encoder, support.states


@dataclass(eq=False)
class _Looking:
    """The passes over the documents, in order."""

    encoder: SentenceEncoder
    chosen: Chosen
    settings: Settings
    reporter: Reporter
    sink: HeadSink | None
    streams: bool

    def __post_init__(self) -> None:
        self.ids = tuple(document.id for document in self.chosen.documents)
        self.texts = tuple(document.text for document in self.chosen.documents)
        self.made = Rows(self.ids, self.settings)
        self.about: dict[str, Any] = {}

    @property
    def n0(self) -> int:
        """The length at which heads are kept."""
        wanted = self.settings.n0 or N0
        return max((n for n in self.chosen.lengths if n <= wanted), default=self.chosen.lengths[0])

    def rows(self) -> Iterator[Row]:
        """Everything, pass by pass."""
        found = self._observe()
        self.about = self._about(found)
        for recording in found:
            yield from self.made.heads(recording)
            yield from self.made.states(recording)
            yield from self.made.pooled(recording)
            yield from self.made.solved(recording)
        yield from self.made.changes(found[0], found[-1])
        yield from self.made.laws(found)
        for tau in self.settings.temperatures:
            yield from self._under(Temperature(tau))
        if self.settings.at_one_layer != 1:
            yield from self.made.ablation(self._ablate(found))

    def _observe(self) -> list[Recording]:
        """The model as it is, at n0 first where heads are to be kept as they are there."""
        lengths, targets = list(self.chosen.lengths), None
        found: dict[int, Recording] = {}
        with (
            looking(self.encoder, self.settings, states=self.streams) as looker,
            self.reporter.track("looking inside", len(self.texts) * sum(lengths), "tokens") as advance,
        ):
            for n in sorted(lengths, key=lambda n: (n != self.n0, n)):
                found[n] = looker.record(self.texts, n, targets=targets, advance=advance)
                self._hand_on(found[n], "none")
                if n == self.n0 and self.settings.solved:
                    targets = Targets(n, {name: np.nanmean(found[n].heads[name], axis=0) for name in KEPT})
        return [found[n] for n in lengths]

    def _under(self, fix: Temperature) -> Iterator[Row]:
        found, lengths = [], self.chosen.lengths
        what = f"looking inside with {fix}"
        with (
            patch(self.encoder.model, fix),
            looking(self.encoder, self.settings, states=False) as looker,
            self.reporter.track(what, len(self.texts) * sum(lengths), "tokens") as advance,
        ):
            for n in lengths:
                found.append(looker.record(self.texts, n, advance=advance))
                self._hand_on(found[-1], str(fix))
        for recording in found:
            yield from self.made.heads(recording, str(fix))
        yield from self.made.changes(found[0], found[-1], str(fix))

    def _ablate(self, found: Sequence[Recording]) -> Ablation:
        ends = (found[0].n, found[-1].n)
        layers = found[0].heads["filter_rate"].shape[1]
        total = len(self.texts) * sum(ends) * (layers + 1)
        with self.reporter.track("one layer at a time", total, "tokens") as advance:
            return ablate(
                self.encoder, self.texts, self.ids, ends, (found[0].vectors, found[-1].vectors), layers,
                self.settings, advance=advance,
            )  # fmt: skip

    def _hand_on(self, found: Recording, fix: str) -> None:
        if self.sink:
            self.sink.write(HeadColumns(self.ids, found.n, fix, found.heads))

    def _about(self, found: Sequence[Recording]) -> dict[str, Any]:
        first = found[0].heads["filter_rate"]
        return {
            "documents": len(self.ids),
            "lengths": list(self.chosen.lengths),
            "n0": self.n0,
            "layers": first.shape[1],
            "heads": first.shape[2],
            "stages": list(dict.fromkeys(stage for stage, _ in found[0].states)),
            "pooling": pooling_mode(self.encoder.model),
            "window": self.settings.window,
            "cut": self.settings.cut,
            "bands": [round(band / (2 * self.settings.bands), 6) for band in range(self.settings.bands + 1)],
            "temperatures": [str(Temperature(tau)) for tau in self.settings.temperatures],
            "at_one_layer": self.settings.at_one_layer,
            "solved": min(self.settings.solved, len(self.ids)),
        }


def _describe(
    encoder: SentenceEncoder, corpus: TextSource, chosen: Chosen, settings: Settings, unseen: str
) -> dict[str, Any]:
    """What a reader needs to judge the numbers and to make them again."""
    used = (
        f"{len(chosen.documents)} documents were looked at, drawn at random from those of at least "
        f"{chosen.lengths[-1]} tokens; {chosen.too_short:,} of {chosen.n_texts:,} texts are shorter and were left out."
    )
    return {
        "model": describe_model(encoder),
        "corpus": {
            "name": corpus.name,
            "description": corpus.description,
            "n_texts": chosen.n_texts,
            "skipped": dict(corpus.skipped.counts),
            "fingerprint": chosen.fingerprint,
        },
        "seed": settings.seed,
        "replicates": settings.replicates,
        **describe_run(),
        "notes": [*encoder.notes, *corpus.notes, used, *([f"Heads only: {unseen}"] if unseen else [])],
    }
