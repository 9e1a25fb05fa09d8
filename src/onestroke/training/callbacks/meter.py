"""Progress: scalars for the loggers, a progress bar on a terminal, and occasional log lines elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from onestroke.losses.term import batch_mean
from onestroke.training.module import StyleTransfer
from onestroke.training.times import duration

log = logging.getLogger(__name__)


class Meter(Callback):
    """Logs losses, speed and learning rate as means over several steps, and shows the progress.

    Args:
        batch_size: of a step, over all processes.
        every: steps between two points of a curve, the trainer's `log_every_n_steps`.
    """

    def __init__(self, batch_size: int, every: int = 10) -> None:
        self.batch_size, self.every = batch_size, every
        self.skipped: list[str] = []
        self.images_per_second = 0.0
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._waited = self._since = self._ended = self._printed = self._validating = 0.0
        self._smooth: dict[str, float] = {}
        self._bar: Progress | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        self._since = self._ended = self._printed = pl_module.schedule.clock()
        if trainer.is_global_zero and sys.stderr.isatty():
            columns = (
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.description}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.add_task("the first steps are the slowest", total=1.0)
            self._bar.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        assert isinstance(pl_module, StyleTransfer)
        self._waited += pl_module.schedule.clock() - self._ended
        # Lightning logs by this count, of which a resume file may hold one too few
        trainer.fit_loop.epoch_loop._batches_that_stepped = pl_module.step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StyleTransfer)
        self._ended = pl_module.schedule.clock()
        for line in batch["skipped"]:
            if line not in self.skipped:
                self.skipped.append(line)
                log.debug("skipped %s", line)
        for name, loss in pl_module.losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(loss)) + loss
        self._steps += 1
        if pl_module.step % self.every == 0 or pl_module.step == 1 or trainer.should_stop:
            means = {name: float(batch_mean(total / self._steps)) for name, total in self._sums.items()}
            self._publish(trainer, pl_module, means)
            self._sums, self._steps, self._waited = {}, 0, 0.0
            self._since = pl_module.schedule.clock()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        self._validating = pl_module.schedule.clock()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        took = pl_module.schedule.clock() - self._validating  # neither training nor waiting for photos
        self._since += took
        self._ended += took

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _publish(self, trainer: Trainer, module: StyleTransfer, means: dict[str, float]) -> None:
        span = max(self._ended - self._since, 1e-9)
        rate = self._steps * self.batch_size / span
        # the first step is much slower than those that follow
        first = module.step <= self.every
        self.images_per_second = rate if first else 0.9 * self.images_per_second + 0.1 * rate
        scalars = {f"train/{name}": value for name, value in means.items()}
        scalars["train/total"] = sum(value for name, value in means.items() if not name.endswith("_own"))
        scalars["speed/images_per_second"] = rate
        scalars["speed/data_wait_share"] = self._waited / span
        scalars["schedule/learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        module.log_dict({**scalars, "step": float(module.step)}, on_step=True, on_epoch=False, batch_size=1)
        self._smooth = {name: 0.8 * self._smooth.get(name, v) + 0.2 * v for name, v in means.items()}
        if trainer.is_global_zero:
            self._say(module)

    def _say(self, module: StyleTransfer) -> None:
        schedule = module.schedule
        left = schedule.remaining(self.batch_size / max(self.images_per_second, 1e-9))
        terms = "  ".join(f"{name} {value:.3f}" for name, value in self._smooth.items())
        line = f"step {module.step}  {self.images_per_second:.1f} images/s  {terms}  {duration(left)} left"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=min(schedule.progress, 1.0), description=line)
        elif module.step > 1 and schedule.clock() - self._printed > min(60.0, 10 + 0.05 * schedule.elapsed):
            self._printed = schedule.clock()
            log.info("%3.0f %%  %s", 100 * min(schedule.progress, 1.0), line)
