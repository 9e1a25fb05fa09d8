"""Values that change over time: `0:0.2,5:0.8` is 0.2 at the start, 0.8 from second 5 on, and in between in between."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from onestroke.errors import UserError

_ENTRY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*:(.*)", re.DOTALL)


@dataclass(frozen=True)
class Numbers:
    """A number over time: linear between keyframes (seconds, value), constant before the first and after the last."""

    frames: tuple[tuple[float, float], ...]

    def __str__(self) -> str:
        """As the option is written, such as `0:0.2,5:0.8`."""
        return ",".join(f"{time:g}:{value:g}" for time, value in self.frames)

    @property
    def changes(self) -> bool:
        """Whether there is more than one keyframe."""
        return len(self.frames) > 1

    def at(self, seconds: float) -> float:
        """The value at a time."""
        before, after, share = _around([time for time, _ in self.frames], seconds)
        return (1 - share) * self.frames[before][1] + share * self.frames[after][1]


@dataclass(frozen=True)
class Mixes:
    """A mix of styles over time: from one keyframe to the next each style's weight changes linearly."""

    frames: tuple[tuple[float, str], ...]

    def __str__(self) -> str:
        """As the option is written, such as `0:starry_night,10:great_wave`."""
        return ",".join(f"{time:g}:{mix}" for time, mix in self.frames)

    def at(self, seconds: float) -> str:
        """The mix at a time, as the option `style` takes it."""
        before, after, share = _around([time for time, _ in self.frames], seconds)
        one, other = self.frames[before][1], self.frames[after][1]
        if share == 0 or one == other:
            return one
        return other if share == 1 else f"{one}:{1 - share:.4f},{other}:{share:.4f}"


def numbers(name: str, text: str, low: float, high: float) -> Numbers:
    """Read a number, or keyframes of numbers.

    Args:
        name: of the option, for messages.
        text: such as `0.5`, or `0:0.2,5:0.8`.
        low, high: bounds of each number.

    Raises:
        UserError: it is neither, a number is out of bounds, or the times do not rise.
    """
    frames = []
    for time, value in _entries(name, text):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise UserError(f"{name} must be a number from {low:g} to {high:g}, not '{value.strip()}'")
        frames.append((time, number))
    return Numbers(tuple(frames))


def mixes(name: str, text: str) -> Mixes | None:
    """Read keyframes of styles, such as `0:starry_night,10:great_wave`; None if it has none, as `starry_night:0.6`.

    Raises:
        UserError: some entries have a time and others have none, or the times do not rise.
    """
    if not _ENTRY.fullmatch(text.split(",")[0]):
        return None
    frames = [(time, style.strip()) for time, style in _entries(name, text)]
    for _, style in frames:
        if not style or ":" in style:
            raise UserError(f"{name}: a keyframe is seconds:style, such as 0:starry_night, and '{style}' is no style")
    return Mixes(tuple(frames))


def _entries(name: str, text: str) -> list[tuple[float, str]]:
    """(seconds, value) of each keyframe; a text without a time is one at 0."""
    parts = text.split(",")
    if len(parts) == 1 and not _ENTRY.fullmatch(text):
        return [(0.0, text)]
    entries = []
    for part in parts:
        found = _ENTRY.fullmatch(part)
        if found is None:
            raise UserError(f"{name}: keyframes are written as seconds:value,seconds:value, and '{part}' is none")
        entries.append((float(found[1]), found[2]))
    for (before, _), (time, _) in pairwise(entries):
        if time <= before:
            raise UserError(f"{name}: the times of keyframes must rise, and {time:g} comes after {before:g}")
    return entries


def _around(times: list[float], seconds: float) -> tuple[int, int, float]:
    """The keyframes before and after a time, and the share of the later one."""
    if seconds <= times[0]:
        return 0, 0, 0.0
    for i in range(1, len(times)):
        if seconds < times[i]:
            return i - 1, i, (seconds - times[i - 1]) / (times[i] - times[i - 1])
    return len(times) - 1, len(times) - 1, 0.0
