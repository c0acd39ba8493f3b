"""From a sentence-transformers model to one ONNX graph: transformer, pooling, dense layers and normalisation."""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from uncollapse.encoders import SentenceEncoder, quiet
from uncollapse.encoders.exported import FEATURES
from uncollapse.errors import ArchitectureError, MissingExtraError

OUTPUT = "sentence_embedding"
"""Name of the only output."""

_EXAMPLES = ("two texts", "of different lengths, so that no length is taken for the only one")
_SAID = 300  # characters of an error that came from the exporter


def require_exporter() -> None:
    """Say how to install what torch needs to write ONNX.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    for package in ("onnx", "onnxscript"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtraError(package, "onnx", "Writing an ONNX graph") from error


def check_exportable(encoder: SentenceEncoder) -> None:
    """Refuse by name what a graph and a tokenizer.json cannot hold.

    Raises:
        ArchitectureError: no transformer as the first module, a part for each role, a tokenizer without
            tokenizer.json, a chat template, a prompt that pooling leaves out, or a fix on texts.
    """
    model, first = encoder.model, encoder.model[0]
    if not isinstance(first, Transformer):
        raise _refused(encoder, f"its first module is a {type(first).__name__}, and only a Transformer is exported")
    if not getattr(model.tokenizer, "is_fast", False):
        raise _refused(encoder, "its tokenizer has no tokenizer.json, which other runtimes read")
    if "message" in getattr(first, "modality_config", {}):
        raise _refused(encoder, "it puts texts into a chat template, which no tokenizer.json holds")
    if any(isinstance(module, Router) for module in model.modules()):
        raise _refused(encoder, "it has a part of its own for queries (Router), and a graph has one way for all texts")
    if encoder.text_fix:
        raise _refused(encoder, f"its folder asks for `{encoder.text_fix}`, which acts on texts before any graph")
    for module in model:
        if isinstance(module, Pooling) and not module.include_prompt and any(model.prompts.values()):
            raise _refused(encoder, "its pooling leaves out the prompt, whose length a graph does not know")


def trace(encoder: SentenceEncoder, target: Path) -> None:
    """Write a model as an ONNX graph with a dynamic number of texts and tokens.

    Attention is traced in its plain form (matrix product, softmax, matrix product), whose operations every runtime
    has. What the graph was traced from is not left in it: neither code nor the places of files.

    Args:
        encoder: on the processor; its attention implementation is changed during the call.
        target: the new .onnx file; weights of 2 GB and more go into a file beside it.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ArchitectureError: a model that torch cannot write as a graph.
    """
    require_exporter()
    names, features = _example(encoder)
    embedder = _Embedder(encoder.model, names).eval()
    axes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    try:
        with _plain_attention(encoder.model), _silent():
            program = torch.onnx.export(
                embedder,
                features,
                dynamo=True,
                input_names=list(names),
                output_names=[OUTPUT],
                dynamic_shapes={"features": tuple(axes for _ in names)},
                verbose=False,
            )
    except Exception as error:  # the exporter and foreign code can fail anywhere
        raise _refused(encoder, f"torch.onnx.export gave {_innermost(error)}") from error
    if program is None:
        raise _refused(encoder, "torch.onnx.export gave nothing")
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    with _silent():
        program.save(target)


class _Embedder(nn.Module):
    """The modules of a model in a row, from matrices of tokens to one vector a text."""

    def __init__(self, model: SentenceTransformer, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names, self.dim = model, names, model.truncate_dim

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        found = dict(zip(self.names, features, strict=True))
        for module in self.model:
            found = module(found)
        vectors: torch.Tensor = found[OUTPUT]
        return vectors if self.dim is None else vectors[:, : self.dim]


def _example(encoder: SentenceEncoder) -> tuple[tuple[str, ...], tuple[torch.Tensor, ...]]:
    """Names and values of the matrices that the model's own tokenizer gives."""
    given = encoder.model.preprocess(list(_EXAMPLES))
    features = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    if unknown := sorted(set(features) - set(FEATURES)):
        raise _refused(encoder, f"it asks for {', '.join(unknown)}, and a graph gets {', '.join(FEATURES)}")
    return tuple(features), tuple(features.values())


@contextmanager
def _plain_attention(model: SentenceTransformer) -> Iterator[None]:
    inner = model[0].model
    before = getattr(inner.config, "_attn_implementation", None)
    if before is None:
        yield
        return
    with quiet():
        inner.set_attn_implementation("eager")
    try:
        yield
    finally:
        with quiet():
            inner.set_attn_implementation(before)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter's warnings about itself off the screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _innermost(error: BaseException) -> str:
    """The error that began it: what the exporter wraps around it is advice for its authors."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:_SAID]}{' ...' if len(said) > _SAID else ''}"


def _refused(encoder: SentenceEncoder, why: str) -> ArchitectureError:
    return ArchitectureError(
        f"{encoder.name!r} ({encoder.architecture}) cannot be exported: {why}. It runs as a folder of "
        "sentence-transformers."
    )
