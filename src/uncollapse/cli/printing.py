"""What the commands put on the screen and into the output folder."""

import json as json_format
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

import uncollapse

if TYPE_CHECKING:
    from uncollapse.records import Result, Row

COLOURS = {"bad": "red", "good": "green", "neutral": "default", "unknown": "yellow"}


FINDINGS = 8
"""Findings printed below the first; all are in the report."""


def progress(quiet: bool) -> Any:
    from uncollapse.progress import Bars, Silent

    return Silent() if quiet else Bars()


def finish(result: "Result", folder: Path, *, quiet: bool, json: bool, skipped: str = "") -> None:
    """Write the report and the result, and print what was found."""
    from uncollapse.writing import whole_file

    result = replace(result, about={**result.about, "command": command_line()})
    with whole_file(folder / "result.json") as part:
        part.write_text(result.to_json() + "\n", encoding="utf-8")
    uncollapse.write_report(folder / "report.html", result)
    if json:
        typer.echo(result.to_json())
    elif not quiet:
        print_verdict(result, folder, skipped)


def command_line() -> str:
    return shlex.join(["uncollapse", *sys.argv[1:]])


def as_json(data: dict[str, object]) -> str:
    return json_format.dumps(data, indent=2)


def print_verdict(result: "Result", folder: Path, skipped: str) -> None:
    console = Console()
    first, *rest = result.verdict
    colour = COLOURS[first.kind]
    console.print(Panel(escape(first.sentence), title=f"[b]{escape(first.title)}[/b]", border_style=colour))
    for finding in rest[:FINDINGS]:
        console.print(f"[{COLOURS[finding.kind]}]•[/] [b]{escape(finding.title)}.[/b] {escape(finding.sentence)}")
    if len(rest) > FINDINGS:
        console.print(f"[dim]and {len(rest) - FINDINGS} more findings in the report[/]")
    if result.about.get("tasks"):
        console.print(_scores(result))
    if skipped:
        console.print(f"[yellow]•[/] [b]Left out.[/b] {escape(skipped)}")
    console.print(f"\nReport: [b]{escape(str(folder / 'report.html'))}[/b]", soft_wrap=True)


def print_fixed(report: Any) -> None:
    Console().print(
        f"Model:  [b]{escape(str(report.folder))}[/b] = {escape(report.fix)} in the weights, {report.dtype}. "
        f"Vectors of the reloaded folder equal the patched model's to {report.reload_difference:.1g}.\n"
        f'Load:   SentenceTransformer("{escape(str(report.folder))}")',
        soft_wrap=True,
    )
    if report.max_tokens:
        Console().print(f"It cuts texts at {report.max_tokens} tokens, as its source does.")
    if report.left_out:
        Console().print(f"Left out, as they hold the unfixed weights: {escape(', '.join(report.left_out))}.")


def say_step(step: str) -> None:
    Console(stderr=True).print(f"[dim]{escape(step)} ...[/]")


def say_notes(notes: tuple[str, ...], quiet: bool) -> None:
    for note in () if quiet else notes:
        Console(stderr=True).print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def _scores(result: "Result") -> Table:
    """The score of every task, and under it what each fix adds."""
    stock, *fixes = result.about["fixes"]
    caption = "[dim]n counts independent groups, or items where a row's note says so; intervals are 95 %; p is corrected for the number of comparisons[/]"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", caption=caption, caption_justify="left")
    for heading in ("task", "score", "value", "interval", "n", "p"):
        table.add_column(heading, overflow="fold")
    for task in result.about["tasks"]:
        keys = {"dataset": task["dataset"], "view": "overall"}
        for row in result.select(measure=task["main"], fix=stock, **keys):
            table.add_row(escape(task["dataset"]), task["main"], *_cells(row, "z"))
        for fix in fixes:
            for row in result.select(measure=f"{task['main']}_gain", fix=fix, **keys):
                table.add_row("", escape(f"  {fix}"), *_cells(row, "+z"))
    return table


def _cells(row: "Row", sign: str) -> tuple[str, str, str, str]:
    bounded = row.low is not None and row.high is not None
    interval = f"{row.low:{sign}.3f} to {row.high:{sign}.3f}" if bounded else "none"
    p = "" if row.p_holm is None else f"[b]{row.p_holm:.2g}[/]" if row.p_holm < 0.05 else f"{row.p_holm:.2g}"
    return f"{row.value:{sign}.3f}", interval, f"{row.n:,}", p
