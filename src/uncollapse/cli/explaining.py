"""`uncollapse explain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import uncollapse
from uncollapse.cli.folders import check_output, output_folder
from uncollapse.cli.options import (
    BatchOption,
    DeviceOption,
    ForceOption,
    JsonOption,
    LimitOption,
    ModelOption,
    QuietOption,
    RemoteOption,
    SampleOption,
    SeedOption,
    TokensOption,
    read_limit,
)
from uncollapse.cli.printing import finish, progress, say_notes
from uncollapse.errors import UncollapseError

if TYPE_CHECKING:
    from uncollapse.records import Result


def explain(
    corpus: Annotated[
        str,
        typer.Argument(
            help="A .txt, .md, .jsonl, .csv, .tsv or .parquet file, a folder or glob of them, a BEIR folder, a "
            "Hugging Face dataset on disk (save_to_disk), or `docstrings`, the documentation of the installed "
            "packages."
        ),
    ],
    model: ModelOption = "minilm",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the results; uncollapse-explain-CORPUS if not given. One that holds anything is refused "
            "without --force.",
            show_default=False,
        ),
    ] = None,
    documents: Annotated[
        int,
        typer.Option(help="Documents to look at, drawn at random among the long ones; each is cut to many lengths."),
    ] = 32,
    temperatures: Annotated[
        str | None,
        typer.Option(
            help="Further runs of the whole model, each with this temperature: numbers, commas between; 0.8,0.6 if "
            "not given.",
            show_default=False,
        ),
    ] = None,
    n0: Annotated[
        int | None,
        typer.Option(
            help="Tokens at which every head is kept as it is when temperatures by length are solved for; the longest "
            "length looked at up to it is taken; 128 if not given.",
            min=2,
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="The model as it is: no temperatures, and nothing solved for.")
    ] = False,
    max_tokens: TokensOption = "table",
    limit: LimitOption = None,
    sample: SampleOption = None,
    text_field: Annotated[str | None, typer.Option(help="Field or column that holds the text.")] = None,
    id_field: Annotated[str | None, typer.Option(help="Field or column that holds the id.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count broken records and go on.")] = False,
    batch_size: BatchOption = None,
    device: DeviceOption = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Show what attention does inside a model as texts grow, and what of it reaches the embedding.

    Every head as a filter, the stream between the layers, frequencies,
    temperatures, and the theory beside it.

    Writes report.html (for your browser) and result.json (every number).
    Beside them: heads.parquet (a row a text, length and head) and
    temperatures.json (what would keep each head as it is at --n0).
    """
    from uncollapse.corpora import open_corpus
    from uncollapse.encoders.sources import check_source
    from uncollapse.explanation.settings import Settings

    if quick and (temperatures is not None or n0 is not None):
        raise UncollapseError(
            "--quick looks at no temperature, so --temperatures and --n0 would do nothing. Leave one out."
        )
    taus = () if quick else read_temperatures("0.8,0.6" if temperatures is None else temperatures)
    settings = Settings(
        documents=documents, n0=n0 or 0, seed=seed, temperatures=taus,
        at_one_layer=1.0 if quick else 0.8, solved=0 if quick else 16,
    )  # fmt: skip
    texts = open_corpus(
        corpus, text_field=text_field, id_field=id_field, skip_bad=skip_bad, limit=limit, sample=sample, seed=seed
    )
    check_output(out, f"explain-{texts.name}", force=force)
    check_source(model)

    from uncollapse.encoders import load_model
    from uncollapse.tables import HeadTable

    encoder = load_model(
        model, max_tokens=read_limit(max_tokens), device=device, batch_size=batch_size,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    with output_folder(out, f"explain-{texts.name}", force=force) as folder:
        texts.draw()
        say_notes((*encoder.notes, *texts.notes), quiet)
        with HeadTable(folder / "heads.parquet") as table:
            result = uncollapse.explain(encoder, texts, settings=settings, sink=table, progress=progress(quiet))
        _write_temperatures(result, folder)
        finish(result, folder, quiet=quiet, json=json, skipped=str(texts.skipped) if texts.skipped.total else "")


def read_temperatures(text: str) -> tuple[float, ...]:
    """Numbers with commas between."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(float(part) for part in parts)
    except ValueError as error:
        raise UncollapseError(f"--temperatures must be numbers with commas between, got {text!r}.") from error


def _write_temperatures(result: "Result", folder: Path) -> None:
    """The temperatures that keep heads as they are, where they were solved for."""
    from uncollapse.cli.printing import as_json
    from uncollapse.explanation.temperatures import solved_temperatures
    from uncollapse.writing import whole_file

    if found := solved_temperatures(result):
        with whole_file(folder / "temperatures.json") as part:
            part.write_text(as_json(found) + "\n", encoding="utf-8")
