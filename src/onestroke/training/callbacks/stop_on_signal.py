"""Ctrl-C ends a training cleanly."""

from __future__ import annotations

import logging
import signal
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from onestroke.losses.term import batch_mean

log = logging.getLogger(__name__)


class StopOnSignal(Callback):
    """Ends the training after the current step at Ctrl-C or SIGTERM, and exports; at a second signal, at once."""

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
        if trainer.world_size > 1:
            # a signal may reach one process of several, and all must stop after the same step
            self.stopped = float(batch_mean(torch.tensor(float(self.stopped), device=pl_module.device))) > 0
        if self.stopped:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
