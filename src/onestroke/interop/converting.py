"""A network of pytorch/examples' layout as a ResidualNetwork that paints the same, its range folded into its ends."""

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
TOLERANCE = 1 / 255  # how far a painting may be from the original's

# The values of a picture deviate by about 60 in the range 255, by 1 in ImageNet's and by 0.25 in the range 1; these
# lie between, half way as ratios go.
_LEVELS, _NORMALISED = 8.0, 0.5


@dataclass(frozen=True)
class Range:
    """What a network takes and gives: image * scale + shift, by channel, for an image in [0, 1]."""

    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    shift: tuple[float, ...] = (0.0, 0.0, 0.0)

    def of(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> in this range."""
        return image * self._column(image, self.scale) + self._column(image, self.shift)

    def back(self, values: Tensor) -> Tensor:
        """(N, 3, H, W) in this range -> in [0, 1]."""
        return (values - self._column(values, self.shift)) / self._column(values, self.scale)

    @staticmethod
    def _column(like: Tensor, numbers: tuple[float, ...]) -> Tensor:
        return like.new_tensor(numbers).view(3, 1, 1)


def _imagenet() -> Range:
    mean, std = ARCHS["vgg16_torchvision"].mean, ARCHS["vgg16_torchvision"].std  # of 0..255
    return Range(tuple(255 / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True)))


RANGES = {"255": Range((255.0, 255.0, 255.0)), "1": Range(), "imagenet": _imagenet()}


@dataclass(frozen=True)
class Converted:
    """A network that paints as the original does.

    arguments: its constructor's. range: key of RANGES. spread: how far the original's values deviate on test pictures,
    by which the range is told. dtype: what its weights are kept in, fp32 where fp16 would cost half a level of 255.
    """

    network: ResidualNetwork
    arguments: dict[str, Any]
    range: str
    spread: float
    dtype: torch.dtype

    def describe(self) -> str:
        """Lines for whoever imports it."""
        return (
            f"range {self.range} (what it gives for made-up photos deviates by {self.spread:.3g}); where colours are "
            f"wrong, name another: {', '.join(RANGES)}\n"
            "weights don't tell of paddings, activations and a last tanh: these are taken as in pytorch/examples"
        )


def convert(layout: Layout, chosen: str = AUTO) -> Converted:
    """Make the network.

    Args:
        layout: the original.
        chosen: key of RANGES, or auto. What goes in leaves no trace behind the first norm, so the range is told from
            what comes out for made-up photos: values that deviate by more than 8 are 255's, those by more than 0.5, or
            with a mean outside of [0, 1], ImageNet's, and others 1's.

    Raises:
        UserError: for unknown ranges, for networks that paint nothing, and where ours doesn't paint the same.
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
            "has layers that its weights don't tell of"
        )
    arguments: dict[str, Any] = {"channels": layout.channels, "blocks": layout.blocks, "ends": layout.ends}
    arguments |= {"adds_photo": False, "upsampling": "nearest"}
    network = _folded(layout, RANGES[chosen], ResidualNetwork(**arguments))
    for dtype in (torch.float16, torch.float32):
        # half of what is allowed, as other pictures may differ by more than these
        if difference(layout, chosen, copy.deepcopy(network).to(dtype).float()) < TOLERANCE / 2:
            return Converted(network, arguments, chosen, spread, dtype)
    raise UserError(f"{layout.path} would paint another picture in OneStroke: its weights are too large, or too small")


def pictures() -> Tensor:
    """What is painted to see what a network does: made-up photos, (2, 3, 96, 128) in [0, 1], always the same."""
    scenes = np.stack(Scenes(validation=2).held_out(128))[:, :96]
    return torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def difference(layout: Layout, range_name: str, network: nn.Module) -> float:
    """How far a network's paintings of `pictures` are from the original's, at most, in [0, 1] and clamped to it."""
    values = RANGES[range_name]
    original = values.back(layout.paint(values.of(pictures())))
    return float((network(pictures()).clamp(0, 1) - original.clamp(0, 1)).abs().max())


@torch.no_grad()
def _folded(layout: Layout, values: Range, network: ResidualNetwork) -> ResidualNetwork:
    """Fill a network that takes (image - 0.5) * 2 and gives its picture less 0.5."""
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
    # The features keep their size, and so does what the norm's eps does to them. A bias is the same all over, as the
    # padding reflects, and the norm takes it away: in the range 255 it would be large, and cost digits.
    first.weight.mul_(first.weight.new_tensor(values.scale).view(1, 3, 1, 1) / 2)
    first.bias.zero_()
    scale, shift = (last.bias.new_tensor(numbers) for numbers in (values.scale, values.shift))
    last.weight.div_(scale.view(3, 1, 1, 1))
    last.bias.copy_((last.bias - shift) / scale - 0.5)
    return network.eval()
