"""The command `export`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from uncollapse.cli.folders import ended_by_hand
from uncollapse.cli.options import JsonOption, ModelArgument, QuietOption, RemoteOption
from uncollapse.cli.printing import as_json, say_step

if TYPE_CHECKING:
    from uncollapse.exporting.folder import ExportReport


class Kind(StrEnum):
    """What a model can be exported to."""

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    OPENVINO = "openvino"


def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the exported model.", show_default=False)],
    to: Annotated[
        Kind,
        typer.Option(
            "--format",
            "-f",
            help="`onnx` runs in onnxruntime and most other runtimes; `onnx-int8` is a quarter of the size and less "
            "exact; `openvino` runs in OpenVINO, which is made for Intel processors.",
        ),
    ] = Kind.ONNX,
    force: Annotated[bool, typer.Option("--force", help="Replace an exported model that is there already.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Write a model for another runtime: one graph from tokens to vectors, which needs no torch and no Python.

    Any model folder will do, also one that `uncollapse fix` wrote: transformer, pooling, dense layers and
    normalisation all go into the graph. Beside it are a tokenizer that cuts and pads by itself and a model card with
    ten lines of code that run it.

    The result is loaded by its own runtime and compared with the model on texts of every length, one by one and
    padded. One that disagrees does not get the name you gave: it is kept as OUT.disagrees, and the command fails.
    """
    from uncollapse.exporting.folder import export as write_export
    from uncollapse.writing import made_folder, only_writer

    steps, parent = (lambda _: None) if quiet else say_step, out.absolute().parent
    with made_folder(parent), only_writer(parent / f".{out.name}.lock", out), ended_by_hand(out):
        report = write_export(model, out, to=to.value, force=force, trust_remote_code=trust_remote_code, step=steps)
    if json:
        typer.echo(as_json(_plain(report)))
    elif not quiet:
        _print(report)


def _plain(report: "ExportReport") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(report), "folder": str(report.folder)}


def _print(report: "ExportReport") -> None:
    parity, console = report.parity, Console()
    console.print(
        f"Model:  [b]{escape(str(report.folder))}[/b], {report.size_bytes / 1e6:.1f} MB (the source's weights: "
        f"{report.source_bytes / 1e6:.1f} MB). It cuts texts at {report.max_tokens or 'no number of'} tokens.",
        soft_wrap=True,
    )
    console.print(
        f"Agrees: {parity.n_texts} texts of up to {parity.longest} tokens. Smallest cosine {parity.min_cosine:.6f}, "
        f"largest error {parity.largest_error:.1g} of the spread of the vectors ({parity.limit:g} is allowed).",
        soft_wrap=True,
    )
    if speed := parity.speed:
        console.print(
            f"Speed:  {speed.ratio:.2f} times torch's here ({speed.low:.2f} to {speed.high:.2f} over {speed.rounds} "
            f"rounds, {speed.threads} threads).",
            soft_wrap=True,
        )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("tokens", "texts", "how", "smallest cosine", "largest error"):
        table.add_column(heading)
    for row in parity.rows:
        table.add_row(row.bin, str(row.n), row.batching, f"{row.min_cosine:.6f}", f"{row.largest_error:.1g}")
    console.print(table)
    console.print(
        f'Load:   uncollapse diagnose CORPUS -m {escape(str(report.folder))}, load("{escape(str(report.folder))}"), '
        f"or without this package as {escape(str(report.folder / 'README.md'))} shows.",
        soft_wrap=True,
    )
