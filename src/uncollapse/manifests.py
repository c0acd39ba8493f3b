"""What decides the vectors that an encoder makes: the manifest that a folder of them begins with."""

import hashlib
import importlib.metadata
import json

from uncollapse.corpora.shards import Manifest
from uncollapse.encoders import Endpoint, ExportedEncoder, TextEncoder, VectorFile
from uncollapse.encoders.identity import refuse_hooks, settings_digest, tensor_digest
from uncollapse.encoders.runtimes import FORMATS as RUNTIMES
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.errors import ModelError

_VERSIONS = ("numpy", "pyarrow", "tokenizers", "torch", "transformers", "sentence-transformers")


def begin_manifest(encoder: TextEncoder, form: str, shard_texts: int) -> Manifest:
    """An empty manifest that says what decides the vectors; where the model lies and what it is called do not.

    Args:
        encoder: that makes them.
        form: of the shards.
        shard_texts: texts of a shard.

    Raises:
        ModelError: an encoder that makes none.
    """
    if isinstance(encoder, VectorFile):
        raise ModelError(f"{encoder.name!r} holds vectors and no model, so there is nothing to embed with.")
    about = {key: value for key, value in encoder.about.items() if key not in ("name", "max_tokens")}
    made = {
        "model": {**about, **_inside(encoder), **_counting(encoder)},
        "role": getattr(encoder, "role", ""),
        "prompt": getattr(encoder, "prompt", ""),
        "text_fix": getattr(encoder, "text_fix", ""),
        "similarity": _similarity(encoder),
        "max_tokens": encoder.max_tokens if encoder.max_tokens < NO_LIMIT else None,
        "batch_size": getattr(encoder, "batch_size", None),
        "shard_texts": shard_texts,
        "versions": {package: importlib.metadata.version(package) for package in (*_VERSIONS, *_runtimes(encoder))},
    }
    said = json.dumps([made, form, encoder.dim], sort_keys=True)
    digest = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
    return Manifest(digest, made, form, encoder.dim)


def _inside(encoder: TextEncoder) -> dict[str, str]:
    """Digests of a model in memory, which its folder may not describe any more."""
    model = getattr(encoder, "model", None)
    if model is None:
        return {}
    refuse_hooks(model, kept=True)
    return {"tensors": tensor_digest(model), "settings": settings_digest(model)}


def _counting(encoder: TextEncoder) -> dict[str, str]:
    """A digest of the tokenizer that a server's texts are counted and cut with; nothing where words are counted."""
    digest = encoder.tokenizer_digest if isinstance(encoder, Endpoint) else ""
    return {"tokenizer": digest} if digest else {}


def _runtimes(encoder: TextEncoder) -> tuple[str, ...]:
    """Packages that compute beside those that any model needs."""
    return (RUNTIMES[encoder.export.format].runtime,) if isinstance(encoder, ExportedEncoder) else ()


def _similarity(encoder: TextEncoder) -> str:
    """What the model says its vectors are to be compared by; "" where it does not say."""
    if isinstance(encoder, ExportedEncoder):
        return encoder.export.similarity
    return str(getattr(getattr(encoder, "model", None), "similarity_fn_name", ""))
