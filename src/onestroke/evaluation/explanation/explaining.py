"""All parts of the explanation of one photo's painting, and their numbers as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from onestroke.evaluation.explanation.channels import Channel, top_channels
from onestroke.evaluation.explanation.control_steps import Step, control_steps
from onestroke.evaluation.explanation.gradient_maps import GradientMap, cosine, gradient_maps
from onestroke.evaluation.explanation.layer_pictures import LayerPicture, layer_pictures
from onestroke.evaluation.measure import Measure
from onestroke.losses.gram import Gram


@dataclass(frozen=True, eq=False)
class Explanation:
    """What explains the painting of one photo.

    photo: its name. picture, output: the photo and its painting, (1, 3, H, W) in [0, 1]. layers: what each layer alone
    asks for. gradients: where each term pulls. controls: by control, the paintings along it. channels: the features
    that the style uses most. compared: number of photos that the channels are compared with.
    """

    photo: str
    picture: Tensor
    output: Tensor
    layers: list[LayerPicture]
    gradients: list[GradientMap]
    controls: dict[str, list[Step]]
    channels: list[Channel]
    compared: int

    @property
    def opposition(self) -> float | None:
        """The cosine of the gradients of content and Gram; None without one of them."""
        named = {one.name: one for one in self.gradients}
        return cosine(named["content"], named["gram"]) if {"content", "gram"} <= named.keys() else None

    def document(self) -> dict[str, Any]:
        """All numbers, as JSON."""
        return {
            "photo": self.photo,
            "layers": [
                {"layer": one.layer, "start": one.start, "before": one.before, "after": one.errors}
                for one in self.layers
            ],
            "gradients": {
                one.name: {"loss": one.loss, "mean_magnitude": one.mean_magnitude, "per_level": one.per_level}
                for one in self.gradients
            },
            "cosine_of_content_and_gram": self.opposition,
            "controls": {control: [_of_step(step) for step in steps] for control, steps in self.controls.items()},
            "channels": [_of_channel(one) for one in self.channels],
            "photos_compared": self.compared,
        }


def explain(
    measure: Measure,
    photos: Mapping[str, Tensor],
    output: Tensor,
    paint_at: Mapping[str, Callable[[float], Tensor]],
) -> Explanation:
    """Explain the painting of the first photo.

    Args:
        measure: of the style, whose objective is explained.
        photos: by name, each (1, 3, H, W) in [0, 1]; channels are compared with all of them.
        output: the painting of the first, (1, 3, H, W) in [0, 1].
        paint_at: by control, position -> painting of the first photo.
    """
    name, photo = next(iter(photos.items()))
    style, vgg = measure.style, measure.vgg
    layers = [layer for term in measure.objective.terms.values() if isinstance(term, Gram) for layer in term.layers]
    styles = sorted([style, *measure.others], key=lambda one: one.size)
    return Explanation(
        name,
        photo,
        output,
        layer_pictures(photo, style, vgg, layers),
        gradient_maps(measure.objective, output, photo),
        {control: control_steps(photo, paint, styles, vgg) for control, paint in paint_at.items()},
        top_channels(style, output, photo, list(photos.values()), vgg, layers),
        len(photos),
    )


def _of_step(step: Step) -> dict[str, Any]:
    style = {str(size): error for size, error in step.errors.style.items()}
    return {"position": step.position, "content": step.errors.content, "style": style, "levels_changed": step.levels}


def _of_channel(one: Channel) -> dict[str, Any]:
    return {
        "layer": one.layer,
        "channel": one.index,
        "style": one.share,
        "photos": one.share_of_photos,
        "ratio": one.ratio if math.isfinite(one.ratio) else None,
        "painting": one.share_of_painting,
        "peak_in_photo": [one.photo.row, one.photo.column],
        "peak_in_painting": [one.painting.row, one.painting.column],
    }
