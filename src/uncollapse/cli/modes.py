"""Which options of `evaluate` go together: one that would do nothing is refused by name."""

import typer

from uncollapse.errors import UncollapseError

HOW_TO_READ = ("kind", "queries", "score_field", "lenient")
"""How files are read; mteb says it of its own tasks."""

WITH_A_MODEL = (
    *(
        "model",
        "fix",
        "against",
        "split",
        *HOW_TO_READ,
        "max_tokens",
        "cache",
        "no_cache",
        "approximate",
        "batch_size",
    ),
    *("learn_from", "device", "dtype", "save_runs", "mteb", "trust_remote_code"),
)
"""What only a model that is scored on data has a use for."""

WITH_TEXTS = ("bm25",)
"""What only texts have a use for, whatever ranks them."""

WITHOUT_A_MODEL = ("qrels", "lengths", "query_lengths")
"""What only rankings that are there already have a use for."""

NEEDED_BY_RUNS = ("qrels", "lengths")


def check_options(context: typer.Context) -> None:
    """Refuse options that do not go together.

    Raises:
        UncollapseError: data and rankings, neither, rankings without what they need, or an option without effect.
    """
    paths, runs = context.params["paths"] or (), context.params["run"]
    if bool(paths) == bool(runs):
        raise UncollapseError(
            "Give either data to score a model on (uncollapse evaluate FOLDER), or rankings that are already there "
            "(uncollapse evaluate --run RUN --qrels QRELS --lengths LENGTHS); "
            + ("both were given." if paths else "neither was given.")
        )
    if runs:
        _check_needed(context)
        _refuse(context, WITH_TEXTS, "Rankings (--run) hold ids and no texts to match words in", "score a folder")
        _refuse(context, WITH_A_MODEL, "Rankings (--run) are scored as they are, without a model", "score a folder")
        return
    _refuse(
        context, WITHOUT_A_MODEL, "A folder holds its own judgements, and texts whose length is counted", "use --run"
    )
    if any(path.startswith("mteb:") for path in paths):
        _refuse(context, HOW_TO_READ, "mteb itself says how its tasks are read", "score files of your own")
    if not context.params["fix"]:
        _refuse(context, ("learn_from",), "Only fixes learn from texts, and none was given", "name one with --fix")
    if context.params["no_cache"]:
        _refuse(context, ("cache",), "With --no-cache no vectors are kept", "leave --no-cache out")


def _check_needed(context: typer.Context) -> None:
    missing = [_option(context, name) for name in NEEDED_BY_RUNS if context.params[name] is None]
    if missing:
        raise UncollapseError(
            f"Rankings are scored against judgements and by length: {' and '.join(missing)} must be given too."
        )


def _refuse(context: typer.Context, names: tuple[str, ...], why: str, instead: str) -> None:
    given = [_option(context, name) for name in names if _is_given(context, name)]
    if given:
        raise UncollapseError(
            f"{why}, so {', '.join(given)} would do nothing. Leave out what does nothing, or {instead}."
        )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _option(context: typer.Context, name: str) -> str:
    parameter = next(parameter for parameter in context.command.params if parameter.name == name)
    return max(parameter.opts, key=len)
