"""A corpus as vectors on disk: in shards, of any size, and going on where it was stopped."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uncollapse.corpora import Corpus, Fingerprint, Text, portions
from uncollapse.corpora.shards import FORMATS, Manifest, Shard, faulty_shards, sha256
from uncollapse.encoders import CachedEncoder, ExportedEncoder, SentenceEncoder, TextEncoder
from uncollapse.encoders.batches import padded_tokens
from uncollapse.errors import CorpusError, ModelError, OutputError, UncollapseError, nearest
from uncollapse.manifests import begin_manifest
from uncollapse.pipelines.encoder import FixedEncoder, of_folder
from uncollapse.progress import Reporter, Silent
from uncollapse.records import Embeddings, chunks
from uncollapse.shard_folders import (
    check_folder,
    check_outside,
    find_vectors,
    holds_vectors,
    remove_leftovers,
    remove_vectors,
    shard_file,
    write_manifest,
)
from uncollapse.writing import made_folder, only_writer, whole_file

SHARD_TEXTS = 2048

_NAMED = 10  # ids in a message
_AT_ONCE = 256  # texts, of an encoder that does not say what goes together
_CHARACTERS_OF_A_TOKEN = 8  # beyond so many a token of the limit, no text costs more


@dataclass(frozen=True)
class Layout:
    """How vectors lie on disk.

    Args:
        format: "parquet", or "npy" for matrices with the ids and token counts beside them.
        texts: of a shard; what a kill may cost.
    """

    format: str = "parquet"
    texts: int = SHARD_TEXTS

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UncollapseError(f"No format {self.format!r}. {nearest(self.format, FORMATS, 'Known formats')}")
        if self.texts < 1:
            raise UncollapseError(f"A shard needs at least 1 text, got {self.texts}.")


@dataclass(frozen=True)
class EmbedReport:
    """What lies in a folder of vectors, and what this run added.

    Args:
        folder: of the shards and the manifest.
        n_texts: vectors in it.
        n_new: vectors that this run made; the others were there.
        n_shards: in it.
        dim: length of a vector.
        n_tokens: of all texts, after truncation.
        n_truncated: texts that were cut at the model's limit.
        padding_share: share of the tokens computed that were padding; None where the encoder does not say.
        unit: what tokens are: "tokens", or "words" where nobody can know those of a server.
    """

    folder: Path
    n_texts: int
    n_new: int
    n_shards: int
    dim: int
    n_tokens: int
    n_truncated: int
    padding_share: float | None
    unit: str = "tokens"


def embed(
    encoder: TextEncoder,
    corpus: Corpus,
    out: str | os.PathLike[str],
    *,
    layout: Layout | None = None,
    force: bool = False,
    repair: bool = False,
    progress: Reporter | None = None,
) -> EmbedReport:
    """Write the vectors of a corpus as shards, in the order of its texts.

    A shard is so many consecutive texts, and appears whole under its name. Inside a shard texts are sorted by length
    and go through the model in passes of like length; in the file they are in their order. After a kill at any moment
    the same call goes on with the first shard that is missing, and ends with the same bytes as a run that was never
    stopped (on the same machine, with as many threads). A folder whose corpus grew at its end goes on as well. No more
    than two shards are in memory. The corpus is read twice, the first time to check it and to know how long
    the work is.

    Args:
        encoder: from `load`; `encoder.as_role("query")` embeds queries.
        corpus: from `open_corpus`.
        out: the folder; one of the same model, settings and texts is gone on with.
        layout: of the shards.
        force: begin anew, whatever vectors are there, or write into a folder that holds anything else.
        repair: make shards anew that are gone or other than they were written, and no others.
        progress: shows how far the work is.

    Raises:
        OutputError: a folder with vectors of another model, other settings or other texts, or with anything else; one
            inside the model's or the corpus's; a shard that was changed; or a disk that is full.
        ModelError: an encoder that makes no vectors, or a vector that is not finite or only zeros.
        FixError: a fix on texts, asked for by the model's folder, that keeps several vectors of a text.
        CorpusError: a text that cannot be read, a corpus that changes while it is read, or one of no texts.

    >>> from uncollapse import embed, load, open_corpus
    >>> embed(load("minilm"), open_corpus("notes.jsonl"), "vectors").n_texts  # doctest: +SKIP
    1000
    """
    if force and repair:
        raise UncollapseError(
            "--force (force=True) makes every shard anew, so --repair would do nothing. Leave one out."
        )
    folder, shape, reporter = Path(out), layout or Layout(), progress or Silent()
    begun = begin_manifest(encoder, shape.format, shape.texts)
    check_folder(folder)
    check_outside(folder, getattr(encoder, "source", None) or getattr(encoder, "folder", None), "model's folder")
    check_outside(folder, getattr(corpus, "root", None), "corpus")
    with made_folder(folder), only_writer(folder):
        remove_leftovers(folder)
        found = find_vectors(folder, begun, force=force, repair=repair)
        broken = frozenset(number for number, _ in faulty_shards(folder, found.shards)) if repair else frozenset()
        with reporter.track("reading the corpus", None, "texts") as advance:
            survey = _survey(portions(corpus, shape.texts), found, broken, encoder, advance)
        manifest = replace(found, complete=found.complete and not survey.n_new, shards=found.shards[: survey.kept])
        with reporter.track("embedding", survey.work, "characters") as advance:
            manifest = _embed_new(folder, manifest, survey, corpus, encoder, advance)
    return _report(folder, manifest, survey.n_new, getattr(encoder, "unit", "tokens"))


def _report(folder: Path, manifest: Manifest, n_new: int, unit: str) -> EmbedReport:
    shards = manifest.shards
    return EmbedReport(
        folder,
        n_texts=manifest.n_texts,
        n_new=n_new,
        n_shards=len(shards),
        dim=manifest.dim,
        n_tokens=sum(shard.n_tokens for shard in shards),
        n_truncated=sum(shard.n_truncated for shard in shards),
        padding_share=manifest.padding_share,
        unit=unit,
    )


@dataclass(frozen=True)
class _Survey:
    """What a first pass over a corpus found.

    Args:
        kept: shards that stay, from the first on, but for those that are broken.
        broken: numbers of shards among them that are made anew.
        digests: of the texts of each shard there shall be.
        n_new: texts that are still to embed.
        work: their characters, as far as they cost anything.
    """

    kept: int
    broken: frozenset[int]
    digests: tuple[str, ...]
    n_new: int
    work: int


def _survey(
    batches: Iterator[list[Text]],
    found: Manifest,
    broken: frozenset[int],
    encoder: TextEncoder,
    advance: Callable[[float], None],
) -> _Survey:
    """Read the corpus.

    Raises:
        OutputError: texts that are there already are others than those of the corpus.
        CorpusError: it has none.
    """
    kept, digests, n_new, work = len(found.shards), list[str](), 0, 0
    for number, batch in enumerate(batches):
        digests.append(_digest(batch))
        if number < len(found.shards) and not _is_same(batch, digests[-1], found, number):
            kept = number
        if number >= kept or number in broken:
            n_new, work = n_new + len(batch), work + _work(batch, encoder)
        advance(len(batch))
    if len(digests) < len(found.shards):
        raise OutputError(
            f"The folder holds {found.n_texts:,} vectors, more than the corpus has texts. Give the corpus that was "
            "embedded, another folder, or begin anew with --force (force=True)."
        )
    if not digests:
        raise CorpusError("Expected at least one text to embed, got none. Check that this is the corpus meant.")
    return _Survey(kept, broken, tuple(digests), n_new, work)


def _is_same(batch: Sequence[Text], digest: str, found: Manifest, number: int) -> bool:
    """Whether a shard holds these texts; False for the last one where the corpus goes on behind it.

    Raises:
        OutputError: it holds others.
    """
    shard = found.shards[number]
    if len(batch) == shard.n_texts and digest == shard.texts:
        return True
    is_last = number == len(found.shards) - 1
    if is_last and len(batch) > shard.n_texts and _digest(batch[: shard.n_texts]) == shard.texts:
        return False
    raise OutputError(
        f"The folder holds vectors of other texts: its shard {number} was made of others than those that the corpus "
        f"has there, from the id {batch[0].id!r} to {batch[-1].id!r}. Give the corpus that was embedded, another "
        "folder, or begin anew with --force (force=True)."
    )


def _embed_new(
    folder: Path,
    manifest: Manifest,
    survey: _Survey,
    corpus: Corpus,
    encoder: TextEncoder,
    advance: Callable[[float], None],
) -> Manifest:
    """Add the shards that are missing; vectors that are not gone on with stay until the first new ones are made."""
    if manifest.shards or not holds_vectors(folder):
        write_manifest(folder, manifest)
    batches = portions(corpus, manifest.made["shard_texts"]) if survey.n_new else ()
    for number, batch in _unchanged(batches, survey):
        embeddings, padded = _encode(batch, encoder, advance)
        _refuse_zeros(embeddings)
        if not manifest.shards and holds_vectors(folder):
            remove_vectors(folder)
            write_manifest(folder, manifest)
        shard = _write_shard(folder, number, embeddings, padded, manifest, survey.digests[number])
        del embeddings  # before the next ones are made
        manifest = replace(manifest, shards=(*manifest.shards[:number], shard, *manifest.shards[number + 1 :]))
        write_manifest(folder, manifest)
    write_manifest(folder, manifest := replace(manifest, complete=True))
    return manifest


def _unchanged(batches: Iterable[list[Text]], survey: _Survey) -> Iterator[tuple[int, list[Text]]]:
    """The texts of each shard that is still to make.

    Raises:
        CorpusError: they are not those that were read before.
    """
    read = 0
    for number, batch in enumerate(batches):
        read = number + 1
        if read > len(survey.digests) or _digest(batch) != survey.digests[number]:
            raise _changed(number)
        if number >= survey.kept or number in survey.broken:
            yield number, batch
    if survey.n_new and read < len(survey.digests):
        raise _changed(read)


def _changed(number: int) -> CorpusError:
    return CorpusError(
        f"Expected the same texts each time the corpus is read, got others for shard {number} than moments ago: "
        "something is writing to it. Whole shards are kept. Run the same command again when it is done."
    )


def _refuse_zeros(embeddings: Embeddings) -> None:
    """Nothing that reads vectors can compare one of length zero, and no second run would make another."""
    if ids := [name for name, vector in zip(embeddings.ids, embeddings.vectors, strict=True) if not vector.any()]:
        raise ModelError(
            f"Expected vectors that have a direction, got only zeros for {len(ids)} of {len(embeddings.ids)} texts "
            f"({', '.join(map(repr, ids[:_NAMED]))}): the model knows nothing that is in them. Leave them out of the "
            "corpus; the same command then goes on."
        )


def _write_shard(
    folder: Path, number: int, embeddings: Embeddings, padded: int | None, manifest: Manifest, digest: str
) -> Shard:
    files = {}
    for suffix, write in FORMATS[manifest.format].items():
        place = shard_file(folder, number, suffix)
        with whole_file(place) as part:
            write(part, embeddings, manifest.fingerprint)
        files[place.name] = sha256(place)
    return Shard(
        files,
        n_texts=len(embeddings.ids),
        n_tokens=int(embeddings.n_tokens.sum()),
        n_tokens_full=int(embeddings.n_tokens_full.sum()),
        n_truncated=int(embeddings.truncated.sum()),
        n_padded=padded,
        texts=digest,
    )


def _encode(
    batch: Sequence[Text], encoder: TextEncoder, advance: Callable[[float], None]
) -> tuple[Embeddings, int | None]:
    """Vectors of some texts in their order, and the tokens that were computed for them, where that is known."""
    if isinstance(encoder, SentenceEncoder | ExportedEncoder) and encoder.text_fix:
        pipeline = FixedEncoder(CachedEncoder(encoder), of_folder(encoder))
        names = tuple(text.id for text in batch)
        return pipeline.encode([text.text for text in batch], names, role=encoder.role, advance=advance), None
    prepared = encoder.prepare([text.text for text in batch])
    plan = getattr(encoder, "passes", None)
    together = (
        list(plan(prepared.n_tokens)) if plan else [np.array(few) for few in chunks(range(len(batch)), _AT_ONCE)]
    )
    vectors = np.empty((len(batch), encoder.dim), np.float32)
    for rows in together:
        vectors[rows] = encoder.vectors([prepared.texts[row] for row in rows], prepared.n_tokens[rows])
        advance(_work([batch[row] for row in rows], encoder))
    ids = tuple(text.id for text in batch)
    embeddings = Embeddings(vectors, ids, prepared.n_tokens, prepared.n_tokens_full)
    return embeddings, padded_tokens(prepared.n_tokens, together) if plan else None


def _work(batch: Sequence[Text], encoder: TextEncoder) -> int:
    """About what texts cost to embed: characters up to where truncation is sure, or all that a fix on texts reads."""
    if getattr(encoder, "text_fix", ""):
        return sum(len(text.text) for text in batch)
    most = _CHARACTERS_OF_A_TOKEN * encoder.max_tokens
    return sum(min(len(text.text), most) for text in batch)


def _digest(batch: Sequence[Text]) -> str:
    fingerprint = Fingerprint()
    fingerprint.add(batch)
    return str(fingerprint)
