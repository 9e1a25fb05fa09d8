"""The progress of a run, by steps and by time, and its learning rate."""

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
    """Counts steps and seconds of training over all resumes; the run ends with whichever limit is reached first.

    Args:
        steps: at most.
        minutes: at most; None: no limit.
        clock: a monotonic clock in seconds, which everything in the run that depends on time reads.
    """

    def __init__(
        self, steps: int = 2000, minutes: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.steps, self.minutes, self.clock = steps, minutes, clock
        self.step = 0  # batches seen, those that were skipped among them
        self.elapsed = 0.0  # seconds
        # for early stopping: how much was done at the decision, and how much is trained after it, as shares of the run
        self.ending: tuple[float, float] | None = None
        self._last = 0.0  # when the clock was last read

    @property
    def done(self) -> float:
        """The share of the budget that is used up, 0 to 1: of steps or of time, whichever is larger."""
        by_time = self.elapsed / (60 * self.minutes) if self.minutes else 0.0
        return max(self.step / self.steps, by_time)

    @property
    def end(self) -> float:
        """The share of the budget at which the run ends: 1, or less if it ends early."""
        return 1.0 if self.ending is None else min(1.0, sum(self.ending))

    @property
    def progress(self) -> float:
        """The position in the learning rate's schedule, 0 to 1: `done`, compressed once early stopping is decided."""
        if self.ending is None:
            return self.done
        since, _ = self.ending
        return since + (1 - since) * (self.done - since) / max(self.end - since, 1e-9)

    @property
    def finished(self) -> bool:
        """Whether the run has reached its end."""
        return self.progress >= 1

    def remaining(self, seconds_per_step: float) -> float:
        """Seconds of training left: by steps or by the time budget, whichever ends first."""
        by_steps = (self.end * self.steps - self.step) * seconds_per_step
        return min(by_steps, 60 * self.end * self.minutes - self.elapsed) if self.minutes else by_steps

    def rate(self, peak: float, constant: bool) -> float:
        """The learning rate of the next step."""
        return peak if constant else learning_rate(self.progress, self.step, peak)

    def stage(self, count: int) -> int:
        """The number of the part of the run that the next step belongs to, of `count` equal parts, from 0 on."""
        return min(count - 1, int(self.progress * count))

    def start(self) -> None:
        """Start counting seconds."""
        self._last = self.clock()

    def advance(self, device: torch.device, processes: int = 1) -> None:
        """Count a step, and the seconds since the last one.

        Args:
            device: of this process.
            processes: of the run. With a time limit, all of them follow the clock of the first.
        """
        self.step += 1
        now = self.clock()
        self.elapsed += now - self._last
        self._last = now
        if self.minutes and processes > 1:
            elapsed = torch.tensor(self.elapsed, device=device)
            torch.distributed.broadcast(elapsed, 0)
            self.elapsed = float(elapsed)
