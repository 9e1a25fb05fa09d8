"""Which of its styles a network paints in: one, several at once, or another in each part of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from onestroke import style_file
from onestroke.errors import UserError, near
from onestroke.imaging import images
from onestroke.networks.base import TransformNetwork
from onestroke.networks.conditioning import DEFAULTS, conditioning_of
from onestroke.style_document import Metadata


def shares(chosen: str, names: Sequence[str]) -> dict[str, float]:
    """Read `starry_night`, `starry_night,great_wave` or `starry_night:0.6,great_wave:0.4`.

    Returns:
        The share of each style that is named, in that order; they sum to 1.

    Raises:
        UserError: for styles that the file doesn't have, and weights that are negative, no numbers or all zero.
    """
    found: dict[str, float] = {}
    for part in chosen.split(","):
        name, colon, weight = (piece.strip() for piece in part.partition(":"))
        if name not in names:
            raise UserError(f"style={chosen}: this style file has no '{name}': {near(name, names)}")
        if name in found:
            raise UserError(f"style={chosen} names {name} twice")
        try:
            found[name] = float(weight) if colon else 1.0
        except ValueError:
            found[name] = math.nan
        if not 0 <= found[name] < math.inf:
            raise UserError(f"style={chosen}: the weight of {name} must be a number of at least 0, not '{weight}'")
    total = sum(found.values())
    if total == 0:
        raise UserError(f"style={chosen}: all weights are 0, so there is nothing to paint in")
    return {name: weight / total for name, weight in found.items()}


@dataclass(frozen=True)
class Look:
    """What is chosen of what a style file offers.

    mix: of several styles the one to paint in, or a mix, as `shares` reads it. strength, stroke: the controls, 0 to 1.
    None: as the file says.
    """

    mix: str | None = None
    strength: float | None = None
    stroke: float | None = None


AS_IT_IS = Look()


def open_controls(path: Path, look: Look) -> tuple[nn.Module, Metadata]:
    """The network of a style file in all its styles, with its controls fixed, if it has any.

    Raises:
        UserError: as `style_file.load`, and for controls that it doesn't have, or that don't go so far.
    """
    network, metadata = style_file.load(path)
    controls = conditioning_of(network).controls
    settings: dict[str, float | None] = {}
    for control, value in (("strength", look.strength), ("stroke", look.stroke)):
        if value is not None and control not in controls:
            raise UserError(
                f"{path} has no control for {control}: leave {control} out, or train it again with "
                f"network.controls=[{control}]"
            )
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"{control} must be a number from 0 to 1, not {value!r}")
        if control in controls:
            stored = metadata.style.get(control)
            known = stored if isinstance(stored, int | float) and 0 <= stored <= 1 else DEFAULTS[control]
            settings[control] = float(known if value is None else value)
    if isinstance(network, TransformNetwork) and controls:
        network = network.fixed(**settings)
        metadata.network["args"] = {**metadata.network["args"], "controls": []}
        metadata.style = {**metadata.style, **settings}
    return network, metadata


def open_style(path: Path, look: Look = AS_IT_IS) -> tuple[nn.Module, Metadata]:
    """The network of a style file as it was chosen to paint: of one style, without controls, as fast as any.

    Returns:
        The network, and what the file says of itself, narrowed to what was chosen.

    Raises:
        UserError: as `open_controls` and `shares`, and where the file has several styles and none was chosen.
    """
    network, metadata = open_controls(path, look)
    names, chosen = metadata.styles, look.mix
    if chosen is None:
        if len(names) > 1:
            raise UserError(
                f"{path} holds {len(names)} styles, so choose: style={names[0]}, or any of {', '.join(names)}"
            )
        return network, metadata
    found = shares(chosen, names)
    if len(names) > 1:
        if not isinstance(network, TransformNetwork):
            raise UserError(f"{path}: the network {metadata.network['name']} can't mix styles")
        network = network.blended(torch.tensor([found.get(name, 0.0) for name in names]))
        metadata.network["args"] = {**metadata.network["args"], "styles": 1}
        listed = [style for style in metadata.style["styles"] if style.get("name") in found]
        metadata.style = {**metadata.style, "name": "+".join(found), "styles": listed, "mix": found}
    return network, metadata


def over_the_picture(chosen: str, names: Sequence[str], guide: Tensor) -> Tensor:
    """Another style in each part of the picture: black is the first that is named, white the last, grey between.

    Of three styles the second is at middle grey, and so on; between two of them they mix.

    Args:
        chosen: as `shares` reads it; weights don't count.
        names: the file's styles.
        guide: grey (N, 1, H, W) in [0, 1], of the picture's size.

    Returns:
        The share of each style, (N, styles, H, W).

    Raises:
        UserError: as `shares`, and where fewer than two are named.
    """
    named = list(shares(chosen, names))
    if len(named) < 2:
        raise UserError("style_map needs two styles or more: style=starry_night,great_wave")
    place = guide.clamp(0, 1) * (len(named) - 1)
    found = torch.zeros(len(guide), len(names), *guide.shape[-2:])
    for i, name in enumerate(named):
        found[:, names.index(name)] = (1 - (place[:, 0] - i).abs()).clamp_min(0)
    return found


def grey(path: str, height: int, width: int) -> Tensor:
    """A picture's luminance (Rec. 601) times its alpha, at the size of a photo: (1, 1, H, W) in [0, 1].

    Raises:
        UserError: as `images.read`, and where its aspect is another one than that of the photo.
    """
    picture = images.read(path, max_side=max(height, width))
    if not same_aspect((picture.height, picture.width), (height, width)):
        raise UserError(
            f"'{path}' has another aspect, {picture.width} : {picture.height}, than the photo of {width} x {height}, "
            "and would be stretched; crop it to that of the photo"
        )
    picture = picture.resized(height, width)
    luminance = images.luminance(picture.rgb)
    return luminance if picture.alpha is None else luminance * picture.alpha


def same_aspect(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes have one aspect, but for 1 % or for a pixel that rounding takes or gives."""
    (height, width), (h, w) = one, other
    apart = abs(height * w - width * h)
    return apart <= 0.01 * height * w or apart <= max(height, width, h, w)
