"""How long work tells where it is: bars on a terminal, and a line now and then where there is none."""

import io

import pytest
from rich.console import Console

from uncollapse.cli.printing import progress
from uncollapse.progress import EVERY, Bars, Lines, Silent


class Clock:
    """Stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(clock: Clock, log: io.StringIO) -> Lines:
    return Lines(log, clock=clock)


def test_work_that_is_done_before_the_first_line_says_nothing(lines: Lines, clock: Clock, log: io.StringIO) -> None:
    with lines.track("embedding", 100, "texts") as advance:
        for _ in range(10):
            clock.now += (EVERY - 1) / 10
            advance(10)
    assert log.getvalue() == ""


def test_a_line_has_the_share_done_the_rate_and_the_time_left(lines: Lines, clock: Clock, log: io.StringIO) -> None:
    with lines.track("embedding", 10_000, "texts") as advance:
        clock.now = 40
        advance(1000)
        clock.now = 400
        advance(9000)
    assert log.getvalue().splitlines() == [
        "embedding: 1,000 of 10,000 texts (10%), 25 texts/s, 6:00 left",
        "embedding: 10,000 of 10,000 texts (100%), 25 texts/s, 0:00 left",
        "embedding: done, 10,000 texts in 6:40",
    ]


def test_what_was_known_already_has_no_rate(lines: Lines, clock: Clock, log: io.StringIO) -> None:
    """A cache gives in no time what the rest will take long for."""
    clock.now = 40
    with lines.track("controls", 85_909, "tokens") as advance:
        advance(1576)
        clock.now = 80
        advance(0)
    with lines.track("costs", 100, "characters") as advance:
        clock.now = 120
        advance(0)
    assert [line for line in log.getvalue().splitlines() if "done" not in line] == [
        "controls: 1,576 of 85,909 tokens (2%)",
        "controls: 1,576 of 85,909 tokens (2%), 39 tokens/s, 35:40 left",
        "costs: 0 of 100 characters (0%)",
    ]


def test_of_a_total_that_nobody_knows_it_says_how_many_there_were(
    lines: Lines, clock: Clock, log: io.StringIO
) -> None:
    with lines.track("reading the corpus", None, "texts") as advance:
        clock.now = 30
        advance(1_500_000)
    assert log.getvalue().splitlines() == [
        "reading the corpus: 1,500,000 texts, 50k texts/s",
        "reading the corpus: done, 1,500,000 texts in 0:30",
    ]


@pytest.mark.parametrize("seconds", [0.01, 7.0, 29.0, 31.0])
def test_lines_are_never_nearer_than_so_many_seconds(
    seconds: float, lines: Lines, clock: Clock, log: io.StringIO
) -> None:
    with lines.track("embedding", 1e9, "texts") as advance:
        while clock.now < 600:
            clock.now += seconds
            advance(1)
        under_way = log.getvalue().count("\n")
    assert 600 / (EVERY + seconds) - 1 <= under_way <= 600 / EVERY + 1


def test_many_short_pieces_of_long_work_have_lines_too(lines: Lines, clock: Clock, log: io.StringIO) -> None:
    for number in range(10):
        with lines.track(f"piece {number}", 1, "texts") as advance:
            clock.now += 10
            advance(1)
    told = [line.partition(":")[0] for line in log.getvalue().splitlines() if "done" not in line]
    assert told == ["piece 2", "piece 5", "piece 8"]


def test_work_that_fails_is_not_called_done(lines: Lines, clock: Clock, log: io.StringIO) -> None:
    with pytest.raises(ZeroDivisionError), lines.track("embedding", 10, "texts") as advance:
        clock.now = 60
        advance(1)
        raise ZeroDivisionError
    assert "1 of 10" in log.getvalue()
    assert "done" not in log.getvalue()


@pytest.mark.parametrize(
    ("total", "done", "said"), [(0, 0, "characters"), (None, 0, "0 characters"), (None, 1200, "1,200 characters")]
)
def test_a_bar_that_had_nothing_to_do_is_full(total: float | None, done: float, said: str) -> None:
    screen = io.StringIO()
    with Bars(Console(file=screen, width=100)).track("embedding", total, "characters") as advance:
        advance(done)
    (last,) = screen.getvalue().splitlines()
    assert "100%" in last
    assert last.split("100%")[1].removesuffix("00:00").strip() == said


@pytest.mark.parametrize(("terminal", "quiet", "kind"), [(1, 0, Bars), (0, 0, Lines), (1, 1, Silent), (0, 1, Silent)])
def test_bars_are_for_terminals(terminal: int, quiet: int, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(progress(bool(quiet)), kind)
