"""Of the decoded frames of a clip, those that are asked for; decoding may begin in the middle of the clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from onestroke.packages import require

_BEFORE = 1  # second by which decoding begins earlier than it is asked for, so that decoders have a past


class SeekError(Exception):
    """A clip can't be decoded from its middle on, or not with the certainty that its frames are the same."""


def between(frames: Iterator[Any], origin: int, first: int | None, last: int | None) -> Iterator[Any]:
    """Those frames that begin in [first, last), in ticks after `origin`."""
    for frame in frames:
        if last is not None and frame.pts - origin >= last:
            return
        if first is None or frame.pts - origin >= first:
            yield frame


def seek(container: Any, stream: Any, seconds: Fraction) -> None:
    """Go on with the key frame before a time.

    Raises:
        SeekError: the file can't be read from its middle on.
    """
    av = require("av", "video")
    try:
        container.seek(max(0, round((seconds - _BEFORE) / stream.time_base)), stream=stream)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise SeekError from error


def since(frames: Iterator[Any], time: int, begun: Callable[[], object]) -> Iterator[Any]:
    """Those frames that begin at `time` in ticks or later, and the last one before.

    Args:
        frames: decoded ones, in their order.
        time: in ticks of the clip.
        begun: called before the first is given. What is damaged before doesn't count: after a key frame come some that
            would need what is before it.

    Raises:
        SeekError: there is no earlier frame, or one is interlaced, and so depends on those before.
    """
    before, inside = None, False
    for frame in frames:
        if frame.interlaced_frame:
            raise SeekError
        if not inside and frame.pts >= time:
            if before is None:
                raise SeekError
            inside = True
            begun()
            yield before
        if inside:
            yield frame
        before = frame
    if not inside and before is not None:
        yield before
