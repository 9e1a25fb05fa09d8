"""Lets Lightning train, and turns its errors about what the user gave into sentences."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]

from onestroke.data.datamodule import PhotoBatches
from onestroke.devices import memory_kept
from onestroke.errors import UserError, printable
from onestroke.training.build import Parts
from onestroke.training.module import StyleTransfer


def fit(trainer: pl.Trainer, module: StyleTransfer, data: PhotoBatches, parts: Parts) -> None:
    """Train with Lightning.

    Raises:
        UserError: for a callback that does not work with this run, and for a resume file that Lightning can't load.
    """
    try:
        with memory_kept():
            trainer.fit(module, datamodule=data, ckpt_path=parts.settings.resume, weights_only=True)
    except Exception as error:
        if isinstance(error, MisconfigurationException | ModuleNotFoundError):  # usually raised by a callback
            raise UserError(f"trainer: {printable(str(error).strip().splitlines()[0])}") from error
        if parts.file is None or module.begun or isinstance(error, UserError):
            raise
        raise UserError(f"resume: {parts.file.path} does not fit this OneStroke: {printable(error)}") from error
