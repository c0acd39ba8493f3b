"""The commands `compare` and `tune`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import uncollapse
from uncollapse.cli.folders import check_named, output_folder
from uncollapse.cli.options import (
    BatchOption,
    CacheOption,
    DeviceOption,
    DtypeOption,
    FieldOption,
    ForceOption,
    JsonOption,
    LearnOption,
    ModelOption,
    NoCacheOption,
    OutOption,
    QuietOption,
    RemoteOption,
    SeedOption,
    TokensOption,
    read_learn_from,
    read_limit,
)
from uncollapse.cli.printing import finish, progress, say_notes
from uncollapse.errors import UncollapseError

if TYPE_CHECKING:
    from uncollapse.corpora import Corpus
    from uncollapse.evaluation.tasks import Task

DataArgument = Annotated[
    str,
    typer.Argument(
        help="A BEIR folder (corpus.jsonl, queries.jsonl, qrels/); or documents without any label: a file, folder, "
        "quoted glob or Hugging Face dataset on disk, as `diagnose` reads them, or `docstrings`."
    ),
]
SplitOption = Annotated[
    list[str] | None,
    typer.Option(help="Split of the judgements, `test` if there and not given; may be given several times."),
]
QueriesOption = Annotated[
    str | None, typer.Option(help="File of queries in the folder, if not queries.jsonl.", show_default=False)
]
NoLabelsOption = Annotated[
    bool,
    typer.Option("--no-labels", help="Leave judgements alone: queries are made out of the documents."),
]
DocumentsOption = Annotated[
    int, typer.Option(min=50, help="Documents that queries are made out of, where there are no labels.")
]


def compare(
    path: DataArgument,
    model: ModelOption = "minilm",
    fix: Annotated[
        list[str] | None,
        typer.Option(
            "--fix",
            "--contender",
            help='Race this instead of all known fixes: a family with all its dials, such as "whitening", or a '
            'notation, such as "whitening(0.3)"; may be given several times.',
        ),
    ] = None,
    out: OutOption = None,
    split: SplitOption = None,
    queries: QueriesOption = None,
    no_labels: NoLabelsOption = False,
    documents: DocumentsOption = 1000,
    encodes: Annotated[
        float,
        typer.Option(
            min=2,
            help="Most times that the whole corpus goes through the model; what does worst without labels is left out "
            "beyond that. Fixes after the model cost none.",
        ),
    ] = 6.0,
    learn_from: LearnOption = "task",
    bins: Annotated[int, typer.Option(min=2, max=64, help="Length bins of about equally many queries.")] = 5,
    text_field: FieldOption = None,
    max_tokens: TokensOption = "model",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    batch_size: BatchOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Race all known fixes on your own data, and say which one pays, what it costs, or to leave the model as it is.

    With judged queries, every dial is chosen on some queries and scored on others, with paired tests and by length.
    Without, queries are made out of your documents, and the verdict says that no labels stand behind it.
    Writes report.html (for your browser) and result.json. Vectors are kept: a stopped race goes on.
    """
    _check_cache(cache, no_cache)
    _check_place(path)

    from uncollapse.tuning.contenders import read_contenders

    contenders = read_contenders(fix) if fix else None
    check_named(out, [model], force=force)

    from uncollapse.tuning.rules import Rules

    rules = Rules(bins=bins, documents=documents, encodes=encodes, learn_from=read_learn_from(learn_from), seed=seed)
    data = _open(path, split, queries, no_labels=no_labels, text_field=text_field)
    _check_heard(data, documents=documents, encodes=encodes)
    _say_data(data, quiet)
    kept = _kept(cache, no_cache)
    with output_folder(out, _name(data), force=force, kept=kept) as folder:
        encoder = _load(model, max_tokens, device, batch_size, dtype, trust_remote_code)
        say_notes(encoder.notes, quiet)
        result = uncollapse.compare(encoder, data, contenders, rules=rules, cache=kept, progress=progress(quiet))
        finish(result, folder, quiet=quiet, json=json)


def tune(
    path: DataArgument,
    fix: Annotated[
        list[str],
        typer.Option(
            help='Whose dial to choose: a family, such as "whitening" or "temperature", or notations, such as '
            '"whitening(0.3)"; may be given several times.'
        ),
    ],
    model: ModelOption = "minilm",
    out: OutOption = None,
    split: SplitOption = None,
    queries: QueriesOption = None,
    no_labels: NoLabelsOption = False,
    documents: DocumentsOption = 1000,
    criterion: Annotated[
        str,
        typer.Option(
            help="What chooses without labels: `probe` (queries made out of documents look for them), or which number "
            "of the model is matched between long and shorter texts: `mean_cosine`, `filter_rate` or `entropy`."
        ),
    ] = "probe",
    learn_from: LearnOption = "task",
    text_field: FieldOption = None,
    max_tokens: TokensOption = "model",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    batch_size: BatchOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Choose the dial of a fix on your own documents, without any label, and with labels where there are any.

    Without labels, queries are made out of the documents and look for them. With a BEIR folder the judged queries
    choose, and the report says what the choice without them would have lost. Either choice is checked on queries that
    had no say in it.
    """
    _check_cache(cache, no_cache)
    _check_place(path)

    from uncollapse.tuning.contenders import read_contenders

    contenders = read_contenders(fix)
    check_named(out, [model], force=force)

    from uncollapse.tuning.criteria import check_seen_by
    from uncollapse.tuning.rules import Rules

    check_seen_by(criterion, contenders)
    rules = Rules(documents=documents, learn_from=read_learn_from(learn_from), seed=seed)
    data = _open(path, split, queries, no_labels=no_labels, text_field=text_field)
    _check_heard(data, documents=documents)
    _say_data(data, quiet)
    one, kept = _only(data), _kept(cache, no_cache)
    with output_folder(out, _name(data), force=force, kept=kept) as folder:
        encoder = _load(model, max_tokens, device, batch_size, dtype, trust_remote_code)
        say_notes(encoder.notes, quiet)
        result = uncollapse.tune(
            encoder, one, contenders, criterion=criterion, rules=rules, cache=kept, progress=progress(quiet)
        )
        finish(result, folder, quiet=quiet, json=json)


def _check_place(path: str) -> None:
    """Look at what was named, before anybody waits for torch."""
    from uncollapse.corpora.sources import find_corpus

    if not path.startswith("mteb:"):
        find_corpus(path)


def _check_heard(data: "Corpus | Sequence[Task]", *, documents: int, encodes: float | None = None) -> None:
    """Refuse options that would not be looked at with such data."""
    from uncollapse.tuning.rules import Rules

    alone = not isinstance(data, Sequence)
    if alone and encodes not in (None, Rules.encodes):
        raise UncollapseError(
            "--encodes leaves out what does worst without labels beside a race with labels, so it would do nothing on "
            "documents alone. Leave it out; --documents says how many are raced on."
        )
    if not alone and documents != Rules.documents:
        raise UncollapseError(
            "--documents is for documents alone; with judged queries the whole collection is searched, so it would do "
            "nothing. Leave it out, or take --no-labels."
        )


def _open(
    path: str, split: list[str] | None, queries: str | None, *, no_labels: bool, text_field: str | None
) -> "Corpus | Sequence[Task]":
    """Tasks where the folder holds judged queries, else a corpus; an option that would do nothing is refused."""
    from uncollapse.corpora import open_corpus
    from uncollapse.evaluation.reading.beir import is_beir

    if path.startswith("mteb:"):
        from uncollapse.evaluation.mteb import from_mteb

        _refuse("mteb itself says how its tasks are read", queries=queries, text_field=text_field, no_labels=no_labels)
        name = path.removeprefix("mteb:")
        return [task for one in split for task in from_mteb(name, one)] if split else list(from_mteb(name))
    if is_beir(Path(path)) and not no_labels:
        _refuse("a BEIR folder says what its texts are", text_field=text_field)
        return uncollapse.open_tasks(path, split=split, queries=queries)
    _refuse("documents without labels have neither splits nor queries", split=split, queries=queries)
    return open_corpus(path, text_field=text_field)


def _refuse(why: str, **options: object) -> None:
    if given := [f"--{name.replace('_', '-')}" for name, value in options.items() if value]:
        raise UncollapseError(f"{', '.join(given)} would do nothing: {why}. Leave out what does nothing.")


def _check_cache(cache: Path | None, no_cache: bool) -> None:
    if cache is not None and no_cache:
        raise UncollapseError(
            "With --no-cache no vectors are kept, so --cache would do nothing. Leave one of them out."
        )


def _kept(cache: Path | None, no_cache: bool) -> Path | None:
    from uncollapse.encoders.cache import default_folder

    return None if no_cache else cache or default_folder()


def _name(data: "Corpus | Sequence[Task]") -> str:
    from uncollapse.corpora import Corpus

    return data.name if isinstance(data, Corpus) else data[0].name


def _only(data: "Corpus | Sequence[Task]") -> "Corpus | Task":
    """A dial is chosen on one data set."""
    from uncollapse.corpora import Corpus

    if isinstance(data, Corpus):
        return data
    if len(data) > 1:
        names = ", ".join(task.split for task in data)
        raise UncollapseError(f"A dial is chosen on one data set, got {len(data)}: {names}. Name one with --split.")
    return data[0]


def _say_data(data: "Corpus | Sequence[Task]", quiet: bool) -> None:
    from uncollapse.corpora import Corpus

    if isinstance(data, Corpus):
        data.check_first()
        say_notes((f"{data.name}: no labels, so queries are made out of the documents", *data.notes), quiet)
        return
    say_notes(tuple(f"{task.name}/{task.split}: {note}" for task in data for note in task.notes), quiet)


def _load(
    model: str, max_tokens: str, device: str | None, batch_size: int | None, dtype: Any, trust_remote_code: bool
) -> Any:
    from uncollapse.encoders import load_model

    return load_model(
        model, max_tokens=read_limit(max_tokens), device=device, batch_size=batch_size, dtype=dtype,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
