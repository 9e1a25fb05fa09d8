"""What a performance prints: frames a second, latency from camera to shown, dropped frames."""

from __future__ import annotations

import sys
import threading
from collections import deque
from statistics import median
from typing import TextIO

_WINDOW = 3.0  # seconds over which figures are taken
_EVERY = 0.5, 5.0  # seconds between two lines: updated in place on a terminal, else one below the other


class Figures:
    """Counts painted and shown frames, from any thread. Times are of time.perf_counter()."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._painted: deque[float] = deque()
        self._late: deque[tuple[float, float]] = deque()
        self.frames = 0

    def painted(self, now: float) -> None:
        """A frame was painted."""
        with self._lock:
            self.frames += 1
            self._painted.append(now)

    def shown(self, captured: float, now: float) -> None:
        """A frame is shown that the camera gave at `captured`."""
        with self._lock:
            self._late.append((now, now - captured))

    def line(self, read: int, now: float) -> str:
        """The figures of the last seconds, in one line.

        Args:
            read: frames that the source gave so far.
            now: the time.
        """
        with self._lock:
            while self._painted and self._painted[0] < now - _WINDOW:
                self._painted.popleft()
            while self._late and self._late[0][0] < now - _WINDOW:
                self._late.popleft()
            times, late = list(self._painted), [seconds for _, seconds in self._late]
        # between the first and the last, since the window also holds the wait before the first
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
        words = f"{rate:.1f} frames/s"
        if late:
            words += f", {1000 * median(late):.0f} ms from camera to shown"
            words += f" ({median(late) * rate:.1f} frames)" if rate else ""
        else:
            words += ", nobody watches"
        return f"{words}, {max(0, read - self.frames)} of {read} frames dropped"


class Report:
    """Prints lines that stay, and one line of figures that is updated in place on a terminal; from any thread.

    Args:
        stream: where to; None is standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._terminal = self._stream.isatty()
        self._lock = threading.Lock()
        self._next: float | None = None

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")

    def due(self, now: float) -> bool:
        """Whether it is time for the next line of figures."""
        every = _EVERY[0] if self._terminal else _EVERY[1]
        if self._next is None:
            self._next = now + every
        if now < self._next:
            return False
        self._next = now + every
        return True

    def update(self, line: str) -> None:
        """Print the figures."""
        self._write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")

    def _write(self, text: str) -> None:
        with self._lock:
            self._stream.write(text)
            self._stream.flush()
