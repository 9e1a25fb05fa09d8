"""Sections of a clip: runs of frames that begin at a cut. Each can be painted for itself, with the same result."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from onestroke.video.flow import Motion
from onestroke.video.reading import Frame
from onestroke.video.selection import SeekError

SECONDS = 5
"""Time in which at most one section begins: at the first cut after each multiple of it."""

Moving = Iterator[tuple[Frame, Motion | None]]
"""Frames with the motion from the one before, None where there is none before."""


class Starts:
    """Says of the frames of a clip, in their order, at which a section begins.

    Which these are doesn't depend on where decoding began, as long as it was at one of them.

    Args:
        time_base: seconds of a tick of the clip.
        last: what `last` was after an earlier frame.

    Attributes:
        last: number of the SECONDS seconds in which the last section began; None before the first.
    """

    def __init__(self, time_base: Fraction, last: int | None = None) -> None:
        self.time_base, self.last = time_base, last

    def __call__(self, frame: Frame, movement: Motion | None) -> bool:
        """Whether a section begins with this frame."""
        if movement is not None and not movement.cut:
            return False
        number = frame.pts * self.time_base // SECONDS
        begins = self.last is None or number > self.last
        self.last = number
        return begins


@dataclass(frozen=True)
class Glimpse:
    """What a frame is known by. pts: its time in ticks of the clip. checksum: of its pixels."""

    pts: int
    checksum: int


def glimpse(frame: Frame) -> Glimpse:
    """What a frame is known by."""
    return Glimpse(frame.pts, zlib.crc32(np.ascontiguousarray(frame.rgb).data))


@dataclass
class Section:
    """Frames of a clip from the first cut at or after `begin` up to the first cut at or after `end`.

    begin: multiple of SECONDS, in seconds of the clip's time; None for its first frame. end: the same, None for its
    last frame. first, after: its first frame, and the one that follows it, as they were decoded; None where there is
    none, and before `frames` has come to its end.
    """

    begin: int | None = None
    end: int | None = None
    first: Glimpse | None = None
    after: Glimpse | None = None

    def frames(self, moving: Moving, time_base: Fraction) -> Moving:
        """Of frames with the motion from the one before, those of the section; the first one then has none.

        Raises:
            SeekError: the clip begins after the section's end.
        """
        inside = False
        for frame, movement in moving:
            time = frame.pts * time_base
            past = self.end is not None and time >= self.end
            cut = movement is not None and movement.cut
            if inside and past and cut:
                self.after = glimpse(frame)
                return
            if not inside:
                if past:
                    if self.begin is None:
                        raise SeekError
                    return
                if self.begin is not None and not (cut and time >= self.begin):
                    continue
                inside, movement, self.first = True, None, glimpse(frame)
            yield frame, movement
