"""Ctrl-C ends a long job at its next step, with what is done so far kept; a second one ends it at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """asked: whether the user asked to stop."""

    asked = False


@contextmanager
def stopping(step: str = "frame") -> Iterator[Stop]:
    """Context manager: yield a Stop that SIGINT and SIGTERM set; outside of the main thread, nothing sets it.

    step: what the job ends after, for the message.
    """
    stop = Stop()

    def ask(number: int, _: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        print(f"stopping after this {step}, and writing what is painted (again to stop at once)", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
