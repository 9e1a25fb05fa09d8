"""From a source of pictures to batches, in an order that depends on (seed, step) alone."""

from __future__ import annotations

import os
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from onestroke.data.loading import Batch, Loader

_HELD_OUT_SIDE = 256  # pixels at least, so that what is measured means the same for small crops

__all__ = ["Batch", "PhotoBatches", "Source", "to_image"]


class Source(Protocol):
    """Where photos come from. A new dataset is one class of this shape and one yaml that names it.

    Everything about the n-th sample follows from (n, seed), so that a resumed run, and each process of a distributed
    one, sees what an unbroken run would have seen. Instances are sent to worker processes, so they must pickle. Where
    one has a method `prepare(crop)`, that is called in each training process before its workers start.
    """

    def preflight(self) -> None:
        """Raise a UserError where training could not start."""

    def sample(self, n: int, seed: int, crop: int) -> tuple[np.ndarray, list[str]]:
        """The n-th training picture, uint8 (crop, crop, 3), and a 'path: reason' for each file skipped on the way."""
        ...

    def held_out(self, size: int) -> list[np.ndarray]:
        """Fixed pictures that are never trained on, each uint8 (size, size, 3)."""
        ...

    def describe(self) -> str:
        """What this is, in a few words."""
        ...


def to_image(photos: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) -> float (N, 3, H, W) in [0, 1], laid out channels_last, as it came."""
    return photos.permute(0, 3, 1, 2).float() / 255


class PhotoBatches(LightningDataModule):
    """Batches of a source, from any step on.

    Args:
        source: where the photos come from.
        batch_size: of a step, over all processes together.
        crop: side of the square pictures in pixels.
        seed: of order and augmentation.
        workers: processes that prepare pictures; None: as fits the machine.
    """

    def __init__(self, source: Source, batch_size: int, crop: int, seed: int, workers: int | None = None) -> None:
        super().__init__()
        self.source, self.batch_size, self.crop, self.seed = source, batch_size, crop, seed
        # on few cores one process keeps ahead of the training and takes least from it
        self.workers = min(8, max(1, (os.cpu_count() or 1) // 2)) if workers is None else workers
        self.start_step = 0

    @cached_property
    def held_out(self) -> list[Tensor]:
        """Photos that are never trained on, the same all the time, each (1, 3, H, W) in [0, 1]."""
        photos = self.source.held_out(max(_HELD_OUT_SIDE, self.crop))
        return [to_image(torch.from_numpy(photo)[None]) for photo in photos]

    def val_dataloader(self) -> DataLoader[Tensor]:
        """The held-out photos, one at a time."""
        # with a generator of its own, as it would else draw from the one that everything else draws from
        return DataLoader(self.held_out, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]

    def train_dataloader(self) -> Loader:
        """Endless batches from `start_step` on."""
        if (prepare := getattr(self.source, "prepare", None)) is not None:
            prepare(self.crop)
        trainer = self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        share = self.batch_size // processes
        mine = range(rank * share, (rank + 1) * share)
        sample = partial(self.source.sample, seed=self.seed, crop=self.crop)
        return Loader(sample, self.start_step, self.batch_size, mine, self.workers)

    def state_dict(self) -> dict[str, int]:
        """The step that comes next, for the resume file."""
        assert self.trainer is not None
        return {"step": int(self.trainer.lightning_module.step)}  # type: ignore[arg-type]

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on with the step that came next when the state was written."""
        self.start_step = state_dict["step"]
