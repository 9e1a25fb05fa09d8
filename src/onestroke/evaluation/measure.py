"""All metrics of a painting in one style, by name, as reported by evaluate.py and stored by training."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from onestroke.errors import UserError
from onestroke.evaluation import metrics
from onestroke.evaluation.artifacts import summary
from onestroke.evaluation.artifacts.contrast import contrast
from onestroke.evaluation.lpips import lpips as lpips_distance
from onestroke.evaluation.structure import self_similarity, ssim
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.perception.style import Style
from onestroke.perception.style_card import CARD_LAYERS, CARD_SIZES, card_names, from_card
from onestroke.perception.style_from_pictures import from_pictures
from onestroke.perception.vgg import VGG

CONTENT_LAYERS = ("relu2_2", "relu3_3")


def style_at(name: str, pictures: list[str], vgg: VGG) -> Callable[[int], Style]:
    """A function from size in pixels to the style at that size, from pictures or else from the card of that name."""

    def at(size: int) -> Style:
        if pictures:
            return from_pictures(name, pictures, size, CARD_LAYERS, vgg)
        return from_card(name, size, CARD_LAYERS)

    return at


class Measure:
    """Computes the metrics of paintings in one style.

    Args:
        at: size -> the style at that size; see `style_at`.
        vgg: the feature extractor, with all CARD_LAYERS, in fp32.
        size: the style size of the training, in pixels.
        strength: of the objective, 0 to 1.

    Raises:
        UserError: if the style can't be read.
    """

    def __init__(self, at: Callable[[int], Style], vgg: VGG, size: int = 256, strength: float = 0.5) -> None:
        self.vgg, self.size = vgg, size
        self.style = at(size)
        self.others = [at(other) for other in metrics.HELD_OUT_SIZES if other != size]
        self.objective = Objective({"content": Content(), "gram": Gram()}, vgg, self.style, strength).eval()

    @torch.no_grad()
    def errors(self, output: Tensor, photo: Tensor) -> dict[str, float]:
        """The terms of the objective, and errors at layers and sizes that training doesn't use.

        Args:
            output: (1, 3, H, W) in [0, 1].
            photo: the photo that was painted, the same shape.
        """
        terms = {name: float(loss) for name, loss in self.objective(output, photo).items()}
        found = {"total": sum(terms.values()), **terms}
        for layer, error in metrics.content_errors(output, photo, self.vgg, CONTENT_LAYERS).items():
            found[f"content/{layer}"] = error
        for layer, error in metrics.style_errors(output, self.style, self.vgg).items():
            found[f"style/{layer}"] = error
        unseen = metrics.style_errors(output, self.style, self.vgg, metrics.HELD_OUT_LAYERS)
        found |= {f"style_unseen/{layer}": error for layer, error in unseen.items()}
        found["gram_unseen_layers"] = _mean(unseen.values())
        if self.others:
            at_sizes = metrics.style_errors_at_sizes(output, self.size, self.others, self.vgg)
            found |= {f"gram_at_{size}": _mean(errors.values()) for size, errors in at_sizes.items()}
        return found

    @torch.no_grad()
    def all(self, output: Tensor, photo: Tensor, lpips: bool = False) -> dict[str, float]:
        """`errors`, the E statistic, structure and artefacts; LPIPS only on request, as it may have to download."""
        found = self.errors(output, photo)
        found["e_statistic"] = metrics.e_statistic(output, self.style, self.vgg)
        found["ssim"] = ssim(output, photo)
        found["self_similarity"] = self_similarity(output, photo, self.vgg)
        if self.style.appearance is not None:
            lightness, chroma = contrast(output, photo, self.style.appearance)
            found |= {"lightness_contrast": float(lightness), "chroma_contrast": float(chroma)}
        distance = lpips_distance(output, photo) if lpips else None
        if distance is not None:
            found["lpips"] = distance
        faults = self.faults(output, photo)
        found |= {f"artefact/{name}": value for name, value in faults.items()}
        return {name: value for name, value in found.items() if not math.isnan(value)}

    @torch.no_grad()
    def faults(self, output: Tensor, photo: Tensor) -> dict[str, float]:
        """All detectors on one painting and its photo, see `summary.on_pair`."""
        response, painting = self.style.blob_response, self.style.appearance
        return summary.on_pair(output, photo, style_response=response, painting=painting)


def means(metrics: Sequence[Mapping[str, float]], skip_nan: bool = True) -> dict[str, float]:
    """The mean of each metric over the dicts that have it; NaN is skipped, or else makes the mean NaN."""
    names = dict.fromkeys(name for one in metrics for name in one)
    found = {name: [one[name] for one in metrics if name in one] for name in names}
    if skip_nan:
        found = {name: [value for value in values if not math.isnan(value)] for name, values in found.items()}
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def fired(values: Mapping[str, float]) -> list[str]:
    """The artefact detectors that fire on these metrics, which are named `artefact/<name>`."""
    named = {name.removeprefix("artefact/"): v for name, v in values.items() if name.startswith("artefact/")}
    return summary.fired(named)


def from_reference(style: str, size: int, vgg: VGG, strength: float = 0.5) -> Measure:
    """The `Measure` for a style from a command line: a card's name, or the path of a picture.

    Raises:
        UserError: if it is neither.
    """
    if style in card_names():
        return Measure(style_at(style, [], vgg), vgg, size if size in CARD_SIZES else CARD_SIZES[0], strength)
    if not Path(style).is_file():
        from_card(style, CARD_SIZES[0], CARD_LAYERS)  # raises with similar names
        raise UserError(f"style={style} is neither a style that ships nor a picture")
    return Measure(style_at(Path(style).stem, [style], vgg), vgg, size, strength)


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)
