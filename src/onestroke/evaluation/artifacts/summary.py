"""All detectors on one painting, their limits, and which of them fire.

There is a detector for each common complaint: checkerboard, border, edge bias, blobs, flat noise, colour cast, colour
leak, and, where the appearance of the style's painting is known, lost contrast, busy plain parts, ripples, fringes and
area blobs. Each compares paintings with their photos and is about 0 if nothing is wrong. A detector fires above its
limit in LIMITS. The limits are between the worst of 47 paintings of photos and the same paintings with one artificial
fault (for the checkerboard, between photos, real paintings and direct optimisation on one side, and the 47, which all
have one, on the other; for those that need the painting's appearance, see docs/measuring.md). Strokes and a changed
palette are not faults, and neither are faults that the photo has, except that its colours are a leak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from onestroke.evaluation.artifacts.area_blobs import area_blobs
from onestroke.evaluation.artifacts.blobs import blobs
from onestroke.evaluation.artifacts.border import border
from onestroke.evaluation.artifacts.checkerboard import checkerboard
from onestroke.evaluation.artifacts.colour_cast import colour_cast
from onestroke.evaluation.artifacts.colour_leak import colour_leak
from onestroke.evaluation.artifacts.contrast import contrast_loss
from onestroke.evaluation.artifacts.flat_noise import flat_noise
from onestroke.evaluation.artifacts.fringe import fringe
from onestroke.evaluation.artifacts.plain_busyness import plain_busyness
from onestroke.evaluation.artifacts.ripple import ripple
from onestroke.perception.appearance import Appearance

LIMITS: dict[str, float] = {
    "checkerboard": 7.0,
    "border": 0.5,
    "edge_bias": 0.6,
    "shared_edge_bias": 0.3,
    "blobs": 1.0,
    "flat_noise": 0.6,
    "colour_cast": 12.0,
    "colour_shift": 80.0,
    "colour_leak": 0.5,
    "contrast_loss": 0.2,
    "plain_busyness": 2.0,
    "ripple": 1.05,
    "fringe": 1.15,
    "area_blobs": 3.0,
}
"""The largest values of flawless paintings; see the function of each name. `colour_shift`: `colour_cast` without a
palette. `edge_bias`: the largest of the four edges; the limit separates networks with a visible bias from others.
`shared_edge_bias`: four real paintings of 200 to 600 pixels, compared with unrelated photos, had at most 0.23; a strip
of 16 pixels that is lighter by 0.1 has 0.4."""
EARLIER_NAMES = {"bands": "edge_bias", "bands_among": "shared_edge_bias"}
"""Names in reports and style files of earlier versions."""


def on_pair(
    output: Tensor,
    photo: Tensor,
    palette: Tensor | None = None,
    style_response: float = 0.0,
    painting: Appearance | None = None,
) -> dict[str, float]:
    """All detectors on one painting and its photo, (1, 3, H, W) each.

    Args:
        output, photo: in [0, 1].
        palette: see `colour_cast`.
        style_response: the blob response of the style's painting, see `blobs`.
        painting: the appearance of the style's painting; without it, the detectors that need it are left out.

    Returns:
        The names of LIMITS with their values, `colour_cast` with a palette and `colour_shift` without. `flat_noise`,
        `plain_busyness` and `area_blobs` are NaN where the photo has no flat part, `fringe` where it has no edge.

    Raises:
        UserError: a side is below SMALLEST.
        ValueError: the batch is larger than 1, or the shapes are wrong.
    """
    if len(output) != 1:
        raise ValueError(f"one painting at a time, not {len(output)}")
    colour = "colour_shift" if palette is None else "colour_cast"
    values = {
        "checkerboard": checkerboard(output, photo),
        "border": border(output, photo),
        "blobs": blobs(output, photo, style_response),
        "flat_noise": flat_noise(output, photo),
        colour: colour_cast(output, photo, palette),
        "colour_leak": colour_leak(output, photo),
    }
    if painting is not None:
        for detector in (contrast_loss, plain_busyness, ripple, fringe, area_blobs):
            values[detector.__name__] = detector(output, photo, painting)
    return {name: float(value) for name, value in values.items()}


def fired(values: Mapping[str, float]) -> list[str]:
    """Names of the detectors whose values exceed their limits, in the order of LIMITS.

    NaN never fires. Earlier names are accepted; unknown names are ignored.
    """
    named = {EARLIER_NAMES.get(name, name): value for name, value in values.items()}
    return [name for name, limit in LIMITS.items() if named.get(name, math.nan) > limit]
