"""All detectors on one painting, their limits, and which of them fire.

There is a detector for each common complaint: checkerboard, border, edge bias, blobs, flat noise, colour cast. Each
compares paintings with their photos and is about 0 if nothing is wrong. A detector fires above its limit in LIMITS. The
limits are between the worst of 47 paintings of photos and the same paintings with one artificial fault (for the
checkerboard, between photos, real paintings and direct optimisation on one side, and the 47, all of which have one, on
the other). Strokes and a changed palette are not faults, and neither are faults that the photo has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from onestroke.evaluation.artifacts.blobs import blobs
from onestroke.evaluation.artifacts.border import border
from onestroke.evaluation.artifacts.checkerboard import checkerboard
from onestroke.evaluation.artifacts.colour_cast import colour_cast
from onestroke.evaluation.artifacts.flat_noise import flat_noise

LIMITS: dict[str, float] = {
    "checkerboard": 7.0,
    "border": 0.5,
    "edge_bias": 0.6,
    "shared_edge_bias": 0.3,
    "blobs": 1.0,
    "flat_noise": 0.6,
    "colour_cast": 12.0,
    "colour_shift": 80.0,
}
"""The largest values of flawless paintings; see the function of each name. `colour_shift`: `colour_cast` without a
palette. `edge_bias`: the largest of the four edges; the limit separates networks with a visible bias from others.
`shared_edge_bias`: four real paintings of 200 to 600 pixels, compared with unrelated photos, had at most 0.23; a strip
of 16 pixels that is lighter by 0.1 has 0.4."""
EARLIER_NAMES = {"bands": "edge_bias", "bands_among": "shared_edge_bias"}
"""Names in reports and style files of earlier versions."""


def on_pair(
    output: Tensor, photo: Tensor, palette: Tensor | None = None, style_response: float = 0.0
) -> dict[str, float]:
    """All detectors on one painting and its photo, (1, 3, H, W) each.

    Args:
        output, photo: in [0, 1].
        palette: see `colour_cast`.
        style_response: the blob response of the style's painting, see `blobs`.

    Returns:
        The names of LIMITS with their values, `colour_cast` with a palette and `colour_shift` without. `flat_noise` is
        NaN where the photo has no flat part.

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
    }
    return {name: float(value) for name, value in values.items()}


def fired(values: Mapping[str, float]) -> list[str]:
    """Names of the detectors whose values exceed their limits, in the order of LIMITS.

    NaN never fires. Earlier names are accepted; unknown names are ignored.
    """
    named = {EARLIER_NAMES.get(name, name): value for name, value in values.items()}
    return [name for name, limit in LIMITS.items() if named.get(name, math.nan) > limit]
