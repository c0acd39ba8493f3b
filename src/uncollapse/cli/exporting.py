"""The command `export`."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from uncollapse.cli.folders import check_place, output_place
from uncollapse.cli.inputs import check_tasks
from uncollapse.cli.options import JsonOption, ModelArgument, QuietOption, RemoteOption
from uncollapse.cli.printing import as_json, say_step
from uncollapse.errors import UncollapseError

if TYPE_CHECKING:
    from uncollapse.bucketing.folders import BucketReport
    from uncollapse.covering.folder import LongTextsReport
    from uncollapse.exporting.folder import ExportReport


_BUCKETS = "A temperature that follows length"


class Kind(StrEnum):
    """What a model can be exported to."""

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    OPENVINO = "openvino"
    SENTENCE_TRANSFORMERS = "sentence-transformers"


def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the exported model.", show_default=False)],
    to: Annotated[
        Kind | None,
        typer.Option(
            "--format",
            "-f",
            help="`onnx` (if not given) runs in onnxruntime and most other runtimes; `onnx-int8` is a quarter of the "
            "size, of each graph where roles have their own, and less exact; `openvino` runs in OpenVINO, which is "
            "made for Intel processors; `sentence-transformers` is for a model that asks for `cover`, as `fix --auto` "
            "writes it: a folder whose own code reads texts to their end, with trust_remote_code=True.",
            show_default=False,
        ),
    ] = None,
    buckets: Annotated[
        str | None,
        typer.Option(
            help="Instead: ordinary checkpoints for a temperature that follows length, one for the texts up to each "
            "of these numbers of tokens, such as 128,512; the last must reach the model's limit. Needs --law.",
            rich_help_panel=_BUCKETS,
            show_default=False,
        ),
    ] = None,
    law: Annotated[
        str | None,
        typer.Option(
            help='The temperature that follows length, such as "temperature(law=log, n0=128)".',
            rich_help_panel=_BUCKETS,
            show_default=False,
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="BEIR folder, or another set that `evaluate` reads: what the buckets cost there against the law; may "
            "be given several times.",
            rich_help_panel=_BUCKETS,
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an exported model that is there already.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Write a model for another runtime: one graph from tokens to vectors, which needs no torch and no Python.

    Or, with --format sentence-transformers, a folder that reads texts to their end there.

    Any model folder will do, also one that `uncollapse fix` wrote: transformer, pooling, dense layers and
    normalisation all go into the graph. Beside it are a tokenizer that cuts and pads by itself and a model card with
    ten lines of code that run it.

    The result is loaded by its own runtime and compared with the model on texts of every length, one by one and
    padded. One that disagrees does not get the name you gave: it is kept as OUT.disagrees, and the command fails.

    With --buckets, what is written are folders of sentence-transformers, and one that picks among them.
    """
    from uncollapse.encoders.sources import check_source
    from uncollapse.fixes import parse

    ends = _read_ends(buckets, law, search, to)
    followed = parse(law) if law else None
    check_tasks(search or ())
    check_place(out, force=force)
    check_source(model)
    steps = (lambda _: None) if quiet else say_step
    asked: dict[str, Any] = {"force": force, "trust_remote_code": trust_remote_code, "step": steps}
    show: Callable[[], None]
    with output_place(out):
        if ends and followed:
            from uncollapse.bucketing.folders import export_buckets

            routed = export_buckets(model, out, followed, ends, search=search or (), **asked)
            plain, show = _plain(routed), lambda: _print_buckets(routed)
        elif to is Kind.SENTENCE_TRANSFORMERS:
            from uncollapse.covering.folder import export_long_texts

            long = export_long_texts(model, out, **asked)
            plain, show = _plain(long), lambda: _print_long(long)
        else:
            from uncollapse.exporting.folder import export as write_export

            report = write_export(model, out, to=(to or Kind.ONNX).value, **asked)
            plain, show = _plain(report), lambda: _print(report)
    if json:
        typer.echo(as_json(plain))
    elif not quiet:
        show()


def _read_ends(buckets: str | None, law: str | None, search: list[str] | None, to: Kind | None) -> tuple[int, ...]:
    """The ends of buckets, if there shall be any; options that would do nothing are refused."""
    if buckets is None:
        if idle := [option for option, given in (("--law", law), ("--search", search)) if given]:
            raise UncollapseError(f"Without --buckets, {' and '.join(idle)} would do nothing. Give --buckets 128,512.")
        return ()
    if to is not None:
        raise UncollapseError("--buckets writes folders of sentence-transformers, so --format would do nothing.")
    parts = [part.strip() for part in buckets.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UncollapseError(f"--buckets must be numbers of tokens with commas between, got {buckets!r}.")
    if not law:
        raise UncollapseError(
            'Buckets are for a temperature that follows length: give it, --law "temperature(law=log, n0=128)".'
        )
    return tuple(int(part) for part in parts)


def _plain(report: "ExportReport | BucketReport | LongTextsReport") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(report), "folder": str(report.folder)}


def _print(report: "ExportReport") -> None:
    from uncollapse.exporting.parity import worst_by_bin

    parity, console = report.parity, Console()
    console.print(
        f"Model:  [b]{escape(str(report.folder))}[/b], {report.size_bytes / 1e6:.1f} MB (the source's weights: "
        f"{report.source_bytes / 1e6:.1f} MB). It cuts texts at {report.max_tokens or 'no number of'} tokens.",
        soft_wrap=True,
    )
    console.print(
        f"Agrees: {parity.n_texts} texts of up to {parity.longest} tokens. Smallest cosine {parity.min_cosine:.6f}, "
        f"largest error {parity.largest_error:.2g} of the spread of the vectors ({parity.limit:g} is allowed).",
        soft_wrap=True,
    )
    if speed := parity.speed:
        console.print(
            f"Speed:  {speed.ratio:.2f} times torch's here ({speed.low:.2f} to {speed.high:.2f} over {speed.rounds} "
            f"rounds, {speed.threads} threads).",
            soft_wrap=True,
        )
    caption = "[dim]of each length the way that came least near; parity.json has every way[/]"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", caption=caption, caption_justify="left")
    for heading in ("tokens", "texts", "worst way", "smallest cosine", "largest error"):
        table.add_column(heading)
    for row in worst_by_bin(parity.rows):
        table.add_row(row.bin, str(row.n), row.how, f"{row.min_cosine:.6f}", f"{row.largest_error:.2g}")
    console.print(table)
    if report.text_fix:
        console.print(
            f"[yellow]•[/] [b]{escape(report.text_fix)}[/b] is not in the graph: it cuts texts before they are "
            "encoded. uncollapse does that for this folder (embed, encode, evaluate); other programs do not. In "
            "sentence-transformers, what `export --format sentence-transformers` writes does.",
            soft_wrap=True,
        )
    console.print(
        f'Load:   uncollapse diagnose CORPUS -m {escape(str(report.folder))}, load("{escape(str(report.folder))}"), '
        f"or without this package as {escape(str(report.folder / 'README.md'))} shows.",
        soft_wrap=True,
    )


def _print_long(report: "LongTextsReport") -> None:
    console, folder = Console(), escape(str(report.folder))
    console.print(
        f"Model:  [b]{folder}[/b] reads texts to their end ({escape(report.text_fix)}; the model reads "
        f"{report.max_tokens} tokens at once), by code in its folder: long_texts.py.",
        soft_wrap=True,
    )
    console.print(
        f"Agrees: {report.n_texts} texts of up to {report.longest:,} tokens, in every role. Largest error "
        f"{report.largest_error:.2g} of the spread of the vectors, against this package.",
        soft_wrap=True,
    )
    console.print(
        f'Load:   SentenceTransformer("{folder}", trust_remote_code=True); encode_query for queries, encode_document '
        f"for documents.\n        {escape(str(report.folder / 'model'))} is the same without code: it cuts texts off.",
        soft_wrap=True,
    )


def _print_buckets(report: "BucketReport") -> None:
    from uncollapse.bucketing.losses import warning

    console, folder = Console(), escape(str(report.folder))
    console.print(
        f"Model:  [b]{folder}[/b], {escape(report.law)} in {len(report.buckets)} checkpoints.", soft_wrap=True
    )
    for one in report.buckets:
        console.print(
            f"        {one.folder}: {one.low} to {one.up_to} tokens, tau {one.tau:.4g} (that of {one.middle})"
        )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("tokens", "texts", "smallest cosine to the law's", "largest error", "without a temperature"):
        table.add_column(heading)
    for row in report.losses:
        numbers = (f"{row.min_cosine:.6f}", f"{row.largest_error:.2g}", f"{row.moved:.2g}")
        table.add_row(row.bin, str(row.n), *numbers)
    console.print(table)
    if said := warning(report.losses):
        console.print(f"[yellow]Note:[/]   {escape(said)}", soft_wrap=True)
    for found in report.searches:
        interval = "" if found.low is None else f" [{found.low:+.4f}, {found.high:+.4f}]"
        console.print(
            f"Search: {escape(found.dataset)}, {found.metric} {found.exact:.4f} with the law, {found.bucketed:.4f} in "
            f"buckets; difference {found.difference:+.4f}{interval}, n = {found.n}.",
            soft_wrap=True,
        )
    console.print(
        f'Load:   SentenceTransformer("{folder}", trust_remote_code=True), or a checkpoint a server, as '
        f"{escape(str(report.folder / 'README.md'))} shows.",
        soft_wrap=True,
    )
