"""How long work tells its reader where it is; the library itself stays silent."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Protocol, TextIO

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

EVERY = 30.0
"""Seconds between two lines where bars cannot be drawn; work that takes less says nothing."""

SETTLED = 1 / 30
"""Part of that time from which on a rate says anything; what was known already is done in no time."""


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
            return Text(f"{task.fields.get('done', task.completed):,.0f} {unit}", style="dim")
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
            if not total:  # unknown, or nothing was to do: rich calls that 0 %
                done = bars.tasks[0].completed
                bars.update(task, total=max(done, 1), completed=max(done, 1), done=done)


class Lines:
    """A plain line now and then, for what is no terminal, such as a log: amount done, rate, time left.

    Args:
        stream: where to; the error stream if not given.
        every: seconds from the beginning to the first line, and from one to the next, whatever bar it is of.
        clock: tells the seconds.
    """

    def __init__(
        self, stream: TextIO | None = None, *, every: float = EVERY, clock: Callable[[], float] = monotonic
    ) -> None:
        self.stream, self.every, self.clock = stream or sys.stderr, every, clock
        self._told = clock()

    @contextmanager
    def track(self, what: str, total: float | None, unit: str) -> Iterator[Advance]:
        """Lines on a piece of work; of one that had any, the last says that it is done."""
        work, lines = _Work(what, total, unit, self.clock(), SETTLED * self.every), 0

        def advance(done: float) -> None:
            nonlocal lines
            work.done += done
            if (now := self.clock()) - self._told >= self.every:
                lines += 1
                self._say(work.under_way(now), now)

        yield advance
        if lines:
            now = self.clock()
            self._say(work.at_its_end(now), now)

    def _say(self, line: str, now: float) -> None:
        self._told = now
        print(line, file=self.stream, flush=True)


@dataclass
class _Work:
    """A piece of work, and how much of it is done; of less than `settled` seconds no rate is told."""

    what: str
    total: float | None
    unit: str
    began: float
    settled: float
    done: float = 0.0

    def under_way(self, now: float) -> str:
        of = f" of {self.total:,.0f}" if self.total else ""
        share = f" ({min(self.done / self.total, 1.0):.0%})" if self.total else ""
        said = f"{self.what}: {self.done:,.0f}{of} {self.unit}{share}"
        taken = now - self.began
        if not self.done or taken < self.settled:
            return said
        said += f", {_compact(self.done / taken)} {self.unit}/s"
        if not self.total:
            return said
        return f"{said}, {_duration(max(self.total - self.done, 0.0) * taken / self.done)} left"

    def at_its_end(self, now: float) -> str:
        return f"{self.what}: done, {self.done:,.0f} {self.unit} in {_duration(now - self.began)}"


def _duration(seconds: float) -> str:
    """
    >>> _duration(75), _duration(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
