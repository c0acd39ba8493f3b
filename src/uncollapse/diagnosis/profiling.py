"""Measure how a model's vectors change with the length of the texts: one pass over a corpus, then nested windows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from uncollapse.corpora import Fingerprint, Skipped, Text, portions
from uncollapse.diagnosis.audit import Audit, Limits
from uncollapse.diagnosis.sampling import Drawn, Rounds, Strata
from uncollapse.diagnosis.settings import WINDOW_MINIMUM, Settings
from uncollapse.diagnosis.units import unit_of
from uncollapse.diagnosis.views import View, make_view
from uncollapse.diagnosis.windows import document_lengths, profile_windows
from uncollapse.encoders import Prepared, TextEncoder, VectorFile
from uncollapse.measures import unit
from uncollapse.moments import BinState, update_bins
from uncollapse.progress import Advance, Reporter, Silent
from uncollapse.records import Embeddings, LengthBins, LengthCount, chunks
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept, Levels, Reservoir

READ_ON = 4
"""How far beyond the model's limit sampled texts are kept, in limits, to tell what truncation hides."""

TOO_SHORT = "too few of these are long enough"
"""Why there are no nested windows, in most cases."""

_EDGE_SAMPLE = 4096
_HELD_TOKENS = 1 << 13


@dataclass(frozen=True)
class Survey:
    """What a first reading of the corpus found: how much there is, the length bins, a fingerprint of ids and texts.

    Reading everything once before anything is encoded also finds a broken record in seconds and not after an hour.
    """

    n_texts: int
    work: int
    bins: LengthBins
    fingerprint: str
    drawn: Drawn | None = None


@dataclass(frozen=True)
class TextColumns:
    """Columns of the per-text table for some texts; `cosine` is the cosine to the centroid of the text's bin."""

    ids: tuple[str, ...]
    sources: tuple[str, ...]
    n_characters: npt.NDArray[np.int64]
    n_tokens: npt.NDArray[np.int64]
    n_tokens_full: npt.NDArray[np.int64]
    bins: tuple[str, ...]
    cosine: npt.NDArray[np.float64] | None = None


class TextSource(Protocol):
    """Texts that can be read again and again, and what is known of them; `corpora.Corpus` is one."""

    name: str
    description: str
    notes: tuple[str, ...]
    skipped: Skipped

    def __iter__(self) -> Iterator[Text]: ...


class TextSink(Protocol):
    """Where per-text rows go."""

    def write(self, columns: TextColumns) -> None: ...


@dataclass(frozen=True)
class Profile:
    """What one model does with one corpus.

    Args:
        views: "as_is", and "windows" where enough documents are long enough.
        lengths: histogram of token counts before truncation.
        points: sampled documents with their vectors.
        documents: the documents of the nested windows, texts included.
        n_texts: texts measured.
        dim: length of the vectors.
        audit: what is cut off.
        uncut: what stood in the way of cutting the documents to several lengths; "" where they were.
        notes: what stayed less sure than asked.
    """

    views: dict[str, View]
    lengths: tuple[LengthCount, ...]
    points: tuple[Kept, ...]
    documents: tuple[Kept, ...]
    n_texts: int
    dim: int
    audit: Audit
    uncut: str = ""
    notes: tuple[str, ...] = ()


def survey(
    encoder: TextEncoder, corpus: Iterable[Text], settings: Settings, *, progress: Reporter | None = None
) -> Survey:
    """Read a corpus once without encoding it; with a precision, choose what to encode."""
    read = Fingerprint()
    Limits.of(encoder, settings.limits)  # a limit that cannot be is refused before anything is read
    strata = Strata(encoder, most=_most_characters(encoder), seed=settings.seed) if settings.precision else None
    count, work, lengths = 0, 0, Reservoir(_EDGE_SAMPLE if settings.equal_bins else 0, settings.seed)
    with (progress or Silent()).track("reading the corpus", None, "texts") as advance:
        for batch in portions(corpus):
            count += len(batch)
            work += sum(_work(encoder, text.text) for text in batch)
            read.add(batch)
            if strata:
                strata.add(batch)
            if settings.equal_bins:
                _offer_all(lengths, batch, encoder.prepare([text.text for text in batch]), settings.seed)
            advance(len(batch))
    bins = _bins(encoder, settings, lengths)
    return Survey(count, work, bins, str(read), strata.drawn(bins) if strata else None)


def _bins(encoder: TextEncoder, settings: Settings, lengths: Reservoir) -> LengthBins:
    if not settings.equal_bins:
        return LengthBins.powers_of_two(min(encoder.max_tokens, 2**20))
    counts = np.array([document.n_tokens for document in lengths.documents()])
    inner = LengthBins.equal_count(counts, settings.equal_bins).edges[1:-1]
    return LengthBins((1, *inner, encoder.max_tokens + 1))


def _work(encoder: TextEncoder, text: str) -> int:
    """About how much a text costs to encode: characters up to where truncation is sure."""
    return min(len(text), 8 * encoder.max_tokens)


def _most_characters(encoder: TextEncoder) -> int:
    """Characters kept of a sampled text: memory must not grow with the longest text of a corpus."""
    return READ_ON * 8 * min(encoder.max_tokens, _HELD_TOKENS)


def profile(
    encoder: TextEncoder,
    corpus: Iterable[Text],
    settings: Settings,
    *,
    surveyed: Survey,
    sink: TextSink | None = None,
    label: str = "",
    progress: Reporter | None = None,
) -> Profile:
    """Encode a corpus once, as it is, and measure by length; then the nested windows.

    Args:
        encoder: the model; patch it first to measure a fix.
        corpus: texts; read once, never held.
        settings: how to measure.
        surveyed: from `survey`, of the same corpus.
        sink: gets the per-text rows.
        label: of the progress bars.
        progress: told about every chunk.
    """
    reporter = progress or Silent()
    reading = _Reading(encoder, settings, surveyed.bins, keep=sink is not None and not settings.stream)
    write = sink.write if sink and settings.stream else _forget
    notes = _read(reading, corpus, surveyed, write, f"texts as they are{label}", reporter)
    if sink and not settings.stream:
        for columns in reading.finished_columns():
            sink.write(columns)
    documents = reading.window_documents()
    views = {"as_is": make_view("as_is", reading.states, surveyed.bins.labels, unit=unit_of(encoder))}
    if documents and encoder.can_cut:
        views["windows"] = profile_windows(encoder, documents, settings, label=label, progress=reporter)
    return Profile(
        views,
        reading.histogram(),
        reading.points.documents(),
        tuple(replace(document, vector=None) for document in documents),  # another fix gives them other vectors
        reading.n_texts,
        encoder.dim,
        reading.audit,
        "" if "windows" in views else _why_uncut(encoder, settings),
        notes,
    )


def _why_uncut(encoder: TextEncoder, settings: Settings) -> str:
    """What stands in the way of nested windows."""
    if isinstance(encoder, VectorFile):
        return f"{encoder.name} holds vectors of whole texts only"
    if not encoder.can_cut:
        return f"{encoder.name} has no limit on its length that could be set"
    return TOO_SHORT if settings.windows else "none were asked for"


def _as_texts(kept: Sequence[Kept]) -> list[Text]:
    return [Text(document.id, document.text, document.query, document.source) for document in kept]


def _forget(columns: TextColumns) -> None:
    """Keep no columns."""


def _read(
    reading: "_Reading",
    corpus: Iterable[Text],
    surveyed: Survey,
    write: Callable[[TextColumns], None],
    what: str,
    reporter: Reporter,
) -> tuple[str, ...]:
    """Encode the corpus, or of every length as many texts as it takes; returns what stayed less sure than asked."""
    if surveyed.drawn is None or reading.settings.precision is None:
        with reporter.track(what, surveyed.work, "characters") as advance:
            for batch in portions(corpus):
                write(reading.add(batch, advance))
        return ()
    drawn = surveyed.drawn
    rounds = Rounds(drawn, precision=reading.settings.precision, whole=reading.settings.points)
    uniform = drawn.texts[: drawn.uniform]
    reading.count_lengths(_as_texts(uniform), np.array([kept.n_tokens for kept in uniform]))
    with reporter.track(what, None, "characters") as advance:

        def encode(few: list[Kept]) -> None:
            for part in chunks(few, 1024):
                write(reading.add_kept(part, advance))

        rounds.run(reading.states, encode)
    return rounds.unsure(reading.states, surveyed.bins.labels, unit_of(reading.encoder))


@dataclass
class _Reading:
    """What grows during the pass over a corpus."""

    encoder: TextEncoder
    settings: Settings
    bins: LengthBins
    keep: bool
    n_texts: int = 0
    lengths: dict[int, list[int]] = field(default_factory=dict)
    kept: list[tuple[TextColumns, npt.NDArray[np.float32], npt.NDArray[np.int64]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        s = self.settings
        self.states = [BinState(self.encoder.dim, s.replicates, s.seed) for _ in self.bins.labels]
        self.audit = Audit(Limits.of(self.encoder, s.limits), s.replicates, s.seed)
        self.points = Reservoir(s.points, s.seed)
        self.levels = Levels(document_lengths(self.encoder), s.windows, s.seed)

    def add(self, batch: Sequence[Text], advance: Advance) -> TextColumns:
        """Encode a chunk of texts, count their lengths, and add it to every state."""
        prepared = self.encoder.prepare([text.text for text in batch])
        self.count_lengths(batch, prepared.n_tokens_full)
        return self._add(batch, prepared, advance)

    def add_kept(self, batch: Sequence[Kept], advance: Advance) -> TextColumns:
        """The same of sampled texts, whose lengths are not the corpus's: there are more of the rare ones."""
        prepared = self.encoder.prepare([kept.text for kept in batch])
        full = np.array([kept.n_tokens for kept in batch])  # of the text before it was cut to be kept
        return self._add(_as_texts(batch), replace(prepared, n_tokens_full=full), advance)

    def _add(self, batch: Sequence[Text], prepared: Prepared, advance: Advance) -> TextColumns:
        vectors = self._encode(batch, prepared, advance)
        ids = tuple(text.id for text in batch)
        embeddings = Embeddings(vectors, ids, prepared.n_tokens, prepared.n_tokens_full)
        units, keys = unit(vectors, first=self.n_texts), document_keys(ids)
        places = self.bins.assign(prepared.n_tokens)
        update_bins(
            self.states,
            places,
            vectors=units,
            keys=keys,
            n_tokens=prepared.n_tokens,
            truncated=embeddings.truncated,
        )
        self._sample(batch, prepared, units, sampling_order(keys, seed=self.settings.seed))
        self.n_texts += len(batch)
        columns = self._columns(batch, embeddings, places)
        if self.keep:
            self.kept.append((columns, units, places))
        return columns

    def _encode(self, batch: Sequence[Text], prepared: Prepared, advance: Advance) -> npt.NDArray[np.float32]:
        """Vectors in the batch's order, encoded longest first in pieces that let the bar move."""
        order = np.argsort(-prepared.n_tokens, kind="stable")
        vectors = np.empty((len(batch), self.encoder.dim), np.float32)
        for rows in np.array_split(order, max(1, len(order) // 128)):
            vectors[rows] = self.encoder.vectors([prepared.texts[row] for row in rows], prepared.n_tokens[rows])
            advance(sum(_work(self.encoder, batch[row].text) for row in rows))
        return vectors

    def _sample(
        self,
        batch: Sequence[Text],
        prepared: Prepared,
        units: npt.NDArray[np.float32],
        places: npt.NDArray[np.uint64],
    ) -> None:
        most = _most_characters(self.encoder)
        for row, text in enumerate(batch):
            place, n_tokens = int(places[row]), int(prepared.n_tokens[row])
            kept = Kept(
                text.id,
                prepared.texts[row],
                n_tokens,
                vector=units[row].copy(),
                full=text.text[:most],
                source=text.source,
                query=text.query,
            )
            self.points.offer(place, kept)
            self.levels.offer(place, kept)

    def count_lengths(self, batch: Sequence[Text], n_tokens_full: npt.NDArray[np.int64]) -> None:
        """Add lengths before truncation to the audit and to the histogram over half powers of two."""
        self.audit.add_texts(self.encoder, batch, n_tokens_full)
        cells = np.floor(2 * np.log2(np.maximum(n_tokens_full, 1))).astype(int)
        for cell, truncated in zip(cells.tolist(), (n_tokens_full > self.encoder.max_tokens).tolist(), strict=True):
            counts = self.lengths.setdefault(cell, [0, 0])
            counts[0] += 1
            counts[1] += truncated

    def histogram(self) -> tuple[LengthCount, ...]:
        """The counts of every cell from the shortest text to the longest."""
        cells = range(min(self.lengths), max(self.lengths) + 1)
        edges = {cell: int(np.ceil(2 ** (cell / 2))) for cell in [*cells, max(self.lengths) + 1]}
        return tuple(
            LengthCount(edges[cell], edges[cell + 1], *self.lengths.get(cell, [0, 0]))
            for cell in cells
            if edges[cell] < edges[cell + 1]
        )

    def _columns(self, batch: Sequence[Text], embeddings: Embeddings, places: npt.NDArray[np.int64]) -> TextColumns:
        labels = self.bins.labels
        return TextColumns(
            embeddings.ids,
            tuple(text.source for text in batch),
            np.array([len(text.text) for text in batch], dtype=np.int64),
            embeddings.n_tokens,
            embeddings.n_tokens_full,
            tuple(labels[place] for place in places),
        )

    def finished_columns(self) -> Iterator[TextColumns]:
        """The kept columns with the cosine to the centroid of each text's bin."""
        centres = [state.moments.total / max(np.linalg.norm(state.moments.total), 1e-30) for state in self.states]
        for columns, units, places in self.kept:
            cosine = np.einsum("ij,ij->i", units, np.stack(centres)[places])
            yield TextColumns(**{**vars(columns), "cosine": cosine})

    def window_documents(self) -> tuple[Kept, ...]:
        """The documents of the longest window that enough documents reach."""
        return self.levels.documents(self.levels.longest(WINDOW_MINIMUM))


def _offer_all(reservoir: Reservoir, batch: Sequence[Text], prepared: Prepared, seed: int) -> None:
    places = sampling_order(document_keys([text.id for text in batch]), seed=seed)
    for row, text in enumerate(batch):
        reservoir.offer(int(places[row]), Kept(text.id, "", int(prepared.n_tokens[row])))
