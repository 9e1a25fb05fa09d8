"""Convert a network of pytorch/examples to a ResidualNetwork, with its value range folded into the outer layers."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onestroke.data.scenes import Scenes
from onestroke.errors import UserError, near
from onestroke.interop.layout import Layout
from onestroke.networks.layers import InstanceNorm
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.vgg import ARCHS

AUTO = "auto"
TOLERANCE = 1 / 255  # maximum difference between a painting and the original's

# Thresholds on the standard deviation of pixel values, which is about 60 in the range 255, 1 in ImageNet's and 0.25 in
# the range 1; these are near the geometric means.
_LEVELS, _NORMALISED = 8.0, 0.5


@dataclass(frozen=True)
class Range:
    """The range of a network's pixel values: image * scale + shift per channel, for an image in [0, 1]."""

    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    shift: tuple[float, ...] = (0.0, 0.0, 0.0)

    def of(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, H, W) in this range."""
        return image * self._column(image, self.scale) + self._column(image, self.shift)

    def back(self, values: Tensor) -> Tensor:
        """(N, 3, H, W) in this range -> (N, 3, H, W) in [0, 1]."""
        return (values - self._column(values, self.shift)) / self._column(values, self.scale)

    @staticmethod
    def _column(like: Tensor, numbers: tuple[float, ...]) -> Tensor:
        return like.new_tensor(numbers).view(3, 1, 1)


def _imagenet() -> Range:
    mean, std = ARCHS["vgg16_torchvision"].mean, ARCHS["vgg16_torchvision"].std  # in levels of 255
    return Range(tuple(255 / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True)))


RANGES = {"255": Range((255.0, 255.0, 255.0)), "1": Range(), "imagenet": _imagenet()}


@dataclass(frozen=True)
class Converted:
    """A converted network that paints as the original does.

    arguments: of its constructor. range: key of RANGES. spread: standard deviation of the original's output on test
    pictures, by which the range is detected. dtype: of the saved weights; fp32 if fp16 would change a painting by half
    a level of 255 or more.
    """

    network: ResidualNetwork
    arguments: dict[str, Any]
    range: str
    spread: float
    dtype: torch.dtype

    def describe(self) -> str:
        """What was detected, in two lines for the user."""
        return (
            f"range {self.range} (the standard deviation of its output for test pictures is {self.spread:.3g}); if "
            f"colours are wrong, name another: {', '.join(RANGES)}\n"
            "the weights don't define paddings, activations and a final tanh: they are taken from pytorch/examples"
        )


def convert(layout: Layout, chosen: str = AUTO) -> Converted:
    """Convert a network.

    Args:
        layout: the original.
        chosen: key of RANGES, or auto. The first norm removes the scale of the input, so auto detects the range from
            the output for test pictures: a standard deviation above 8 means 255; one above 0.5, or a mean outside of
            [0, 1], means imagenet; else 1.

    Raises:
        UserError: the range is unknown, the network paints a single colour, or the conversion paints another picture.
    """
    if chosen not in (AUTO, *RANGES):
        raise UserError(f"range can't be '{chosen}': {near(chosen, (AUTO, *RANGES))}")
    values = layout.paint(RANGES["255"].of(pictures()))
    spread, middle = float(values.std()), float(values.mean())
    if chosen == AUTO:
        chosen = "255" if not spread <= _LEVELS else "imagenet" if spread > _NORMALISED or not 0 <= middle <= 1 else "1"
    painted = RANGES[chosen].back(layout.paint(RANGES[chosen].of(pictures()))).clamp(0, 1)
    if not float(painted.std((2, 3)).max()) > TOLERANCE:
        raise UserError(
            f"{layout.path} paints one flat colour if its range is {chosen}: name another ({', '.join(RANGES)}); or it "
            "has layers without weights that are not those of pytorch/examples"
        )
    arguments: dict[str, Any] = {"channels": layout.channels, "blocks": layout.blocks, "ends": layout.ends}
    arguments |= {"adds_photo": False, "upsampling": "nearest"}
    network = _folded(layout, RANGES[chosen], ResidualNetwork(**arguments))
    for dtype in (torch.float16, torch.float32):
        # half of the tolerance, since other pictures may differ by more than the test pictures
        if difference(layout, chosen, copy.deepcopy(network).to(dtype).float()) < TOLERANCE / 2:
            return Converted(network, arguments, chosen, spread, dtype)
    raise UserError(f"{layout.path} would paint another picture in OneStroke: its weights are too large, or too small")


def pictures() -> Tensor:
    """The test pictures: fixed scenes, (2, 3, 96, 128) in [0, 1]."""
    scenes = np.stack(Scenes(validation=2).held_out(128))[:, :96]
    return torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def difference(layout: Layout, range_name: str, network: nn.Module) -> float:
    """The largest absolute difference between a network's and the original's paintings of `pictures`, from 0 to 1."""
    values = RANGES[range_name]
    original = values.back(layout.paint(values.of(pictures())))
    return float((network(pictures()).clamp(0, 1) - original.clamp(0, 1)).abs().max())


@torch.no_grad()
def _folded(layout: Layout, values: Range, network: ResidualNetwork) -> ResidualNetwork:
    """Copy the weights to a ResidualNetwork, whose layers take (image - 0.5) * 2 and return painting - 0.5."""
    in_order = nn.ModuleList([network.encoder, network.middle, network.decoder, network.paint])
    convolutions = [module for module in in_order.modules() if isinstance(module, nn.Conv2d)]
    for target, (weight, bias) in zip(convolutions, layout.convolutions, strict=True):
        assert target.bias is not None
        target.weight.copy_(weight)
        target.bias.copy_(bias)
    norms = [module for module in network.modules() if isinstance(module, InstanceNorm)]
    for norm, (scale, shift) in zip(norms, layout.norms, strict=True):
        norm.weight.copy_(scale[None])
        norm.bias.copy_(shift[None])
    first, last = convolutions[0], convolutions[-1]
    assert first.bias is not None and last.bias is not None
    # The features keep their scale, so the norm's eps has the same effect. The bias of the first layer is constant over
    # the picture, as the padding reflects, so the norm removes it; in the range 255 it would be large and cost
    # precision.
    first.weight.mul_(first.weight.new_tensor(values.scale).view(1, 3, 1, 1) / 2)
    first.bias.zero_()
    scale, shift = (last.bias.new_tensor(numbers) for numbers in (values.scale, values.shift))
    last.weight.div_(scale.view(3, 1, 1, 1))
    last.bias.copy_((last.bias - shift) / scale - 0.5)
    return network.eval()
