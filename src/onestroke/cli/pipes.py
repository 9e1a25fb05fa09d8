"""End quietly if the reader of stdout closes the pipe early, as `head` does."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable

LEFT = 141  # exit code of a program that was ended by SIGPIPE, 128 + 13


def piped(job: Callable[[], int]) -> int:
    """Run a command.

    Args:
        job: the command; returns the exit code.

    Returns:
        The exit code; 141 if the reader of stdout has closed the pipe.

    Raises:
        BrokenPipeError: for any other pipe than stdout.
    """
    try:
        code = job()
    except BrokenPipeError:
        if _rest_fails() or _nobody_reads():
            return LEFT
        raise
    return LEFT if _rest_fails() else code


def _rest_fails() -> bool:
    """Whether flushing stdout fails; if so, stdout is redirected to /dev/null, or it would fail again at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    except (AttributeError, ValueError):  # there is no stdout, or it is closed
        pass
    return False


def _nobody_reads() -> bool:
    """Whether stdout is a pipe without a reader; needed for an unbuffered stdout, which has nothing to flush."""
    if sys.platform == "win32":  # no select.poll there
        return False
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    except (AttributeError, ValueError):  # there is no stdout, or it is not a file
        return False
