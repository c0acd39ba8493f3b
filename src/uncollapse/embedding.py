"""A corpus as vectors on disk: in shards, of any size, and going on where it was stopped."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uncollapse.corpora import Corpus, Fingerprint, Text, portions
from uncollapse.corpora.shards import FORMATS, MANIFEST, Manifest, Shard, is_vector_folder, read_manifest, sha256
from uncollapse.encoders import CachedEncoder, ExportedEncoder, SentenceEncoder, TextEncoder, VectorFile
from uncollapse.encoders.batches import padded_tokens
from uncollapse.encoders.identity import refuse_hooks, settings_digest, tensor_digest
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.errors import ModelError, OutputError, UncollapseError, nearest
from uncollapse.pipelines.encoder import FixedEncoder, of_folder
from uncollapse.progress import Reporter, Silent
from uncollapse.records import Embeddings, chunks
from uncollapse.writing import LOCK, is_leftover, made_folder, only_writer, whole_file

SHARD_TEXTS = 2048

_NAME = "vectors-"  # and a number, of a shard
_VERSIONS = ("numpy", "pyarrow", "tokenizers", "torch", "transformers", "sentence-transformers")
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
    """

    folder: Path
    n_texts: int
    n_new: int
    n_shards: int
    dim: int
    n_tokens: int
    n_truncated: int
    padding_share: float | None


def embed(
    encoder: TextEncoder,
    corpus: Corpus,
    out: str | os.PathLike[str],
    *,
    layout: Layout | None = None,
    force: bool = False,
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
        progress: shows how far the work is.

    Raises:
        OutputError: a folder with vectors of another model, other settings or other texts, or with anything else; a
            shard that was changed; or a disk that is full.
        ModelError: an encoder that makes no vectors, or a vector that is not finite.
        FixError: a fix on texts, asked for by the model's folder, that keeps several vectors of a text.
        CorpusError: a text that cannot be read.

    >>> from uncollapse import embed, load, open_corpus
    >>> embed(load("minilm"), open_corpus("notes.jsonl"), "vectors").n_texts  # doctest: +SKIP
    1000
    """
    folder, shape, reporter = Path(out), layout or Layout(), progress or Silent()
    begun = _describe(encoder, shape)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"The output {str(folder)!r} is a file. Give a folder.")
    with made_folder(folder), only_writer(folder):
        found = _find(folder, begun, force=force)
        with reporter.track("reading the corpus", None, "texts") as advance:
            kept, work = _survey(portions(corpus, shape.texts), found, encoder, advance)
        if force and is_vector_folder(folder):
            _remove(folder)  # not before the new texts were found to be readable
        manifest = replace(found, complete=found.complete and not work, shards=found.shards[:kept])
        _write(folder, manifest)
        before = manifest.n_texts
        with reporter.track("embedding", work, "characters") as advance:
            for number, batch in enumerate(portions(corpus, shape.texts) if work else ()):
                if number >= kept:
                    shard = _embed_shard(folder, number, batch, encoder, manifest, advance)
                    manifest = replace(manifest, shards=(*manifest.shards, shard))
                    _write(folder, manifest)
        _write(folder, manifest := replace(manifest, complete=True))
    return _report(folder, manifest, before)


def _report(folder: Path, manifest: Manifest, before: int) -> EmbedReport:
    shards = manifest.shards
    return EmbedReport(
        folder,
        n_texts=manifest.n_texts,
        n_new=manifest.n_texts - before,
        n_shards=len(shards),
        dim=manifest.dim,
        n_tokens=sum(shard.n_tokens for shard in shards),
        n_truncated=sum(shard.n_truncated for shard in shards),
        padding_share=manifest.padding_share,
    )


def _describe(encoder: TextEncoder, layout: Layout) -> Manifest:
    """An empty manifest that says what decides the vectors; where the model lies and what it is called do not."""
    if isinstance(encoder, VectorFile):
        raise ModelError(f"{encoder.name!r} holds vectors and no model, so there is nothing to embed with.")
    about = {key: value for key, value in encoder.about.items() if key not in ("name", "max_tokens")}
    made = {
        "model": {**about, **_inside(encoder)},
        "role": getattr(encoder, "role", ""),
        "prompt": getattr(encoder, "prompt", ""),
        "text_fix": getattr(encoder, "text_fix", ""),
        "similarity": _similarity(encoder),
        "max_tokens": encoder.max_tokens if encoder.max_tokens < NO_LIMIT else None,
        "batch_size": getattr(encoder, "batch_size", None),
        "shard_texts": layout.texts,
        "versions": {package: importlib.metadata.version(package) for package in _VERSIONS},
    }
    said = json.dumps([made, layout.format, encoder.dim], sort_keys=True)
    digest = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
    return Manifest(digest, made, layout.format, encoder.dim)


def _inside(encoder: TextEncoder) -> dict[str, str]:
    """Digests of a model in memory, which its folder may not describe any more."""
    model = getattr(encoder, "model", None)
    if model is None:
        return {}
    refuse_hooks(model, kept=True)
    return {"tensors": tensor_digest(model), "settings": settings_digest(model)}


def _similarity(encoder: TextEncoder) -> str:
    """What the model says its vectors are to be compared by; "" where it does not say."""
    if isinstance(encoder, ExportedEncoder):
        return encoder.export.similarity
    return str(getattr(getattr(encoder, "model", None), "similarity_fn_name", ""))


def _find(folder: Path, begun: Manifest, *, force: bool) -> Manifest:
    """The manifest to go on with: what is in the folder, or an empty one."""
    if is_vector_folder(folder) and force:
        return begun
    if is_vector_folder(folder):
        there = read_manifest(folder)
        if there.fingerprint == begun.fingerprint:
            return _check_shards(folder, there)
        raise OutputError(
            f"The folder {str(folder)!r} holds vectors that were made otherwise: {_differences(there, begun)}. "
            "Vectors of two kinds are not mixed. Give another folder, or begin anew with --force (force=True)."
        )
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK and not is_leftover(path))
    if others and not force:
        raise OutputError(
            f"The output folder {str(folder)!r} is not empty ({', '.join(others[:3])}) and holds no vectors. Give "
            "another, or --force (force=True) to write into it."
        )
    return begun


def _check_shards(folder: Path, there: Manifest) -> Manifest:
    for shard in there.shards:
        for name, digest in shard.files.items():
            place = folder / name
            if not place.is_file() or sha256(place) != digest:
                raise OutputError(
                    f"The shard {str(place)!r} is {'changed' if place.is_file() else 'gone'} since it was written. "
                    "Put it back, or begin anew with --force (force=True)."
                )
    return there


def _differences(there: Manifest, begun: Manifest) -> str:
    """Names of what differs between two ways to make vectors."""
    pairs = {**{key: (there.made.get(key), value) for key, value in begun.made.items()}}
    pairs["format"] = (there.format, begun.format)
    said = []
    for key, (old, new) in pairs.items():
        if isinstance(new, dict) and isinstance(old, dict):
            said += [f"{key} {part} {old.get(part)} and now {new[part]}" for part in new if old.get(part) != new[part]]
        elif old != new:
            said.append(f"{key} {old} and now {new}")
    return "; ".join(said) or "by another version of this package"


def _remove(folder: Path) -> None:
    """Take away the vectors of another run: the shards first, so that what a kill leaves is still told as theirs."""
    suffixes = {suffix for writers in FORMATS.values() for suffix in writers}
    try:
        for place in (place for suffix in suffixes for place in folder.glob(f"{_NAME}[0-9]*{suffix}")):
            place.unlink(missing_ok=True)
        (folder / MANIFEST).unlink()
    except OSError as error:
        raise OutputError(f"Could not remove the vectors in {str(folder)!r}: {error}. Give another folder.") from error


def _survey(
    batches: Iterator[list[Text]], found: Manifest, encoder: TextEncoder, advance: Callable[[float], None]
) -> tuple[int, int]:
    """Read the corpus: how many shards stay, and how many characters are still to embed.

    Raises:
        OutputError: texts that are there already are others than those of the corpus.
    """
    kept, work, read = len(found.shards), 0, 0
    for number, batch in enumerate(batches):
        read = number + 1
        if number < len(found.shards) and not _is_same(batch, found, number):
            kept = number
        if number >= kept:
            work += _work(batch, encoder)
        advance(len(batch))
    if read < len(found.shards):
        raise OutputError(
            f"The folder holds {found.n_texts:,} vectors, more than the corpus has texts. Give the corpus that was "
            "embedded, another folder, or begin anew with --force (force=True)."
        )
    return kept, work


def _is_same(batch: Sequence[Text], found: Manifest, number: int) -> bool:
    """Whether a shard holds these texts; False for the last one where the corpus goes on behind it.

    Raises:
        OutputError: it holds others.
    """
    shard = found.shards[number]
    if len(batch) == shard.n_texts and _digest(batch) == shard.texts:
        return True
    is_last = number == len(found.shards) - 1
    if is_last and len(batch) > shard.n_texts and _digest(batch[: shard.n_texts]) == shard.texts:
        return False
    raise OutputError(
        f"The folder holds vectors of other texts: its shard {number} begins or ends otherwise than the corpus, whose "
        f"texts there begin with the id {batch[0].id!r}. Give the corpus that was embedded, another folder, or begin "
        "anew with --force (force=True)."
    )


def _embed_shard(
    folder: Path,
    number: int,
    batch: Sequence[Text],
    encoder: TextEncoder,
    manifest: Manifest,
    advance: Callable[[float], None],
) -> Shard:
    """Encode the texts of one shard and write it."""
    embeddings, padded = _encode(batch, encoder, advance)
    files = {}
    for suffix, write in FORMATS[manifest.format].items():
        place = folder / f"{_NAME}{number:05}{suffix}"
        with whole_file(place) as part:
            write(part, embeddings, manifest.fingerprint)
        files[place.name] = sha256(place)
    return Shard(
        files,
        n_texts=len(batch),
        n_tokens=int(embeddings.n_tokens.sum()),
        n_tokens_full=int(embeddings.n_tokens_full.sum()),
        n_truncated=int(embeddings.truncated.sum()),
        n_padded=padded,
        texts=_digest(batch),
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


def _write(folder: Path, manifest: Manifest) -> None:
    with whole_file(folder / MANIFEST) as part:
        part.write_text(manifest.to_json() + "\n", encoding="utf-8", newline="\n")
