"""What happens around the steps: signs of life, pictures, files, and a clean stop."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from onestroke.data.datamodule import to_image
from onestroke.errors import UserError
from onestroke.evaluation.measure import Measure, means
from onestroke.files import atomic
from onestroke.losses.term import batch_mean
from onestroke.training.loggers import RunLoggers
from onestroke.training.module import StyleTransfer

log = logging.getLogger(__name__)


def duration(seconds: float) -> str:
    """A time for people: 40 s, 3 min 20 s, 2 h 05 min."""
    whole = round(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class Rehearsal(Callback):
    """A step that changes nothing, before the first: code is made for it, and how long the run will take is told.

    Args:
        batch_size: of a step, over all processes.
        crop: side of the training pictures in pixels.
        dtype: of the training.
        tells: whether to say how long the run will take.
    """

    def __init__(self, batch_size: int, crop: int, dtype: torch.dtype, tells: bool) -> None:
        self.batch_size, self.crop, self.dtype, self.tells = batch_size, crop, dtype, tells

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if not (self.tells or pl_module.compiles):
            return
        pace = pl_module.prepare(self.batch_size // trainer.world_size, self.crop, self.dtype)
        if self.tells and trainer.is_global_zero:
            log.info("about %s, at %.1f images/s", duration(pl_module.steps * pace), self.batch_size / pace)


class Meter(Callback):
    """Scalars to the loggers, a progress bar on a terminal, and a line now and then elsewhere.

    Args:
        writer: the run's loggers.
        batch_size: of a step, over all processes.
        every: steps between two points of a curve; each is a mean over the steps between.
    """

    def __init__(self, writer: RunLoggers | None, batch_size: int, every: int = 10) -> None:
        self.writer, self.batch_size, self.every = writer, batch_size, every
        self.skipped: list[str] = []
        self.images_per_second = 0.0
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._waited = self._since = self._ended = self._printed = 0.0
        self._smooth: dict[str, float] = {}
        self._bar: Progress | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        self._since = self._ended = self._printed = pl_module.clock()
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
        self._waited += pl_module.clock() - self._ended

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StyleTransfer)
        self._ended = pl_module.clock()
        for line in batch["skipped"]:
            if line not in self.skipped:
                self.skipped.append(line)
                log.debug("skipped %s", line)
        for name, loss in pl_module.losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(loss)) + loss
        self._steps += 1
        if self._steps >= self.every or pl_module.step == 1:
            means = {name: float(batch_mean(total / self._steps)) for name, total in self._sums.items()}
            if trainer.is_global_zero:
                self._publish(trainer, pl_module, means)
            self._sums, self._steps, self._waited = {}, 0, 0.0
            self._since = pl_module.clock()

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
        # the first step warms everything up and says little about those to come
        self.images_per_second = rate if module.step <= self.every else 0.9 * self.images_per_second + 0.1 * rate
        scalars = {f"train/{name}": value for name, value in means.items()}
        scalars["train/total"] = sum(means.values())
        scalars["speed/images_per_second"] = rate
        scalars["speed/data_wait_share"] = self._waited / span
        scalars["schedule/learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        if self.writer is not None:
            self.writer.scalars(scalars, module.step)
        self._smooth = {name: 0.8 * self._smooth.get(name, v) + 0.2 * v for name, v in means.items()}
        self._say(module)

    def _say(self, module: StyleTransfer) -> None:
        left = remaining(module, self.batch_size / max(self.images_per_second, 1e-9))
        terms = "  ".join(f"{name} {value:.3f}" for name, value in self._smooth.items())
        line = f"step {module.step}  {self.images_per_second:.1f} images/s  {terms}  {duration(left)} left"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=min(module.progress, 1.0), description=line)
        elif module.step > 1 and module.clock() - self._printed > min(60.0, 10 + 0.05 * module.elapsed):
            self._printed = module.clock()
            log.info("%3.0f %%  %s", 100 * min(module.progress, 1.0), line)


def remaining(module: StyleTransfer, seconds_per_step: float) -> float:
    """Seconds of training left: by steps or by the time budget, whichever ends first."""
    by_steps = (module.end * module.steps - module.step) * seconds_per_step
    return min(by_steps, 60 * module.end * module.minutes - module.elapsed) if module.minutes else by_steps


class Previews(Callback):
    """Held-out photos, painted and judged: soon after the start, then at growing distances, and at the end.

    Args:
        writer: the run's loggers.
        photos: uint8 (H, W, 3), the same all the time.
        measures: makes those of each style, for the numbers that mean the same for every run; they take their time, and
            so are taken seldom, but always at the end.
        shown: how many of them go into the picture.
    """

    def __init__(
        self,
        writer: RunLoggers | None,
        photos: list[np.ndarray],
        measures: Callable[[], Sequence[Measure]] | None = None,
        shown: int = 4,
    ) -> None:
        self.writer = writer
        # made when they are first wanted, as that takes seconds and the first picture should not wait for it
        self.measures = None if measures is None else functools.cache(measures)
        self.photos = [to_image(torch.from_numpy(photo)[None]) for photo in photos]
        self.shown = shown
        self.metrics: dict[str, float] = {}
        self.step = -1
        self._next = 5.0
        self._next_measure = 60.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if trainer.is_global_zero and pl_module.elapsed >= self._next:
            self.show(pl_module, measured=pl_module.elapsed >= self._next_measure)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if trainer.is_global_zero and pl_module.step != self.step:
            self.show(pl_module, measured=True)

    def show(self, module: StyleTransfer, measured: bool = False) -> None:
        """Paint and judge now, and send both to the loggers; where `measured`, with all numbers."""
        started = module.clock()
        self.metrics, paintings = module.evaluate(self.photos)
        if measured and self.measures is not None:
            since = module.clock()
            self.metrics |= {f"measured/{name}": value for name, value in self._measured(paintings).items()}
            self._next_measure = module.elapsed + max(60.0, 40 * (module.clock() - since))
        self.step = module.step
        if self.writer is not None:
            self._publish(self.writer, paintings)
        # at most a twentieth of the time goes into looking
        self._next = module.elapsed + max(15.0, 0.15 * module.elapsed, 20 * (module.clock() - started))

    def _publish(self, writer: RunLoggers, paintings: Sequence[Sequence[Tensor]]) -> None:
        writer.scalars({f"held_out/{name}": value for name, value in self.metrics.items()}, self.step)
        shown = zip(self.photos[: self.shown], paintings, strict=False)
        rows = [torch.cat([photo, *painted], dim=3) for photo, painted in shown]
        writer.picture("content | output", torch.cat(rows, dim=2)[0], self.step)
        writer.flush()

    def _measured(self, paintings: Sequence[Sequence[Tensor]]) -> dict[str, float]:
        """The mean of each number over photos and styles."""
        measures = self.measures() if self.measures is not None else ()
        return means(
            [
                measure.all(painting, photo)
                for photo, row in zip(self.photos, paintings, strict=True)
                for measure, painting in zip(measures, row, strict=True)
            ]
        )


class Files(Callback):
    """The style file and the resume file, every so many steps and at the end, each whole or not at all.

    Args:
        resume_file: where all that a resumed run needs is kept.
        export: writes the style file.
        every: steps between.
    """

    kept: int | None = None
    """The step that the resume file stands at, None where this process has not written it yet."""

    def __init__(self, resume_file: Path, export: Callable[[StyleTransfer], Path], every: int) -> None:
        self.resume_file, self.export, self.every = resume_file, export, every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StyleTransfer)
        # here and not after the last step, where Lightning's loop would count as finished and could not be resumed
        if trainer.should_stop:
            self.keep(trainer, pl_module.step)
        elif pl_module.step % self.every == 0 and pl_module.remember():
            self.keep(trainer, pl_module.step)
            if trainer.is_global_zero:
                try:
                    self.export(pl_module)
                except UserError as error:  # the training is worth more than this copy, and the next may succeed
                    log.warning("the style file was not written this time: %s", error)

    def keep(self, trainer: Trainer, step: int) -> None:
        """Write the resume file; all processes take part."""
        if not trainer.is_global_zero:
            trainer.save_checkpoint(os.devnull)  # Lightning gathers in all processes and writes in the first
            return
        try:
            with atomic(self.resume_file) as temporary:
                trainer.save_checkpoint(temporary)
            self.kept = step
        except UserError as error:
            log.warning("the resume file was not written this time: %s", error)


class StopOnSignal(Callback):
    """Ctrl-C (and a polite kill) ends the training after the step it is in, and all is exported; twice, at once."""

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            if self.stopped:
                raise KeyboardInterrupt
            self.stopped = True
            log.warning("stopping after this step, and writing the style file (again to stop at once)")

        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, stop)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # a signal may reach one process of several, and all must stop after the same step
        self.stopped = float(batch_mean(torch.tensor(float(self.stopped), device=pl_module.device))) > 0
        if self.stopped:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
