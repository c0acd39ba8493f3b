"""The commands `fix` and `demo`."""

from pathlib import Path
from typing import Annotated

import typer

from uncollapse.cli.folders import ended_by_hand, output_folder
from uncollapse.cli.options import (
    ForceOption,
    JsonOption,
    ModelArgument,
    OutOption,
    QuietOption,
    RemoteOption,
    SeedOption,
)
from uncollapse.cli.printing import as_json, finish, print_fixed, progress, say_notes, say_step

DEMO_READ = 8000
"""Documentation strings among which the demo looks for long ones."""


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
    from uncollapse.attention.temperature import Temperature
    from uncollapse.checkpoints import fix as write_fixed
    from uncollapse.errors import NotationError
    from uncollapse.fixes import parse
    from uncollapse.writing import made_folder, only_writer

    steps = (lambda _: None) if quiet else say_step
    chosen, parent = parse(fix), out.absolute().parent
    if not isinstance(chosen, Temperature):
        raise NotationError(f"`fix` writes a temperature into the weights, got {chosen}.")
    with made_folder(parent), only_writer(parent / f".{out.name}.lock", out), ended_by_hand(out):
        report = write_fixed(model, chosen, out, force=force, trust_remote_code=trust_remote_code, step=steps)
    if getattr(chosen, "softens", False):
        say_notes(("a temperature above 1 softens attention; what length collapse asks for is below 1",), quiet)
    if json:
        typer.echo(as_json({**vars(report), "folder": str(report.folder)}))
    elif not quiet:
        print_fixed(report)


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
