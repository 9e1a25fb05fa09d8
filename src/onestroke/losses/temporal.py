"""Temporal consistency: what is painted of a moved photo is the moved painting (Ruder et al., 2016; ReCoNet, 2018).

For most networks, a quarter of the photos is painted a second time, as a camera sees them that has moved on a little,
with sensor noise and a change of light, and compared with the first painting, moved in the same way. That motion is
known exactly, and no VGG features are computed of the second painting.

A recurrent network paints chains of frames anyhow, see `training/pasts.py`: then each frame's painting is compared with
those of earlier frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onestroke.losses.motions import Motions, inside, pixels_of, sampled
from onestroke.losses.term import Term, Views

NOISE = 0.02  # largest standard deviation of the sensor noise
LIGHT = 0.03  # largest change of light
_SLIGHT = 1e-3  # added to the variance of colours, for flat paintings
_SHARE = 4  # one photo of so many is painted a second time


class Temporal(Term):
    """Distance of the paintings of moved photos from the moved paintings; see `temporal_error`."""

    reads_content = True
    trains_only = True

    def __init__(self, weight: float = 4.0) -> None:
        super().__init__(["image"], weight)

    def forward(self, views: Views) -> Tensor:
        """(N,): of pictures that are compared with nothing, 0; the others count for them, but not those of chains."""
        output, photos = views.output["image"], views.content["image"]
        if views.before:
            errors = [temporal_error(output, earlier.painting, earlier.known) for earlier in views.before]
            return torch.stack(errors).mean(dim=0)
        losses = output.new_zeros(len(output))
        assert views.second is not None
        indices = views.second.moved.nonzero()[:, 0]
        if len(indices):  # a batch may have none
            on_device = indices.to(output.device)
            motions = Motions.draw([(views.step, int(i), 1) for i in indices], output.device)
            pixels = pixels_of(output[on_device])
            places = motions.places(pixels, pixels.new_ones(len(indices)))
            seen = lit(sampled(photos[on_device], places), views.generator())
            wanted = sampled(output[on_device], places)
            losses[on_device] = _SHARE * temporal_error(views.second.paint(seen, indices), wanted, inside(places))
        return losses


def lit(photos: Tensor, generator: torch.Generator) -> Tensor:
    """Photos (N, 3, H, W) as a camera takes them: with noise and in a light of its own, in [0, 1]."""
    levels = torch.rand(2, len(photos), generator=generator)
    noise, light = (NOISE * levels[0]).to(photos.device), (1 + LIGHT * (2 * levels[1] - 1)).to(photos.device)
    grain = torch.randn(photos.shape, generator=generator).to(photos.device)
    return (photos * light.view(-1, 1, 1, 1) + noise.view(-1, 1, 1, 1) * grain).clamp(0, 1)


def temporal_error(painting: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Relative squared distance of paintings from others, where those are known.

    Args:
        painting, wanted: (N, 3, H, W), about [0, 1].
        known: the weight of each pixel, (N, 1, H, W), 0 to 1.

    Returns:
        (N,): the mean over all pixels of the squared difference, relative to the variance of the colours in `wanted`.
    """
    variance = wanted.detach().var(dim=(2, 3), correction=0).mean(dim=1) + _SLIGHT
    return ((painting - wanted).square() * known).mean(dim=(1, 2, 3)) / variance
