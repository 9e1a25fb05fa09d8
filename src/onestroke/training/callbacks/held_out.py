"""Validation on held-out photos, by Lightning's validation loop, at growing intervals."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from onestroke.evaluation.exact_motion import flicker
from onestroke.evaluation.measure import Measure, means
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.training.loggers import RunLoggers
from onestroke.training.module import StyleTransfer

_CLIPS, _FRAMES, _LEAST_SIDE = ("pan", "rotation"), 7, 64  # of the clips that flicker is measured on
_AGREE_EVERY = 10  # steps between two moments at which several processes agree on the time


def validates_next(trainer: Trainer) -> bool:
    """Whether Lightning runs its validation loop right after the step that has just been made."""
    if not trainer.enable_validation or not sum(trainer.num_val_batches):
        return False
    every = trainer.val_check_batch
    due = every is not None and every != math.inf and (trainer.fit_loop.total_batch_idx + 1) % every == 0
    return trainer.should_stop or due


class HeldOut(Callback):
    """Decides when the held-out photos are evaluated, and logs their losses and paintings.

    Unless the trainer has a validation interval, that is soon after the start, then at growing intervals, whenever
    another callback asks for it, and at the end.

    Args:
        writer: the run's loggers, for pictures; None: pictures are not logged.
        measures: makes the metrics of evaluate.py for each style, which compare between runs. They are slow, and so are
            computed seldom, but always at the end. None: they are not computed.
        shown: how many photos are shown in the logged picture.
        steers: whether this callback decides when the validation loop runs.
    """

    def __init__(
        self,
        writer: RunLoggers | None = None,
        measures: Callable[[], Sequence[Measure]] | None = None,
        shown: int = 4,
        steers: bool = True,
    ) -> None:
        self.writer = writer
        # created when first needed: that takes seconds, and the first picture should not wait for it
        self.measures = None if measures is None else functools.cache(measures)
        self.shown, self.steers = shown, steers
        self.metrics: dict[str, float] = {}
        """Of the latest validation: `total`, each term, and sometimes `measured/...`."""
        self.step = -1
        """The step of the latest validation, -1 before the first."""
        self._asked = False
        self._next, self._next_measure = 5.0, 60.0  # seconds of training
        self._started = 0.0
        self._photos: list[Tensor] = []
        self._paintings: list[list[Tensor]] = []
        self._terms: list[dict[str, float]] = []

    def ask(self) -> None:
        """Request a validation after this step, from `on_train_batch_end` of a callback that runs before this one."""
        self._asked = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if not self.steers:
            return
        due = pl_module.schedule.elapsed >= self._next
        if trainer.world_size > 1 and (batch_idx + 1) % _AGREE_EVERY == 0:
            due = bool(trainer.strategy.broadcast(due))  # each process has a clock of its own
        elif trainer.world_size > 1:
            due = False
        trainer.val_check_batch = 1 if due or self._asked else math.inf
        self._asked = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        self._started = pl_module.schedule.clock()
        self._photos, self._paintings, self._terms = [], [], []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self._photos.append(batch.cpu())
        self._terms += outputs["terms"]
        self._paintings.append(outputs["paintings"])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if trainer.sanity_checking or not self._terms:
            return
        schedule = pl_module.schedule
        self.metrics = means(self._terms, skip_nan=False)  # a loss that is not finite has to show
        self.step = pl_module.step
        last = trainer.should_stop or trainer.state.fn == TrainerFn.VALIDATING
        if self.measures is not None and (last or schedule.elapsed >= self._next_measure):
            since = schedule.clock()
            self.metrics |= {f"measured/{name}": value for name, value in self._measured(pl_module).items()}
            self._next_measure = schedule.elapsed + max(60.0, 40 * (schedule.clock() - since))
        values = {f"held_out/{name}": value for name, value in self.metrics.items()}
        pl_module.log_dict({**values, "step": float(self.step)}, on_epoch=True, batch_size=1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if trainer.sanity_checking or not self._terms:
            return
        if self.writer is not None:
            shown = zip(self._photos[: self.shown], self._paintings, strict=False)
            rows = [torch.cat([photo, *painted], dim=3) for photo, painted in shown]
            self.writer.picture("content | output", torch.cat(rows, dim=2)[0], self.step)
            self.writer.flush()
        # validation takes at most a twentieth of the time
        schedule = pl_module.schedule
        self._next = schedule.elapsed + max(15.0, 0.15 * schedule.elapsed, 20 * (schedule.clock() - self._started))
        self._photos, self._paintings, self._terms = [], [], []

    @torch.no_grad()
    def _measured(self, module: StyleTransfer) -> dict[str, float]:
        """The mean of each number over photos and styles; of flicker, over clips of the first photo."""
        measures = self.measures() if self.measures is not None else ()
        found = [
            measure.all(painting, photo)
            for photo, row in zip(self._photos, self._paintings, strict=True)
            for measure, painting in zip(measures, row, strict=True)
        ]
        if min(self._photos[0].shape[-2:]) >= _LEAST_SIDE:
            for i in range(len(measures)):
                moving = flicker(_painter(module, i), self._photos[0], _CLIPS, length=_FRAMES)
                found.append({f"motion/{name}": value for name, value in moving.items()})
        return means(found)


def _painter(module: StyleTransfer, style: int) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Paints with the averaged weights, at the controls' defaults; a recurrent network sees its past."""
    arguments = module.draw.defaults(torch.tensor([style])).arguments(len(module.validation.styles), module.device)

    def paint(frame: Tensor, past: Tensor | None) -> Tensor:
        more = {}
        if past is not None and isinstance(module.ema, RecurrentNetwork):
            more["past"] = past.to(module.device)
        with torch.autocast(module.device.type, enabled=False):
            painted: Tensor = module.ema(frame.to(module.device), **arguments, **more)
        return painted

    return paint
