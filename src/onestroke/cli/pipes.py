"""A reader of the output who leaves early, such as head: the command ends without a word, as other tools do."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable

LEFT = 141  # what a shell says of a program that SIGPIPE ended


def piped(job: Callable[[], int]) -> int:
    """Run a command.

    Args:
        job: gives the exit code.

    Returns:
        The exit code; 141 where nobody reads what was printed any more.

    Raises:
        BrokenPipeError: of another pipe than that of the output.
    """
    try:
        code = job()
    except BrokenPipeError:
        if _rest_fails() or _nobody_reads():
            return LEFT
        raise
    return LEFT if _rest_fails() else code


def _rest_fails() -> bool:
    """Whether what is still to be printed can't be; it is then forgotten, or it would fail again when Python ends."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    except (AttributeError, ValueError):  # there is no output, or it is closed
        pass
    return False


def _nobody_reads() -> bool:
    """Whether the output is a pipe without a reader; an unbuffered one keeps nothing that could tell."""
    if sys.platform == "win32":  # which has no poll
        return False
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    except (AttributeError, ValueError):  # there is no output, or it is no file
        return False
