"""How steady a painter is: what becomes of sensor noise and of a small, exactly known camera motion.

The warping error is that of Lai et al. (ECCV 2018), the root mean square in place of the mean square, so that it is
in the units of the picture. The motion is made here and not estimated, so no optical flow is needed, and nothing is
hidden and so nothing needs a mask but the picture's border.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Painter = Callable[[Tensor], Tensor]
"""Image (N, 3, H, W) in [0, 1] to image of the same shape."""

PAN = (0.5, 0.25)
"""Pixels to the right and down: no whole number of them, nor of the network's strides."""
ZOOM = 1.01
ROTATION = math.radians(0.5)
NOISE = 0.01
"""Standard deviation of the sensor noise: 2.5 levels of 255, as in a photo taken indoors."""
MARGIN = 16
"""Border in pixels that isn't judged: what moves in from outside is unknown, and paddings reach as far."""


def pan(t: float) -> Tensor:
    """The motion by `t` times PAN, as a (2, 3) matrix; see `warp`."""
    return torch.tensor([[1.0, 0.0, PAN[0] * t], [0.0, 1.0, PAN[1] * t]], dtype=torch.float64)


def zoom(t: float) -> Tensor:
    """The motion by ZOOM to the power `t` about the middle, as a (2, 3) matrix; see `warp`."""
    return torch.tensor([[ZOOM**t, 0.0, 0.0], [0.0, ZOOM**t, 0.0]], dtype=torch.float64)


def rotation(t: float) -> Tensor:
    """The motion by `t` times ROTATION about the middle, as a (2, 3) matrix; see `warp`."""
    cosine, sine = math.cos(ROTATION * t), math.sin(ROTATION * t)
    return torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], dtype=torch.float64)


MOTIONS: dict[str, Callable[[float], Tensor]] = {"pan": pan, "zoom": zoom, "rotation": rotation}
"""Each a group: the motion by `s` and then by `t` is the motion by `s + t`."""


def warp(image: Tensor, motion: Tensor) -> Tensor:
    """The picture whose value at place p is that of `image` at `motion` p, bicubic, mirrored beyond the border.

    Args:
        image: (N, 3, H, W).
        motion: (2, 3), of homogeneous places (x, y, 1) in pixels from the picture's middle.
    """
    height, width = image.shape[-2:]
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    y = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    places = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)], dim=-1)
    # grid_sample wants -1 and 1 at the outer edges of the outermost pixels
    grid = (places @ motion.T) * torch.tensor([2 / width, 2 / height], dtype=torch.float64)
    grid = grid.to(image.device, image.dtype).expand(len(image), -1, -1, -1)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def stability(
    paint: Painter, photos: Tensor | Sequence[Tensor], seed: int = 0, *, noise: float = NOISE
) -> dict[str, float]:
    """How much more a painting changes than its photo, where the photo moves or is taken again.

    Two frames are the photo moved half a motion back and half a motion on, so that both are equally blurred by
    resampling, and each has sensor noise of its own. Their warping error is the RMS difference of the second from the
    first moved by the whole motion; it is taken of the paintings and, in just the same way, of the frames.

    Args:
        paint: the painter to judge, given one picture at a time.
        photos: batches (N, 3, H, W) in [0, 1], each of a size of its own, or one batch.
        seed: of the noise.
        noise: its standard deviation.

    Returns:
        `warping_pan`, `warping_zoom`, `warping_rotation`: the paintings' warping error over that of the frames, and
        `noise_gain`: the RMS change of the painting over that of the photo, where only noise is added to it. All are
        pooled over the photos, and at least 0. 1 is as steady as the photo; a painter that also raises contrasts
        raises them alike, one that paints all photos the same has 0, and one whose strokes jump has far more.

    Raises:
        ValueError: for photos of another shape or too small to have a middle, and for a painter that changes sizes.
    """
    generator = torch.Generator().manual_seed(seed)
    names = [*(f"warping_{name}" for name in MOTIONS), "noise_gain"]
    changes = {name: [0.0, 0.0] for name in names}  # sums of squares: of the paintings, of the frames
    for photo in _single(photos):
        for name, motion in MOTIONS.items():
            frames = [_grainy(warp(photo, motion(t)), noise, generator) for t in (-0.5, 0.5)]
            paintings = [_painted(paint, frame) for frame in frames]
            for i, (before, after) in enumerate((paintings, frames)):
                changes[f"warping_{name}"][i] += _square(after - warp(before, motion(1)))
        grainy = _grainy(photo, noise, generator)
        changes["noise_gain"][0] += _square(_painted(paint, grainy) - _painted(paint, photo))
        changes["noise_gain"][1] += _square(grainy - photo)
    return {name: math.sqrt(painted / taken) if taken else math.nan for name, (painted, taken) in changes.items()}


def _single(photos: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Each photo by itself, (1, 3, H, W)."""
    singles: list[Tensor] = []
    for batch in [photos] if isinstance(photos, Tensor) else photos:
        if batch.ndim != 4 or batch.shape[1] != 3 or min(batch.shape[-2:]) <= 2 * MARGIN:
            raise ValueError(
                f"photos must be (N, 3, H, W) with sides of more than {2 * MARGIN}, not {tuple(batch.shape)}"
            )
        singles.extend(photo[None] for photo in batch.detach().float())
    if not singles:
        raise ValueError("there is no photo to judge by")
    return singles


def _grainy(photo: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """A photo with sensor noise, within [0, 1] as any frame is."""
    grain = torch.randn(photo.shape, generator=generator).to(photo.device)
    return (photo + noise * grain).clamp(0, 1)


def _painted(paint: Painter, photo: Tensor) -> Tensor:
    with torch.no_grad():
        painting = paint(photo)
    if painting.shape != photo.shape:
        raise ValueError(f"the painter made {tuple(painting.shape)} of a photo of {tuple(photo.shape)}")
    return painting.to(photo.device, photo.dtype)


def _square(difference: Tensor) -> float:
    """The sum of squares of the middle."""
    middle = difference[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    return float(middle.double().square().sum())
