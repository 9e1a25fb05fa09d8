"""Muon: matrices are updated by the orthogonalized momentum (Jordan et al., 2024), all other parameters by Adam.

An Adam step of a convolution lies mostly in the few directions in which its gradient is large; an orthogonalized step
has the same length in all of them. A training needs about half the steps.

It is written here because torch.optim.Muon takes matrices only, and no convolutions. Its Adam is written here because
torch's fused one rounds differently. On the same gradients both stay within 1e-7 of the largest weight over 20 steps,
but in a training the differences grow, most in biases that a following norm cancels, whose gradients are rounding
errors: after 20 steps its weights differ by 1e-3. A run that was started with one could not be resumed exactly with
the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

Tensors = list[Tensor] | tuple[Tensor, ...]

# Quintic Newton-Schulz, whose coefficients drive every singular value to between 0.7 and 1.2 in five rounds.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """About the nearest matrices with orthonormal rows or columns, (N, R, C); singular values come to 0.7 to 1.2."""
    a, b, c = _COEFFICIENTS
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = x.mT if tall else x
    return result


def split(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The trained parameters: the convolutions that mix features, and all else (norms, biases, what makes colours)."""
    trained = [p for p in network.parameters() if p.requires_grad]
    paint = getattr(network, "paint", None)
    last = {id(p) for p in paint.parameters()} if isinstance(paint, nn.Module) else set()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.out_channels > 3]
    # one with as many groups as inputs, each of them a single channel, mixes none
    mixing = [m.weight for m in convolutions if m.groups == 1 or m.groups < m.in_channels]
    inner = {id(weight) for weight in mixing} - last
    return [p for p in trained if id(p) in inner], [p for p in trained if id(p) not in inner]


class Muon(torch.optim.Optimizer):
    """One optimizer of two rules, so that a trainer sees one.

    A scalar tensor in `found_inf`, as torch's fused optimizers take it, says whether the step is to be left out (1) or
    made (0), without the host knowing. All of a group are to have gradients in the same steps.

    Args:
        matrices: weights whose first dimension is the outputs; moved by `lr * ratio`.
        others: moved by Adam at `lr`.
        lr: of Adam.
        betas: of Adam.
        ratio: how much larger Muon's rate is.
        momentum: of Muon, in Nesterov's manner.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        ratio: float = 10.0,
        momentum: float = 0.95,
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(params), "muon": muon} for params, muon in ((matrices, True), (others, False))
        ]
        groups = [group for group in groups if group["params"]]
        super().__init__(groups, {"lr": lr, "betas": betas, "ratio": ratio, "momentum": momentum, "eps": 1e-8})
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move all that has a gradient; nothing changes where `found_inf` is 1."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in params]
            if self.found_inf is not None:
                gradients = [torch.where(self.found_inf > 0, 0, gradient) for gradient in gradients]
            if params:
                (self._muon if group["muon"] else self._adam)(group, params, gradients)
        return loss

    def _muon(self, group: dict[str, Any], params: list[Tensor], gradients: list[Tensor]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        means = [self.state[p]["momentum"] for p in params]
        move_towards(means, gradients, self._if_finite(1 - group["momentum"]))
        ahead = torch._foreach_lerp(gradients, means, group["momentum"])
        by_shape: dict[torch.Size, list[int]] = {}
        for i, p in enumerate(params):
            by_shape.setdefault(p.shape, []).append(i)
        for shape, alike in by_shape.items():
            moves = orthogonal(torch.stack([ahead[i].flatten(1) for i in alike]))
            rows, columns = moves.shape[-2:]
            rate = group["lr"] * group["ratio"] * max(1.0, rows / columns) ** 0.5
            moves *= self._if_finite(-rate)
            torch._foreach_add_([params[i] for i in alike], [move.view(shape) for move in moves])

    def _adam(self, group: dict[str, Any], params: list[Tensor], gradients: list[Tensor]) -> None:
        for p in params:
            if not self.state[p]:
                # steps are counted beside the weights, so that no device waits to know how many there were
                counted = torch.zeros((), device=p.device)
                self.state[p].update(step=counted, mean=torch.zeros_like(p), square=torch.zeros_like(p))
        steps, means, squares = ([self.state[p][name] for p in params] for name in ("step", "mean", "square"))
        first, second = group["betas"]
        one = self._if_finite(1.0)
        # by a list, as torch would read a single tensor's number on the host
        torch._foreach_add_(steps, [one] * len(steps) if isinstance(one, Tensor) else one)
        move_towards(means, gradients, self._if_finite(1 - first))
        move_towards(squares, torch._foreach_mul(gradients, gradients), self._if_finite(1 - second))
        # those of one group are moved together, so that they have one count; 1 where the first steps were not finite
        count = steps[0].clamp_min(1)
        sizes = torch._foreach_sqrt(torch._foreach_div(squares, 1 - second**count))
        torch._foreach_add_(sizes, group["eps"])
        moves = torch._foreach_div(means, sizes)
        torch._foreach_mul_(moves, self._if_finite(-group["lr"]) / (1 - first**count))
        torch._foreach_add_(params, moves)

    def _if_finite(self, amount: float) -> float | Tensor:
        return amount if self.found_inf is None else amount * (1 - self.found_inf)


def move_towards(here: Tensors, there: Tensors, share: float | Tensor) -> None:
    """Linear interpolation in place, of many at once, by a share that may be known to the device alone."""
    steps = torch._foreach_sub(there, here)
    torch._foreach_mul_(steps, share)
    torch._foreach_add_(here, steps)
