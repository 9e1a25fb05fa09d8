"""Random smooth motions of a camera over a photo, known exactly: pan, zoom, rotation, and waves that bend the picture.

A chain of frames is a photo seen from a camera that moves on. What lies outside of the photo is its mirror image, so
that there is something everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PAN = 3.0  # largest pan from one frame to the next, in pixels
ZOOM = 0.012  # largest change of size
ROTATION = math.radians(0.8)  # largest turn
BEND = 1.5  # largest amplitude of a wave, in pixels
WAVES = 2
_LENGTHS = (64.0, 256.0)  # of waves, in pixels
_BEAT = 0.5  # largest advance of a wave's phase from one frame to the next, in radians
_STILL = 0.1  # share of cameras that don't move
_ITERATIONS = 6  # each makes the error of `before` at least three times smaller
_NUMBERS = 5 + 10 * WAVES


@dataclass(frozen=True)
class Motions:
    """The motions of N cameras, by frame number t; at t = 0 a camera sees the photo as it is.

    pan: pixels from frame to frame, (N, 2), x and y. zoom: logarithm of the scale, (N,). turn: radians, (N,).
    Of each wave of x and of y, amplitude in pixels, phase and beat, (N, 2, WAVES), and radians by pixel,
    (N, 2, WAVES, 2).
    """

    pan: Tensor
    zoom: Tensor
    turn: Tensor
    amplitude: Tensor
    phase: Tensor
    beat: Tensor
    waves: Tensor

    @classmethod
    def draw(cls, seeds: Sequence[Sequence[int]], device: torch.device | None = None) -> Motions:
        """Draw a motion for each seed; on the device."""
        drawn = torch.from_numpy(np.stack([np.random.default_rng(list(seed)).random(_NUMBERS) for seed in seeds]))
        numbers = drawn.float().to(device)
        alone, each = numbers[:, :5], numbers[:, 5:].view(len(seeds), 2, WAVES, 5)
        moves = (alone[:, 0] >= _STILL).float()
        angle, speed = 2 * math.pi * alone[:, 1], PAN * alone[:, 2] * moves
        shortest, longest = _LENGTHS
        frequency = 2 * math.pi / (shortest * (longest / shortest) ** each[..., 0])
        heading = 2 * math.pi * each[..., 1]
        return cls(
            torch.stack([speed * angle.cos(), speed * angle.sin()], dim=1),
            ZOOM * (2 * alone[:, 3] - 1) * moves,
            ROTATION * (2 * alone[:, 4] - 1) * moves,
            BEND * each[..., 2] * moves[:, None, None],
            2 * math.pi * each[..., 3],
            _BEAT * (2 * each[..., 4] - 1),
            torch.stack([frequency * heading.cos(), frequency * heading.sin()], dim=-1),
        )

    def places(self, pixels: Tensor, t: Tensor) -> Tensor:
        """Where in the photo the pixels of frames lie.

        Args:
            pixels: (N, H, W, 2), x and y in pixels from the centre.
            t: number of each frame, (N,).

        Returns:
            The same shape, in pixels from the photo's centre.
        """
        return self._turned(pixels, t) + self._bent(pixels, t)

    def before(self, pixels: Tensor, t: Tensor, earlier: Tensor) -> Tensor:
        """Where that lies in earlier frames which is at the pixels of frames t; all as for `places`."""
        wanted, found = self.places(pixels, t), pixels
        for _ in range(_ITERATIONS):
            found = self._unturned(wanted - self._bent(found, earlier), earlier)
        return found

    def _turned(self, pixels: Tensor, t: Tensor) -> Tensor:
        cosine, sine = self._cosine_and_sine(t)
        x, y = pixels.unbind(-1)
        turned = torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)
        return turned + (self.pan * t[:, None])[:, None, None]

    def _unturned(self, places: Tensor, t: Tensor) -> Tensor:
        cosine, sine = self._cosine_and_sine(t)
        scale = (-2 * self.zoom * t).exp()[:, None, None]
        x, y = (places - (self.pan * t[:, None])[:, None, None]).unbind(-1)
        return torch.stack([scale * (cosine * x + sine * y), scale * (cosine * y - sine * x)], dim=-1)

    def _cosine_and_sine(self, t: Tensor) -> tuple[Tensor, Tensor]:
        scale, angle = (self.zoom * t).exp(), self.turn * t
        return (scale * angle.cos())[:, None, None], (scale * angle.sin())[:, None, None]

    def _bent(self, pixels: Tensor, t: Tensor) -> Tensor:
        """The waves' displacement, (N, H, W, 2); 0 at t = 0."""
        sides = []
        for side in range(2):
            total = torch.zeros_like(pixels[..., 0])
            for wave in range(WAVES):
                here = [part[:, side, wave, None, None] for part in (self.amplitude, self.phase, self.beat)]
                amplitude, phase, beat = here
                along = torch.einsum("nhwc,nc->nhw", pixels, self.waves[:, side, wave]) + phase
                # a product of two sines in place of the difference of two, which is 0 at t = 0
                half = beat * t[:, None, None] / 2
                total = total + 2 * amplitude * half.sin() * (along + half).cos()
            sides.append(total)
        return torch.stack(sides, dim=-1)


def pixels_of(pictures: Tensor) -> Tensor:
    """The places of the pixels of pictures (N, C, H, W) in pixels from the centre, (N, H, W, 2), x and y."""
    count, _, height, width = pictures.shape
    x = torch.arange(width, device=pictures.device, dtype=torch.float32) - (width - 1) / 2
    y = torch.arange(height, device=pictures.device, dtype=torch.float32) - (height - 1) / 2
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1).expand(count, -1, -1, -1)


def sampled(pictures: Tensor, places: Tensor, mode: str = "bicubic") -> Tensor:
    """Pictures at places in pixels from the centre: (N, C, H, W), (N, H, W, 2) -> (N, C, H, W); mirrored outside."""
    height, width = pictures.shape[-2:]
    with torch.autocast(pictures.device.type, enabled=False):
        # for grid_sample, -1 and 1 are the outer edges of the outermost pixels
        grid = places * places.new_tensor([2 / width, 2 / height])
        found = F.grid_sample(pictures.float(), grid, mode=mode, padding_mode="reflection", align_corners=False)
    return found.contiguous(memory_format=torch.channels_last)


def inside(places: Tensor) -> Tensor:
    """Whether places (N, H, W, 2) lie in the picture of that size: (N, 1, H, W), 0 or 1."""
    height, width = places.shape[1:3]
    x, y = places.unbind(-1)
    return ((x.abs() <= (width - 1) / 2) & (y.abs() <= (height - 1) / 2)).float()[:, None]
