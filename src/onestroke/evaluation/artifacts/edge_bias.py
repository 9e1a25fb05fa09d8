"""Edge bias: a pattern that a network paints along an edge of every picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

_SIDE = 256
_STRIP = 16
_FIELDS = 8
_LEAST = 0.01  # added to standard deviations, for flat paintings
_SIDES = {
    "top": (..., slice(None, _STRIP), slice(None)),
    "bottom": (..., slice(-_STRIP, None), slice(None)),
    "left": (..., slice(None), slice(None, _STRIP)),
    "right": (..., slice(None), slice(-_STRIP, None)),
}


def edge_bias(paint: Callable[[Tensor], Tensor], seed: int = 0) -> dict[str, float]:
    """Difference between what a network paints along each edge and what it paints of the same content in the middle.

    Photos can't show it, as sky is above and ground below. Periodic random fields can be shifted circularly, so that
    content at an edge moves to the middle; any difference is then caused by the network, and its mean over several
    fields is what it paints in every picture. Fields are 1/f noise, the spectrum of photos (Field, 1987), of 256 x 256
    pixels; the strip along an edge is 16 pixels wide.

    Args:
        paint: image (1, 3, H, W) in [0, 1] to image of the same shape.
        seed: of the fields.

    Returns:
        By edge, `top`, `bottom`, `left` and `right`: the largest of the mean differences of the channels, in standard
        deviations of the painting, and of the difference of the logarithms of contrast. From 0 to about 3.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in _SIDES}
    half = _SIDE // 2
    with torch.no_grad():
        for field in _fields(torch.Generator().manual_seed(seed)):
            painted = paint(field)
            shifted = paint(field.roll((half, half), dims=(2, 3))).roll((half, half), dims=(2, 3))
            deviation = shifted.std() + _LEAST
            for name, places in _SIDES.items():
                strip, same = painted[places][0].flatten(1), shifted[places][0].flatten(1)
                shift = (strip.mean(dim=1) - same.mean(dim=1)) / deviation
                found[name].append(torch.cat([shift, (_contrast(strip) / _contrast(same)).log()[None]]))
    return {name: float(torch.stack(each).mean(dim=0).abs().max()) for name, each in found.items()}


EdgeDifferences = Tensor
"""Differences along the edges of one picture: (4 edges, widths, 4), of the channels' means and the contrast."""

_WIDTHS = (8, 16, 32)
_FEWEST = 4
_DOUBT = 2.0  # standard errors


def edge_differences(output: Tensor, photo: Tensor) -> EdgeDifferences:
    """Difference of the strip along each edge from the next strip inside, in a painting minus that in its photo.

    Args:
        output, photo: (1, 3, H, W) in [0, 1].
    """
    found = []
    for image in (output[0], photo[0]):
        deviation = image.std() + _LEAST
        rows = []
        for turned in (image, image.flip(1), image.transpose(1, 2), image.transpose(1, 2).flip(1)):
            for width in (min(w, turned.shape[1] // 4) for w in _WIDTHS):
                outer, inner = turned[:, :width].flatten(1), turned[:, width : 2 * width].flatten(1)
                shift = (outer.mean(dim=1) - inner.mean(dim=1)) / deviation
                rows.append(torch.cat([shift, (_contrast(outer) / _contrast(inner)).log()[None]]))
        found.append(torch.stack(rows).view(4, len(_WIDTHS), 4))
    return found[0] - found[1]


def shared_edge_bias(pictures: Sequence[EdgeDifferences]) -> float | None:
    """Edge bias estimated from finished pictures alone: the edge differences that all of them share.

    Args:
        pictures: see `edge_differences`.

    Returns:
        The largest absolute mean difference minus two standard errors, in the units of `edge_bias`, at least 0; None
        for fewer than 4 pictures, which are too few to separate a bias from their content.
    """
    if len(pictures) < _FEWEST:
        return None
    each = torch.stack(list(pictures))
    error = each.std(dim=0) / len(each) ** 0.5
    return float((each.mean(dim=0).abs() - _DOUBT * error).clamp_min(0).max())


def _contrast(strip: Tensor) -> Tensor:
    return strip.var(dim=1).mean().sqrt() + _LEAST


def _fields(generator: torch.Generator) -> Iterator[Tensor]:
    """Periodic 1/f noise, (1, 3, 256, 256) in [0, 1], with correlated channels."""
    rows, columns = torch.fft.fftfreq(_SIDE)[:, None], torch.fft.rfftfreq(_SIDE)[None]
    frequency = (rows.square() + columns.square()).sqrt()
    frequency[0, 0] = 1  # avoids a division by zero; the mean is removed below
    for _ in range(_FIELDS):
        white = torch.randn(1, 4, _SIDE, _SIDE, generator=generator)
        spectrum = torch.fft.rfft2(white) / frequency
        spectrum[..., 0, 0] = 0
        noise = torch.fft.irfft2(spectrum, s=(_SIDE, _SIDE))
        noise = noise / noise.std(dim=(2, 3), keepdim=True)
        yield (0.45 + 0.19 * (noise[:, :1] + 0.35 * noise[:, 1:])).clamp(0, 1)
