"""The section of report.html that explains the painting of one photo."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from onestroke.evaluation.explanation.channels import Channel, Patch, receptive_field
from onestroke.evaluation.explanation.control_steps import Step
from onestroke.evaluation.explanation.explaining import Explanation
from onestroke.evaluation.explanation.heat import heat_map, top_of
from onestroke.evaluation.explanation.layer_pictures import LayerPicture
from onestroke.evaluation.figures import figure, number, text

_BLUR = 3.0  # pixels: gradients change from pixel to pixel, where a map would show nothing but noise
_STARTS = {"noise": "from noise", "photo": "from the photo"}


def section(one: Explanation) -> str:
    """The HTML of all parts."""
    return "".join(
        [
            f"<h3>What the network sees, for the photo {text(one.photo)}</h3>",
            *_layers(one.layers),
            *_gradients(one),
            *_controls(one),
            *_channels(one),
        ]
    )


def _layers(pictures: Sequence[LayerPicture]) -> list[str]:
    parts = [
        "<h4>What each layer alone asks for</h4><p>Pixels were optimised for the Gram matrix of one layer and for "
        "nothing else, from smooth noise and from the photo. The number is the style error of this layer, before "
        "and after.</p>"
    ]
    for start, words in _STARTS.items():
        own = [one for one in pictures if one.start == start]
        figures = [
            figure(
                one.picture,
                f"{one.layer}, {words}: {number(one.before)} → {number(one.errors[one.layer])}",
                "map",
                lossless=True,
            )
            for one in own
        ]
        parts.append(f"<div class=row>{''.join(figures)}</div>")
    names = list(dict.fromkeys(one.layer for one in pictures))
    head = "".join(f"<th>{text(name)}</th>" for name in names)
    lines = [
        f"<tr><td>{text(one.layer)}, {_STARTS[one.start]}</td>"
        + "".join(f"<td>{number(one.errors[name])}</td>" for name in names)
        for one in pictures
    ]
    table = f"<table><tr><th>optimised for</th>{head}</tr>{'</tr>'.join(lines)}</tr></table>"
    return [*parts, f"<details><summary>style errors of these pictures at every layer</summary>{table}</details>"]


def _gradients(one: Explanation) -> list[str]:
    opposition = "" if one.opposition is None else (
        f" The gradients of content and gram have a cosine of {number(one.opposition)}: it is -1 where the terms "
        "balance, which direct optimisation ends at; above, there are changes that both agree on."
    )  # fmt: skip
    figures = []
    for at in one.gradients:
        heat = heat_map(at.magnitude, one.picture, top_of(at.magnitude, _BLUR), _BLUR)
        caption = f"{at.name}: loss {number(at.loss)}, mean {at.mean_magnitude:.1e}, {number(at.per_level)} per level"
        figures.append(figure(heat, caption, "map"))
    return [
        "<h4>Where each term pulls</h4><p>The magnitude of each term's gradient over the painting, in colours over the "
        "grey photo: where it is bright, the term would change the painting most. Each map has its own scale, up to "
        "its 99th percentile; the numbers compare them: the mean magnitude, and how much the loss changes, to first "
        f"order, if every pixel moves one level of 255 along its gradient.{text(opposition)}</p>",
        f"<div class=grid>{figure(one.picture, 'photo', 'map')}{figure(one.output, 'painting', 'map')}"
        f"{''.join(figures)}</div>",
    ]


def _controls(one: Explanation) -> list[str]:
    parts = ["<h4>What each control changes</h4>"]
    if not one.controls:
        return [*parts, "<p>This style file has no controls.</p>"]
    parts.append(
        "<p>The photo along each control, and below where a painting differs from the one before it; the scale is the "
        "same along a control.</p>"
    )
    for control, steps in one.controls.items():
        differences = [step.difference for step in steps if step.difference is not None]
        top = top_of(torch.stack(differences)) if differences else 0.0
        parts.append(f"<div class=row>{''.join(figure(s.picture, _at(control, s), 'map') for s in steps)}</div>")
        maps = [
            "<figure class=map></figure>"
            if step.difference is None
            else figure(heat_map(step.difference, one.picture, top), f"changed by {number(step.levels)} levels", "map")
            for step in steps
        ]
        parts += [f"<div class=row>{''.join(maps)}</div>", _table(control, steps)]
    return parts


def _at(control: str, step: Step) -> str:
    return f"{control} {step.position:g}"


def _table(control: str, steps: Sequence[Step]) -> str:
    sizes = list(steps[0].errors.style)
    head = "".join(f"<th>style error at {size} px</th>" for size in sizes)
    lines = [
        f"<tr><td>{step.position:g}</td><td>{number(step.errors.content)}</td>"
        + "".join(f"<td>{number(step.errors.style[size])}</td>" for size in sizes)
        + f"<td>{number(step.levels)}</td></tr>"
        for step in steps
    ]
    columns = f"<th>{text(control)}</th><th>content error</th>{head}<th>mean change in levels of 255</th>"
    return f"<table><tr>{columns}</tr>{''.join(lines)}</table>"


def _channels(one: Explanation) -> list[str]:
    parts = [
        "<h4>Which features the style uses most</h4><p>For each layer, the channels whose share of the energy (of the "
        f"Gram matrix's trace) exceeds that in the evaluated photos ({one.compared}) most. The patches are where the "
        "channel responds most: in the photo on the left, in the painting on the right; a frame surrounds what "
        "the feature sees, if that is less.</p>"
    ]
    for layer, channels in groupby(one.channels, key=lambda channel: channel.layer):
        side, _ = receptive_field(layer)
        parts.append(f"<p class=small>{text(layer)}, which sees {side} x {side} pixels</p>")
        parts.append(f"<div class=grid>{''.join(_card(channel) for channel in channels)}</div>")
    return parts


def _card(one: Channel) -> str:
    photo, painting = _outlined(one.photo, one.layer), _outlined(one.painting, one.layer)
    pictures = torch.cat([photo, torch.ones_like(photo[..., :1]), painting], dim=3)
    caption = (
        f"channel {one.index}: {one.share:.1%} of the style, {one.share_of_photos:.1%} of photos "
        f"(× {number(one.ratio)}), {one.share_of_painting:.1%} of the painting"
    )
    return figure(pictures, caption, "patches", lossless=True)


def _outlined(patch: Patch, layer: str) -> Tensor:
    """The patch with a white frame around what the feature sees, if that is less than the patch."""
    side, _ = receptive_field(layer)
    height, width = patch.picture.shape[-2:]
    if side + 2 > min(height, width):
        return patch.picture
    top, left = patch.row - patch.top - side // 2 - 1, patch.column - patch.left - side // 2 - 1
    rows, columns = torch.arange(height)[:, None] - top, torch.arange(width)[None] - left
    inside = (rows >= 0) & (rows <= side + 1) & (columns >= 0) & (columns <= side + 1)
    edge = (rows == 0) | (rows == side + 1) | (columns == 0) | (columns == side + 1)
    return patch.picture.masked_fill(inside & edge, 1.0)
