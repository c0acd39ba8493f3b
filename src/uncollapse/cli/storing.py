"""The command `store`."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from uncollapse.cli.folders import check_place, output_place
from uncollapse.cli.options import FitSeedOption, JsonOption, QuietOption
from uncollapse.cli.printing import as_json, progress
from uncollapse.errors import UncollapseError

if TYPE_CHECKING:
    from uncollapse.stores.folder import StoreReport


class Kind(StrEnum):
    """Forms of a store."""

    NPY = "npy"
    LANCEDB = "lancedb"
    QDRANT = "qdrant"
    PGVECTOR = "pgvector"


class Metric(StrEnum):
    """How vectors are compared."""

    DOT = "dot"
    COSINE = "cosine"


def store(
    vectors: Annotated[Path, typer.Argument(help="A folder of vectors that `uncollapse embed` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the store.", show_default=False)],
    to: Annotated[
        Kind,
        typer.Option(
            "--format",
            "-f",
            help="`npy`: one matrix and its ids; `lancedb`: a database in a folder; `qdrant`: a folder of Qdrant's "
            "local mode, up to 20,000 vectors; `pgvector`: a COPY file for PostgreSQL, and the SQL that loads it.",
        ),
    ] = Kind.NPY,
    metric: Annotated[
        Metric | None,
        typer.Option(
            help="How vectors are compared: `dot` or `cosine`; what the model names if not given, and dot with a fix.",
            show_default=False,
        ),
    ] = None,
    fix: Annotated[
        str,
        typer.Option(
            help="A fix on scores, such as `csls(10, 0.5)`: one more dimension, to be searched by inner product. "
            "Needs --queries.",
            show_default=False,
        ),
    ] = "",
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Vectors of queries that the fix is fitted to, as `uncollapse embed --role query` writes them; no "
            "answers are needed.",
            show_default=False,
        ),
    ] = None,
    seed: FitSeedOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a store that is there already.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Put vectors that `embed` wrote into a store that a search engine opens, without encoding anything again.

    Vectors are read a few at a time, and the store appears whole or not at all. Its store.json says which metric to
    search by. With a fix on scores every vector has one more number, and every query needs a 1 behind its own.
    """
    import uncollapse
    from uncollapse.corpora.batches import embedded_manifest

    if seed is not None and not fix:
        raise UncollapseError("Without --fix nothing is fitted to a sample, so --seed would do nothing. Leave it out.")
    check_place(out, force=force)
    embedded_manifest(vectors)

    from uncollapse.stores.folder import Plan
    from uncollapse.stores.space import as_metric

    plan = Plan(to.value, as_metric(metric.value) if metric else None, fix, queries, seed or 0)
    with output_place(out):
        report = uncollapse.store(vectors, out, plan=plan, force=force, progress=progress(quiet))
    if json:
        typer.echo(as_json({**asdict(report), "folder": str(report.folder)}))
    elif not quiet:
        _print(report)


def _print(report: "StoreReport") -> None:
    console = Console()
    console.print(
        f"Store:   [b]{escape(str(report.folder))}[/b] ({report.to}), {report.n_texts:,} vectors of "
        f"{report.dim} numbers.",
        soft_wrap=True,
    )
    compared = "inner product (dot)" if report.metric == "dot" else "cosine"
    console.print(f"Search:  by {compared}.", soft_wrap=True)
    if report.added:
        console.print(
            f"Fix:     {escape(report.fix)} is the last number of every vector. Put a 1 behind the vector of every "
            "query. Not by cosine, which would divide the fix out again.",
            soft_wrap=True,
        )
