"""The classic, slow style transfer of one picture (Gatys et al., 2016), and what networks are measured against.

This is the door to the room: descent.py optimises, trace.py is what comes of it, trace_cache.py keeps it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from onestroke.errors import UserError
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.losses.term import Term
from onestroke.optimization.descent import Landscape, coarse_to_fine, optimise, sides
from onestroke.optimization.trace import Trace, iterations_to
from onestroke.optimization.trace_cache import cached, default_folder, fingerprint
from onestroke.perception.style import Style, from_pictures
from onestroke.perception.style_card import CARD_SIZES, from_card
from onestroke.perception.vgg import VGG

__all__ = [
    "Landscape",
    "Objectives",
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
    """The objective of the default configs, by the shorter side of the picture that is painted.

    Strokes keep their size in the picture: at half its size the painting is seen at half its size too, or at the
    smallest that its card knows.
    """

    def __init__(
        self, style: str | None, image: str | None, style_size: int, strength: float, side: int, device: torch.device
    ) -> None:
        """Set what is imitated.

        Args:
            style: a style that ships, or None for a picture.
            image: the picture, or None for a style.
            style_size: shorter side in pixels at which the style is seen beside the largest picture that is painted.
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
        """The painting as it is to be seen beside a picture of this shorter side."""
        layers = self.terms["gram"].layers
        scaled = self.style_size * side / self.side
        try:
            if self.image is not None:
                size = max(64, round(scaled))
                return from_pictures(Path(self.image).stem, [self.image], size, layers, self.vgg.cpu())
            assert self.name is not None
            # a size that no card knows is refused as it was given
            size = self.style_size if side == self.side else min(CARD_SIZES, key=lambda s: abs(s - scaled))
            return from_card(self.name, size, layers)
        except UserError as error:
            # those messages are written for train.py
            said = str(error).replace("style.image", "image").replace("style.size", "style_size")
            raise UserError(said) from error
