"""Muon: matrices move by the nearest orthogonal matrix to their momentum (Jordan et al., 2024), all else by Adam.

What a convolution learns in one step of Adam lies mostly in a few directions, that the gradient is large in; made
orthogonal, the step is as long in all of them. A style is met in about half the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

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
    mixing = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d) and m.out_channels > 3]
    inner = {id(weight) for weight in mixing} - last
    return [p for p in trained if id(p) in inner], [p for p in trained if id(p) not in inner]


class Muon(torch.optim.Optimizer):
    """One optimizer of two rules, so that a trainer sees one.

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

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move all that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            (self._muon if group["muon"] else self._adam)(group, params)
        return loss

    def _muon(self, group: dict[str, Any], params: list[Tensor]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for p in params:
            by_shape.setdefault(p.shape, []).append(p)
        for shape, alike in by_shape.items():
            updates = []
            for p in alike:
                assert p.grad is not None
                mean = self.state[p].setdefault("momentum", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                updates.append(torch.lerp(p.grad, mean, group["momentum"]).flatten(1))
            moves = orthogonal(torch.stack(updates))
            rows, columns = moves.shape[-2:]
            rate = group["lr"] * group["ratio"] * max(1.0, rows / columns) ** 0.5
            for p, move in zip(alike, moves, strict=True):
                p.add_(move.view(shape), alpha=-rate)

    def _adam(self, group: dict[str, Any], params: list[Tensor]) -> None:
        first, second = group["betas"]
        for p in params:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state.update(step=torch.zeros(()), mean=torch.zeros_like(p), square=torch.zeros_like(p))
            state["step"] += 1
            state["mean"].lerp_(p.grad, 1 - first)
            state["square"].lerp_(p.grad.square(), 1 - second)
            count = float(state["step"])
            size = (state["square"] / (1 - second**count)).sqrt_().add_(group["eps"])
            p.addcdiv_(state["mean"], size, value=-group["lr"] / (1 - first**count))
