"""What each control changes: one photo painted along strength and along stroke, and the difference of each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from onestroke.evaluation.comparison import Errors
from onestroke.evaluation.paired_errors import PairedErrors
from onestroke.perception.style import Style
from onestroke.perception.vgg import VGG

POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False)
class Step:
    """A painting at one position of a control.

    position: 0 to 1. picture: (1, 3, H, W) in [0, 1]. errors: its content error, and its style error by style size.
    difference: (H, W), the mean over channels of the absolute difference to the painting at the position before, in
    [0, 1]; None at the first position.
    """

    position: float
    picture: Tensor
    errors: Errors
    difference: Tensor | None

    @property
    def levels(self) -> float | None:
        """The mean of `difference` over pixels, in levels of 255."""
        return None if self.difference is None else 255 * float(self.difference.mean())


def control_steps(
    photo: Tensor,
    paint: Callable[[float], Tensor],
    styles: Sequence[Style],
    vgg: VGG,
    positions: Sequence[float] = POSITIONS,
) -> list[Step]:
    """Paint a photo at several positions of a control, and measure each painting.

    Args:
        photo: (1, 3, H, W) in [0, 1].
        paint: position -> painting of the photo, the same shape, in [0, 1].
        styles: the style at each style size.
        vgg: the feature extractor.
        positions: of the control, from 0 to 1.
    """
    errors = PairedErrors(photo, styles, vgg)
    steps: list[Step] = []
    for position in positions:
        picture = paint(position)
        difference = (picture - steps[-1].picture).abs().mean(dim=1)[0] if steps else None
        steps.append(Step(position, picture, errors(picture), difference))
    return steps
