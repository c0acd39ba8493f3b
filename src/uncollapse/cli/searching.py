"""The command `search`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

import uncollapse
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
from uncollapse.errors import CorpusError, OutputError, UncollapseError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from uncollapse.encoders import TextEncoder
    from uncollapse.searching import Answer, Answers

PRINTED = 10
"""Queries whose documents are printed; --json prints all."""

_BEGINNING = 300  # letters of a text
_LEAST, _NUMBER = 20, 8  # columns of the screen: for a text at least, and of a number


def search(
    vectors: Annotated[Path, typer.Argument(help="A folder of vectors that `uncollapse embed` wrote.")],
    query: Annotated[list[str] | None, typer.Argument(help="What to search for.", show_default=False)] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            help="Many queries: a file of texts, such as .txt with one a line; of a BEIR folder its queries.jsonl.",
            show_default=False,
        ),
    ] = None,
    query_field: Annotated[
        str | None, typer.Option(help="Field of --queries with the text of a query.", show_default=False)
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
    force: Annotated[bool, typer.Option("--force", help="Replace a run that is there already.")] = False,
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
    from uncollapse.encoders.sources import check_source

    _check_options(against, against_model, corpus, text_field, silent=json or quiet)
    asked = _read_queries(query or [], queries, query_field)
    if force and out is None:
        raise UncollapseError("--force replaces the run that --out names, which is not given. Give both, or neither.")
    if out is not None:
        _check_run(out, asked, (vectors, against, model, against_model, queries, corpus), force=force)
    _check_folders(vectors, against)
    for name in (model, *([against_model] if against_model else [])):
        check_source(name)

    from uncollapse.searching import check_maker

    running: dict[str, Any] = {
        "device": device, "dtype": dtype, "trust_remote_code": trust_remote_code, "tokenizer": tokenizer,
        "cache": cache,
    }  # fmt: skip
    encoder = _load(model, running, quiet)
    other = encoder if against_model is None else _load(against_model, running, quiet)
    if against is not None:
        check_maker(other, against)
    found = uncollapse.search(encoder, vectors, list(asked.values()), k=top, progress=progress(quiet))
    if out is not None:
        _write_run(out, vectors, asked, found)
    before = (
        uncollapse.search(other, against, list(asked.values()), k=top, progress=progress(quiet)) if against else None
    )
    if json:
        typer.echo(as_json(_as_data(asked, found, before)))
    elif not quiet:
        _print(found, before, _beginnings(corpus, text_field, _ids(found.found[:PRINTED])), out)


def _check_options(
    against: Path | None, against_model: str | None, corpus: str | None, field: str | None, *, silent: bool
) -> None:
    from uncollapse.corpora.sources import find_corpus

    if against_model is not None and against is None:
        raise UncollapseError("--against-model is the model of --against, which is not given. Give both, or neither.")
    if field is not None and corpus is None:
        raise UncollapseError("--text-field is a field of --corpus, which is not given. Give both, or neither.")
    if corpus is not None and silent:
        raise UncollapseError("--corpus prints how documents begin, so with --json or --quiet it would do nothing.")
    if corpus is not None:
        find_corpus(corpus)


def _read_queries(given: "Sequence[str]", file: str | None, field: str | None) -> "Mapping[str, str]":
    """Queries by their ids."""
    from uncollapse.corpora import open_corpus
    from uncollapse.corpora.sources import BEIR_QUERIES

    if bool(given) == (file is not None):
        raise UncollapseError("Give either queries, each in quotes, or a file of them with --queries.")
    if file is None:
        if field is not None:
            raise UncollapseError("--query-field is a field of --queries, which is not given. Give both, or neither.")
        return {f"q{number}": text for number, text in enumerate(given, 1)}
    inside = next((Path(file, name) for name in BEIR_QUERIES if Path(file, name).is_file()), Path(file))
    try:
        return {text.id: text.text for text in open_corpus(inside, text_field=field)}
    except CorpusError as error:
        said = str(error).replace("--text-field", "--query-field").replace(" (--skip-bad)", "")
        raise CorpusError(said) from error


def _check_folders(vectors: Path, against: Path | None) -> None:
    from uncollapse.corpora.batches import embedded_manifest, same_texts

    embedded_manifest(vectors)
    if against is not None and same_texts(vectors, against) is False:
        raise UncollapseError(
            f"Expected vectors of the same texts in {str(vectors)!r} and {str(against)!r}, got others, so nothing of "
            "what is found could be compared. Embed the same corpus with both models."
        )


def _check_run(out: Path, queries: "Mapping[str, str]", read: "Sequence[Path | str | None]", *, force: bool) -> None:
    """Before anything is encoded: what would not be written at the end, or over what should stay."""
    from uncollapse.evaluation.reading.trec import check_ids

    if out.is_dir() or not out.absolute().parent.is_dir():
        raise OutputError(
            f"Expected a file for the run in a folder that exists, got {str(out)!r}. Give --out RUN.trec."
        )
    for place in (Path(given).resolve() for given in read if given is not None):
        if out.resolve().is_relative_to(place):
            raise OutputError(f"The run {str(out)!r} would be written over or into {str(place)!r}. Give another name.")
    if out.exists() and not force:
        raise OutputError(f"The run {str(out)!r} is there already. Give another name, or replace it with --force.")
    check_ids(queries, "query ids")


def _load(model: str, running: dict[str, Any], quiet: bool) -> "TextEncoder":
    encoder = uncollapse.load(model, **running)
    say_notes(tuple(encoder.notes), quiet)
    return encoder


def _as_data(queries: "Mapping[str, str]", found: "Answers", before: "Answers | None") -> dict[str, object]:
    from uncollapse.searching import shared

    def told(answers: "Answers") -> dict[str, Any]:
        ids = zip(queries, asdict(answers)["found"], strict=True)
        about = {**asdict(answers), "median_found": answers.median_found}
        return {**about, "found": [{"id": name, **answer} for name, answer in ids]}

    both = {"before": told(before), "shared": shared(found, before).tolist()} if before else {}
    return {**told(found), **both}


def _write_run(out: Path, folder: Path, queries: "Mapping[str, str]", answers: "Answers") -> None:
    from uncollapse.evaluation.reading.trec import Run, write_run

    scores = {
        name: {hit.id: hit.score for hit in answer.hits} for name, answer in zip(queries, answers.found, strict=True)
    }
    write_run(out, Run.from_scores("-".join(folder.resolve().name.split()), scores))


def _ids(answers: "Sequence[Answer]") -> set[str]:
    return {hit.id for answer in answers for hit in answer.hits}


def _beginnings(corpus: str | None, field: str | None, ids: "Collection[str]") -> dict[str, str] | None:
    """How the documents with these ids begin, on one line; None without a corpus."""
    from uncollapse.corpora import open_corpus

    if corpus is None:
        return None
    found: dict[str, str] = {}
    for text in open_corpus(corpus, text_field=field):
        if text.id in ids:
            found[text.id] = _plain(text.text)
            if len(found) == len(ids):
                break
    return found


def _plain(text: str) -> str:
    """The beginning of a text on one line, without letters that steer a terminal."""
    seen = (letter if letter.isprintable() else " " for letter in text[:_BEGINNING])
    return " ".join("".join(seen).split())


def _print(found: "Answers", before: "Answers | None", texts: "Mapping[str, str] | None", out: Path | None) -> None:
    console = Console()
    for number, answer in enumerate(found.found[:PRINTED]):
        was = before.found[number] if before else None
        console.print(f"\n[b]{escape(_plain(answer.query))}[/b]", soft_wrap=True, highlight=False)
        console.print(_table(answer, was, texts or {}, found.unit, console.width))
        if was:
            _print_gone(console, answer, was, found.unit)
    if (more := len(found.found) - PRINTED) > 0:
        console.print(f"\n[dim]and {more:,} more queries, which --json prints.[/]")
    if texts is not None and not texts:
        console.print("\n[dim]--corpus has no document with these ids.[/]")
    _print_whole(console, found, before)
    if out is not None:
        console.print(f"Run:    {escape(str(out))}, for `uncollapse evaluate --run`.", soft_wrap=True, highlight=False)


def _table(answer: "Answer", before: "Answer | None", texts: "Mapping[str, str]", unit: str, width: int) -> Table:
    """A row a document; how it begins stands below its id."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    numbers = ("rank", *(["before"] if before else []), "score", unit)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("document", overflow="fold")
    room = max(_LEAST, width - _NUMBER * len(numbers))
    ranks = {hit.id: str(rank) for rank, hit in enumerate(before.hits, 1)} if before else {}
    for rank, hit in enumerate(answer.hits, 1):
        was = [ranks.get(hit.id, "-")] if before else []
        begins = Text(texts.get(hit.id, ""), "dim", overflow="ellipsis", no_wrap=True)
        begins.truncate(room, overflow="ellipsis")
        document = Text("\n").join([Text(_plain(hit.id)), *([begins] if begins else [])])
        table.add_row(str(rank), *was, f"{hit.score:.3f}", f"{hit.n_tokens_full:,}", document)
    return table


def _print_gone(console: Console, answer: "Answer", before: "Answer", unit: str) -> None:
    kept = {hit.id for hit in answer.hits}
    gone = [
        f"{_plain(hit.id)} ({rank}, {hit.n_tokens_full:,} {unit})"
        for rank, hit in enumerate(before.hits, 1)
        if hit.id not in kept
    ]
    if gone:
        console.print(f"[dim]No more among them: {escape(', '.join(gone))}.[/]", soft_wrap=True, highlight=False)


def _print_whole(console: Console, found: "Answers", before: "Answers | None") -> None:
    """One sentence on all queries: the length of what is found, and how much of it is the same."""
    from uncollapse.evaluation.statistics.intervals import estimate_mean
    from uncollapse.searching import shared

    n = len(found.found)
    was = f" ({before.median_found:,.0f} before)" if before else ""
    of = "1 query" if n == 1 else f"{n:,} queries"
    console.print(
        f"\nFound:  documents of {found.median_found:,.0f} {found.unit} in the median of {of}{was}; all "
        f"{found.n_texts:,} have {found.median_tokens:,.0f}.",
        soft_wrap=True,
    )
    if before:
        mean = estimate_mean(shared(found, before), [str(number) for number in range(n)])
        between = "" if mean.low is None else f" [{mean.low:.0%}, {mean.high:.0%}]"
        console.print(f"Shared: {mean.value:.0%}{between} of what is found was found before.", soft_wrap=True)
