"""The command line: parse, call, print; no logic."""

import json as json_format
import os
import shlex
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

import uncollapse
from uncollapse.errors import OutputError, UncollapseError

if TYPE_CHECKING:
    from uncollapse.records import Result

EXIT_CODES = (
    """Exit codes: 0 done (whatever the verdict), 1 a bug in uncollapse, 2 wrong usage or input, 130 interrupted."""
)


def _examples(*commands: str) -> str:
    return "\n\n".join(["Examples:", *commands, EXIT_CODES])


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
    help="Find out whether your embedding model pulls long texts together, and fix it in the weights.",
)

DEMO_READ = 8000
"""Documentation strings among which the demo looks for long ones."""

COLOURS = {"bad": "red", "good": "green", "neutral": "default", "unknown": "yellow"}


class Bins(StrEnum):
    """Kinds of length bins."""

    POWERS = "powers"
    EQUAL = "equal"


ModelArgument = Annotated[
    str, typer.Argument(help="`minilm` (bundled, offline), a model folder, or a name on the Hugging Face hub.")
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="`minilm` (bundled, offline), a model folder, or a name on the Hugging Face hub."
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for the results; uncollapse-CORPUS if not given.", show_default=False),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, and no text but errors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the whole result as JSON on standard output.")]
RemoteOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model. Only if you have read it.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of sampling and bootstrap.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(uncollapse.__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog=_examples(
        "uncollapse diagnose notes/",
        'uncollapse diagnose docs.jsonl -m ./my-model --text-field body --fix "temperature(0.8)"',
        "uncollapse diagnose docstrings --limit 2000 --json",
    )
)
def diagnose(
    corpus: Annotated[
        str,
        typer.Argument(
            help="A .txt, .md, .jsonl, .csv, .tsv or .parquet file, a folder or quoted glob of them, a BEIR folder, "
            "or `docstrings`, the documentation of the installed packages."
        ),
    ],
    model: ModelOption = "minilm",
    fix: Annotated[str | None, typer.Option(help='Measure with this fix on, e.g. "temperature(0.8)".')] = None,
    out: OutOption = None,
    max_tokens: Annotated[
        str,
        typer.Option(
            help="Token limit: `table` raises it to what the model's position table reaches, `model` keeps its "
            "folder's, or a number."
        ),
    ] = "table",
    bins: Annotated[
        str, typer.Option(help="Length bins: `powers` of two, or `equal:8` for 8 of equal counts.")
    ] = "powers",
    windows: Annotated[int, typer.Option(min=0, help="Documents to cut to 8, 16, 32, ... tokens; 0 for none.")] = 200,
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most this many texts.")] = None,
    text_field: Annotated[str | None, typer.Option(help="Field or column that holds the text.")] = None,
    id_field: Annotated[str | None, typer.Option(help="Field or column that holds the id.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count broken records and go on.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Keep no vectors: memory does not grow with the corpus.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts per forward pass.")] = 32,
    device: Annotated[str | None, typer.Option(help="Such as cpu or cuda; the best there is by default.")] = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Tell whether a model pulls long texts together on your corpus.

    Prints the verdict, and writes report.html (for your browser), result.json and texts.parquet (one row per text).
    """
    from uncollapse.corpora import open_corpus
    from uncollapse.diagnosis import Settings
    from uncollapse.encoders import load
    from uncollapse.fixes import parse
    from uncollapse.tables import TextTable

    chosen = None if fix is None else parse(fix)
    texts = open_corpus(corpus, text_field=text_field, id_field=id_field, skip_bad=skip_bad, limit=limit)
    folder = _prepare_folder(out or Path(f"uncollapse-{_file_name(texts.name)}"), force)
    encoder = load(
        model,
        max_tokens=_read_limit(max_tokens),
        device=device,
        batch_size=batch_size,
        trust_remote_code=trust_remote_code,
    )
    _say_notes((*encoder.notes, *texts.notes), quiet)
    settings = Settings(equal_bins=_read_bins(bins), windows=windows, seed=seed, stream=stream)
    with TextTable(folder / "texts.parquet") as table:
        result = uncollapse.diagnose(
            encoder, texts, settings=settings, fix=chosen, sink=table, progress=_progress(quiet)
        )
    _finish(result, folder, quiet=quiet, json=json, skipped=str(texts.skipped) if texts.skipped.total else "")


@app.command(
    epilog=_examples(
        'uncollapse fix minilm "temperature(0.8)" -o fixed',
        'uncollapse fix ./my-model "temperature([1, 1, 0.9, 0.9, 0.8, 0.8])" -o fixed',
        "uncollapse fix minilm tau.json -o fixed --force",
    )
)
def fix(
    model: ModelArgument,
    fix: Annotated[
        str,
        typer.Argument(
            help='"temperature(0.8)"; one number per layer: "temperature([0.9, 0.8, ...])"; or a .json file.'
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new model.", show_default=False)],
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Write a model with a fix in its weights: a folder that plain sentence-transformers loads, at no cost.

    The folder is a copy of the source with only the weights replaced. It is checked against
    softmax(scores / tau) and reloaded before it takes its name.
    """
    from uncollapse.checkpoints import fix as write_fixed
    from uncollapse.fixes import parse

    steps = (lambda _: None) if quiet else _say_step
    report = write_fixed(model, parse(fix), out, force=force, trust_remote_code=trust_remote_code, step=steps)
    if parse(fix).softens:
        _say_notes(("a temperature above 1 softens attention; what length collapse asks for is below 1",), quiet)
    if json:
        typer.echo(_as_json({**vars(report), "folder": str(report.folder)}))
    elif not quiet:
        _print_fixed(report)


@app.command(epilog=_examples("uncollapse demo", "uncollapse demo -o my-demo --temperature 0.7"))
def demo(
    out: OutOption = Path("uncollapse-demo"),
    temperature: Annotated[float, typer.Option(help="The temperature that is written and compared.")] = 0.8,
    texts: Annotated[int, typer.Option(min=200, help="Documentation strings to measure.")] = 600,
    windows: Annotated[int, typer.Option(min=50, help="Documents to cut to 8, 16, 32, ... tokens.")] = 80,
    seed: SeedOption = 0,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """See the collapse and what a temperature takes back, on a bundled model and texts this machine already has.

    Diagnoses, compares a few temperatures, writes the fixed model, diagnoses that, and makes one report of before and
    after. Offline, a few minutes.
    """
    from uncollapse.attention.temperature import Temperature
    from uncollapse.corpora import Balanced, open_corpus
    from uncollapse.demonstration import demonstrate
    from uncollapse.diagnosis import Settings
    from uncollapse.tables import TextTable

    chosen = Temperature(temperature)
    folder = _prepare_folder(out or Path("uncollapse-demo"), force)
    with _progress(quiet).track("looking for texts of every length", None, "texts") as advance:
        corpus = Balanced(open_corpus("docstrings", limit=DEMO_READ), texts, advance=advance)
    with TextTable(folder / "texts.parquet") as table:
        shown = demonstrate(
            "minilm",
            corpus,
            folder / "model",
            chosen=chosen,
            sweep=[Temperature(tau) for tau in (0.9, 0.65) if tau != temperature],
            settings=Settings(windows=windows, seed=seed),
            force=force,
            sink=table,
            progress=_progress(quiet),
        )
    _finish(shown.result, folder, quiet=quiet, json=json)
    if not quiet and not json:
        _print_fixed(shown.model)


def _read_bins(bins: str) -> int:
    kind, _, count = bins.partition(":")
    if kind == Bins.POWERS and not count:
        return 0
    if kind == Bins.EQUAL and count.isdigit() and 2 <= int(count) <= 64:
        return int(count)
    raise UncollapseError(f"--bins must be `powers`, or `equal:N` with N from 2 to 64, got {bins!r}.")


def _read_limit(max_tokens: str) -> int | str:
    if max_tokens in {"model", "table"}:
        return max_tokens
    if not max_tokens.isdigit():
        raise UncollapseError(f"--max-tokens must be `model`, `table` or a number, got {max_tokens!r}.")
    return int(max_tokens)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-.") or "corpus"


def _prepare_folder(folder: Path, force: bool) -> Path:
    """The output folder, made; one that holds anything is left alone unless the user says otherwise."""
    from uncollapse.writing import is_leftover

    if folder.is_file():
        raise OutputError(f"The output {str(folder)!r} is a file. Give a folder with --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(path.name for path in folder.iterdir() if not is_leftover(path))
    except OSError as error:
        raise OutputError(f"Could not make the output folder {str(folder)!r}: {error}. Give another.") from error
    if there and not force:
        raise OutputError(
            f"The output folder {str(folder)!r} is not empty ({', '.join(there[:3])}). Give another with --out, or "
            "--force to write into it."
        )
    return folder


def _progress(quiet: bool) -> Any:
    from uncollapse.progress import Bars, Silent

    return Silent() if quiet else Bars()


def _finish(result: "Result", folder: Path, *, quiet: bool, json: bool, skipped: str = "") -> None:
    """Write the report and the result, and print what was found."""
    from uncollapse.writing import whole_file

    result = replace(result, about={**result.about, "command": _command()})
    with whole_file(folder / "result.json") as part:
        part.write_text(result.to_json() + "\n", encoding="utf-8")
    uncollapse.write_report(folder / "report.html", result)
    if json:
        typer.echo(result.to_json())
    elif not quiet:
        _print_verdict(result, folder, skipped)


def _command() -> str:
    return shlex.join(["uncollapse", *sys.argv[1:]])


def _as_json(data: dict[str, object]) -> str:
    return json_format.dumps(data, indent=2)


def _print_verdict(result: "Result", folder: Path, skipped: str) -> None:
    console = Console()
    first, *rest = result.verdict
    colour = COLOURS[first.kind]
    console.print(Panel(escape(first.sentence), title=f"[b]{escape(first.title)}[/b]", border_style=colour))
    for finding in rest:
        console.print(f"[{COLOURS[finding.kind]}]•[/] [b]{escape(finding.title)}.[/b] {escape(finding.sentence)}")
    if skipped:
        console.print(f"[yellow]•[/] [b]Left out.[/b] {escape(skipped)}")
    console.print(f"\nReport: [b]{escape(str(folder / 'report.html'))}[/b]", soft_wrap=True)


def _print_fixed(report: Any) -> None:
    Console().print(
        f"Model:  [b]{escape(str(report.folder))}[/b] = {escape(report.fix)} in the weights, {report.dtype}. "
        f"Vectors of the reloaded folder equal the patched model's to {report.reload_difference:.1g}.\n"
        f'Load:   SentenceTransformer("{escape(str(report.folder))}")',
        soft_wrap=True,
    )
    if report.max_tokens:
        Console().print(f"It cuts texts at {report.max_tokens} tokens, as its source does.")
    if report.left_out:
        Console().print(f"Left out, as they hold the unfixed weights: {escape(', '.join(report.left_out))}.")


def _say_step(step: str) -> None:
    Console(stderr=True).print(f"[dim]{escape(step)} ...[/]")


def _say_notes(notes: tuple[str, ...], quiet: bool) -> None:
    for note in () if quiet else notes:
        Console(stderr=True).print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and give its exit code."""
    try:
        app(arguments)
    except UncollapseError as error:
        Console(stderr=True).print(f"[red b]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        return 2
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def main() -> None:
    """Entry point of the `uncollapse` command."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    sys.exit(run())
