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
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from uncollapse.gate import Condition
    from uncollapse.records import Finding, Result, Row

COLOURS = {"bad": "red", "good": "green", "neutral": "default", "unknown": "yellow"}


FINDINGS, FINDINGS_OF_A_GROUP = 8, 3
"""Findings printed below the first, and under each heading where there are headings; all are in the report."""

_FRAME = 6  # columns of a title's line that hold no letter of it


def progress(quiet: bool) -> Any:
    """Bars on a terminal; elsewhere, such as in a log, a line now and then."""
    from uncollapse.progress import Bars, Lines, Silent

    if quiet:
        return Silent()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines()


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
    console.print(_card(first, console.width))
    for heading, findings in _grouped(rest, result.about.get("verdict_groups")):
        if heading:
            console.print(f"\n[b]{escape(heading)}[/b]")
        most = FINDINGS_OF_A_GROUP if heading else FINDINGS
        for finding in findings[:most]:
            title = "" if finding.title == heading else f"[b]{escape(finding.title)}.[/b] "
            console.print(f"[{COLOURS[finding.kind]}]•[/] {title}{escape(finding.sentence)}")
        if len(findings) > most:
            console.print(f"[dim]and {len(findings) - most} more in the report[/]")
    if result.about.get("tasks"):
        console.print(_scores(result))
    if result.about.get("races"):
        console.print(_race(result))
    if skipped:
        console.print(f"[yellow]•[/] [b]Left out.[/b] {escape(skipped)}")
    console.print(f"\nReport: [b]{escape(str(folder / 'report.html'))}[/b]", soft_wrap=True)


def _card(finding: "Finding", width: int) -> Panel:
    """A finding in a frame, with its title in the line above where that has room for it."""
    title, said, colour = f"[b]{escape(finding.title)}[/b]", escape(finding.sentence), COLOURS[finding.kind]
    if len(finding.title) > width - _FRAME:
        return Panel(f"{title}\n{said}", border_style=colour)
    return Panel(said, title=title, border_style=colour)


def _grouped(
    rest: "Sequence[Finding]", groups: "Mapping[str, int] | None"
) -> "Iterator[tuple[str, Sequence[Finding]]]":
    """The findings after the first, by heading; under none where there are no groups."""
    if not groups:
        yield "", rest
        return
    start = 0
    for number, (heading, size) in enumerate(groups.items()):
        stop = start + size - (number == 0)  # the first finding of all stands above
        if stop > start:
            yield heading if number else "", rest[start:stop]
        start = stop


def print_outcomes(conditions: "Sequence[Condition]", result: "Result") -> bool:
    """Say on the error stream what became of each condition; returns whether any fails the run."""
    from uncollapse.gate import check

    outcomes = check(conditions, result)
    console = Console(stderr=True)
    for outcome in outcomes:
        colour = "red" if outcome.failed else "green"
        console.print(f"[{colour}]{escape(str(outcome))}[/]", soft_wrap=True, highlight=False)
    return any(outcome.failed for outcome in outcomes)


def print_fixed(report: Any) -> None:
    from uncollapse.encoders.sources import APPLIED_BY

    console = Console()
    folder = escape(str(report.folder))
    where = [f"the weights, {report.dtype}"] if report.changed else []
    where += [f"{', '.join(report.modules)}"] if report.modules else []
    where += ["uncollapse.json"] if report.text_fix else []
    place = f"in {' and '.join(where)}" if where else "which changes nothing"
    console.print(
        f"Model:  [b]{folder}[/b] = {escape(report.fix)} {escape(place)}. "
        f"Vectors of the reloaded folder equal the patched model's to {report.reload_difference:.1g}.\n"
        f'Load:   SentenceTransformer("{folder}")',
        soft_wrap=True,
    )
    if any(path.endswith("Router") for path in report.modules):
        said = "and call encode_query for queries, encode_document for documents; encode for texts compared as equals."
        console.print(f"        {said}")
    if report.text_fix:
        console.print(
            f"[yellow]•[/] [b]{escape(report.text_fix)}[/b] cuts texts before they are encoded. uncollapse does that "
            f"for this folder ({APPLIED_BY}); sentence-transformers alone does not. For a folder that does "
            f"it there:\n  uncollapse export {folder} -o {folder}-long --format sentence-transformers",
            soft_wrap=True,
        )
    if report.max_tokens:
        source = f"its source at {report.source_max_tokens or 'no number of them'}"
        same = report.max_tokens == report.source_max_tokens
        alone = f"Without {report.text_fix} it" if report.text_fix else "It"
        like = "as its source does" if same else source
        console.print(f"{escape(alone)} cuts texts at {report.max_tokens} tokens, {like}.")
    if report.left_out:
        console.print(f"Left out, as they hold the unfixed weights: {escape(', '.join(report.left_out))}.")


def say_step(step: str) -> None:
    Console(stderr=True).print(f"[dim]{escape(step)} ...[/]")


def say_notes(notes: tuple[str, ...], quiet: bool) -> None:
    for note in () if quiet else notes:
        Console(stderr=True).print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def _scores(result: "Result") -> Table:
    """The score of every task, and under it what each fix, or other model, adds."""
    from uncollapse.evaluation.verdicts import signed

    stock, *fixes = result.about["fixes"]
    caption = (
        f"[dim]n counts independent groups{_linked(result)}; intervals are 95 %; p is corrected for the number of "
        "comparisons[/]"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", caption=caption, caption_justify="left")
    for heading in ("task", "score", "value", "interval", "n", "p"):
        table.add_column(heading, overflow="fold")
    for task in result.about["tasks"]:
        keys = {"dataset": task["dataset"], "view": "overall"}
        for row in result.select(measure=task["main"], fix=stock, **keys):
            table.add_row(escape(task["dataset"]), task["main"], *_cells(row, "{:.3f}".format))
        for fix in fixes:
            for row in result.select(measure=f"{task['main']}_gain", fix=fix, **keys):
                table.add_row("", escape(f"  {fix}"), *_cells(row, signed))
    return table


def _linked(result: "Result") -> str:
    """On which data sets n counts items that are not independent; "" where on none."""
    from uncollapse.evaluation.statistics.linked import is_linked

    named = dict.fromkeys(escape(row.dataset) for row in result.rows if is_linked(row.note))
    if not named:
        return ""
    return (
        f"; on {', '.join(named)} it counts items that share what is relevant and are not independent: intervals and "
        "p of means are widened for it, all others are not"
    )


def _race(result: "Result") -> Table:
    """What every family of fixes adds on each data set, on queries that had no say, and what it costs."""
    from uncollapse.evaluation.verdicts import signed

    caption = (
        f"[dim]gains are on queries that had no say in the dial; n counts independent groups{_linked(result)}; "
        "intervals are 95 %; p is corrected for the number of families; tokens and storage are times those of the "
        "model as it is[/]"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", caption=caption, caption_justify="left")
    for heading in ("fix", "gain", "interval", "n", "p", "tokens", "storage"):
        table.add_column(heading, overflow="fold")
    for race in result.about["races"]:
        keys = {"dataset": race["dataset"]}
        for row in result.select(measure=race["main"], view="race", fix="none", **keys):
            table.add_row(escape(f"{race['main']} of {race['dataset']}"), *_cells(row, "{:.3f}".format))
        for family in race["families"]:
            cost = {
                row.measure: f"{row.value:.2f}" for row in result.select(view="race_costs", fix=family["name"], **keys)
            }
            for row in result.select(measure=f"{race['main']}_gain", view="race", fix=family["name"], **keys):
                numbers = (*_cells(row, signed), cost.get("encode_cost", ""), cost.get("storage_cost", ""))
                table.add_row(escape(f"  {family['chosen']}"), *numbers)
    return table


def _cells(row: "Row", shown: "Callable[[float], str]") -> tuple[str, str, str, str]:
    interval = "none" if row.low is None or row.high is None else f"{shown(row.low)} to {shown(row.high)}"
    p = "" if row.p_holm is None else f"[b]{row.p_holm:.2g}[/]" if row.p_holm < 0.05 else f"{row.p_holm:.2g}"
    return shown(row.value), interval, f"{row.n:,}", p
