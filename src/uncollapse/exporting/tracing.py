"""From a sentence-transformers model to one ONNX graph: transformer, pooling, dense layers and normalisation."""

import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from uncollapse.encoders import Role, SentenceEncoder, quiet
from uncollapse.encoders.exported import FEATURES
from uncollapse.encoders.runtimes import route_file
from uncollapse.encoders.sentence import ROLES
from uncollapse.errors import ArchitectureError, MissingExtraError
from uncollapse.fixes import compose, parse

OUTPUT = "sentence_embedding"
"""Name of the only output."""

GRAPH = "model.onnx"
"""Name of the graph of a model in which all texts go one way."""

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
        ArchitectureError: no transformer as the first module, a part for each role that leaves one out or lies inside
            another, a tokenizer without tokenizer.json, a chat template, a prompt that pooling leaves out, or a fix on
            texts that needs more than vectors.
    """
    model, first = encoder.model, encoder.model[0]
    if not isinstance(first, Transformer):
        raise _refused(encoder, f"its first module is a {type(first).__name__}, and only a Transformer is exported")
    if not getattr(model.tokenizer, "is_fast", False):
        raise _refused(encoder, "its tokenizer has no tokenizer.json, which other runtimes read")
    if model.tokenizer.pad_token_id is None:
        raise _refused(
            encoder, "its tokenizer has no padding token, with which texts of several lengths become one matrix"
        )
    if "message" in getattr(first, "modality_config", {}):
        raise _refused(encoder, "it puts texts into a chat template, which no tokenizer.json holds")
    for module in model.modules():
        if isinstance(module, Router):
            _check_router(encoder, module)
    if encoder.text_fix and (asked := compose(parse(encoder.text_fix)).text) and asked.reading != "directed":
        raise _refused(
            encoder, f"its folder asks for `{asked}`, which needs more of the model than vectors: {asked.reading}"
        )
    for module in model:
        if isinstance(module, Pooling) and not module.include_prompt and any(model.prompts.values()):
            raise _refused(encoder, "its pooling leaves out the prompt, whose length a graph does not know")


def _check_router(encoder: SentenceEncoder, router: Router) -> None:
    """Each role must have a way, and they part in one place, at the end of what they share."""
    if not any(module is router for module in encoder.model):
        raise _refused(encoder, "it has a part for each role (Router) inside another module")
    missing = [role for role in ("query", "document") if role not in router.sub_modules]
    missing += ["text"] if router.default_route is None and "text" not in router.sub_modules else []
    if missing or router.route_mappings:
        what = f"no way for {missing[0]!r}" if missing else "rules of its own for who goes where"
        raise _refused(encoder, f"its part for each role (Router) has {what}, and its graphs are one a role")


def find_routes(encoder: SentenceEncoder) -> tuple[Role, ...]:
    """The roles that have a way of their own through a model; none where all texts go one way."""
    return ROLES if any(isinstance(module, Router) for module in encoder.model) else ()


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
    program = _program(encoder, ())
    with _silent():
        program.save(target)


def trace_routes(encoder: SentenceEncoder, folder: Path, routes: Sequence[Role]) -> None:
    """Write one ONNX graph a role, as `route_file` names them; all read their weights from one file beside them.

    The model is traced once with every way in it, and each graph keeps what leads to the vectors of its role.

    Args:
        encoder, MissingExtraError, ArchitectureError: as for `trace`.
        folder: where the graphs and their weights go.
        routes: the roles.
    """
    whole = folder / GRAPH
    program = _program(encoder, routes)
    with _silent():
        program.save(whole, external_data=True)
    for place, route in enumerate(routes):
        _keep_way(whole, folder / route_file(GRAPH, route), place)
    whole.unlink()


def _keep_way(source: Path, target: Path, place: int) -> None:
    """Copy a graph with one of its outputs and what leads to it; weights stay in the source's file of weights."""
    ir, passes = importlib.import_module("onnx_ir"), importlib.import_module("onnx_ir.passes.common")
    model = ir.load(source)
    kept = model.graph.outputs[place]
    model.graph.outputs.clear()
    model.graph.outputs.append(kept)
    kept.name = OUTPUT
    passes.RemoveUnusedNodesPass()(model)
    ir.save(model, target)


def _program(encoder: SentenceEncoder, routes: Sequence[Role]) -> Any:
    """A model as torch's exporter gives it: one output, or one a role."""
    require_exporter()
    names, features = _example(encoder)
    embedder = _Embedder(encoder.model, names, routes).eval()
    axes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    try:
        with _plain_attention(encoder.model), _silent():
            program = torch.onnx.export(
                embedder,
                features,
                dynamo=True,
                input_names=list(names),
                output_names=[f"{route}_embedding" for route in routes] or [OUTPUT],
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
    return program


class _Embedder(nn.Module):
    """The modules of a model in a row, from matrices of tokens to one vector a text, or one for each role."""

    def __init__(self, model: SentenceTransformer, names: tuple[str, ...], routes: Sequence[Role]) -> None:
        super().__init__()
        self.model, self.names, self.dim, self.routes = model, names, model.truncate_dim, tuple(routes)

    def forward(self, *features: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        modules: list[nn.Module] = list(self.model)
        shared = next((place for place, one in enumerate(modules) if isinstance(one, Router)), len(modules))
        found = dict(zip(self.names, features, strict=True))
        for module in modules[:shared]:
            found = module(found)
        if not self.routes:
            return self._end(modules[shared:], found, "text")
        return tuple(self._end(modules[shared:], dict(found), route) for route in self.routes)

    def _end(self, modules: list[nn.Module], found: dict[str, torch.Tensor], role: Role) -> torch.Tensor:
        task = None if role == "text" else role
        for module in modules:
            found = module(found, task=task, modality="text") if isinstance(module, Router) else module(found)
        vectors = found[OUTPUT]
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
