"""Write a model for another runtime: whole and in agreement with its source, or not under its name."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from uncollapse.encoders import SentenceEncoder, load_model, position_reach
from uncollapse.encoders.exported import ABOUT, TOKENIZER, Export, ExportedEncoder, graph_files, is_export
from uncollapse.encoders.runtimes import FORMATS, route_file
from uncollapse.encoders.runtimes.onnx_graphs import require_onnxruntime
from uncollapse.encoders.runtimes.openvino_graphs import convert, require_openvino
from uncollapse.encoders.sentence import NO_LIMIT, ROLES
from uncollapse.errors import ModelError, UncollapseError, nearest
from uncollapse.exporting.cards import write_section
from uncollapse.exporting.originals import copy_licences, write_card
from uncollapse.exporting.parity import Parity, compare
from uncollapse.exporting.rounding import quantise
from uncollapse.exporting.tokenizing import write_config, write_tokenizer
from uncollapse.exporting.tracing import (
    GRAPH,
    check_exportable,
    find_routes,
    require_exporter,
    trace,
    trace_routes,
)
from uncollapse.provenance import describe_run
from uncollapse.writing import check_apart, check_target, whole_folder

PARITY = "parity.json"

DISAGREES = ".disagrees"
"""What the name of a folder ends in whose vectors are not those of its source."""


@dataclass(frozen=True)
class ExportReport:
    """What was written and how near it comes to its source.

    Args:
        folder: the exported model.
        format: one of the formats.
        parity: the comparison.
        size_bytes: of the graph with its weights.
        source_bytes: of the source's weights.
        max_tokens: where it cuts texts; None for nowhere.
        text_fix: notation of the fix on texts that its source asks for and no graph holds; "" for none.
    """

    folder: Path
    format: str
    parity: Parity
    size_bytes: int
    source_bytes: int
    max_tokens: int | None
    text_fix: str = ""


def export(
    name: str,
    out: str | os.PathLike[str],
    *,
    to: str = "onnx",
    force: bool = False,
    trust_remote_code: bool = False,
    step: Callable[[str], None] = lambda _: None,
) -> ExportReport:
    """Write a model as a graph that other runtimes load, and check that it gives the same vectors.

    The graph goes from tokens to `sentence_embedding`: transformer, pooling, dense layers and normalisation, with any
    number of texts and tokens. A model with a part of its own for queries gives one graph a role. Beside it are a
    tokenizer that cuts and pads by itself, export.json, parity.json and a model card. The folder is loaded by its own
    runtime and compared with the source on texts of every length before it takes its name. One that disagrees is kept
    as `OUT.disagrees`.

    Args:
        name: model to start from, as for `load_model`; also a folder that `fix` wrote.
        out: the new folder.
        to: "onnx", "onnx-int8" or "openvino".
        force: replace an exported folder.
        trust_remote_code: as for `load_model`.
        step: told what is being done.

    Raises:
        OutputError: a folder that is in the way, or a disk that is full.
        ArchitectureError: a model that no graph can hold.
        ModelError: an exported model that disagrees with its source.
        MissingExtraError: a package that this format needs is not installed.

    >>> export("minilm", "minilm-onnx", to="onnx").parity.agrees  # doctest: +SKIP
    True
    """
    target = Path(out)
    _check_format(to)
    may_write = partial(check_target, what="exported model", known=is_export)
    for place, over in ((target, force), (_quarantine(target), True)):
        may_write(place, force=over)
    step("loading")
    stock = load_model(name, device="cpu", trust_remote_code=trust_remote_code)
    check_apart(target, stock.source)
    check_exportable(stock)
    with whole_folder(target, check=partial(may_write, target, force=force)) as part:
        _build(stock, part, to, step)
        step("comparing with the source, by length")
        report = _check(part, stock)
        if not report.parity.agrees:
            kept = _keep_apart(part, _quarantine(target))
            raise ModelError(_why(report, kept))
    return _named(report, target)


def _check_format(to: str) -> None:
    """Refuse an unknown format, and one whose packages are missing, before anything is loaded."""
    if to not in FORMATS:
        raise UncollapseError(f"No format {to!r}. {nearest(to, FORMATS, 'Known formats')}")
    require_exporter()
    if FORMATS[to].runtime == "openvino":
        require_openvino()
    else:
        require_onnxruntime()


def _build(stock: SentenceEncoder, part: Path, to: str, step: Callable[[str], None]) -> None:
    """Put the graph or graphs, the tokenizer and export.json into an empty folder."""
    routes = find_routes(stock)
    with tempfile.TemporaryDirectory(dir=part) as scratch:
        place = part if to == "onnx" else Path(scratch)
        step("writing the graph")
        if routes:
            trace_routes(stock, place, routes)
        else:
            trace(stock, place / GRAPH)
        if to != "onnx":
            step("rounding weights to 8 bits" if to == "onnx-int8" else "converting to OpenVINO")
            for route in routes or ("",):
                plain, file = place / route_file(GRAPH, route), part / route_file(FORMATS[to].file, route)
                (quantise if to == "onnx-int8" else convert)(plain, file)
    write_tokenizer(stock, part)
    write_config(stock, part)
    (part / ABOUT).write_text(_about(stock, to).to_json() + "\n", encoding="utf-8")
    copy_licences(stock.source, part)


def _about(stock: SentenceEncoder, to: str) -> Export:
    packages = ("onnx", "onnxscript", FORMATS[to].runtime)
    return Export(
        format=to,
        architecture=stock.architecture,
        dim=stock.dim,
        max_tokens=None if stock.max_tokens >= NO_LIMIT else stock.max_tokens,
        reach=position_reach(stock.model),
        prompts={role: stock.as_role(role).prompt for role in ROLES},
        similarity=str(stock.model.similarity_fn_name),
        folded_fix=stock.folded_fix,
        source={"name": stock.name, "fingerprint": str(stock.about["fingerprint"])},
        versions=describe_run(*packages)["versions"],
        routes=find_routes(stock),
        text_fix=stock.text_fix,
        normalises=stock.normalises,
    )


def _check(part: Path, stock: SentenceEncoder) -> ExportReport:
    """Compare the folder with its source, and write what was found into it; no file of it is open afterwards."""
    exported = ExportedEncoder(part)
    parity, export = compare(stock, exported), exported.export
    graph = [file for file in graph_files(part) if file.name not in (ABOUT, TOKENIZER)]
    size = sum(file.stat().st_size for file in graph)
    before = sum(file.stat().st_size for file in stock.source.rglob("*.safetensors"))
    facts = {"size_bytes": size, "source_bytes": before, "source": dict(export.source), **describe_run()}
    (part / PARITY).write_text(parity.as_json(**facts) + "\n", encoding="utf-8")
    write_card(part, stock.source, write_section(export, parity, (size, before), exported.inputs))
    return ExportReport(part, export.format, parity, size, before, export.max_tokens, export.text_fix)


def _quarantine(target: Path) -> Path:
    return target.with_name(target.name + DISAGREES)


def _keep_apart(part: Path, place: Path) -> Path:
    with whole_folder(place) as kept:
        for entry in part.iterdir():
            entry.rename(kept / entry.name)
    return place


def _why(report: ExportReport, kept: Path) -> str:
    parity = report.parity
    if not parity.tokens_equal:
        found = "but its tokenizer cuts probe texts into other tokens"
    elif parity.largest_error is None:
        found = "but some of its vectors are not finite"
    else:
        worst = max(parity.rows, key=lambda row: row.distance)
        found = (
            f"but it differs by {parity.largest_error:.2g} of their spread at {worst.bin} tokens ({worst.how}; "
            f"smallest cosine {worst.min_cosine:.4f}), and {parity.limit:g} is allowed"
        )
    advice = "Use --format onnx" if report.format != "onnx" else "Report it with the files"
    return (
        f"The exported model must give its source's vectors, {found}. It was kept as {str(kept)!r} with parity.json, "
        f"not under its name. {advice}."
    )


def _named(report: ExportReport, target: Path) -> ExportReport:
    return replace(report, folder=target)
