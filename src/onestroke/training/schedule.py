"""How far a run is, when it ends, and the learning rate that follows from both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch


def learning_rate(progress: float, step: int, peak: float, warmup: int = 20) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine down to a hundredth of `peak` at progress 1."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * cosine)


class Schedule:
    """Counts steps and seconds of training, over all resumes, and knows which of the two ends the run first.

    Args:
        steps: how many at most.
        minutes: how long at most; None: as long as the steps take.
        clock: seconds since some moment, never going back. Everything in a run that goes by time goes by this clock.
    """

    def __init__(
        self, steps: int = 2000, minutes: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.steps, self.minutes, self.clock = steps, minutes, clock
        self.step = 0  # batches seen, those that were skipped among them
        self.elapsed = 0.0  # seconds
        # how much was done when the run was found to end early, and in how much more it does; shares of all
        self.ending: tuple[float, float] | None = None
        self._last = 0.0  # when the clock was last read

    @property
    def done(self) -> float:
        """How much of what was asked for is done, 0 to 1: by steps or by time, whichever is further."""
        by_time = self.elapsed / (60 * self.minutes) if self.minutes else 0.0
        return max(self.step / self.steps, by_time)

    @property
    def end(self) -> float:
        """How much of what was asked for will be done when the run ends: 1, or less where it ends early."""
        return 1.0 if self.ending is None else min(1.0, sum(self.ending))

    @property
    def progress(self) -> float:
        """Where the learning rate's schedule is, 0 to 1: as `done`, but faster once the run is to end early."""
        if self.ending is None:
            return self.done
        since, _ = self.ending
        return since + (1 - since) * (self.done - since) / max(self.end - since, 1e-9)

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.progress >= 1

    def remaining(self, seconds_per_step: float) -> float:
        """Seconds of training left: by steps or by the time budget, whichever ends first."""
        by_steps = (self.end * self.steps - self.step) * seconds_per_step
        return min(by_steps, 60 * self.end * self.minutes - self.elapsed) if self.minutes else by_steps

    def rate(self, peak: float, constant: bool) -> float:
        """The learning rate of the step that comes next."""
        return peak if constant else learning_rate(self.progress, self.step, peak)

    def start(self) -> None:
        """Count seconds from now on."""
        self._last = self.clock()

    def advance(self, device: torch.device, processes: int = 1) -> None:
        """Count a step, and the seconds since the last one.

        Args:
            device: where this process computes.
            processes: of the run; where time ends it, all of them follow the first one's clock.
        """
        self.step += 1
        now = self.clock()
        self.elapsed += now - self._last
        self._last = now
        if self.minutes and processes > 1:
            elapsed = torch.tensor(self.elapsed, device=device)
            torch.distributed.broadcast(elapsed, 0)
            self.elapsed = float(elapsed)
