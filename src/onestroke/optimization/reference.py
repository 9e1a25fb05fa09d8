"""Direct optimisation (Gatys et al., 2016) as the reference that networks are compared with.

descent.py optimises, trace.py is its result, trace_cache.py stores results. Other packages import from here.
"""

from __future__ import annotations

from pathlib import Path

import torch

from onestroke.errors import UserError
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.losses.term import Term
from onestroke.optimization.descent import PixelObjective, coarse_to_fine, optimise, sides
from onestroke.optimization.trace import Trace, iterations_to
from onestroke.optimization.trace_cache import cached, default_folder, fingerprint
from onestroke.perception.style import Style
from onestroke.perception.style_card import CARD_SIZES, from_card
from onestroke.perception.style_from_pictures import from_pictures
from onestroke.perception.vgg import VGG

__all__ = [
    "Objectives",
    "PixelObjective",
    "Trace",
    "cached",
    "coarse_to_fine",
    "default_folder",
    "fingerprint",
    "iterations_to",
    "optimise",
    "sides",
]


class Objectives:
    """The objective of the default configs for each shorter side of the painted picture, in pixels.

    Strokes keep their size relative to the picture: for a picture of half the size, the style is measured at half its
    size too, or at the nearest size that its card has.
    """

    def __init__(
        self, style: str | None, image: str | None, style_size: int, strength: float, side: int, device: torch.device
    ) -> None:
        """Set the style.

        Args:
            style: name of a style that ships, or None for a picture.
            image: path of the picture, or None for a style that ships.
            style_size: shorter side in pixels at which the style is measured, for the largest picture.
            strength: 0 the photo, 1 the painting.
            side: shorter side of that largest picture.
            device: where the losses are computed.
        """
        self.name, self.image, self.style_size, self.strength = style, image, style_size, strength
        self.side, self.device = side, device
        self.terms: dict[str, Term] = {"content": Content(), "gram": Gram()}
        self.layers = [layer for term in self.terms.values() for layer in term.layers]
        self.vgg = VGG(self.layers)

    def __call__(self, side: int) -> Objective:
        objective = Objective(self.terms, self.vgg, self.style(side), self.strength)
        return objective.to(self.device).eval()

    def style(self, side: int) -> Style:
        """The style at the size that belongs to a picture of this shorter side.

        Raises:
            UserError: for an unreadable picture, and for a style or size that no card has.
        """
        layers = self.terms["gram"].layers
        scaled = self.style_size * side / self.side
        try:
            if self.image is not None:
                size = max(64, round(scaled))
                return from_pictures(Path(self.image).stem, [self.image], size, layers, self.vgg.cpu())
            assert self.name is not None
            # a given size that no card has is refused, not rounded
            size = self.style_size if side == self.side else min(CARD_SIZES, key=lambda s: abs(s - scaled))
            return from_card(self.name, size, layers)
        except UserError as error:
            # those messages name the options of train.py
            said = str(error).replace("style.image", "image").replace("style.size", "style_size")
            raise UserError(said) from error
