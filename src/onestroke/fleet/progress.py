"""Progress of a fleet: a line on a terminal, else a line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console

_EVERY = 10.0  # seconds between two lines without a terminal


class Progress:
    """Counts pictures, and says how many are done, how many a second, and how long the rest takes.

    Args:
        total: pictures of this run; None where that isn't known before all tars are read.
        clock: gives seconds.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.clock = total, clock
        self.painted = self.skipped = 0
        self.console = Console(stderr=True)
        self.begun: float | None = None
        self.first = 0
        self.told = clock()

    def add(self, painted: int, skipped: int) -> None:
        """Count pictures, and show it when it is due."""
        self.painted, self.skipped = self.painted + painted, self.skipped + skipped
        now = self.clock()
        if self.begun is None:  # the rate counts from the first result, when the workers have started
            self.begun, self.first = now, self.painted + self.skipped
        if self.console.is_terminal:
            self.console.print(f"\r{self.line()}\x1b[K", end="", highlight=False, soft_wrap=True)
        elif now - self.told >= _EVERY:
            print(self.line(), file=sys.stderr, flush=True)
            self.told = now

    def end(self) -> None:
        """Show it for the last time."""
        print(f"\r{self.line()}\x1b[K" if self.console.is_terminal else self.line(), file=sys.stderr, flush=True)

    @property
    def rate(self) -> float:
        """Pictures a second, since the first result; 0 in the first second, which says nothing."""
        seconds = 0.0 if self.begun is None else self.clock() - self.begun
        return (self.painted + self.skipped - self.first) / seconds if seconds >= 1 else 0.0

    def line(self) -> str:
        """Such as `120 of 2,000 pictures, 3 of them skipped, 4.2 a second, 8 min left`."""
        seen = self.painted + self.skipped
        found = f"{seen:,}{f' of {self.total:,}' if self.total else ''} pictures"
        found += f", {self.skipped:,} of them skipped" if self.skipped else ""
        if self.rate:
            found += f", {self.rate:.1f} a second"
            left = (self.total - seen) / self.rate if self.total else 0.0
            found += f", {duration(left)} left" if left > 0 else ""
        return found


def duration(seconds: float) -> str:
    """A time in its largest unit that fits: s, min or h."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
