"""How long work tells its reader where it is; the library itself stays silent."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Advance = Callable[[float], None]


class Reporter(Protocol):
    """Opens a bar for a piece of work; the number given to it is how much was done since."""

    def track(self, what: str, total: float | None, unit: str) -> AbstractContextManager[Advance]: ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def track(self, what: str, total: float | None, unit: str) -> Iterator[Advance]:  # noqa: ARG002
        """A bar that is not there."""
        yield lambda _: None


class _Rate(ProgressColumn):
    """Units a second; how many where the total is unknown."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        speed = task.finished_speed or task.speed
        if task.fields["counted"]:
            return Text(f"{task.completed:,.0f} {unit}", style="dim")
        return Text(f"{_compact(speed)} {unit}/s" if speed else unit, style="dim")


def _compact(number: float) -> str:
    """A number in a few letters."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / min(size, 1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{number:,.0f}"


class Bars:
    """Bars on the terminal's error stream: share done, amount, rate, time left."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    @contextmanager
    def track(self, what: str, total: float | None, unit: str) -> Iterator[Advance]:
        """One bar, left on the screen when done; a total of None is not known beforehand."""
        columns = (
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            _Rate(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=self.console) as bars:
            task = bars.add_task(what, total=total, unit=unit, counted=total is None)
            yield lambda done: bars.advance(task, done)
            if total is None:
                bars.update(task, total=max(bars.tasks[0].completed, 1))
