"""Choose style, strength and stroke of a style file: one style, a mix, or different styles across the picture."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from onestroke import style_file
from onestroke.errors import UserError, near
from onestroke.imaging import images
from onestroke.networks.base import TransformNetwork
from onestroke.networks.conditioning import DEFAULTS, Conditioning, conditioning_of
from onestroke.style_document import Metadata


def shares(chosen: str, names: Sequence[str]) -> dict[str, float]:
    """Read `starry_night`, `starry_night,great_wave` or `starry_night:0.6,great_wave:0.4`.

    Returns:
        Name -> share of each style, in the given order; the shares sum to 1.

    Raises:
        UserError: a style is not in `names` or named twice, or a weight is negative or not a number, or all are 0.
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
class StyleControls:
    """The style, strength and stroke to paint with; None takes the file's default.

    mix: a style of the file, or a mix of styles in the syntax of `shares`. strength, stroke: from 0 to 1.
    """

    mix: str | None = None
    strength: float | None = None
    stroke: float | None = None

    def changed(self, mix: str | None, strength: float | None, stroke: float | None) -> StyleControls:
        """These, with those changed that are given."""
        return StyleControls(
            self.mix if mix is None else mix,
            self.strength if strength is None else strength,
            self.stroke if stroke is None else stroke,
        )


DEFAULT_CONTROLS = StyleControls()


def open_controls(path: Path, controls: StyleControls) -> tuple[nn.Module, Metadata]:
    """Load a style file with all its styles, and fix strength and stroke if the network has these controls.

    Returns:
        The network, and the document of the file with the fixed controls.

    Raises:
        UserError: as `style_file.load`, and for a control that the network doesn't have, or outside of 0 to 1.
    """
    return with_controls(path, *style_file.load(path), controls)


def with_controls(
    path: Path,
    network: nn.Module,
    metadata: Metadata,
    controls: StyleControls,
    into: TransformNetwork | None = None,
) -> tuple[nn.Module, Metadata]:
    """As `open_controls`, for a file that was loaded; neither network nor document is changed.

    into: a network that this returned before, to be written over.
    """
    metadata = copy.deepcopy(metadata)
    settings = settings_of(path, conditioning_of(network).controls, metadata, controls)
    if isinstance(network, TransformNetwork) and settings:
        network = network.fixed(**settings, into=into)
        metadata.network["args"] = {**metadata.network["args"], "controls": []}
        metadata.style = {**metadata.style, **settings}
    return network, metadata


def settings_of(path: Path, available: Sequence[str], metadata: Metadata, controls: StyleControls) -> dict[str, float]:
    """The value of each control that a network has: the chosen one, or the file's default.

    Raises:
        UserError: for a control that the network doesn't have, or outside of 0 to 1.
    """
    settings: dict[str, float] = {}
    for control, value in (("strength", controls.strength), ("stroke", controls.stroke)):
        if value is not None and control not in available:
            raise UserError(
                f"{path} has no control for {control}: leave {control} out, or train it again with "
                f"network.controls=[{control}]"
            )
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"{control} must be a number from 0 to 1, not {value!r}")
        if control in available:
            stored = metadata.style.get(control)
            known = stored if isinstance(stored, int | float) and 0 <= stored <= 1 else DEFAULTS[control]
            settings[control] = float(known if value is None else value)
    return settings


def open_style(path: Path, controls: StyleControls = DEFAULT_CONTROLS) -> tuple[nn.Module, Metadata]:
    """Load a style file as a network for one fixed style (or mix), strength and stroke.

    Returns:
        The network, image in, image out; and the document of the file, narrowed to the chosen styles.

    Raises:
        UserError: as `open_controls` and `shares`, or if the file has several styles and none is chosen.
    """
    return with_style(path, *style_file.load(path), controls)


def with_style(
    path: Path,
    network: nn.Module,
    metadata: Metadata,
    controls: StyleControls,
    into: tuple[TransformNetwork | None, TransformNetwork | None] = (None, None),
) -> tuple[nn.Module, Metadata]:
    """As `open_style`, for a file that was loaded; neither network nor document is changed.

    into: what `with_controls` and this returned before, to be written over; the same one for a file of one style.
    """
    names = metadata.styles
    found = mix_of(path, names, controls.mix)
    network, metadata = with_controls(path, network, metadata, controls, into[0])
    if controls.mix is None and len(names) == 1:
        return network, metadata
    if len(names) > 1:
        if not isinstance(network, TransformNetwork):
            raise UserError(f"{path}: the network {metadata.network['name']} can't mix styles")
        network = network.blended(torch.tensor([found.get(name, 0.0) for name in names]), into[1])
        metadata.network["args"] = {**metadata.network["args"], "styles": 1}
        _narrow(metadata, found)
    return network, metadata


def _narrow(metadata: Metadata, found: Mapping[str, float]) -> None:
    """Leave only the chosen styles in the document of a file of several."""
    listed = [style for style in metadata.style["styles"] if style.get("name") in found]
    metadata.style = {**metadata.style, "name": "+".join(found), "styles": listed, "mix": dict(found)}


def mix_of(path: Path, names: Sequence[str], chosen: str | None) -> dict[str, float]:
    """Name -> share of each chosen style; of a file of one style, that.

    Raises:
        UserError: as `shares`, or if the file has several styles and none is chosen.
    """
    if chosen is None and len(names) > 1:
        raise UserError(f"{path} holds {len(names)} styles, so choose: style={names[0]}, or any of {', '.join(names)}")
    return {names[0]: 1.0} if chosen is None else shares(chosen, names)


def table_weights(
    path: Path, conditioning: Conditioning, metadata: Metadata, controls: StyleControls
) -> tuple[Tensor, Tensor, Metadata]:
    """What a graph with live controls takes, for a style and controls.

    Returns:
        The weight of each table row, (1, rows), the opacity over the photo, (1,), and the document of the file,
        narrowed to the chosen styles.

    Raises:
        UserError: as `settings_of` and `mix_of`.
    """
    settings = settings_of(path, conditioning.controls, metadata, controls)
    found = mix_of(path, metadata.styles, controls.mix)
    mix = torch.tensor([[found.get(name, 0.0) for name in metadata.styles]])
    rows, fade = conditioning.shares(1, mix, settings), conditioning.fade(1, settings, mix.device)
    assert rows is not None
    chosen = copy.deepcopy(metadata)
    chosen.style |= settings
    if len(metadata.styles) > 1:
        _narrow(chosen, found)
    return rows, torch.ones(1) if fade is None else fade, chosen


def shares_of_map(chosen: str, names: Sequence[str], style_map: Tensor) -> Tensor:
    """Shares of styles per pixel from a grey map: black is the first chosen style, white the last.

    The chosen styles are evenly spaced over the grey levels, and linearly mixed between them.

    Args:
        chosen: two styles or more, in the syntax of `shares`; weights are ignored.
        names: the styles of the file.
        style_map: grey (N, 1, H, W) in [0, 1], of the picture's size.

    Returns:
        The share of each style of the file in each pixel, (N, styles, H, W), in [0, 1] and summing to 1.

    Raises:
        UserError: as `shares`, or if fewer than two styles are chosen.
    """
    named = list(shares(chosen, names))
    if len(named) < 2:
        raise UserError("style_map needs two styles or more: style=starry_night,great_wave")
    position = style_map.clamp(0, 1) * (len(named) - 1)
    found = style_map.new_zeros(len(style_map), len(names), *style_map.shape[-2:])
    for i, name in enumerate(named):
        found[:, names.index(name)] = (1 - (position[:, 0] - i).abs()).clamp_min(0)
    return found


def read_grey(path: str, height: int, width: int) -> Tensor:
    """Read a mask or style map: luminance (Rec. 601) times alpha, resized to the photo's height and width.

    Returns:
        (1, 1, height, width) in [0, 1].

    Raises:
        UserError: as `images.read`, or if its aspect differs from the photo's.
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
    """Whether two sizes (height, width) have the same aspect, within 1 % or a pixel of rounding."""
    (height, width), (h, w) = one, other
    apart = abs(height * w - width * h)
    return apart <= 0.01 * height * w or apart <= max(height, width, h, w)
