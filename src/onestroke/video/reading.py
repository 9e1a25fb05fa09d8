"""Decode a clip frame by frame: upright, RGB, with every time stamp; what is damaged is left out and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from onestroke.errors import UserError
from onestroke.imaging.decoding import alpha as transparency
from onestroke.imaging.decoding import fitting
from onestroke.packages import require
from onestroke.video import clip as clips
from onestroke.video.clip import Clip
from onestroke.video.colours import RGB, Colours, standard_range
from onestroke.video.filters import PRECISE, chain
from onestroke.video.selection import between, seek, since

_ARBITRARY_CLOCKS = ("mpegts", "mpeg")
_GAP = 2.5  # frames of time that are missing at the end of a clip that was cut off; some files count one frame too many
_LONGEST_FRAME = 10  # seconds; a stream that ends later than this after its last frame is cut short


@dataclass
class Frame:
    """A decoded frame.

    rgb: uint8 (H, W, 3), upright. Where alpha is low, colours are those of visible neighbours. alpha: uint8 (H, W), or
    None. pts: its time, and duration: how long it is seen (0: unknown), in ticks of the clip's time base. index: its
    number among the frames that could be decoded, from 0.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    pts: int
    duration: int
    index: int


@dataclass
class Damage:
    """What of a clip could not be decoded. packets: damaged ones. frames: of these, damaged or out of order. short:
    frames that are missing at the end, by what the file says."""

    packets: int = 0
    frames: int = 0
    short: int = 0

    def forget(self) -> None:
        """Count from here on."""
        self.packets = self.frames = self.short = 0

    def __str__(self) -> str:
        """One clause for each kind of damage; empty if there is none."""
        lost = self.packets + self.frames
        said = [f"{lost} damaged frame{'s' if lost > 1 else ''} left out"] if lost else []
        if self.short:
            said.append(f"it ends early: {self.short} frame{'s' if self.short > 1 else ''} missing at the end")
        return "; ".join(said)


class Source(Protocol):
    """A clip that can be read, from `start` to `end` in seconds. damage: what was lost when it was last decoded."""

    clip: Clip
    start: float | None
    end: float | None
    damage: Damage

    def frames(self) -> Iterator[Frame]:
        """Decode all frames in order; each call starts again."""
        ...


@dataclass
class Film:
    """A clip in a container that FFmpeg reads.

    Args:
        path: the file.
        start, end: seconds from its beginning; only frames that begin in between are given. None is the whole clip.
        max_side: frames are shrunk so that their longer side has at most this many pixels.
        gpu: whether it is decoded on a GPU of Nvidia, where that can be used.
        since: time of the clip in seconds; of the frames that begin earlier only the last is given. Decoding begins at
            the key frame before. Their numbers count from the first that is given, and so does what is missing at the
            end. None: all frames.

    Attributes:
        shift: seconds that are taken from all time stamps, so that what is painted begins at 0: the start, and the
            first time of a container whose clock begins anywhere. A clip of other containers keeps its times.

    Raises:
        UserError: as `clip.opened`, or no frame can be decoded.
    """

    path: Path
    start: float | None = None
    end: float | None = None
    max_side: int | None = None
    gpu: bool = False
    since: int | None = None
    damage: Damage = field(default_factory=Damage)

    def __post_init__(self) -> None:
        with clips.opened(self.path) as container:
            decoded = _first(container, self.path)
            turn = clips.turn_of(decoded)
            origin = origin_of(container)
            arbitrary = container.format.name in _ARBITRARY_CLOCKS
            stored = clips.described(self.path, container, (decoded.height, decoded.width), turn)
        self._stored = stored
        height, width = fitting(stored.height, stored.width, max_side=self.max_side)
        self.clip = replace(stored, width=width, height=height)
        self.shift = Fraction(self.start or 0) + (origin if arbitrary or self.start is not None else 0)

    def frames(self) -> Iterator[Frame]:
        """See Source.

        Raises:
            SeekError: with `since`.
            UserError: there is no frame.
        """
        self.damage = damage = Damage()
        clip, index = self.clip, 0
        first, last = (None if t is None else round(Fraction(t) / clip.time_base) for t in (self.start, self.end))
        with clips.opened(self.path, self.gpu) as container:
            stream = clips.picture_stream(container)
            origin = round(Fraction(origin_of(container)) / clip.time_base)
            decoded = between(_in_order(container, stream, clip, damage), origin, first, last)
            shift = round(self.shift / clip.time_base)
            if self.since is not None:
                seek(container, stream, self.since + self.shift)
                decoded = since(decoded, round(self.since / clip.time_base) + shift, damage.forget)
            converted = _Conversion(self._stored, clip.width, clip.height, stream)(decoded)
            end = None if stream.duration is None else (stream.start_time or 0) + stream.duration
            for pixels, pts, duration in _lasting(converted, stream, None if last is None else origin + last):
                rgb, alpha = (pixels, None) if pixels.shape[2] == 3 else visible(pixels)
                yield Frame(rgb, alpha, pts - shift, duration, index)
                index += 1
                seen = pts
        lost = damage.packets + damage.frames
        step = 1 / (clip.rate * clip.time_base)
        if first is None and last is None and index and (end is None or end - seen > _GAP * step):
            damage.short = max(0, clip.frames - index - lost)
        if not index:
            where = "" if first is None and last is None else f" from start={self.start} to end={self.end}"
            raise UserError(f"'{self.path}' has no frame to paint{where}")


def _in_order(container: Any, stream: Any, clip: Clip, damage: Damage) -> Iterator[Any]:
    """Decoded frames with rising time stamps; others are counted as damaged."""
    before: int | None = None
    step = max(1, round(1 / (clip.rate * clip.time_base)))
    for frame in _frames(container, stream, damage):
        if frame.pts is None:  # a stream without times, such as bare H.264
            frame.pts = 0 if before is None else before + step
        if frame.is_corrupt or (before is not None and frame.pts <= before):
            damage.frames += 1
            continue
        before = frame.pts
        yield frame


def _lasting(
    frames: Iterator[tuple[np.ndarray, int, int]], stream: Any, end: int | None
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Frames with the time for which they are seen: up to the next, the last to `end` or the end of its stream.

    Decoders give the duration of packets in the order of the file, which is not that of the frames.
    """
    before: tuple[np.ndarray, int, int] | None = None
    for frame in frames:
        if before is not None:
            yield before[0], before[1], frame[1] - before[1]
        before = frame
    if before is not None:
        pixels, pts, duration = before
        whole = 0 if stream.duration is None else (stream.start_time or 0) + stream.duration
        rest = (whole if end is None else min(whole, end) if whole else end) - pts
        yield pixels, pts, rest if 0 < rest < _LONGEST_FRAME / stream.time_base else duration


def _frames(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """Decode the packets of a stream one by one, so that a damaged one costs itself."""
    av = require("av", "video")
    decoder = _decoder(stream)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, ValueError, OSError):
            damage.packets += 1
            return
        try:
            if decoder is stream:
                decoded = packet.decode()
            else:
                decoded = decoder.decode(packet if packet.size else None)
                for frame in decoded:
                    frame.time_base = stream.time_base
        except (av.FFmpegError, ValueError):
            damage.packets += 1
            continue
        yield from decoded


def _decoder(stream: Any) -> Any:
    """The stream itself, or a decoder that reads the alpha that FFmpeg's own decoder of VP9 leaves out."""
    if not clips.has_alpha(stream):
        stream.thread_type = "AUTO"
        return stream
    av = require("av", "video")
    context = av.CodecContext.create("libvpx-vp9" if "9" in stream.codec_context.name else "libvpx", "r")
    context.extradata = stream.codec_context.extradata
    return context


def _first(container: Any, path: Path) -> Any:
    """The first frame that can be decoded."""
    stream = clips.picture_stream(container)
    for frame in _frames(container, stream, Damage()):
        return frame
    raise UserError(f"'{path}' has no frame that can be decoded; it is damaged or cut off")


def origin_of(container: Any) -> Fraction:
    """The time at which a clip begins, in seconds: the earliest of its streams."""
    begins = [Fraction(s.start_time) * s.time_base for s in container.streams if s.start_time is not None]
    return min(begins, default=Fraction(0))


class _Conversion:
    """Converts decoded frames to upright RGB, deinterlaced where they are interlaced."""

    def __init__(self, clip: Clip, width: int, height: int, stream: Any) -> None:
        self.clip, self.stream = clip, stream
        self.size = (height, width) if clip.turn.swaps else (width, height)
        self.graph: Any = None
        self.made_for: tuple[object, ...] = ()
        self.kind = "rgba" if clip.alpha else "rgb48le" if clip.colours.hdr else "rgb24"

    def __call__(self, frames: Iterator[Any]) -> Iterator[tuple[np.ndarray, int, int]]:
        """Yield uint8 pixels (H, W, 3), or (H, W, 4) for a clip with alpha, the time stamp and the duration."""
        for frame in frames:
            made_for = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
            if made_for != self.made_for:  # at the start, and where the coding changes in the midst of a clip
                yield from self._pulled(last=True)
                self.graph, self.made_for = self._graph(frame), made_for
            self.graph.push(frame)
            yield from self._pulled()
        yield from self._pulled(last=True)

    def _pulled(self, last: bool = False) -> Iterator[tuple[np.ndarray, int, int]]:
        """What the graph gives now; if `last`, all that it still holds, as deinterlacing waits for the next frame."""
        if self.graph is None:
            return
        if last:
            self.graph.push(None)
        av = require("av", "video")
        while True:
            try:
                frame = self.graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            pixels = self.clip.turn(frame.to_ndarray())
            if self.kind == "rgb48le":
                pixels = standard_range(pixels, self.clip.colours)
            scale = frame.time_base / self.stream.time_base  # deinterlacing counts in halves
            yield pixels, round(frame.pts * scale), round((frame.duration or 0) * scale)

    def _graph(self, frame: Any) -> Any:
        colours = Colours(int(frame.colorspace), limited=self.clip.colours.limited).settled(self.clip.height)
        source = {
            "width": frame.width, "height": frame.height, "format": frame.format, "time_base": self.stream.time_base
        }  # fmt: skip
        filters = [("yadif", "mode=send_frame:deint=interlaced")] if frame.interlaced_frame else []
        width, height = self.size
        coding = "" if int(frame.colorspace) == RGB else (
            f":in_color_matrix={colours.matrix_name}:in_range={colours.range_name}"
        )  # fmt: skip
        filters.append(("scale", f"{width}:{height}:{PRECISE}:out_range=full{coding}"))
        return chain(source, *filters, ("format", f"pix_fmts={self.kind}"))


def visible(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split RGBA uint8 (H, W, 4) into RGB with transparent pixels filled from visible neighbours, and alpha (H, W)."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    rgb = planes[:, :3].contiguous()
    transparency.fill(rgb, planes[:, 3:].contiguous())
    return rgb[0].permute(1, 2, 0).contiguous().numpy(), np.ascontiguousarray(pixels[..., 3])
