"""OneStroke's own training step, built from configs/ as train.py builds it, without Lightning's loop around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from bench_measure import gmac
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from torch import Tensor

from onestroke.cli.train import config_folder
from onestroke.data.datamodule import Batch
from onestroke.devices import keep_memory
from onestroke.errors import UserError
from onestroke.losses.objective import Objective
from onestroke.losses.shift_consistency import ShiftConsistency
from onestroke.training.build import Parts, build
from onestroke.training.callbacks.warm_up import WarmUp
from onestroke.training.module import StyleTransfer
from onestroke.training.schedule import Schedule

_ENDLESS = 10**9  # steps


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """The config that train.py would have with these overrides.

    Raises:
        UserError: where it takes no such override.
    """
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose("train", list(overrides))
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(" ".join(str(error).split())) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


class _Alone:
    """What a step asks of a trainer."""

    optimizers: list[torch.optim.Optimizer]
    should_stop = False
    world_size = 1


class Step(StyleTransfer):
    """A StyleTransfer that steps when it is called.

    Args:
        parts: what a config was built into.
        objective: judges the batches.
        device: where it computes.
    """

    def __init__(self, parts: Parts, objective: Objective, device: torch.device) -> None:
        super().__init__(parts.network, objective, objective, parts.settings.recipe, Schedule(_ENDLESS))
        self._alone = _Alone()  # Lightning keeps a weak reference
        self.trainer = cast(pl.Trainer, self._alone)
        self.to(device)
        self._alone.optimizers = self.configure_optimizers()
        mixed = parts.machine.dtype == torch.bfloat16
        self._precision = MixedPrecision("bf16-mixed", device.type) if mixed else Precision()
        keep_memory(True)  # as a training does
        self.on_fit_start()
        if parts.machine.compiles:
            settings = parts.settings
            warm_up = WarmUp(settings.batch_size, max(settings.crops), parts.machine.dtype, compiles=True, tells=False)
            warm_up.prepare(self, settings.batch_size)
        self.on_train_start()

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The one there is."""
        return self._alone.optimizers[0]

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Without a trainer's strategy."""
        torch.autograd.backward(loss)

    def __call__(self, photos: Tensor) -> None:
        """Learn from a batch as a loader gives it: uint8 (N, H, W, 3), on the CPU."""
        batch = Batch(photos=photos.to(self.device, non_blocking=True), numbers=list(range(len(photos))), skipped=[])
        with self._precision.train_step_context():
            self.training_step(batch, self.step)

    def gmac(self, height: int, width: int) -> float:
        """Multiply-adds of a step, for each photo of the batch: forward, and backward to weights and to inputs."""
        vgg = self.objective.vgg
        output, content = (
            gmac(vgg, height, width, layers=layers)
            for layers in (self.objective.output_layers, self.objective.content_layers)
        )
        painted = gmac(self.network, height, width)
        if any(isinstance(term, ShiftConsistency) for term in self.objective.terms.values()):
            # for which every other photo is painted once more
            painted *= 1.5
        return 3 * painted + 2 * output + content


def prepared(overrides: Sequence[str], device: torch.device) -> Step:
    """The step of `python train.py <overrides>` on this device.

    Raises:
        UserError: for what train.py would refuse.
    """
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    config = composed([f"trainer.accelerator={accelerator}", *overrides])
    parts = build(config, Path("runs"))
    return Step(parts, parts.objective_of(parts.machine.dtype, parts.styles), device)
