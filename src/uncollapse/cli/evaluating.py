"""The command `evaluate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import uncollapse
from uncollapse.cli.folders import check_named, output_folder
from uncollapse.cli.inputs import check_rankings, check_tasks, read_words
from uncollapse.cli.modes import check_options
from uncollapse.cli.options import (
    BatchOption,
    CacheOption,
    DeviceOption,
    DtypeOption,
    ForceOption,
    JsonOption,
    LearnOption,
    NoCacheOption,
    OutOption,
    QuietOption,
    RemoteOption,
    ScoredOption,
    SeedOption,
    TokensOption,
    read_learn_from,
    read_limit,
)
from uncollapse.cli.printing import finish, progress, say_notes
from uncollapse.errors import UncollapseError

if TYPE_CHECKING:
    from uncollapse.encoders import SentenceEncoder
    from uncollapse.evaluation.comparison import Plan
    from uncollapse.evaluation.tasks import Task
    from uncollapse.fixes import Fix
    from uncollapse.records import Result
    from uncollapse.tables import ItemTable

_RANKED = "Rankings of any engine, without a model"


def evaluate(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="BEIR folders (corpus.jsonl, queries.jsonl, qrels/), .tsv files of sentence1, sentence2, score, "
            "folders of train.jsonl and test.jsonl with text and label, summaries with ratings, or `mteb:NAME`.",
            show_default=False,
        ),
    ] = None,
    model: ScoredOption = "minilm",
    fix: Annotated[
        list[str] | None,
        typer.Option(help='Compare with this fix, e.g. "temperature(0.9)"; may be given several times.'),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Compare with this other model, item by item; may be given several times."),
    ] = None,
    bm25: Annotated[
        str | None,
        typer.Option(
            help="Put word matching (BM25) beside them in every search: the language of the texts, for stems and stop "
            "words (english or en, german or de, ...), or `plain` for neither. Needs the extra bm25.",
            show_default=False,
        ),
    ] = None,
    out: OutOption = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Split to score, `test` if there and not given; may be given several times."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="What to read the files as, where they can be read as several.")
    ] = None,
    queries: Annotated[str | None, typer.Option(help="File of queries in the folder, if not queries.jsonl.")] = None,
    score_field: Annotated[str | None, typer.Option(help="Field that holds people's ratings.")] = None,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Drop judgements of unknown queries and documents, and count them.")
    ] = False,
    max_tokens: TokensOption = "model",
    bins: Annotated[int, typer.Option(min=2, max=64, help="Length bins of about equally many items.")] = 5,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Search with an index (usearch), for corpora of many millions.")
    ] = False,
    learn_from: LearnOption = "task",
    batch_size: BatchOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="TREC run file; further ones are compared with the first.",
            rich_help_panel=_RANKED,
            show_default=False,
        ),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(help="Judgements: query, (0,) document, grade.", rich_help_panel=_RANKED, show_default=False),
    ] = None,
    lengths: Annotated[
        Path | None,
        typer.Option(
            help="Length of every document of the corpus, one a line: id, tab, tokens or words. A header, such as id, "
            "tab, words, says which. Or a folder of vectors that `embed` wrote, which knows the tokens of its texts.",
            rich_help_panel=_RANKED,
            show_default=False,
        ),
    ] = None,
    query_lengths: Annotated[
        Path | None,
        typer.Option(help="The same of every query, if known.", rich_help_panel=_RANKED, show_default=False),
    ] = None,
    save_runs: Annotated[
        bool,
        typer.Option("--save-runs", help="Also write the rankings as TREC run files, with their qrels and lengths."),
    ] = False,
    mteb: Annotated[
        bool,
        typer.Option("--mteb", help="Also let mteb score the data, and file its results in its layout in OUT/mteb."),
    ] = False,
    seed: SeedOption = 0,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Score a model on your own data by length, and compare fixes and other models with paired tests.

    The kind of task (retrieval, similarity, classification, clustering, summaries) is found from the files.
    Writes report.html (for your browser), result.json and items.parquet (one row per item and score).
    Vectors are kept: a second run takes seconds, and a stopped one goes on.
    """
    check_options(context)
    bm25 = None if bm25 is None else read_words(bm25)
    check_tasks(paths or ())
    check_rankings(run or (), qrels, (lengths, query_lengths))

    from uncollapse.fixes import parse

    fixes, others = [parse(text) for text in fix or ()], against or []
    check_named(out, [] if run else [model, *others], force=force)

    from uncollapse.evaluation.comparison import Plan
    from uncollapse.tables import ItemTable

    plan = Plan(bins=bins, approximate=approximate, learn_from=read_learn_from(learn_from), seed=seed)
    if run and qrels and lengths:  # the last two are there, or check_options would have refused
        with output_folder(out, run[0].stem, force=force) as folder, ItemTable(folder / "items.parquet") as table:
            result = _evaluate_runs(run, qrels, lengths, query_lengths, plan=plan, sink=table)
            of_tasks = (note for task in result.about["tasks"] for note in task["notes"])
            say_notes((*result.about["notes"], *of_tasks), quiet)
            finish(result, folder, quiet=quiet, json=json)
        return

    from uncollapse.encoders import SentenceEncoder, load_scorable
    from uncollapse.encoders.cache import default_folder

    choices = {"kind": kind, "queries": queries, "score_field": score_field, "lenient": lenient}
    loading: dict[str, Any] = {
        "max_tokens": read_limit(max_tokens), "device": device, "dtype": dtype, "batch_size": batch_size,
        "trust_remote_code": trust_remote_code,
    }  # fmt: skip
    tasks = [task for path in paths or () for task in _open(path, split=split, **choices)]
    say_notes(tuple(f"{task.name}/{task.split}: {note}" for task in tasks for note in task.notes), quiet)
    rankings = others if bm25 is None else [*others, _check_words(bm25, tasks, [model, *others], quiet)]
    _check_possible(tasks, fixes, [model, *rankings], approximate=approximate, save_runs=save_runs, mteb=mteb)
    kept = None if no_cache else cache or default_folder()
    with output_folder(out, tasks[0].name, force=force, kept=kept) as folder:
        encoder, *rivals = (load_scorable(name, **loading) for name in (model, *others))
        notes = (f"{one.name}: {note}" if others else note for one in (encoder, *rivals) for note in one.notes)
        say_notes(tuple(notes), quiet)
        runs = folder / "runs" if save_runs else None
        with ItemTable(folder / "items.parquet", runs=runs, model=model, against=rankings) as table:
            result = uncollapse.evaluate(
                encoder,
                tasks,
                fixes,
                against=rivals,
                bm25=bm25,
                plan=plan,
                cache=kept,
                sink=table,
                progress=progress(quiet),
            )
            finish(result, folder, quiet=quiet, json=json)
        if mteb:
            settings = [(encoder, None), *((encoder, fix) for fix in fixes), *((rival, None) for rival in rivals)]
            in_torch = [(one, fix) for one, fix in settings if isinstance(one, SentenceEncoder)]  # all of them, by now
            _run_mteb(in_torch, tasks, folder / "mteb", kept, quiet)


def _check_words(language: str, tasks: "Sequence[Task]", models: list[str], quiet: bool) -> str:
    """Tell before the work what word matching cannot do; its name in the results."""
    from uncollapse.evaluation.rankings.words import BM25, check_words, left_out_note

    check_words(language, tasks, models)
    say_notes(tuple(left_out_note(tasks)), quiet)
    return BM25


def _check_possible(
    tasks: "Sequence[Task]",
    fixes: "Sequence[Fix]",
    models: list[str],
    *,
    approximate: bool,
    save_runs: bool,
    mteb: bool,
) -> None:
    """Tell before hours of encoding what could not be done after them."""
    from uncollapse.evaluation.tasks import Retrieval

    asked = [option for option, given in (("--approximate", approximate), ("--save-runs", save_runs)) if given]
    if asked and not any(isinstance(task, Retrieval) for task in tasks):
        kinds = ", ".join(sorted({task.kind for task in tasks}))
        raise UncollapseError(
            f"Only retrieval makes rankings, and what was given is {kinds}, so {' and '.join(asked)} would do "
            "nothing. Leave out what does nothing."
        )
    if approximate:
        from uncollapse.evaluation.rankings.approximate import require_usearch

        require_usearch()
    if save_runs:
        from uncollapse.tables import check_runs

        check_runs(tasks, [str(fix) for fix in fixes], model=models[0], against=models[1:])
    if mteb:
        from uncollapse.evaluation.mteb.library import require_mteb

        require_mteb()
        _refuse_exported(models)


def _refuse_exported(models: list[str]) -> None:
    """mteb files results under what a model is in torch."""
    from uncollapse.encoders.exported import is_export

    if exported := [name for name in models if is_export(name)]:
        raise UncollapseError(
            f"mteb takes models that torch runs, and {exported[0]!r} was exported. Leave --mteb out, or name the "
            "model that it was made from."
        )


def _run_mteb(
    settings: "Sequence[tuple[SentenceEncoder, Fix | None]]",
    tasks: "Sequence[Task]",
    output: Path,
    cache: Path | None,
    quiet: bool,
) -> None:
    from uncollapse.evaluation.mteb import as_mteb_task, run_mteb

    sets: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        sets.setdefault((task.name, task.kind), []).append(task)
    theirs = [as_mteb_task(*splits) for splits in sets.values()]
    for encoder, fix in settings:
        run_mteb(encoder, theirs, fix=fix, output=output, cache=cache, progress=progress(quiet))


def _open(path: str, *, split: list[str] | None, **choices: Any) -> "tuple[Task, ...]":
    if path.startswith("mteb:"):
        from uncollapse.evaluation.mteb import from_mteb

        name = path.removeprefix("mteb:")
        return tuple(task for one in split for task in from_mteb(name, one)) if split else from_mteb(name)
    return uncollapse.open_tasks(path, split=split, **choices)


def _evaluate_runs(
    runs: list[Path],
    qrels: Path,
    lengths: Path,
    query_lengths: Path | None,
    *,
    plan: "Plan",
    sink: "ItemTable",
) -> "Result":
    from uncollapse.evaluation.reading.judgements import read_lengths, read_qrels, read_unit
    from uncollapse.evaluation.reading.trec import read_run
    from uncollapse.evaluation.trial import evaluate_runs

    known: Mapping[str, int] | None = None if query_lengths is None else read_lengths(query_lengths)
    units = {read_unit(file) for file in (lengths, query_lengths) if file}
    return evaluate_runs(
        [read_run(run) for run in runs],
        read_qrels(qrels),
        read_lengths(lengths),
        name=_judged_set(qrels),
        query_lengths=known,
        unit=units.pop() if len(units) == 1 else "",
        plan=plan,
        sink=sink,
    )


def _judged_set(qrels: Path) -> str:
    """The name of what is judged: of the file, and in a BEIR folder (FOLDER/qrels/SPLIT.tsv) of that folder."""
    split, folder = Path(qrels.name.removesuffix(".gz")).stem, qrels.absolute().parent
    return f"{folder.parent.name}/{split}" if folder.name == "qrels" else split
