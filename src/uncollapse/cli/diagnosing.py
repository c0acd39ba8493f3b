"""The command `diagnose`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import uncollapse
from uncollapse.cli.conditions import read_conditions
from uncollapse.cli.folders import check_output, output_folder
from uncollapse.cli.options import (
    BatchOption,
    CounterOption,
    DeviceOption,
    DtypeOption,
    ForceOption,
    JsonOption,
    LimitOption,
    OutOption,
    QuietOption,
    RemoteOption,
    SampleOption,
    SeedOption,
    SeenOption,
    ServerCacheOption,
    read_bins,
    read_limit,
    read_limits,
)
from uncollapse.cli.printing import finish, print_outcomes, progress, say_notes
from uncollapse.errors import UncollapseError
from uncollapse.gate import FAILED

if TYPE_CHECKING:
    from uncollapse.encoders import VectorFile
    from uncollapse.records import Result


def diagnose(
    corpus: Annotated[
        str,
        typer.Argument(
            help="A .txt, .md, .jsonl, .csv, .tsv or .parquet file, a folder or quoted glob of them, a BEIR folder, "
            "a Hugging Face dataset on disk (save_to_disk), or `docstrings`, the documentation of the installed "
            "packages."
        ),
    ],
    model: SeenOption = "minilm",
    fix: Annotated[str | None, typer.Option(help='Measure with this fix on, e.g. "temperature(0.8)".')] = None,
    out: OutOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Lengths and truncation only: no causes, no costs, no thresholds.")
    ] = False,
    max_tokens: Annotated[
        str,
        typer.Option(
            help="Token limit: `table` raises it to what the model's position table reaches, to study length; what it "
            "costs and what a score means is then measured at the limit of the folder, at which the model is served. "
            "`model` measures everything at the folder's, a number everything at that number."
        ),
    ] = "table",
    limits: Annotated[
        str | None,
        typer.Option(help="Further token limits to say what is cut off at, e.g. 256,512,8192.", show_default=False),
    ] = None,
    bins: Annotated[
        str, typer.Option(help="Length bins: `powers` of two, or `equal:8` for 8 of equal counts.")
    ] = "powers",
    windows: Annotated[int, typer.Option(min=0, help="Documents to cut to 8, 16, 32, ... tokens; 0 for none.")] = 200,
    precision: Annotated[
        float | None,
        typer.Option(
            help="Encode only as many texts of every length as it takes to know their mean cosine to so much, e.g. "
            "0.01; everything if not given.",
            show_default=False,
        ),
    ] = None,
    false_positives: Annotated[
        float | None,
        typer.Option(
            help="Share of unrelated pairs that the thresholds of thresholds.json let through; 0.01 if not given.",
            show_default=False,
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            help='Leave with exit code 3 if this is so, e.g. "mean_cosine@512 > 0.5"; may be given several times.'
        ),
    ] = None,
    limit: LimitOption = None,
    sample: SampleOption = None,
    text_field: Annotated[str | None, typer.Option(help="Field or column that holds the text.")] = None,
    id_field: Annotated[str | None, typer.Option(help="Field or column that holds the id.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count broken records and go on.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Keep no vectors: memory does not grow with the corpus.")
    ] = False,
    batch_size: BatchOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    tokenizer: CounterOption = None,
    cache: ServerCacheOption = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Tell whether a model pulls long texts together on your corpus, why, and what it costs. No labels are needed.

    Prints the verdict, and writes report.html (for your browser) and result.json (every number).
    Beside them: texts.parquet (one row per text) and thresholds.json (what a score means at each length).
    """
    from uncollapse.corpora import open_corpus
    from uncollapse.corpora.shards import is_vector_file
    from uncollapse.diagnosis.settings import Settings
    from uncollapse.encoders.cache import default_folder
    from uncollapse.encoders.endpoint.addresses import is_url
    from uncollapse.encoders.sources import check_source
    from uncollapse.fixes import compose, parse

    if quick and false_positives is not None:
        raise UncollapseError("--quick measures no thresholds, so --false-positives would do nothing. Leave one out.")
    conditions = read_conditions(fail_if or (), quick=quick)
    settings = Settings(
        equal_bins=read_bins(bins), windows=windows, seed=seed, stream=stream, precision=precision,
        limits=read_limits(limits), deep=not quick, rate=0.01 if false_positives is None else false_positives,
    )  # fmt: skip
    reach, kept = read_limit(max_tokens), default_folder() if is_url(model) and cache is None else cache
    reading: dict[str, Any] = {"text_field": text_field, "id_field": id_field, "skip_bad": skip_bad}
    part: dict[str, Any] = {"limit": limit, "sample": sample, "seed": seed}
    running: dict[str, Any] = {
        "device": device, "dtype": dtype, "batch_size": batch_size, "trust_remote_code": trust_remote_code,
        "cache": kept,
    }  # fmt: skip
    vectors = _open_vectors(model, corpus, reach, text_field, id_field, tokenizer) if is_vector_file(model) else None
    texts = vectors.read(skip_bad=skip_bad, **part) if vectors else open_corpus(corpus, **reading, **part)
    chosen = None if fix is None else parse(fix)
    compose(chosen).inside("diagnose")
    check_output(out, texts.name, force=force)
    check_source(model)

    from uncollapse.encoders import load
    from uncollapse.tables import TextTable

    with output_folder(out, texts.name, force=force, kept=kept) as folder:
        if vectors is None:
            encoder = load(model, max_tokens=reach, tokenizer=tokenizer, **running)
        else:
            encoder = _without(running, vectors)
        texts.draw()
        say_notes((*encoder.notes, *texts.notes), quiet)
        with TextTable(folder / "texts.parquet") as table:
            result = uncollapse.diagnose(
                encoder, texts, settings=settings, fix=chosen, sink=table, progress=progress(quiet)
            )
        _write_thresholds(result, folder)
        finish(result, folder, quiet=quiet, json=json, skipped=str(texts.skipped) if texts.skipped.total else "")
        if print_outcomes(conditions, result):
            raise typer.Exit(FAILED)


def _open_vectors(
    model: str,
    corpus: str,
    reach: int | str,
    text_field: str | None,
    id_field: str | None,
    tokenizer: Path | None,
) -> "VectorFile":
    """A file of vectors; the corpus is the same file, or the one that holds its texts."""
    from uncollapse.corpora.embedded import Columns
    from uncollapse.encoders import VectorFile

    beside = None if Path(corpus) == Path(model) else corpus
    limit = reach if isinstance(reach, int) else None
    columns = Columns(text=text_field, id=id_field)
    return VectorFile(model, texts=beside, columns=columns, tokenizer=tokenizer, max_tokens=limit)


def _without(running: dict[str, Any], vectors: "VectorFile") -> "VectorFile":
    """The file; options about running a model would do nothing."""
    if given := [f"--{name.replace('_', '-')}" for name, value in running.items() if value]:
        raise UncollapseError(
            f"{vectors.name} holds vectors that exist already, so {', '.join(given)} would do nothing. Leave out what "
            "does nothing."
        )
    return vectors


def _write_thresholds(result: "Result", folder: Path) -> None:
    """What a score means at each length, where that was measured."""
    from uncollapse.diagnosis.scores import export_thresholds

    if "cells" in result.about.get("scores", {}):
        export_thresholds(result, folder / "thresholds.json")
