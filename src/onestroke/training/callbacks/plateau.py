"""Early stopping: a run ends once its held-out loss has stopped falling."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from onestroke.errors import UserError
from onestroke.training.callbacks.held_out import HeldOut
from onestroke.training.module import StyleTransfer

log = logging.getLogger(__name__)

EVALUATIONS = 20  # over a run
WINDOW = 0.2  # of the run, in which the loss has to fall
ENOUGH = 3  # evaluations within it; a run that is too short for that many never ends early
LATEST = 0.75  # of the run; later, there is nothing left to save
FINISH = 0.1  # of the run is still trained after the decision, so that the learning rate can decay to its end


def flat(evaluations: Sequence[tuple[float, float]], least: float) -> bool:
    """Whether a loss has fallen by less than its share `least` over the last WINDOW of a run.

    The lowest loss within the window, of ENOUGH evaluations or more, is compared with the lowest before it, so that a
    single bad evaluation does not end a run.

    Args:
        evaluations: in order, how much of the run was done, 0 to 1, and the loss at that moment.
        least: above 0.
    """
    now = evaluations[-1][0]
    before = [loss for done, loss in evaluations if done <= now - WINDOW + 1e-9]
    since = [loss for done, loss in evaluations if done > now - WINDOW + 1e-9]
    return bool(before) and len(since) >= ENOUGH and min(since) > (1 - least) * min(before)


def _rows(values: object, count: int) -> bool:
    """Whether it is a list of rows of `count` numbers; a loss may be NaN."""
    rows = values if isinstance(values, list) else [values]
    return all(isinstance(row, list | tuple) and len(row) == count and all(map(_is_number, row)) for row in rows)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Plateau(Callback):
    """Evaluates the held-out loss at even intervals, and ends the run early once it is flat.

    In a run that is limited by steps, the evaluations are at fixed steps, so that a resumed run ends at the same step
    as an unbroken one; in a run that is limited by minutes, they follow the clock.

    Args:
        held_out: evaluates the held-out photos.
        least: the share by which the loss has to fall over WINDOW of the run.
        apart: least number of steps between two evaluations; each takes about as long as four steps. A run that is too
            short for ENOUGH evaluations in a window never ends early.
    """

    def __init__(self, held_out: HeldOut, least: float, apart: int = 100) -> None:
        self.held_out, self.least, self.apart = held_out, least, apart
        self.evaluations: list[tuple[int, float, float]] = []
        self._ending: tuple[float, float] | None = None
        self._budget: list[float | None] = []

    def state_dict(self) -> dict[str, Any]:
        return {"looks": self.evaluations, "ending": self._ending, "budget": self._budget}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        evaluations, ending, budget = (state_dict.get(key) for key in ("looks", "ending", "budget"))
        if not (_rows(evaluations, 3) and (ending is None or _rows([ending], 2)) and isinstance(budget, list)):
            raise UserError("resume: the earlier held-out losses in the file are damaged")
        self.evaluations = [(step, done, loss) for step, done, loss in evaluations or ()]
        self._ending, self._budget = ending, budget

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        schedule = pl_module.schedule
        budget = [float(schedule.steps), schedule.minutes]
        if budget != self._budget:  # resumed with another budget: shares of the old one do not apply
            self.evaluations, self._ending, self._budget = [], None, budget
        schedule.ending = self._ending

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if self._due(pl_module):
            self.held_out.ask()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if trainer.sanity_checking or not self._due(pl_module):
            return
        schedule = pl_module.schedule
        total = float(trainer.strategy.broadcast(self.held_out.metrics.get("total", math.nan)))
        self.evaluations.append((schedule.step, schedule.done, total))
        if flat([(done, loss) for _, done, loss in self.evaluations], self.least):
            self._ending = schedule.ending = (schedule.done, FINISH)
            if trainer.is_global_zero:
                log.info(
                    "the held-out loss stopped falling (%.3f, less than %g %% in a fifth of the run): ending early",
                    total, 100 * self.least,
                )  # fmt: skip

    def _due(self, module: StyleTransfer) -> bool:
        schedule = module.schedule
        if not schedule.step or schedule.ending is not None or module.teacher is not None or schedule.done > LATEST:
            return False
        if (ENOUGH - 1) * self.apart >= WINDOW * schedule.step / schedule.done - 1e-9:
            return False  # at this pace, no window has enough evaluations
        step, done, _ = self.evaluations[-1] if self.evaluations else (0, 0.0, 0.0)
        return schedule.step - step >= self.apart and schedule.done - done >= 1 / EVALUATIONS - 1e-9
