"""The command `diagnose`."""

from typing import Annotated

import typer

import uncollapse
from uncollapse.cli.options import (
    BatchOption,
    DeviceOption,
    ForceOption,
    JsonOption,
    ModelOption,
    OutOption,
    QuietOption,
    RemoteOption,
    SeedOption,
    TokensOption,
    prepare_folder,
    read_bins,
    read_limit,
)
from uncollapse.cli.printing import finish, progress, say_notes


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
    max_tokens: TokensOption = "table",
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
    batch_size: BatchOption = None,
    device: DeviceOption = None,
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
    from uncollapse.diagnosis.settings import Settings
    from uncollapse.encoders import load
    from uncollapse.fixes import parse
    from uncollapse.tables import TextTable

    chosen = None if fix is None else parse(fix)
    texts = open_corpus(corpus, text_field=text_field, id_field=id_field, skip_bad=skip_bad, limit=limit)
    folder = prepare_folder(out, texts.name, force=force)
    encoder = load(
        model,
        max_tokens=read_limit(max_tokens),
        device=device,
        batch_size=batch_size,
        trust_remote_code=trust_remote_code,
    )
    say_notes((*encoder.notes, *texts.notes), quiet)
    settings = Settings(equal_bins=read_bins(bins), windows=windows, seed=seed, stream=stream)
    with TextTable(folder / "texts.parquet") as table:
        result = uncollapse.diagnose(
            encoder, texts, settings=settings, fix=chosen, sink=table, progress=progress(quiet)
        )
    finish(result, folder, quiet=quiet, json=json, skipped=str(texts.skipped) if texts.skipped.total else "")
