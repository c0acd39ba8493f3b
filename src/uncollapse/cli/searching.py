"""The command `search`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from uncollapse.cli.options import (
    CounterOption,
    DeviceOption,
    DtypeOption,
    FieldOption,
    JsonOption,
    QuietOption,
    RemoteOption,
    ServerCacheOption,
)
from uncollapse.cli.printing import as_json, progress, say_notes
from uncollapse.errors import UncollapseError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from uncollapse.searching import Answer, Answers

PRINTED = 10
"""Queries whose documents are printed; all are in --out and --json."""

_BEGINNING = 300  # letters of a text
_LEAST, _NUMBER = 20, 8  # columns of the screen: for a text at least, and of a number


def search(
    vectors: Annotated[Path, typer.Argument(help="A folder of vectors that `uncollapse embed` wrote.")],
    query: Annotated[list[str] | None, typer.Argument(help="What to search for.", show_default=False)] = None,
    queries: Annotated[
        str | None,
        typer.Option(help="Many queries: a file of texts, such as .txt with one a line.", show_default=False),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="The model that made the vectors, as `embed` took it.",
        ),
    ] = "minilm",
    against: Annotated[
        Path | None,
        typer.Option(
            help="Other vectors of the same texts, such as those before a fix: what changed is shown.",
            show_default=False,
        ),
    ] = None,
    against_model: Annotated[
        str | None,
        typer.Option(help="The model that made those; the same if not given.", show_default=False),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(help="The corpus, to print how each document begins.", show_default=False),
    ] = None,
    text_field: FieldOption = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Documents of each query.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="A TREC run of all queries, which `evaluate --run` scores.", show_default=False
        ),
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    tokenizer: CounterOption = None,
    cache: ServerCacheOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Ask vectors that `embed` wrote, and see what is found: how long it is, and what a fix changed.

    The search is exact, and reads vectors a few at a time, so it needs no index and takes folders larger than memory.
    It is for looking and for measuring; `uncollapse store` puts the vectors into what serves them.
    """
    from uncollapse.corpora.batches import embedded_manifest
    from uncollapse.encoders.sources import check_source

    asked = _read_queries(query or [], queries)
    _check_options(against, against_model, corpus, text_field)
    if out is not None:
        _check_run(out, asked)
    for folder in (vectors, *([against] if against else [])):
        embedded_manifest(folder)
    for name in (model, *([against_model] if against_model else [])):
        check_source(name)

    running: dict[str, Any] = {
        "device": device, "dtype": dtype, "trust_remote_code": trust_remote_code, "tokenizer": tokenizer,
        "cache": cache,
    }  # fmt: skip
    found = _search(vectors, model, asked, top, running, quiet)
    before = _search(against, against_model or model, asked, top, running, quiet) if against else None
    if out is not None:
        _write_run(out, vectors, asked, found)
    if json:
        typer.echo(as_json({"found": asdict(found), "before": asdict(before) if before else None}))
    elif not quiet:
        shown = found.found[:PRINTED] if out is None or len(asked) == 1 else ()
        _print(found, before, _beginnings(corpus, text_field, _ids(shown)), n_shown=len(shown))


def _read_queries(given: "Sequence[str]", file: str | None) -> "Mapping[str, str]":
    """Queries by their ids."""
    from uncollapse.corpora import open_corpus

    if bool(given) == (file is not None):
        raise UncollapseError("Give either queries, each in quotes, or a file of them with --queries.")
    if file is not None:
        return {text.id: text.text for text in open_corpus(file)}
    return {f"q{number}": text for number, text in enumerate(given, 1)}


def _check_options(against: Path | None, against_model: str | None, corpus: str | None, field: str | None) -> None:
    from uncollapse.corpora.sources import find_corpus

    if against_model is not None and against is None:
        raise UncollapseError("--against-model is the model of --against, which is not given. Give both, or neither.")
    if field is not None and corpus is None:
        raise UncollapseError("--text-field is a field of --corpus, which is not given. Give both, or neither.")
    if corpus is not None:
        find_corpus(corpus)


def _check_run(out: Path, queries: "Mapping[str, str]") -> None:
    """Before anything is encoded: what would not be written at the end."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise UncollapseError(
            f"Expected a file for the run in a folder that exists, got {str(out)!r}. Give --out RUN.trec."
        )
    spaced = next((name for name in queries if len(name.split()) != 1), None)
    if spaced is not None:
        raise UncollapseError(
            f"A TREC run parts its columns by white space, and the id of a query is {spaced!r}. Give ids without any."
        )


def _search(
    folder: Path, model: str, queries: "Mapping[str, str]", top: int, running: dict[str, Any], quiet: bool
) -> "Answers":
    import uncollapse

    encoder = uncollapse.load(model, **running)
    say_notes(tuple(encoder.notes), quiet)
    return uncollapse.search(encoder, folder, list(queries.values()), k=top, progress=progress(quiet))


def _write_run(out: Path, folder: Path, queries: "Mapping[str, str]", answers: "Answers") -> None:
    from uncollapse.evaluation.reading.trec import Run, write_run

    scores = {
        name: {hit.id: hit.score for hit in answer.hits} for name, answer in zip(queries, answers.found, strict=True)
    }
    write_run(out, Run.from_scores("-".join(folder.resolve().name.split()), scores))


def _ids(answers: "Sequence[Answer]") -> set[str]:
    return {hit.id for answer in answers for hit in answer.hits}


def _beginnings(corpus: str | None, field: str | None, ids: "Collection[str]") -> dict[str, str]:
    """How the documents with these ids begin, on one line."""
    from uncollapse.corpora import open_corpus

    found: dict[str, str] = {}
    if corpus is None or not ids:
        return found
    for text in open_corpus(corpus, text_field=field):
        if text.id in ids:
            seen = (letter if letter.isprintable() else " " for letter in text.text[:_BEGINNING])
            found[text.id] = " ".join("".join(seen).split())
            if len(found) == len(ids):
                break
    return found


def _print(found: "Answers", before: "Answers | None", texts: "Mapping[str, str]", *, n_shown: int) -> None:
    console = Console()
    for number in range(n_shown):
        console.print(f"\n[b]{escape(found.found[number].query)}[/b]", soft_wrap=True)
        console.print(_table(found.found[number], before.found[number] if before else None, texts, console.width))
        if before:
            _print_gone(console, found.found[number], before.found[number])
    if n_shown < len(found.found):
        console.print(f"[dim]{len(found.found) - n_shown:,} more queries: --json or --out has them.[/]")
    _print_whole(console, found, before)


def _table(answer: "Answer", before: "Answer | None", texts: "Mapping[str, str]", width: int) -> Table:
    """A row a document; how it begins stands below its id."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    numbers = ("rank", *(["before"] if before else []), "score", "tokens")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("document", overflow="fold")
    room = max(_LEAST, width - _NUMBER * len(numbers))
    ranks = {hit.id: str(rank) for rank, hit in enumerate(before.hits, 1)} if before else {}
    for rank, hit in enumerate(answer.hits, 1):
        was = [ranks.get(hit.id, "-")] if before else []
        begins = Text(texts.get(hit.id, ""), "dim", overflow="ellipsis", no_wrap=True)
        begins.truncate(room, overflow="ellipsis")
        document = Text("\n").join([Text(hit.id), *([begins] if begins else [])])
        table.add_row(str(rank), *was, f"{hit.score:.3f}", f"{hit.n_tokens_full:,}", document)
    return table


def _print_gone(console: Console, answer: "Answer", before: "Answer") -> None:
    kept = {hit.id for hit in answer.hits}
    gone = [
        f"{hit.id} ({rank}, {hit.n_tokens_full:,} tokens)"
        for rank, hit in enumerate(before.hits, 1)
        if hit.id not in kept
    ]
    if gone:
        console.print(f"[dim]No more among them: {escape(', '.join(gone))}.[/]", soft_wrap=True)


def _print_whole(console: Console, found: "Answers", before: "Answers | None") -> None:
    """One sentence on all queries: the length of what is found, and how much of it is the same."""
    from uncollapse.evaluation.statistics.intervals import estimate_mean
    from uncollapse.searching import shared

    n = len(found.found)
    was = f" ({before.median_found:,.0f} before)" if before else ""
    of = "1 query" if n == 1 else f"{n:,} queries"
    console.print(
        f"\nFound:  documents of {found.median_found:,.0f} tokens in the median of {of}{was}; all {found.n_texts:,} "
        f"have {found.median_tokens:,.0f}.",
        soft_wrap=True,
    )
    if before:
        mean = estimate_mean(shared(found, before), [str(number) for number in range(n)])
        between = "" if mean.low is None else f" [{mean.low:.0%}, {mean.high:.0%}]"
        console.print(f"Shared: {mean.value:.0%}{between} of what is found was found before.", soft_wrap=True)
