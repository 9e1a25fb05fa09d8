"""Batches from a source of pictures; their content depends on (seed, step) alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from onestroke.data.chains import Chains, Link
from onestroke.data.loading import Batch, Expect, Loader, Sample, to_image

_HELD_OUT_SIDE = 256  # minimum side in pixels, so that validation is comparable between small crop sizes

__all__ = ["Batch", "Clips", "PhotoBatches", "Source", "reduced", "to_image"]


class Source(Protocol):
    """Protocol of a dataset. A new dataset is one class with these methods and one yaml that names it.

    The n-th sample must depend on (n, seed, crop) alone, so that resumed and distributed runs see the same samples as
    an uninterrupted run in one process. Instances are sent to worker processes, so they must be picklable. If an
    instance has a method `prepare(crop)`, it is called in each training process before its workers start; a method
    `expect(numbers, seed)` is told which samples a worker will ask for next.
    """

    def preflight(self) -> None:
        """Check that training can start; raises a UserError if not."""

    def sample(self, n: int, seed: int, crop: int) -> tuple[np.ndarray, list[str]]:
        """The n-th training picture, uint8 (crop, crop, 3), and `path: reason` of each file that was skipped."""
        ...

    def held_out(self, size: int) -> list[np.ndarray]:
        """Fixed pictures that are never trained on, each uint8 (size, size, 3)."""
        ...

    def describe(self) -> str:
        """A short description for the log."""
        ...


@runtime_checkable
class Clips(Source, Protocol):
    """A source of clips, whose pictures are frames that follow one another."""

    def frame(self, link: Link, seed: int, crop: int) -> tuple[np.ndarray, list[str]]:
        """The frame of this age in the chain that begins with that sample, as `sample`; its age 0 is that sample."""
        ...


def reduced(photos: Tensor, side: int) -> Tensor:
    """Reduce square pictures (N, 3, H, H) to another side in pixels, without aliasing; as they are if they have it."""
    if photos.shape[-1] == side:
        return photos
    small = F.interpolate(photos, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.contiguous(memory_format=torch.channels_last)


def _of_chain(sample: Sample, chains: Chains, n: int) -> tuple[np.ndarray, list[str]]:
    """The first picture of the chain that picture n is in."""
    return sample(chains.link(n).first)


def _expect(expect: Expect, chains: Chains | None, numbers: list[int]) -> None:
    """Tell a source which samples come next: of chains, their first ones."""
    expect(numbers if chains is None else list(dict.fromkeys(chains.link(n).first for n in numbers)))


def _frame(
    frame: Callable[[Link], tuple[np.ndarray, list[str]]], chains: Chains, n: int
) -> tuple[np.ndarray, list[str]]:
    """Picture n as a frame of a clip."""
    return frame(chains.link(n))


class PhotoBatches(LightningDataModule):
    """Training and validation batches of a source.

    Args:
        source: the dataset.
        batch_size: pictures per step, over all processes together.
        crop: side of the square pictures in pixels.
        seed: of order and augmentation.
        workers: worker processes that prepare pictures; None: half the CPU cores, 1 to 8.
        chains: for a recurrent network: each picture is then the first one of its chain.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        crop: int,
        seed: int,
        workers: int | None = None,
        chains: Chains | None = None,
    ) -> None:
        super().__init__()
        self.chains = chains
        self.source, self.batch_size, self.crop, self.seed = source, batch_size, crop, seed
        # on few cores, one worker is fast enough and leaves most CPU time to the training
        self.workers = min(8, max(1, (os.cpu_count() or 1) // 2)) if workers is None else workers
        self.start_step = 0

    @cached_property
    def held_out(self) -> list[Tensor]:
        """The held-out photos, each (1, 3, H, W) in [0, 1]."""
        photos = self.source.held_out(max(_HELD_OUT_SIDE, self.crop))
        return [to_image(torch.from_numpy(photo)[None]) for photo in photos]

    def val_dataloader(self) -> DataLoader[Tensor]:
        """The held-out photos, one at a time, each (1, 3, H, W) in [0, 1]."""
        # with its own generator, since a DataLoader would otherwise draw from the global one
        return DataLoader(self.held_out, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]

    def train_dataloader(self) -> Loader:
        """Endless batches from step `start_step` on; each process gets its share of every batch."""
        if (prepare := getattr(self.source, "prepare", None)) is not None:
            prepare(self.crop)
        trainer = self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        share = self.batch_size // processes
        mine = range(rank * share, (rank + 1) * share)
        sample = partial(self.source.sample, seed=self.seed, crop=self.crop)
        if self.chains is not None and isinstance(self.source, Clips) and self.chains.real:
            sample = partial(_frame, partial(self.source.frame, seed=self.seed, crop=self.crop), self.chains)
        elif self.chains is not None:
            sample = partial(_of_chain, sample, self.chains)
        expect = getattr(self.source, "expect", None)
        if expect is not None:
            expect = partial(_expect, partial(expect, seed=self.seed), self.chains)
        return Loader(sample, self.start_step, self.batch_size, mine, self.workers, expect)

    def state_dict(self) -> dict[str, int]:
        """The next step, for the resume file."""
        assert self.trainer is not None
        return {"step": int(self.trainer.lightning_module.step)}  # type: ignore[arg-type]

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue at the step in the state."""
        self.start_step = state_dict["step"]
