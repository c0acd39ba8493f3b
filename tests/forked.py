"""Runs something in a child process, which may be killed there."""

import os
import signal
import traceback
from collections.abc import Callable

INTERRUPTED = 130


def in_child(do: Callable[[], object]) -> bool:
    """Run something in a child; True if it came to its end, False if it was killed or interrupted."""
    child = os.fork()
    if not child:
        try:
            do()
        except KeyboardInterrupt:
            os._exit(INTERRUPTED)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, INTERRUPTED, -signal.SIGKILL), "a run failed by itself"
    return code == 0
