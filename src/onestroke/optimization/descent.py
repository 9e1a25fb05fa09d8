"""Direct optimisation of the pixels (Gatys et al., 2016): the slow road to a painting, and the ceiling of the fast one.

The same objective that trains a network is followed down from one photo, and its loss is noted at each iteration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from onestroke.imaging import images
from onestroke.losses.objective import Objective
from onestroke.losses.term import Views
from onestroke.optimization.trace import Trace

Optimizer = Literal["lbfgs", "adam"]
Start = Literal["content", "noise"]

SHALLOWEST = 64
"""Shorter side below which a coarser scale shows VGG's deeper layers nothing any more."""

_HISTORY = 20  # pairs that L-BFGS remembers
_TRIALS = 25  # evaluations in one line search, at most
_LR = 0.02  # of Adam: about five levels of 255 an iteration
_NOISE = 0.1  # standard deviation about middle grey
_WORSE = 1e10  # what a picture counts whose loss is not a number


class Landscape:
    """The objective over pictures of one photo; the photo's features are computed once, and not at each step.

    Args:
        objective: in evaluation mode, so that terms normalise by this photo alone.
        content: the photo, (1, 3, H, W) in [0, 1], on the objective's device.
    """

    def __init__(self, objective: Objective, content: Tensor) -> None:
        if content.ndim != 4 or content.shape[:2] != (1, 3):
            raise ValueError(f"the photo must be one, (1, 3, H, W), not {tuple(content.shape)}")
        self.objective = objective
        self.evaluations = 0
        with torch.no_grad():
            self.content = objective.vgg(content, objective.content_layers)

    def terms(self, output: Tensor) -> dict[str, Tensor]:
        """What `objective(output, content)` is, without the content's pass."""
        parts = self.objective
        views = Views(parts.vgg(output, parts.output_layers), self.content, parts.style)
        return parts.weighted(views)

    def slope(self, output: Tensor) -> tuple[float, Tensor]:
        """Loss and gradient at a picture."""
        self.evaluations += 1
        output = output.detach().requires_grad_()
        with torch.enable_grad():
            loss = torch.stack(list(self.terms(output).values())).sum()
            (gradient,) = torch.autograd.grad(loss, output)
        value = float(loss.detach())
        if not math.isfinite(value) or not bool(torch.isfinite(gradient).all()):
            return _WORSE, torch.zeros_like(output)
        return value, gradient.contiguous()  # channels_last comes back from VGG, and L-BFGS wants it flat


def optimise(
    objective: Objective,
    content: Tensor,
    *,
    iterations: int,
    optimizer: Optimizer = "lbfgs",
    start: Start | Tensor = "content",
    seed: int = 0,
    until: float | None = None,
    progress: Callable[[int, float], object] | None = None,
) -> Trace:
    """Follow the objective down over the pixels of one picture.

    An iteration of L-BFGS is one direction, with a line search for the strong Wolfe conditions, which mostly takes a
    single evaluation; the loss never rises. One of Adam is one step, and the loss may rise.

    Args:
        objective: in evaluation mode.
        content: the photo, (1, 3, H, W) in [0, 1], on the objective's device.
        iterations: how many at most.
        optimizer: `lbfgs` (the field's reference) or `adam` (which takes some more iterations and less memory).
        start: `content`, `noise`, or a picture of the content's shape.
        seed: of the noise.
        until: stop at this loss.
        progress: told the iteration, from 0 on, and its loss.
    """
    landscape = Landscape(objective, content)
    picture = begin(start, content, seed)
    descend = {"lbfgs": _lbfgs, "adam": _adam}[optimizer]
    losses: list[float] = []
    best = picture.clone()
    exhausted = False
    descent = descend(landscape, picture)
    while len(losses) <= iterations:
        loss = next(descent, None)
        if loss is None:
            exhausted = True
            break
        if not losses or loss < min(losses):
            best = picture.clone()
        losses.append(loss)
        if progress is not None:
            progress(len(losses) - 1, loss)
        if until is not None and loss <= until:
            break
    return Trace(tuple(losses), best.cpu(), landscape.evaluations, exhausted)


def coarse_to_fine(
    objective_at: Callable[[int], Objective],
    content: Tensor,
    *,
    scales: int,
    iterations: int,
    optimizer: Optimizer = "lbfgs",
    start: Start = "content",
    seed: int = 0,
    progress: Callable[[int, int, float], object] | None = None,
) -> Trace:
    """Paint a small picture first and go on from it, enlarged, at twice the size (Gatys et al., CVPR 2017).

    What VGG sees of a large picture are small details; broad strokes and masses are laid at the coarse scales.

    Args:
        objective_at: the objective for a picture of this shorter side.
        content: the photo at its final size.
        scales: how many sizes, each half the next; those below SHALLOWEST are left out.
        iterations: how many at most, at each scale.
        progress: told the shorter side, the iteration and its loss.

    Returns:
        The trace of the last scale.
    """
    begun: Start | Tensor = start
    for side in sides(min(content.shape[-2:]), scales):
        photo = images.fit(content, short_side=side)
        if isinstance(begun, Tensor):
            begun = images.resize(begun.clamp(0, 1), *photo.shape[-2:]).to(photo.device)
        tell = None if progress is None else _at(side, progress)
        trace = optimise(
            objective_at(side), photo, iterations=iterations, optimizer=optimizer, start=begun, seed=seed, progress=tell
        )
        begun = trace.picture
    return trace


def sides(side: int, scales: int) -> list[int]:
    """The shorter sides from coarse to fine; the last is `side`, whatever its size."""
    coarser = [side // 2**k for k in range(scales - 1, 0, -1)]
    return [*(s for s in coarser if s >= SHALLOWEST), side]


def begin(start: Start | Tensor, content: Tensor, seed: int) -> Tensor:
    """The picture that an optimisation starts from, a copy."""
    if isinstance(start, Tensor):
        if start.shape != content.shape:
            raise ValueError(f"the start {tuple(start.shape)} and the photo {tuple(content.shape)} must be alike")
        return start.detach().to(content).clone(memory_format=torch.contiguous_format)
    if start == "noise":
        noise = torch.randn(content.shape, generator=torch.Generator().manual_seed(seed))
        return (0.5 + _NOISE * noise).to(content)
    return content.detach().clone(memory_format=torch.contiguous_format)


def _lbfgs(landscape: Landscape, picture: Tensor) -> Iterator[float]:
    """The loss before and after each iteration, with `picture` moved on; ends where it can't be lowered."""
    tried: list[tuple[Tensor, float, Tensor]] = []

    def closure() -> float:
        # torch asks again, at the start of each step, for what its line search has just found
        for place, loss, gradient in reversed(tried):
            if torch.equal(place, picture):
                picture.grad = gradient
                return loss
        loss, gradient = landscape.slope(picture)
        tried.append((picture.clone(), loss, gradient))
        picture.grad = gradient
        return loss

    def fresh() -> torch.optim.LBFGS:
        return torch.optim.LBFGS(
            [picture], max_iter=1, max_eval=_TRIALS, history_size=_HISTORY, tolerance_grad=0,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

    steps, first = fresh(), True
    loss = closure()
    yield loss
    while True:
        steps.step(closure)
        here = closure()
        tried[:] = [trial for trial in tried if torch.equal(trial[0], picture)][-1:]
        if here < loss:
            loss, first = here, False
            yield loss
        elif first:
            return
        else:
            # what it remembers of the curvature may mislead in fp32; once more from the gradient alone
            steps, first = fresh(), True


def _adam(landscape: Landscape, picture: Tensor) -> Iterator[float]:
    steps = torch.optim.Adam([picture], lr=_LR)
    while True:
        loss, picture.grad = landscape.slope(picture)
        yield loss
        steps.step()


def _at(side: int, progress: Callable[[int, int, float], object]) -> Callable[[int, float], object]:
    return lambda iteration, loss: progress(side, iteration, loss)
