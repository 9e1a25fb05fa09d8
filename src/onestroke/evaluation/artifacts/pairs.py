"""Detectors of what users complain of by name: checkerboard, border, bands, blobs, noise on flat fields, colour cast.

Each compares paintings with their photos and is about 0 where nothing is wrong. LIMITS hold the values above which a
painting is broken: they lie between the worst of 47 paintings of photos and the same with one fault put in (for the
checkerboard, between photos, real paintings and direct optimisation, and those 47, all of which have one).
Strokes and another palette are no faults, and a fault that the photo has too is none of the painter's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from onestroke.evaluation.artifacts.edge_bias import bands_among, bands_of, edges_of
from onestroke.evaluation.artifacts.stains import SMALLEST, blobs, check, flat_noise, flat_noise_of
from onestroke.losses.checkerboard import GRID, RING, TILE, UNSEEN

__all__ = [
    "LIMITS",
    "SMALLEST",
    "bands_among",
    "bands_of",
    "blobs",
    "border",
    "checkerboard",
    "colour_cast",
    "edges_of",
    "fired",
    "flat_noise",
    "flat_noise_of",
    "pair",
]

LIMITS: dict[str, float] = {
    "checkerboard": 7.0,
    "border": 0.5,
    "bands": 0.6,
    "bands_among": 0.3,
    "blobs": 1.0,
    "flat_noise": 0.6,
    "colour_cast": 12.0,
    "colour_shift": 80.0,
}
"""What no sound painting exceeds; see the function of each name (`colour_shift`: colour_cast without a palette;
`bands`: the largest of bands_of, which lies between painters whose bands are seen and those that seem to have none;
`bands_among`: four real paintings beside photos of something else had 0.23 at most, 200 to 600 pixels small, and a
strip of 16 pixels that is lighter by 0.1 has 0.4)."""

_FRAME = 16
# linear sRGB to CIE XYZ over that of white, D65
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_KNEE = 6 / 29


def pair(output: Tensor, photo: Tensor, palette: Tensor | None = None, spot: float = 0.0) -> dict[str, float]:
    """All detectors on one painting and its photo, (1, 3, H, W) each.

    Args:
        output, photo: in [0, 1].
        palette: see `colour_cast`.
        spot: the strongest that the imitated painting has, see `blobs`.

    Returns:
        The names of LIMITS with their values, `colour_cast` with a palette and `colour_shift` without. `flat_noise` is
        NaN where the photo has no flat part.

    Raises:
        UserError: a side is below SMALLEST.
        ValueError: these are not one painting and its photo.
    """
    if len(output) != 1:
        raise ValueError(f"one painting at a time, not {len(output)}")
    colour = "colour_shift" if palette is None else "colour_cast"
    values = {
        "checkerboard": checkerboard(output, photo),
        "border": border(output, photo),
        "blobs": blobs(output, photo, spot),
        "flat_noise": flat_noise(output, photo),
        colour: colour_cast(output, photo, palette),
    }
    return {name: float(value) for name, value in values.items()}


def fired(values: Mapping[str, float]) -> list[str]:
    """The names of those that exceed their limit, in the order of LIMITS; NaN exceeds none, other names don't count."""
    return [name for name, limit in LIMITS.items() if values.get(name, math.nan) > limit]


def checkerboard(output: Tensor, photo: Tensor) -> Tensor:
    """Energy at exactly the periods of 2 and 4 pixels, where upsampling leaves its grid (Odena et al., 2016).

    The spectrum is the mean of log power over tiles of 32 pixels, so that a grid in a flat sky counts as much as one
    in a meadow. Each frequency of the grid, in rows, columns and diagonals, is compared with the loudest of those
    around it: textures and strokes, also regular ones, have as much energy there. What stands out of the photo in the
    same place is taken off.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].

    Returns:
        (N,), in decibels, from 0 to about 80; photos and real paintings by themselves have less than 4, and direct
        optimisation had 3.5 and 5.9 in two trials, a faint grid that is really there. Pixels that alternate by plus and
        minus one level of 255 on a smooth field have 37.
    """
    check(output, photo)
    return (_excess(output) - _excess(photo).clamp_min(0)).amax(dim=1).clamp_min(0)


def _excess(image: Tensor) -> Tensor:
    """How far the grid's frequencies stand out of those around: (N, 3, H, W) -> (N, frequencies), decibels."""
    line = torch.hann_window(TILE, dtype=image.dtype, device=image.device)
    window = line * line[:, None]
    floor = image.shape[1] * UNSEEN * window.square().sum()
    tiles = image.unfold(2, TILE, TILE // 2).unfold(3, TILE, TILE // 2)  # (N, 3, rows, columns, 32, 32)
    rows = []
    for row in tiles.unbind(2):  # one by one, for the sake of the memory
        power = torch.fft.fft2((row - row.mean(dim=(-2, -1), keepdim=True)) * window).abs().square().sum(dim=1)
        rows.append(10 * (power + floor).log10().mean(dim=1))
    spectrum = torch.stack(rows).mean(dim=0)
    loudest = torch.stack([spectrum.roll(step, dims=(1, 2)) for step in RING]).amax(dim=0)
    return torch.stack([(spectrum - loudest)[:, y, x] for y, x in GRID], dim=1)


def border(output: Tensor, photo: Tensor) -> Tensor:
    """Whether a frame along the edges differs from the picture inside, as paddings leave it.

    A frame of 4 and one of 16 pixels are compared with the 16 pixels inside of them: the mean of each channel in
    standard deviations of the picture, and the logarithms of the ratios of contrast and gradient. Where the photo's
    frame differs, the painting's may too, as much or less. The middle as a whole would be no better comparison:
    sky is above and ground below.

    Args:
        output, photo: (N, 3, H, W) in [0, 1]; frames are a quarter of the shorter side where that is less than 16.

    Returns:
        (N,), from 0 to about 5, the largest of the differences: 1 for a mean off by a standard deviation, or a
        contrast or gradient by a factor of e.
    """
    check(output, photo)
    width = min(_FRAME, min(output.shape[-2:]) // 4)
    worst = []
    for frame in (width // 4, width):
        (mean, *ratios), (photo_mean, *photo_ratios) = (_frame(image, frame, width) for image in (output, photo))
        worst.append((mean.abs().amax(dim=1) - photo_mean.abs().amax(dim=1)).clamp_min(0))
        for ratio, before in zip(ratios, photo_ratios, strict=True):
            allowed = ratio.clamp(before.clamp_max(0), before.clamp_min(0))
            worst.append((ratio - allowed).abs())
    return torch.stack(worst).amax(dim=0)


def _frame(image: Tensor, frame: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frame against inside: means (N, 3) by the picture's deviation, log ratios of deviation and gradient (N,)."""
    steep = image.diff(dim=2)[..., :-1].square() + image.diff(dim=3)[..., :-1, :].square()
    means, spreads, slopes = [], [], []
    for first, last in ((0, frame), (width, 2 * width)):
        colours = image[..., _ring(image, first, last)]
        means.append(colours.mean(dim=2))
        spreads.append(colours.var(dim=2).mean(dim=1).sqrt())
        slopes.append(steep[..., _ring(steep, first, last)].mean(dim=(1, 2)).sqrt())
    whole = image.flatten(1).std(dim=1)[:, None]
    # small as they are, these keep what isn't seen from becoming a ratio
    spread, slope = (
        (frame + e).log() - (inside + e).log() for (frame, inside), e in ((spreads, 0.01), (slopes, 0.005))
    )
    return (means[0] - means[1]) / (whole + 0.01), spread, slope


def _ring(image: Tensor, first: int, last: int) -> Tensor:
    """(H, W), true where the distance from the edge is in [first, last)."""
    height, width = image.shape[-2:]
    y, x = (torch.minimum(torch.arange(n), torch.arange(n).flip(0)) for n in (height, width))
    distance = torch.minimum(y[:, None], x).to(image.device)
    return (distance >= first) & (distance < last)


def colour_cast(output: Tensor, photo: Tensor, palette: Tensor | None = None) -> Tensor:
    """How far the painting's mean colour is from any between the photo's and the style's.

    In the plane of a* and b* of CIELAB (D65), of the mean sRGB values; lightness doesn't count. A style may pull the
    colours as far as its own, so a painting in a blue style may be blue.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].
        palette: the mean sRGB of the style, (3,) or (N, 3) in [0, 1]. Without it, the distance is that from the photo
            alone, and only a limit as wide as that of `colour_shift` holds for all styles.

    Returns:
        (N,), from 0 to about 200, in units of CIELAB: 2 are just seen side by side.
    """
    check(output, photo)
    painted, taken = (_chroma(image.mean(dim=(2, 3))) for image in (output, photo))
    shift = painted - taken
    if palette is None:
        return shift.square().sum(dim=1).sqrt()
    way = _chroma(palette.to(photo).expand(len(photo), 3)) - taken
    share = (shift * way).sum(dim=1) / way.square().sum(dim=1).clamp_min(1e-12)
    return (shift - share.clamp(0, 1)[:, None] * way).square().sum(dim=1).sqrt()


def _chroma(colour: Tensor) -> Tensor:
    """sRGB (N, 3) in [0, 1] -> a* and b* of CIELAB (N, 2)."""
    linear = torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(_TO_XYZ, dtype=colour.dtype, device=colour.device)
    x, y, z = (linear @ matrix.T / matrix.sum(dim=1)).unbind(dim=1)
    x, y, z = (
        torch.where(v > _KNEE**3, v.clamp_min(_KNEE**3) ** (1 / 3), v / (3 * _KNEE**2) + 4 / 29) for v in (x, y, z)
    )
    return torch.stack([500 * (x - y), 200 * (y - z)], dim=1)
