"""What several commands ask the user for, and how it is read."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from uncollapse.errors import UncollapseError

EXIT_CODES = (
    """Exit codes: 0 done (whatever the verdict), 1 a bug in uncollapse, 2 wrong usage or input, """
    """3 a --fail-if condition is met or cannot be decided, 130 interrupted, 143 terminated."""
)


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n\n".join(["Examples:", *commands, EXIT_CODES])


class Dtype(StrEnum):
    """What a model computes in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


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
ScoredOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="`minilm` (bundled, offline), a model folder, also one that `export` wrote, or a name on the Hugging "
        "Face hub.",
    ),
]
SeenOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="`minilm` (bundled, offline), a model folder, or a name on the Hugging Face hub; or what shows vectors "
        "only: a .parquet or .npy file of them, or URL#MODEL of a server that speaks /v1/embeddings.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the results; uncollapse-CORPUS if not given. One that holds anything, such as the results of "
        "the same command before, is refused without --force.",
        show_default=False,
    ),
]
TokensOption = Annotated[
    str,
    typer.Option(
        help="Token limit: `model` keeps its folder's, `table` raises it to what the model's position table reaches, "
        "or a number."
    ),
]
BatchOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Texts per forward pass; as many as are fast at their length if not given.", show_default=False
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option(help="Such as cpu or cuda; the best there is if not given.", show_default=False)
]
DtypeOption = Annotated[
    Dtype | None,
    typer.Option(
        help="What the model computes in, float32 if not given; the others are faster on graphics cards, and less "
        "exact.",
        show_default=False,
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, and no text but errors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the whole result as JSON on standard output.")]
RemoteOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model. Only if you have read it.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder where vectors are kept; the user's cache folder if not given.", show_default=False),
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Keep no vectors.")]
FieldOption = Annotated[
    str | None,
    typer.Option(help="Field with the text, if not text, body, content, passage or document.", show_default=False),
]
LearnOption = Annotated[
    str,
    typer.Option(
        help="What fixes learn from that need queries, such as centering(role): `task`, the queries without their "
        "answers; or `sentences` of the documents."
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Read at most this many texts: the first in the order of the corpus, which is often sorted; --sample "
        "draws at random.",
        show_default=False,
    ),
]
SampleOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Read at most this many texts, drawn at random by --seed; reads the corpus once more to draw them.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of sampling and bootstrap.")]
FitSeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, help="Seed of the sample that a fix is fitted to; 0 if not given.", show_default=False
    ),
]


_OUTSIDE = "Models of which only vectors can be seen: a server, a file"

CounterOption = Annotated[
    Path | None,
    typer.Option(
        help="A tokenizer.json, or the folder of a model with one, to count tokens with; words are counted if not "
        "given.",
        rich_help_panel=_OUTSIDE,
        show_default=False,
    ),
]
ServerCacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder where the vectors of a server are kept; the user's cache folder if not given.",
        rich_help_panel=_OUTSIDE,
        show_default=False,
    ),
]


def read_bins(bins: str) -> int:
    kind, _, count = bins.partition(":")
    if kind == Bins.POWERS and not count:
        return 0
    if kind == Bins.EQUAL and count.isdecimal() and 2 <= int(count) <= 64:
        return int(count)
    raise UncollapseError(f"--bins must be `powers`, or `equal:N` with N from 2 to 64, got {bins!r}.")


def read_limit(max_tokens: str) -> int | str:
    if max_tokens in {"model", "table"}:
        return max_tokens
    if not max_tokens.isdecimal():
        raise UncollapseError(f"--max-tokens must be `model`, `table` or a number, got {max_tokens!r}.")
    return int(max_tokens)


def read_learn_from(queries: str) -> Literal["task", "sentences"]:
    if queries == "task":
        return "task"
    if queries == "sentences":
        return "sentences"
    raise UncollapseError(f"--learn-from must be `task` or `sentences`, got {queries!r}.")


def read_limits(limits: str | None) -> tuple[int, ...]:
    parts = [part.strip() for part in (limits or "").split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise UncollapseError(f"--limits must be numbers of tokens with commas between, got {limits!r}.")
    return tuple(int(part) for part in parts)
