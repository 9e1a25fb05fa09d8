"""Handles steps whose gradient is not finite: they are skipped, and several in a row roll the weights back."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from onestroke.errors import UserError

log = logging.getLogger(__name__)

CHECKS_EVERY = 10  # steps between two checks on a device that runs ahead of the host
PATIENCE = 3  # steps without a finite gradient in a row before the weights are rolled back
ROLLBACKS = 3  # before giving up
RECOVERED = 100  # finite steps in a row after which rollbacks before them count no more


class FiniteGuard:
    """Collects whether each step was finite, and rolls back to earlier weights after several that were not.

    every: steps between two checks, each of which makes the host wait for the device. lr_factor: factor on the learning
    rate, halved by each rollback. skipped_steps: how many steps were skipped.
    """

    def __init__(self) -> None:
        self.every = 1
        self.lr_factor = 1.0
        self.skipped_steps = 0
        self.rollbacks = 0
        self.good = 0  # finite steps in a row
        self._bad = 0  # others in a row
        self._unchecked: list[tuple[int, Tensor, Mapping[str, Tensor]]] = []
        self._snapshot: dict[str, Any] | None = None

    def note(self, module: LightningModule, step: int, broken: Tensor, losses: Mapping[str, Tensor]) -> None:
        """Record a step, and check if that is due.

        Args:
            module: that is trained.
            step: its number.
            broken: 1 if its gradient was not finite and it was skipped, else 0; a scalar on the device.
            losses: its terms.

        Raises:
            UserError: as `check`.
        """
        self._unchecked.append((step, broken, losses))
        if len(self._unchecked) >= self.every:
            self.check(module)

    def check(self, module: LightningModule) -> None:
        """Find the recorded steps that were not finite, and act on them; only here does the host wait for the device.

        Raises:
            UserError: if the loss stays not finite after several rollbacks.
        """
        unchecked, self._unchecked = self._unchecked, []
        flags = torch.stack([broken for _, broken, _ in unchecked]).tolist() if unchecked else []
        for (step, _, losses), broken in zip(unchecked, flags, strict=True):
            if not broken:
                self._bad = 0
                self.good += 1
                if self.good == RECOVERED:
                    self.rollbacks = 0
            elif self._skip(module, step, losses):
                return  # the steps after it started from weights that were discarded

    def remember(self, module: LightningModule) -> bool:
        """Copy weights and optimizer states to roll back to; False, and no copy, if a weight is not finite."""
        if not all(torch.isfinite(p).all() for p in module.parameters()):
            return False
        optimizers = [optimizer.state_dict() for optimizer in module.trainer.optimizers]
        self._snapshot = copy.deepcopy({"module": module.state_dict(), "optimizers": optimizers})
        return True

    def state_dict(self) -> dict[str, Any]:
        """For the resume file."""
        return {
            "skipped_steps": self.skipped_steps,
            "good_steps": self.good,
            "rollbacks": self.rollbacks,
            "lr_factor": self.lr_factor,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; older runs did not count good steps."""
        self.skipped_steps, self.good = state["skipped_steps"], state.get("good_steps", 0)
        self.rollbacks, self.lr_factor = state["rollbacks"], state["lr_factor"]

    def _skip(self, module: LightningModule, step: int, losses: Mapping[str, Tensor]) -> bool:
        """Log a skipped step; after several in a row, roll back and halve the learning rate. Returns whether it did."""
        self.skipped_steps += 1
        self._bad += 1
        self.good = 0
        broken = [name for name, loss in losses.items() if not torch.isfinite(loss)]
        what = f"the term '{broken[0]}'" if broken else "the gradient"
        log.warning("step %d: %s is not finite; the step was skipped", step, what)
        if self._bad < PATIENCE:
            return False
        self.rollbacks += 1
        if self.rollbacks > ROLLBACKS or self._snapshot is None:
            wider = "" if module.trainer.precision == "32-true" else ", or trainer.precision=32-true"
            raise UserError(
                f"training stopped at step {step}: {what} stays not finite after {ROLLBACKS} fresh starts from "
                f"good weights; try a smaller lr{wider}"
            )
        self._bad = 0
        self.lr_factor *= 0.5
        state = copy.deepcopy(self._snapshot)
        module.load_state_dict(state["module"])
        for optimizer, kept in zip(module.trainer.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        log.warning("step %d: back to the last good weights, at half the learning rate", step)
        return True
