"""What a command prints, also where whoever read it has gone."""

import os
import sys
from typing import Any, TextIO, cast


class Unread:
    """A stream that goes on as if it were read when its reader has gone, as `head` goes after ten lines.

    What a command writes into files must not depend on who reads its words.

    Args:
        stream: what is printed on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As of the stream."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._turn_away()
            return len(text)

    def flush(self) -> None:
        """As of the stream."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._turn_away()

    def _turn_away(self) -> None:
        """Let whatever is still to be printed, what is waiting in the stream too, go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def print_on_unread() -> None:
    """Let a command end as ever where nobody reads to the end what it prints."""
    sys.stdout, sys.stderr = (cast(TextIO, Unread(stream)) for stream in (sys.stdout, sys.stderr))
