"""The command `embed`."""

import shlex
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from uncollapse.cli.folders import stopped
from uncollapse.cli.options import (
    BatchOption,
    CounterOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    QuietOption,
    RemoteOption,
    ServerCacheOption,
    TokensOption,
    read_limit,
)
from uncollapse.cli.printing import as_json, progress, say_notes
from uncollapse.errors import UncollapseError

if TYPE_CHECKING:
    from uncollapse.corpora import Corpus
    from uncollapse.embedding import EmbedReport
    from uncollapse.encoders import TextEncoder


class Kind(StrEnum):
    """Formats of a shard."""

    PARQUET = "parquet"
    NPY = "npy"


class Role(StrEnum):
    """What texts are to a model."""

    DOCUMENT = "document"
    QUERY = "query"
    TEXT = "text"


def embed(
    corpus: Annotated[
        str,
        typer.Argument(
            help="A .txt, .md, .jsonl, .csv, .tsv or .parquet file, a folder or quoted glob of them, a BEIR folder, "
            "a Hugging Face dataset on disk (save_to_disk), or `docstrings`, the documentation of the installed "
            "packages."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the vectors.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="`minilm` (bundled, offline), a model folder, one that `fix` or `export` wrote, a name on the "
            "Hugging Face hub, or URL#MODEL of a server that speaks /v1/embeddings.",
        ),
    ] = "minilm",
    to: Annotated[
        Kind,
        typer.Option(
            "--format", "-f", help="`parquet` tables, or `npy` matrices with ids and token counts in .jsonl beside."
        ),
    ] = Kind.PARQUET,
    role: Annotated[
        Role | None,
        typer.Option(
            help="Whose prompt goes before every text: `document`, `query`, or `text` for neither; document if not "
            "given.",
            show_default=False,
        ),
    ] = None,
    max_tokens: TokensOption = "model",
    shard_texts: Annotated[
        int, typer.Option(min=1, help="Texts of a file: what a kill may cost, and what is in memory at once.")
    ] = 2048,
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most this many texts.")] = None,
    text_field: Annotated[str | None, typer.Option(help="Field or column that holds the text.")] = None,
    id_field: Annotated[str | None, typer.Option(help="Field or column that holds the id.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count broken records and go on.")] = False,
    batch_size: BatchOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    tokenizer: CounterOption = None,
    cache: ServerCacheOption = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Begin anew, whatever vectors are there; also write into a folder that holds other files."
        ),
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make files anew that are gone or were changed since, and no others.")
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Write the vectors of a corpus into a folder, in files of equal size, whatever size the corpus has.

    A run that was stopped, at whatever moment, is gone on with by the same command, and ends with the same bytes.
    What a corpus gained at its end is added by the same command, too. Vectors of another model, of other settings or
    of other texts are never mixed in.
    """
    import uncollapse
    from uncollapse.corpora import open_corpus
    from uncollapse.encoders.sources import check_source
    from uncollapse.shard_folders import check_folder

    reading: dict[str, Any] = {"text_field": text_field, "id_field": id_field, "skip_bad": skip_bad, "limit": limit}
    texts = open_corpus(corpus, **reading)
    check_folder(out)
    check_source(model)

    from uncollapse.embedding import Layout
    from uncollapse.encoders import load

    layout = Layout(to.value, shard_texts)
    running: dict[str, Any] = {
        "device": device, "dtype": dtype, "batch_size": batch_size, "trust_remote_code": trust_remote_code,
        "tokenizer": tokenizer, "cache": cache,
    }  # fmt: skip
    encoder = _as_role(load(model, max_tokens=read_limit(max_tokens), **running), role)
    said = (*encoder.notes, *texts.notes)
    say_notes(said, quiet)
    kept = f"Whole shards are kept in {str(out)!r}. The same command goes on from there."
    with stopped(lambda: kept):
        report = uncollapse.embed(
            encoder, texts, out, layout=layout, force=force, repair=repair, progress=progress(quiet)
        )
    say_notes(tuple(note for note in (*encoder.notes, *texts.notes) if note not in said), quiet)
    if json:
        typer.echo(as_json({**asdict(report), "folder": str(report.folder)}))
    elif not quiet:
        _print(report, texts)
        if role is not Role.QUERY:
            asked = shlex.join(["uncollapse", "search", str(report.folder), "a question", "-m", model])
            Console().print(f"Search:  {escape(asked)}", soft_wrap=True, highlight=False)


def _as_role(encoder: "TextEncoder", role: Role | None) -> "TextEncoder":
    if role is None:
        return encoder
    change = getattr(encoder, "as_role", None)
    if change is None:
        raise UncollapseError(
            f"{encoder.name!r} gets every text as it is, so --role {role.value} would do nothing. Leave it out."
        )
    changed: TextEncoder = change(role.value)
    return changed


def _print(report: "EmbedReport", texts: "Corpus") -> None:
    console, folder = Console(), escape(str(report.folder))
    new = "all of them new" if report.n_new == report.n_texts else f"{report.n_new:,} of them new"
    console.print(
        f"Vectors: [b]{folder}[/b], {report.n_texts:,} of {report.dim} dimensions in {report.n_shards:,} "
        f"{'file' if report.n_shards == 1 else 'files'}, {new}.",
        soft_wrap=True,
    )
    padding = "" if report.padding_share is None else f" {report.padding_share:.1%} of what was computed was padding."
    unit = f"{report.unit.capitalize()}:"
    console.print(
        f"{unit:<8} {report.n_tokens:,}; {report.n_truncated:,} texts were cut at the model's limit.{padding}",
        soft_wrap=True,
    )
    if texts.skipped.total:
        console.print(f"Left out: {escape(str(texts.skipped))}.", soft_wrap=True)
    console.print(f"Read:    uncollapse diagnose CORPUS -m {folder}, or with any reader of the files.", soft_wrap=True)
