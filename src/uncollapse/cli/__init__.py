"""The command line: parse, call, print; no logic."""

import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import uncollapse
from uncollapse.cli.diagnosing import diagnose
from uncollapse.cli.embedding import embed
from uncollapse.cli.evaluating import evaluate
from uncollapse.cli.explaining import explain
from uncollapse.cli.exporting import export
from uncollapse.cli.fixing import demo, fix
from uncollapse.cli.folders import leave_in_order
from uncollapse.cli.options import EXIT_CODES, examples
from uncollapse.cli.racing import compare, tune
from uncollapse.cli.searching import search
from uncollapse.cli.storing import store
from uncollapse.cli.streams import print_on_unread
from uncollapse.errors import UncollapseError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
    help="Find out whether your embedding model pulls long texts together, and fix it in the weights.",
)
app.command(
    epilog=examples(
        "uncollapse diagnose notes/",
        'uncollapse diagnose docs.jsonl -m ./my-model --text-field body --fix "temperature(0.8)"',
        "uncollapse diagnose docs.jsonl -m vectors.npy",
        'uncollapse diagnose docs.jsonl --precision 0.01 --fail-if "low(mean_cosine_rise) > 0.05"',
    )
)(diagnose)
app.command(
    epilog=examples(
        'uncollapse evaluate my-beir-folder/ --fix "temperature(0.9)"',
        "uncollapse evaluate sts/test.tsv -m ./before --against ./after",
        "uncollapse evaluate my-beir-folder/ -m ./my-model --bm25 english",
        "uncollapse evaluate --run run.trec --qrels qrels.tsv --lengths lengths.tsv",
    )
)(evaluate)
app.command(
    epilog=examples(
        "uncollapse compare my-beir-folder/ -m ./my-model",
        'uncollapse compare my-beir-folder/ --fix whitening --fix temperature --fix "centering(role)"',
        "uncollapse compare docs.jsonl --text-field body",
    )
)(compare)
app.command(
    epilog=examples(
        "uncollapse tune docs.jsonl --fix whitening",
        "uncollapse tune my-beir-folder/ --fix temperature -m ./my-model",
        'uncollapse tune docs.jsonl --fix "whitening(0.2)" --fix "whitening(0.3)" --fix "whitening(0.5)"',
    )
)(tune)
app.command(
    epilog=examples(
        "uncollapse explain notes/",
        "uncollapse explain docs.jsonl -m ./my-model --documents 64 --temperatures 0.9,0.7",
        "uncollapse explain docstrings --limit 2000 --quick",
    )
)(explain)
app.command(
    epilog=examples(
        'uncollapse fix minilm "temperature(0.8)" -o fixed',
        'uncollapse fix ./my-model "temperature([1, 1, 0.9, 0.9, 0.8, 0.8])" -o fixed',
        "uncollapse fix minilm tau.json -o fixed --force",
        "uncollapse fix minilm --auto docs.jsonl --queries log.txt -o fixed",
        'uncollapse fix minilm "centering(role) + whitening(0.2, role)" --corpus docs.jsonl -o fixed',
    )
)(fix)
app.command(
    epilog=examples(
        "uncollapse export minilm -o minilm-onnx",
        "uncollapse export ./my-model-fixed -o my-model-int8 --format onnx-int8",
        "uncollapse export ./my-model-fixed -o my-model-openvino --format openvino --force",
        'uncollapse export minilm -o lengths --buckets 64,256 --law "temperature(law=log, n0=64, above_only=True)"',
    )
)(export)
app.command(
    epilog=examples(
        "uncollapse embed docs.jsonl -o vectors/",
        "uncollapse embed docs.jsonl -m ./my-model-fixed -o vectors/ --text-field body",
        "uncollapse embed queries.jsonl -m ./my-model-fixed -o query-vectors/ --role query --format npy",
    )
)(embed)
app.command(
    epilog=examples(
        "uncollapse store vectors/ -o notes-lancedb --format lancedb",
        "uncollapse store vectors/ -o notes-sql --format pgvector",
        'uncollapse store vectors/ -o notes-qdrant --format qdrant --fix "csls(10, 0.5)" --queries query-vectors/',
    )
)(store)
app.command(
    epilog=examples(
        'uncollapse search vectors/ "how long may a chunk be?" -m ./my-model-fixed --corpus docs.jsonl',
        'uncollapse search vectors/ "a question" -m ./fixed --against vectors-before/ --against-model ./my-model',
        "uncollapse search vectors/ --queries queries.jsonl -m ./my-model-fixed -k 100 -o run.trec",
    )
)(search)
app.command(epilog=examples("uncollapse demo", "uncollapse demo -o my-demo --temperature 0.7"))(demo)


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
    leave_in_order()
    print_on_unread()
    sys.exit(run())
