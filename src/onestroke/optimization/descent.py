"""Direct optimisation of a picture's pixels (Gatys et al., 2016): slow, and the reference for networks.

It minimises the objective that also trains a network, for a single photo, and records the loss at each iteration.
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

SMALLEST_SCALE = 64
"""Shorter side in pixels below which VGG's deeper layers see too little for a coarser scale to help."""

_HISTORY = 20  # update pairs that L-BFGS keeps
_TRIALS = 25  # most evaluations in one line search
_LR = 0.02  # of Adam: about five levels of 255 an iteration
_NOISE = 0.1  # standard deviation of the start around mid-grey
_NOT_FINITE = 1e10  # stands for a loss that is not finite


class PixelObjective:
    """The objective as a function of the painted picture, for a fixed photo whose features are computed once.

    Args:
        objective: in evaluation mode, so that terms are relative to this photo alone.
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
        """`objective(output, content)`: the weighted terms by name, without another VGG pass for the photo."""
        parts = self.objective
        views = Views(parts.vgg(output, parts.output_layers), self.content, parts.style)
        return parts.weighted(views)

    def loss_and_gradient(self, output: Tensor) -> tuple[float, Tensor]:
        """Loss and gradient at a picture (1, 3, H, W); not finite: a large loss and a gradient of zero."""
        self.evaluations += 1
        output = output.detach().requires_grad_()
        with torch.enable_grad():
            loss = torch.stack(list(self.terms(output).values())).sum()
            (gradient,) = torch.autograd.grad(loss, output)
        value = float(loss.detach())
        if not math.isfinite(value) or not bool(torch.isfinite(gradient).all()):
            return _NOT_FINITE, torch.zeros_like(output)
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
    """Minimise the objective over the pixels of one picture.

    An iteration of L-BFGS is one direction with a line search (strong Wolfe conditions), which mostly takes a single
    evaluation; the loss never rises. An iteration of Adam is one step; the loss may rise.

    Args:
        objective: in evaluation mode.
        content: the photo, (1, 3, H, W) in [0, 1], on the objective's device.
        iterations: the most that are made.
        optimizer: `lbfgs` (the usual reference) or `adam` (some more iterations, less memory).
        start: `content`, `noise`, or a picture of the content's shape.
        seed: of the noise.
        until: stop at this loss.
        progress: called with the iteration, from 0 (the start), and its loss.
    """
    pixel_objective = PixelObjective(objective, content)
    picture = initial_picture(start, content, seed)
    descend = {"lbfgs": _lbfgs, "adam": _adam}[optimizer]
    losses: list[float] = []
    best = picture.clone()
    exhausted = False
    descent = descend(pixel_objective, picture)
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
    return Trace(tuple(losses), best.cpu(), pixel_objective.evaluations, exhausted)


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
    """Optimise a small picture first, then go on from its enlargement at twice the size (Gatys et al., CVPR 2017).

    In a large picture, VGG's receptive fields cover small details only; broad strokes come from the coarse scales.

    Args:
        objective_at: shorter side in pixels -> the objective for pictures of that size.
        content: the photo at its final size, (1, 3, H, W) in [0, 1].
        scales: number of sizes, each half the next; those below SMALLEST_SCALE are left out.
        iterations: the most that are made at each scale.
        optimizer, start, seed: as for `optimise`.
        progress: called with the shorter side, the iteration and its loss.

    Returns:
        The trace of the last scale.
    """
    initial: Start | Tensor = start
    for side in sides(min(content.shape[-2:]), scales):
        photo = images.fit(content, short_side=side)
        if isinstance(initial, Tensor):
            initial = images.resize(initial.clamp(0, 1), *photo.shape[-2:]).to(photo.device)
        report = None if progress is None else _at(side, progress)
        trace = optimise(
            objective_at(side),
            photo,
            iterations=iterations,
            optimizer=optimizer,
            start=initial,
            seed=seed,
            progress=report,
        )
        initial = trace.picture
    return trace


def sides(side: int, scales: int) -> list[int]:
    """Shorter sides in pixels from coarse to fine; the last is always `side`."""
    coarser = [side // 2**k for k in range(scales - 1, 0, -1)]
    return [*(s for s in coarser if s >= SMALLEST_SCALE), side]


def initial_picture(start: Start | Tensor, content: Tensor, seed: int) -> Tensor:
    """The initial picture of an optimisation, (1, 3, H, W), as a copy.

    Raises:
        ValueError: for a picture of another shape than the photo's.
    """
    if isinstance(start, Tensor):
        if start.shape != content.shape:
            raise ValueError(f"the start {tuple(start.shape)} and the photo {tuple(content.shape)} must be alike")
        return start.detach().to(content).clone(memory_format=torch.contiguous_format)
    if start == "noise":
        noise = torch.randn(content.shape, generator=torch.Generator().manual_seed(seed))
        return (0.5 + _NOISE * noise).to(content)
    return content.detach().clone(memory_format=torch.contiguous_format)


def _lbfgs(pixel_objective: PixelObjective, picture: Tensor) -> Iterator[float]:
    """Update `picture` in place; yield the loss at the start and after each iteration, until it can't be lowered."""
    trials: list[tuple[Tensor, float, Tensor]] = []

    def closure() -> float:
        # torch evaluates the picture again at the start of each step, though its line search has just done so
        for point, loss, gradient in reversed(trials):
            if torch.equal(point, picture):
                picture.grad = gradient
                return loss
        loss, gradient = pixel_objective.loss_and_gradient(picture)
        trials.append((picture.clone(), loss, gradient))
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
        trials[:] = [trial for trial in trials if torch.equal(trial[0], picture)][-1:]
        if here < loss:
            loss, first = here, False
            yield loss
        elif first:
            return
        else:
            # the curvature estimate may mislead in fp32; restart once from the gradient alone
            steps, first = fresh(), True


def _adam(pixel_objective: PixelObjective, picture: Tensor) -> Iterator[float]:
    steps = torch.optim.Adam([picture], lr=_LR)
    while True:
        loss, picture.grad = pixel_objective.loss_and_gradient(picture)
        yield loss
        steps.step()


def _at(side: int, progress: Callable[[int, int, float], object]) -> Callable[[int, float], object]:
    return lambda iteration, loss: progress(side, iteration, loss)
