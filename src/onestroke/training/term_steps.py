"""Trains loss terms that have parameters of their own, such as a discriminator, each with its own optimizer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onestroke.losses.objective import Objective
from onestroke.losses.term import Term, Views

log = logging.getLogger(__name__)


def learners(objective: Objective) -> dict[str, Term]:
    """The terms that have parameters to be trained, by name."""
    return {name: term for name, term in objective.terms.items() if isinstance(term, Term) and term.learns}


class TermSteps:
    """Updates the parameters that terms own, after each step of the network.

    Args:
        terms: those that own parameters, by name.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        self.terms = dict(terms)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """A new optimizer of each term, in their order."""
        return [term.optimizer() for term in self.terms.values()]

    def step(self, views: Views, optimizers: Sequence[torch.optim.Optimizer], processes: int = 1) -> dict[str, Tensor]:
        """Update each term's parameters once.

        An update whose gradient is not finite is skipped. The host waits for the device to know that, since a term may
        use any optimizer, and few can skip a step on the device.

        Args:
            views: what the terms were computed from in this step.
            optimizers: of the terms, in their order.
            processes: of the run, which share the batch.

        Returns:
            `own_loss` of each term as `<name>_own`, detached.
        """
        losses = {}
        views = views.detached()
        for (name, term), optimizer in zip(self.terms.items(), optimizers, strict=True):
            optimizer.zero_grad()  # the network's step left gradients here too
            with torch.enable_grad():
                loss = term.own_loss(views)
            torch.autograd.backward(loss)
            gradients = [p.grad for p in term.parameters() if p.grad is not None]
            if processes > 1:
                for gradient in gradients:
                    torch.distributed.all_reduce(gradient)
                    gradient /= processes
            if all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
                optimizer.step()
            else:
                log.warning("the step of the term '%s' was skipped: its gradient is not finite", name)
            losses[f"{name}_own"] = loss.detach()
        return losses
