"""Distillation: learn from the paintings of another network first (Hinton et al., 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from onestroke import style_file
from onestroke.errors import UserError
from onestroke.losses.content import Content
from onestroke.losses.objective import Objective
from onestroke.networks.assignment import Assignment
from onestroke.networks.conditioning import conditioning_of
from onestroke.perception.style import Style
from onestroke.perception.vgg import VGG

UNTIL = 0.4  # share of the run that learns from the teacher


class Teacher(nn.Module):
    """A style file whose paintings another network learns to reproduce, in their pixels and their VGG features.

    Args:
        path: a style file that has all the styles, by name; one of a single style is used whatever its name.
        several: the styles to be learned, in the order of the network that learns.
        vgg: the feature extractor, of LAYERS.

    Raises:
        UserError: for a file that can't be read or lacks a style.
    """

    LAYERS = ("image", "relu2_2")

    def __init__(self, path: Path, several: Sequence[Style], vgg: VGG) -> None:
        super().__init__()
        self.network, metadata = style_file.load(path)
        known, names = metadata.styles, [str(style.name) for style in several]
        missing = [name for name in names if name not in known]
        if missing and not len(known) == len(names) == 1:
            raise UserError(f"teacher={path} has no {missing[0]}, only {', '.join(known)}")
        self.places = [known.index(name) if name in known else 0 for name in names]
        terms = {f"teacher_{layer}": Content([layer]) for layer in self.LAYERS}
        self.objective = Objective(terms, vgg, several)

    def teaches(self, progress: float) -> bool:
        """Whether the network still learns from it at this progress of the run, 0 to 1."""
        return progress < UNTIL

    def losses(self, output: Tensor, photos: Tensor, chosen: Assignment) -> dict[str, Tensor]:
        """How far paintings are from the teacher's, by layer, scalars.

        Args:
            output: the paintings, (N, 3, H, W), about [0, 1].
            photos: what they were painted from, the same shape, in [0, 1].
            chosen: what each is painted in.
        """
        found: dict[str, Tensor] = self.objective(output, self.paint(photos, chosen))
        return found

    @torch.no_grad()
    def paint(self, photos: Tensor, chosen: Assignment) -> Tensor:
        """The teacher's paintings, (N, 3, H, W) in [0, 1]; a control that it lacks is left out."""
        own = conditioning_of(self.network)
        style = torch.zeros(len(photos), dtype=torch.long) if chosen.style is None else chosen.style
        ours = Assignment(
            torch.tensor(self.places)[style] if own.styles > 1 else None,
            chosen.strength if "strength" in own.controls else None,
            chosen.stroke if "stroke" in own.controls else None,
        )
        painted: Tensor = self.network(photos, **ours.arguments(own.styles, photos.device))
        return painted.float().clamp(0, 1)
