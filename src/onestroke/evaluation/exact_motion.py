"""Clips made of still photos, in which it is known exactly where each pixel was in each other frame.

A camera pans, zooms, turns or stands still, each frame with its own sensor noise and rounded to 8 bits as in a video;
in the fifth clip another layer moves across, so that parts of the scene are covered and uncovered. No optical flow is
estimated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.evaluation.stability import MOTIONS, NOISE, warp
from onestroke.imaging import images

LENGTH = 14
"""Frames of a clip."""
GAPS = {"short": 1, "long": 5}
"""Frames between the two that are compared."""
CLIPS = ("pan", "zoom", "rotation", "noise", "occlusion")
"""The camera's three motions, none but the noise, and a pan with a layer that moves across."""
MARGIN = 8
"""Border in pixels that is left out, as for `stability`; and pixels near the edge of a layer that are left out."""
_PAN = 2.6  # times the pan of MOTIONS: (1.3, 0.65) pixels a frame, no multiple of strides over 5 frames either
_LAYER = (-2.6, 0.9)  # pixels a frame to the right and down by which the layer moves
_SPARE = 1.25  # photos are enlarged by this, so that the camera never sees their border
_EDGE = 3.0  # pixels on each side of a layer's edge that belong to neither


@dataclass(frozen=True)
class Clip:
    """A clip with known motion.

    name: one of CLIPS. frames: (T, 3, H, W) in [0, 1]. camera: from a time in frames and a later one to the (2, 3)
    matrix that gives for each place at the later time where it was, see `stability.warp`. layer: the same for the layer
    that moves across, if there is one. sides: for each frame (H, W), 1 inside of that layer, -1 outside and 0 near its
    edge.
    """

    name: str
    frames: Tensor
    camera: Callable[[int, int], Tensor]
    layer: Callable[[int, int], Tensor] | None = None
    sides: list[Tensor] = field(default_factory=list)

    def moved(self, pictures: Tensor, earlier: int, later: int) -> tuple[Tensor, Tensor]:
        """The picture of an earlier frame, moved to where everything is in a later one.

        Args:
            pictures: (T, 3, H, W), the frames or their paintings.

        Returns:
            The moved picture (3, H, W), and where it is known: bool (H, W).
        """
        picture = pictures[earlier][None]
        inside = torch.zeros_like(picture[:, :1])
        inside[..., MARGIN:-MARGIN, MARGIN:-MARGIN] = 1
        found, known = [], []
        for motion in [self.camera] if self.layer is None else [self.camera, self.layer]:
            matrix = motion(earlier, later)
            found.append(warp(picture, matrix)[0])
            known.append((_linear(inside, matrix) > 0.999)[0, 0] & (inside[0, 0] > 0))
        if self.layer is None:
            return found[0], known[0]
        side = self.sides[later]
        was = [
            _linear(self.sides[earlier][None, None], m(earlier, later))[0, 0] for m in (self.camera, self.layer)
        ]  # fmt: skip
        out = (side < -0.5) & (was[0] < -0.99) & known[0]
        over = (side > 0.5) & (was[1] > 0.99) & known[1]
        return torch.where(side > 0, found[1], found[0]), out | over


def clips(
    photo: Tensor, seed: int = 0, *, length: int = LENGTH, noise: float = NOISE, names: Sequence[str] = CLIPS
) -> Iterator[Clip]:
    """The clips of a photo, with frames of its size.

    Args:
        photo: (1, 3, H, W) in [0, 1], sides of 64 pixels or more.
        seed: of the noise.
        length: frames of each clip.
        noise: standard deviation of the sensor noise.
        names: which of CLIPS.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = photo.shape[-2:]
    large = images.resize(photo, round(height * _SPARE), round(width * _SPARE))
    for name in names:
        layered = name == "occlusion"
        camera = _motion("pan" if layered else name, -1.0 if layered else 1.0)
        layer = _along(*_LAYER) if layered else None
        frames, sides = [], []
        for t in range(length):
            picture = _middle(warp(large, camera((length - 1) / 2, t)), height, width)
            if layer is not None:
                place = layer((length - 1) / 2, t)
                distance = _shape(height, width, place)
                above = _middle(warp(large.flip(-1), place), height, width)
                picture = torch.lerp(picture, above, (0.5 - distance).clamp(0, 1))
                sides.append((distance < -_EDGE).float() - (distance > _EDGE).float())
            grain = torch.randn(picture.shape, generator=generator).to(picture.device)
            frames.append(((picture + noise * grain).clamp(0, 1) * 255).round() / 255)
        yield Clip(name, torch.cat(frames), camera, layer, sides)


def flicker(
    paint: Callable[[Tensor, Tensor | None], Tensor],
    photo: Tensor,
    names: Sequence[str] = CLIPS,
    *,
    length: int = LENGTH,
) -> dict[str, float]:
    """The warping error of clips that are painted frame by frame, over that of the clips themselves.

    Args:
        paint: from a frame (1, 3, H, W) in [0, 1] to its painting. Its second argument is the painting of the frame
            before, moved exactly to where everything is now, and where it is known, (1, 4, H, W), as a recurrent
            network takes it; None for the first frame.
        photo: (1, 3, H, W) in [0, 1], that the clips are made of; sides of 64 pixels or more.
        names: of the clips to paint.
        length: frames of each clip, more than the largest of GAPS.

    Returns:
        The root of the mean square over the clips, for each of GAPS. As in a file, paintings are rounded to 8 bits.
    """
    squares = dict.fromkeys(GAPS, 0.0)
    for clip in clips(photo, length=length, names=names):
        pictures: list[Tensor] = []
        for t in range(length):
            past = None
            if t:
                moved, known = clip.moved(torch.cat(pictures), t - 1, t)
                past = torch.cat([moved, known[None].to(moved.dtype)])[None]
            painted = paint(clip.frames[t : t + 1], past).float().cpu()
            pictures.append((painted.clamp(0, 1) * 255).round() / 255)
        for name, gap in GAPS.items():
            own = warping_error(clip.frames, clip, gap)
            squares[name] += (warping_error(torch.cat(pictures), clip, gap) / own) ** 2
    return {name: math.sqrt(square / len(names)) for name, square in squares.items()}


def _motion(name: str, sign: float) -> Callable[[float, float], Tensor]:
    speed = 0.0 if name == "noise" else sign * (_PAN if name == "pan" else 1.0)
    name = "pan" if name == "noise" else name
    return lambda earlier, later: MOTIONS[name](speed * (earlier - later))


def _along(x: float, y: float) -> Callable[[float, float], Tensor]:
    def motion(earlier: float, later: float) -> Tensor:
        t = earlier - later
        return torch.tensor([[1.0, 0.0, x * t], [0.0, 1.0, y * t]], dtype=torch.float64)

    return motion


def _shape(height: int, width: int, place: Tensor) -> Tensor:
    """Distance in pixels to the edge of the layer, about; negative inside. A blob with five bumps."""
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2 + place[0, 2]
    y = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2 + place[1, 2])[:, None]
    radius = min(height, width) / 4 * (1 + 0.15 * torch.cos(5 * torch.atan2(y, x)))
    return (torch.hypot(x, y) - radius).float()


def _middle(picture: Tensor, height: int, width: int) -> Tensor:
    top, left = (picture.shape[-2] - height) // 2, (picture.shape[-1] - width) // 2
    return picture[..., top : top + height, left : left + width]


def _linear(image: Tensor, motion: Tensor) -> Tensor:
    """As `stability.warp`, but bilinear and 0 outside."""
    height, width = image.shape[-2:]
    scale = torch.tensor([2 / width, 2 / height], dtype=torch.float64)
    theta = motion.clone()
    theta[:, 2] *= scale
    theta[0, 1] *= height / width
    theta[1, 0] *= width / height
    grid = F.affine_grid(theta[None].to(image.dtype), [1, 1, height, width], align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def warping_error(pictures: Tensor, clip: Clip, gap: int) -> float:
    """The RMS difference between each picture and that of `gap` frames before, moved to where everything is now.

    Args:
        pictures: (T, 3, H, W), the frames of the clip or their paintings.
        gap: in frames, 1 or more, less than the clip's length.
    """
    squares, count = 0.0, 0
    for later in range(gap, len(pictures)):
        moved, known = clip.moved(pictures, later - gap, later)
        squares += float((pictures[later] - moved)[:, known].double().square().sum())
        count += 3 * int(known.sum())
    return math.sqrt(squares / count) if count else math.nan
