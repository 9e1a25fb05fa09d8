"""Stability: how much a painting changes with sensor noise and with a small, exactly known camera motion.

The warping error is that of Lai et al. (ECCV 2018), as a root mean square, so that it is in the units of the picture.
The motion is synthetic, so that no optical flow is estimated and nothing is occluded; only a border is masked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Paint = Callable[[Tensor], Tensor]
"""Image (N, 3, H, W) in [0, 1] to image of the same shape."""

PAN = (0.5, 0.25)
"""Pixels to the right and down; fractions, so that they are no multiple of the network's strides."""
ZOOM = 1.01
ROTATION = math.radians(0.5)
NOISE = 0.01
"""Standard deviation of the sensor noise: 2.5 levels of 255, as in a photo taken indoors."""
MARGIN = 16
"""Border in pixels that is left out: it depends on unknown content outside and on padding."""


def pan(t: float) -> Tensor:
    """Translation by `t` times PAN, as a (2, 3) matrix; see `warp`."""
    return torch.tensor([[1.0, 0.0, PAN[0] * t], [0.0, 1.0, PAN[1] * t]], dtype=torch.float64)


def zoom(t: float) -> Tensor:
    """Scaling by ZOOM to the power `t` about the centre, as a (2, 3) matrix; see `warp`."""
    return torch.tensor([[ZOOM**t, 0.0, 0.0], [0.0, ZOOM**t, 0.0]], dtype=torch.float64)


def rotation(t: float) -> Tensor:
    """Rotation by `t` times ROTATION about the centre, as a (2, 3) matrix; see `warp`."""
    cosine, sine = math.cos(ROTATION * t), math.sin(ROTATION * t)
    return torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], dtype=torch.float64)


MOTIONS: dict[str, Callable[[float], Tensor]] = {"pan": pan, "zoom": zoom, "rotation": rotation}
"""By name; each is a one-parameter group: the motion by `s`, then by `t`, is that by `s + t`."""


def warp(image: Tensor, motion: Tensor) -> Tensor:
    """Resample a picture so that its value at p is that of `image` at `motion` p; bicubic, reflected at the border.

    Args:
        image: (N, 3, H, W).
        motion: (2, 3), applied to homogeneous coordinates (x, y, 1) in pixels from the picture's centre.
    """
    height, width = image.shape[-2:]
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    y = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    places = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)], dim=-1)
    # for grid_sample, -1 and 1 are the outer edges of the outermost pixels
    grid = (places @ motion.T) * torch.tensor([2 / width, 2 / height], dtype=torch.float64)
    grid = grid.to(image.device, image.dtype).expand(len(image), -1, -1, -1)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def stability(
    paint: Paint, photos: Tensor | Sequence[Tensor], seed: int = 0, *, noise: float = NOISE
) -> dict[str, float]:
    """Change of paintings relative to that of their photos, under camera motion and under sensor noise.

    Two frames are the photo moved by half a motion backwards and forwards, so that resampling blurs both equally, each
    with its own sensor noise. Their warping error is the RMS difference between the second and the first moved by the
    whole motion. It is computed for the paintings and in the same way for the frames.

    Args:
        paint: the network, called with one picture at a time.
        photos: batches (N, 3, H, W) in [0, 1], possibly of different sizes, or one batch.
        seed: of the noise.
        noise: its standard deviation.

    Returns:
        `warping_pan`, `warping_zoom`, `warping_rotation`: the paintings' warping error divided by that of the frames.
        `noise_gain`: the RMS change of the painting divided by that of the photo when only noise is added. All are
        pooled over the photos and at least 0: 0 if all photos give the same painting, 1 if a painting is as stable as
        its photo, more for higher contrast, and much more if strokes jump.

    Raises:
        ValueError: for photos of another shape or with sides of 2 MARGIN or less, and if `paint` changes sizes.
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
    """Split batches into single photos (1, 3, H, W)."""
    singles: list[Tensor] = []
    for batch in [photos] if isinstance(photos, Tensor) else photos:
        if batch.ndim != 4 or batch.shape[1] != 3 or min(batch.shape[-2:]) <= 2 * MARGIN:
            raise ValueError(
                f"photos must be (N, 3, H, W) with sides of more than {2 * MARGIN}, not {tuple(batch.shape)}"
            )
        singles.extend(photo[None] for photo in batch.detach().float())
    if not singles:
        raise ValueError("there is no photo to measure with")
    return singles


def _grainy(photo: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Add sensor noise to a photo and clamp it to [0, 1]."""
    grain = torch.randn(photo.shape, generator=generator).to(photo.device)
    return (photo + noise * grain).clamp(0, 1)


def _painted(paint: Paint, photo: Tensor) -> Tensor:
    with torch.no_grad():
        painting = paint(photo)
    if painting.shape != photo.shape:
        raise ValueError(f"the network returned {tuple(painting.shape)} for a photo of {tuple(photo.shape)}")
    return painting.to(photo.device, photo.dtype)


def _square(difference: Tensor) -> float:
    """The sum of squares inside the border."""
    middle = difference[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    return float(middle.double().square().sum())
