"""The commands `fix` and `demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uncollapse.cli.folders import check_place, output_folder, output_place
from uncollapse.cli.options import (
    FitSeedOption,
    ForceOption,
    JsonOption,
    ModelArgument,
    QuietOption,
    RemoteOption,
    SeedOption,
)
from uncollapse.cli.printing import as_json, finish, print_fixed, progress, say_notes, say_step

if TYPE_CHECKING:
    from uncollapse.fixes import Composition
    from uncollapse.pipelines.automatic import Chosen
    from uncollapse.pipelines.fitting import Unlabelled

DEMO_READ = 8000
"""Documentation strings among which the demo looks for long ones."""


def fix(
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new model.", show_default=False)],
    fix: Annotated[
        str | None,
        typer.Argument(
            help='What to write, e.g. "temperature(0.8)" or "centering(role) + whitening(0.2, role)", or a .json '
            "file; nothing with --auto.",
            show_default=False,
        ),
    ] = None,
    auto: Annotated[
        str | None,
        typer.Option(
            help="Choose the fix for this corpus: file, folder, glob, BEIR folder or dataset on disk. Needs no "
            "labels.",
            show_default=False,
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(help="Texts that the given fix is fitted to, where it acts on vectors.", show_default=False),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            help="File of queries without answers, such as a search log; queries.jsonl of a BEIR folder if not given.",
            show_default=False,
        ),
    ] = None,
    text_field: Annotated[str | None, typer.Option(help="Field or column that holds the text.")] = None,
    seed: FitSeedOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there already.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Write a fixed model: a folder that plain sentence-transformers loads.

    What acts inside the model goes into its weights, what acts on vectors becomes Dense modules after it. The folder
    is checked against the fix taken literally, reloaded and compared before it takes its name.
    """
    from uncollapse.encoders.cache import default_folder
    from uncollapse.encoders.sources import check_source
    from uncollapse.fixes import compose, parse

    _check_asked(fix, auto, corpus, queries=queries, text_field=text_field)
    given, seen = parse(fix) if fix else None, None
    _check_read(auto or corpus, queries, text_field)
    check_place(out, force=force)
    check_source(model)

    from uncollapse.checkpoints import fix as write_fixed
    from uncollapse.pipelines.reading import read_unlabelled

    steps = (lambda _: None) if quiet else say_step
    if given:
        _check_given(compose(given), corpus, queries, seed)
    if source := auto or corpus:
        seen = read_unlabelled(
            source, queries=queries, seed=seed or 0, progress=progress(quiet), text_field=text_field
        )
    found = None if given else _choose(model, seen, quiet, trust_remote_code)
    chosen = found.fix if found else compose(given)
    if queries and seen:
        _say_few(len(seen.queries), quiet)
    with output_place(out):
        report = write_fixed(
            model,
            found or chosen,
            out,
            corpus=seen if chosen.vectors else None,
            cache=default_folder(),
            seed=seed or 0,
            force=force,
            trust_remote_code=trust_remote_code,
            step=steps,
            progress=progress(quiet),
        )
    if any(getattr(part, "softens", False) for part in chosen.parts):
        say_notes(("a temperature above 1 softens attention; what length collapse asks for is below 1",), quiet)
    if json:
        typer.echo(as_json({**vars(report), "folder": str(report.folder)}))
    elif not quiet:
        print_fixed(report)


def _check_asked(fix: str | None, auto: str | None, corpus: str | None, **of_corpus: str | None) -> None:
    """Exactly one way to choose the fix, and no option that would do nothing."""
    from uncollapse.errors import UncollapseError

    if (fix is None) == (auto is None):
        raise UncollapseError(
            'Give a fix, such as "temperature(0.8)", or --auto CORPUS to have one chosen; '
            f"got {'both' if fix else 'neither'}."
        )
    if auto and corpus:
        raise UncollapseError("--auto fits to the corpus it names, so --corpus would do nothing. Leave it out.")
    for name, value in of_corpus.items():
        if value and not (auto or corpus):
            option = f"--{name.replace('_', '-')}"
            raise UncollapseError(f"{option} goes with a corpus: name it with --auto or --corpus.")


def _check_read(source: str | None, queries: str | None, text_field: str | None) -> None:
    """Look at what will be read, before anybody waits for torch."""
    from uncollapse.corpora import open_corpus

    if source:
        open_corpus(source, text_field=text_field)
    if queries:
        open_corpus(queries)


def _check_given(chosen: "Composition", corpus: str | None, queries: str | None, seed: int | None) -> None:
    """No option that would do nothing to this fix."""
    from uncollapse.checkpoints import check_corpus
    from uncollapse.errors import UncollapseError

    if corpus:
        check_corpus(chosen, is_given=True)
    if queries:
        _check_queries(chosen)
    if seed is not None and not chosen.vectors:
        raise UncollapseError(f"`{chosen}` is fitted to nothing, so --seed would do nothing. Leave it out.")


def _check_queries(chosen: "Composition") -> None:
    from uncollapse.errors import UncollapseError
    from uncollapse.fixes.statistics import Group
    from uncollapse.pipelines.fitting import needed_by

    if Group.QUERIES not in needed_by(chosen):
        raise UncollapseError(f"`{chosen}` learns nothing from queries, so --queries would do nothing. Leave it out.")


def _say_few(n_queries: int, quiet: bool) -> None:
    """So few queries are passed over, which nobody would see."""
    from uncollapse.fixes.statistics import FEWEST

    if n_queries < FEWEST:
        said = f"--queries holds {n_queries}, fewer than the {FEWEST} that a mean needs: sentences of the documents"
        say_notes((f"{said} stand for them",), quiet)


def _choose(model: str, seen: "Unlabelled | None", quiet: bool, trust_remote_code: bool) -> "Chosen":
    from uncollapse.encoders import load_model
    from uncollapse.errors import FixError
    from uncollapse.pipelines.automatic import choose

    assert seen is not None  # --auto named a corpus
    chosen = choose(load_model(model, device="cpu", trust_remote_code=trust_remote_code), seen)
    say_notes(chosen.reasons, quiet)
    if not chosen.fix.parts:
        raise FixError(f"Nothing to write: {'; '.join(chosen.reasons)}. Use the model as it is.")
    return chosen


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model and the results.")] = Path(
        "uncollapse-demo"
    ),
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
    from uncollapse.diagnosis.settings import Settings
    from uncollapse.tables import TextTable

    chosen = Temperature(temperature)
    with output_folder(out, "demo", force=force) as folder:
        with progress(quiet).track("looking for texts of every length", None, "texts") as advance:
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
                progress=progress(quiet),
            )
        finish(shown.result, folder, quiet=quiet, json=json)
    if not quiet and not json:
        print_fixed(shown.model)
