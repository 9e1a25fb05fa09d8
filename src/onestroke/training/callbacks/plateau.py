"""Stop early where the held-out loss has stopped falling: what a run has not learned by then, it won't learn."""

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

LOOKS = 20  # over a run
WINDOW = 0.2  # of the run, in which the loss has to fall
ENOUGH = 3  # looks within it; where a run is too short for that many, they say too little
LATEST = 0.75  # of the run; later, there is nothing left to save
FINISH = 0.1  # of the run, in which the learning rate still goes all the way down


def flat(looks: Sequence[tuple[float, float]], least: float) -> bool:
    """Whether a loss has fallen by less than its share `least` over the last WINDOW of a run.

    The lowest of that window, of ENOUGH looks or more, counts against the lowest before it, so that one bad look stops
    nothing.

    Args:
        looks: each how much of the run was done, 0 to 1, and the loss then, in their order.
        least: above 0.
    """
    now = looks[-1][0]
    before = [loss for done, loss in looks if done <= now - WINDOW + 1e-9]
    since = [loss for done, loss in looks if done > now - WINDOW + 1e-9]
    return bool(before) and len(since) >= ENOUGH and min(since) > (1 - least) * min(before)


def _rows(values: object, count: int) -> bool:
    """Whether it is a list of so many numbers each; a loss may be no number."""
    rows = values if isinstance(values, list) else [values]
    return all(isinstance(row, list | tuple) and len(row) == count and all(map(_is_number, row)) for row in rows)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Plateau(Callback):
    """Looks at the held-out loss at even distances, and has the run come to its end once that is flat.

    The looks are at fixed steps where steps set the end, so that a resumed run stops where one that was never
    interrupted does; where minutes do, they follow the clock.

    Args:
        held_out: paints and judges the held-out photos.
        least: share by which the loss has to fall over WINDOW of the run.
        apart: steps between two looks at least, as each costs about as much as four. Runs too short for ENOUGH of
            them in a window are not looked at.
    """

    def __init__(self, held_out: HeldOut, least: float, apart: int = 100) -> None:
        self.held_out, self.least, self.apart = held_out, least, apart
        self.looks: list[tuple[int, float, float]] = []
        self._ending: tuple[float, float] | None = None
        self._budget: list[float | None] = []

    def state_dict(self) -> dict[str, Any]:
        return {"looks": self.looks, "ending": self._ending, "budget": self._budget}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        looks, ending, budget = (state_dict.get(key) for key in ("looks", "ending", "budget"))
        if not (_rows(looks, 3) and (ending is None or _rows([ending], 2)) and isinstance(budget, list)):
            raise UserError("resume: what the file knows of earlier looks at the held-out loss is damaged")
        self.looks = [(step, done, loss) for step, done, loss in looks or ()]
        self._ending, self._budget = ending, budget

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        schedule = pl_module.schedule
        budget = [float(schedule.steps), schedule.minutes]
        if budget != self._budget:  # resumed for longer: shares of the old run say nothing of the new one
            self.looks, self._ending, self._budget = [], None, budget
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
        self.looks.append((schedule.step, schedule.done, total))
        if flat([(done, loss) for _, done, loss in self.looks], self.least):
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
            return False  # at this pace a window never has enough of them
        step, done, _ = self.looks[-1] if self.looks else (0, 0.0, 0.0)
        return schedule.step - step >= self.apart and schedule.done - done >= 1 / LOOKS - 1e-9
