"""Writes the resume file and the style file every few hundred steps and at the end, each atomically.

It replaces Lightning's ModelCheckpoint, which under manual optimization writes before the validation of the same step,
so that its result would be lost on resuming; ends the training when the disk is full; and deletes the file that the
resume file names as its predecessor, although anyone may have written that name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from onestroke.errors import UserError
from onestroke.files import atomic
from onestroke.training.callbacks.held_out import validates_next
from onestroke.training.module import StyleTransfer

log = logging.getLogger(__name__)


class LastCheckpoint(Checkpoint):
    """Writes everything that a resumed run needs, and a copy of the style file.

    Args:
        resume_file: where to write it.
        export: writes the style file.
        every: steps between.
    """

    kept: int | None = None
    """The step that the resume file stands at, None where this process has not written it yet."""

    def __init__(self, resume_file: Path, export: Callable[[StyleTransfer], Path], every: int) -> None:
        self.resume_file, self.export, self.every = resume_file, export, every
        self._due = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StyleTransfer)
        # here and not after the last step, where Lightning's loop would count as finished and could not be resumed
        self._due = trainer.should_stop or (pl_module.step % self.every == 0 and pl_module.guard.remember(pl_module))
        if self._due and not validates_next(trainer):
            self._write(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if self._due and not trainer.sanity_checking:
            self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, module: StyleTransfer) -> None:
        self._due = False
        self.keep(trainer, module.step)
        if trainer.is_global_zero and not trainer.should_stop:  # at the end, the run itself exports
            try:
                self.export(module)
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
