"""Compare a style file with another tool's pictures of the same photos, at equal content error.

A picture that keeps less of its photo can have less style error, so style errors alone don't say which tool is better.
Over strengths from 0 to 1, a style file gives a curve of content and style error. The style error is interpolated
linearly along this curve at the other tool's content error, and the ratio is the other tool's style error over it.
Above 1, the style file is better.

| the other tool's content error                        | the style file's style error that is taken          |
|-------------------------------------------------------|-----------------------------------------------------|
| in the range of the curve                             | interpolated; the lowest, if it is crossed often    |
| above the curve's largest content error               | of that point, which keeps more of the photo        |
| at least 1/1.05 of that of a file without the control | of its only painting                                |
| less than that, for a file without the control        | none, so that the photo has no ratio                |
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
STROKES = (0.0, 0.5, 1.0)
BEST = "best"
"""The key for the stroke with the lowest style error, chosen for each photo, as a user would."""
LENIENCY = 1.05
"""A single point may have this many times the other tool's content error."""
_RESAMPLES = 2000
_LEAST = 1e-6  # style errors below are rounding


@dataclass(frozen=True)
class Errors:
    """Content error, and style error by style size, of one painting."""

    content: float
    style: Mapping[int, float]


@dataclass(frozen=True)
class Pair:
    """One photo painted by both at one size.

    photo: its name. side: a label of the size, such as `256 px`. peer: errors of the other tool's picture. curves: by
    stroke, the errors of the style file's paintings along strength, rising; a single one without that control.
    """

    photo: str
    side: str
    peer: Errors
    curves: Mapping[str, Sequence[Errors]]


@dataclass(frozen=True)
class Ratio:
    """The other tool's style error over the style file's, for one photo.

    stroke: the key of the curve. nearest: index of the curve's point with the nearest content error. beyond: whether
    the curve ends below the other tool's content error.
    """

    value: float
    stroke: str
    nearest: int
    beyond: bool


@dataclass(frozen=True)
class Summary:
    """Geometric mean of ratios over photos, with a 95 % bootstrap interval; NaN for no photo.

    count: the photos that have a ratio. beyond: how many of them lie above the curve's largest content error.
    """

    mean: float
    low: float
    high: float
    count: int
    beyond: int


@dataclass(frozen=True)
class Line:
    """All photos at one size and one style size.

    content, style: mean errors of the other tool. ratios: by stroke, and BEST. headline: whether this is the style
    size at which the other tool's style error is lowest, at this size.
    """

    side: str
    style_size: int
    content: float
    style: float
    ratios: Mapping[str, Summary]
    headline: bool


def style_at(curve: Sequence[tuple[float, float]], content: float) -> tuple[float, bool] | None:
    """The style error that a curve reaches at a content error.

    Args:
        curve: content and style error of each point along strength; a single one without that control.
        content: of the other tool.

    Returns:
        The style error, and whether the curve ends below `content`; None where a single point has more than LENIENCY
        times `content`.
    """
    if len(curve) == 1:
        ((own, style),) = curve
        return (style, own * LENIENCY < content) if own <= content * LENIENCY else None
    crossings = []
    for (content_0, style_0), (content_1, style_1) in pairwise(curve):
        if min(content_0, content_1) <= content <= max(content_0, content_1):
            share = 0.0 if content_0 == content_1 else (content - content_0) / (content_1 - content_0)
            crossings.append(style_0 + share * (style_1 - style_0))
    if crossings:
        return min(crossings), False
    _, nearest = min(curve, key=lambda point: abs(point[0] - content))
    return nearest, max(own for own, _ in curve) < content


def ratios(pair: Pair, style_size: int) -> dict[str, Ratio]:
    """The ratio of one photo for each stroke, and for the best of them; without those that can't be compared."""
    found: dict[str, Ratio] = {}
    for stroke, curve in pair.curves.items():
        reached = style_at([(point.content, point.style[style_size]) for point in curve], pair.peer.content)
        if reached is not None:
            value = max(pair.peer.style[style_size], _LEAST) / max(reached[0], _LEAST)
            nearest = min(range(len(curve)), key=lambda i: abs(curve[i].content - pair.peer.content))
            found[stroke] = Ratio(value, stroke, nearest, reached[1])
    if found:
        found[BEST] = max(found.values(), key=lambda ratio: ratio.value)
    return found


def summarise(found: Sequence[Ratio], seed: int = 0) -> Summary:
    """The geometric mean over photos, and its 95 % interval by resampling the photos (Efron, 1979; percentiles)."""
    if not found:
        return Summary(math.nan, math.nan, math.nan, 0, 0)
    logs = [math.log(ratio.value) for ratio in found]
    draw = random.Random(seed)
    means = sorted(sum(draw.choices(logs, k=len(logs))) / len(logs) for _ in range(_RESAMPLES))
    low, high = means[round(0.025 * (_RESAMPLES - 1))], means[round(0.975 * (_RESAMPLES - 1))]
    mean = sum(logs) / len(logs)
    return Summary(math.exp(mean), math.exp(low), math.exp(high), len(found), sum(ratio.beyond for ratio in found))


def lines(pairs: Sequence[Pair]) -> list[Line]:
    """Summaries for each size, in the order of `pairs`, and each style size."""
    found = []
    for side in dict.fromkeys(pair.side for pair in pairs):
        at = [pair for pair in pairs if pair.side == side]
        styles = {size: _mean([pair.peer.style[size] for pair in at]) for size in at[0].peer.style}
        best = min(styles, key=lambda size: styles[size])
        for size, style in styles.items():
            each = [ratios(pair, size) for pair in at]
            summaries = {
                key: summarise([one[key] for one in each if key in one]) for key in (*at[0].curves, BEST)
            }  # fmt: skip
            content = _mean([pair.peer.content for pair in at])
            found.append(Line(side, size, content, style, summaries, size == best))
    return found


def mean_curves(pairs: Sequence[Pair]) -> dict[str, list[Errors]]:
    """By stroke, the errors along strength, each the mean over pairs of one size."""
    found: dict[str, list[Errors]] = {}
    for stroke, curve in pairs[0].curves.items():
        found[stroke] = []
        for i in range(len(curve)):
            points = [pair.curves[stroke][i] for pair in pairs]
            style = {size: _mean([point.style[size] for point in points]) for size in points[0].style}
            found[stroke].append(Errors(_mean([point.content for point in points]), style))
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
