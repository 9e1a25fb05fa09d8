"""A warm-up step before the first one, which compiles the networks if asked to and estimates the run's duration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from onestroke.training.module import StyleTransfer
from onestroke.training.times import duration

log = logging.getLogger(__name__)


class WarmUp(Callback):
    """Runs a step without an update, to compile and to measure.

    Args:
        batch_size: of a step, over all processes.
        crop: side of the training pictures in pixels.
        dtype: of the training.
        compiles: whether torch.compile makes code for the network and the VGG.
        tells: whether to log how long the run will take.
    """

    def __init__(self, batch_size: int, crop: int, dtype: torch.dtype, compiles: bool, tells: bool) -> None:
        self.batch_size, self.crop, self.dtype, self.compiles, self.tells = batch_size, crop, dtype, compiles, tells

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StyleTransfer)
        if not (self.tells or self.compiles):
            return
        pace = self.prepare(pl_module, self.batch_size // trainer.world_size)
        if self.tells and trainer.is_global_zero:
            log.info("about %s, at %.1f images/s", duration(pl_module.schedule.steps * pace), self.batch_size / pace)

    def prepare(self, module: StyleTransfer, batch_size: int) -> float:
        """Compile if asked to, and measure how long a step of `batch_size` pictures takes; no weight changes.

        Returns:
            Seconds.
        """
        if self.compiles:
            parts = [module.network, module.objective.vgg]
            self.compiles = compile_parts(parts, lambda: self._step(module, batch_size))
        else:
            self._step(module, batch_size)  # the first one is the slowest
        return self._step(module, batch_size)

    def _step(self, module: StyleTransfer, batch_size: int) -> float:
        photos = torch.rand(batch_size, 3, self.crop, self.crop, generator=torch.Generator().manual_seed(0))
        photos = photos.to(module.device, memory_format=torch.channels_last)
        started = module.schedule.clock()
        with torch.autocast(module.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            losses, _ = module.compare(photos, module.draw.of(range(batch_size)))
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        took = module.schedule.clock() - started
        module.zero_grad(set_to_none=True)
        return took


def compile_parts(parts: Sequence[nn.Module], trial: Callable[[], object]) -> bool:
    """Compile modules in place with Inductor; where it fails, they stay uncompiled and a warning is logged.

    Args:
        parts: the modules.
        trial: calls them as a step does, since compilation happens at the first call.

    Returns:
        Whether they are compiled now.
    """
    log.info("compiling, which takes minutes; trainer.compile=false starts at once")
    for part in parts:
        part.compile()
    try:
        trial()
    except Exception as error:
        # the compiler's own errors have no class in common from version to version, but all come from there
        if not type(error).__module__.startswith("torch._"):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        log.warning("this machine can't compile, so training goes on without: %s", reason)
        for part in parts:
            part._compiled_call_impl = None
        return False
    return True
