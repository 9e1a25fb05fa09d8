"""Join the parts of a painted clip to one file; sound, subtitles and chapters of the clip are copied bit for bit."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

from onestroke.files import atomic
from onestroke.packages import require
from onestroke.video import clip as clips
from onestroke.video.clip import Clip

_LEAST_TIMESCALE = 1000
_OWN = frozenset(
    ("encoder", "major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id", "duration")
)
"""Metadata that describe the file and not what is in it."""


@dataclass(frozen=True)
class Segment:
    """An encoded part: its file, the time of its first frame in ticks of the clip, and how long its last is seen."""

    path: Path
    begin: int
    last: int = 0


@dataclass(frozen=True)
class Sound:
    """Where the streams that are copied come from.

    path: the clip. shift: seconds that are taken from their times. until: the time at which they end, None: their own.
    """

    path: Path
    shift: Fraction = Fraction(0)
    until: Fraction | None = None


@dataclass(frozen=True)
class Mark:
    """What says that a clip is painted.

    metadata: of the container of a film. xmp: the packet of each frame in a folder. finish: is called with the whole
    file of a film or an animation before it gets its name, and may change it.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    xmp: bytes | None = None
    finish: Callable[[Path], None] = lambda path: None


NO_MARK = Mark()


def join_film(
    segments: Sequence[Segment], clip: Clip, target: Path, container: str, sound: Sound | None, mark: Mark
) -> list[str]:
    """Write the painted clip, atomically.

    Args:
        segments: the parts in order.
        clip: the clip.
        target: the file.
        container: FFmpeg's name of its format.
        sound: what else is copied; None for a clip without.
        mark: what says that it is painted, and how.

    Returns:
        What of the clip the container can't hold, for a message.
    """
    av = require("av", "video")
    left_out: list[str] = []
    with atomic(target) as temporary, ExitStack() as stack:
        options = {}
        if container in ("mp4", "mov"):
            scale = max(_LEAST_TIMESCALE, clip.time_base.denominator)
            options = {"movflags": "+faststart", "movie_timescale": str(min(scale, 2**31 - 1))}
        out = stack.enter_context(av.open(str(temporary), "w", format=container, options=options))
        with av.open(str(segments[0].path)) as first:
            encoded = first.streams.video[0]
            pictures = out.add_stream_from_template(encoded)
            if clips.has_alpha(encoded):
                pictures.metadata["alpha_mode"] = "1"
        pictures.time_base = clip.time_base
        streams = [_pictures(segments, clip, pictures)]
        if sound is not None:
            source = stack.enter_context(clips.opened(sound.path))
            out.metadata.update(own_metadata(source))
            copied = _copied_streams(source, out, left_out)
            _copy_chapters(source, out, sound)
            if copied:
                streams.append(_copied(source, copied, sound))
        out.metadata.update(mark.metadata)
        for _, packet in heapq.merge(*streams, key=lambda item: item[0]):
            out.mux_one(packet)
        stack.close()
        mark.finish(temporary)
    return left_out


def own_metadata(container: Any) -> dict[str, str]:
    """The metadata of a clip's container that describe what is in it."""
    return {key: value for key, value in container.metadata.items() if key.lower() not in _OWN}


def _pictures(segments: Sequence[Segment], clip: Clip, stream: Any) -> Iterator[tuple[Fraction, Any]]:
    """The packets of all parts with their times, and decoding times that rise through all of them."""
    decoded = [[packet.pts + segment.begin for packet in _packets(segment, clip)] for segment in segments]
    reorder = max(map(_reorder, decoded), default=0)
    shown: deque[int] = deque()  # times at which frames are seen, `reorder` of them before the present packet
    for segment, times in zip(segments, map(sorted, decoded), strict=True):
        if not shown:
            shown.extend(range(times[0] - reorder, times[0]))
        shown.extend(times)
        for number, packet in enumerate(_packets(segment, clip)):
            packet.pts += segment.begin
            packet.dts = shown.popleft()
            packet.stream = stream
            if number == len(times) - 1 and segment is segments[-1]:
                # the track lasts from the first decoding time to the last and as long as the last packet
                packet.duration = max(1, times[-1] + segment.last - reorder - packet.dts)
            yield Fraction(packet.dts) * clip.time_base, packet


def _packets(segment: Segment, clip: Clip) -> Iterator[Any]:
    """The packets of a part, with times in ticks of the clip; a container may have counted in fractions of them."""
    av = require("av", "video")
    with av.open(str(segment.path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                scale = packet.time_base / clip.time_base
                packet.pts = round(packet.pts * scale)
                packet.duration = round((packet.duration or 0) * scale)
                packet.time_base = clip.time_base
                yield packet


def _reorder(times: list[int]) -> int:
    """By how many frames decoding runs ahead of showing: the least with which no frame is decoded after it is shown.

    Args:
        times: at which the frames are shown, in the order in which they are decoded.
    """
    ordered = sorted(times)
    delay = 0
    for place, pts in enumerate(times):
        while place - delay >= 0 and ordered[place - delay] > pts:
            delay += 1
    return delay


def _copied_streams(source: Any, out: Any, left_out: list[str]) -> dict[int, Any]:
    """Add the streams of sound and subtitles that the container can hold; returns them by the index of the source's."""
    copied = {}
    for stream in source.streams:
        if stream.type == "video":
            if stream is not clips.picture_stream(source):
                left_out.append("another stream of pictures")
            continue
        if stream.type not in ("audio", "subtitle"):
            if not source.chapters():  # whose titles MP4 keeps in a stream of data; they are copied as chapters
                left_out.append(f"a stream of {stream.type}")
            continue
        name = stream.codec_context.name if stream.codec_context is not None else "unknown"
        if name not in out.supported_codecs:
            left_out.append(f"{stream.type} in {name}")
            continue
        new = out.add_stream_from_template(stream)
        new.metadata.update({k: v for k, v in stream.metadata.items() if k.lower() not in _OWN})
        new.disposition = stream.disposition
        copied[stream.index] = new
    return copied


def _copied(source: Any, streams: dict[int, Any], sound: Sound) -> Iterator[tuple[Fraction, Any]]:
    av = require("av", "video")
    packets = source.demux([source.streams[index] for index in streams])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError, ValueError, OSError):
            return
        if packet.dts is None or not packet.size:
            continue
        shift = round(sound.shift / packet.time_base)
        packet.dts -= shift
        if packet.pts is not None:
            packet.pts -= shift
        time = Fraction(packet.dts) * packet.time_base
        if sound.until is not None and time >= sound.until:
            continue
        # with start=, what ended before it; a clip that begins before 0, as encoders' priming does, stays whole
        if sound.shift and time + Fraction(packet.duration or 0) * packet.time_base <= 0:
            continue
        packet.stream = streams[packet.stream_index]
        yield time, packet


def _copy_chapters(source: Any, out: Any, sound: Sound) -> None:
    kept = []
    for chapter in source.chapters():
        base = chapter["time_base"]
        begin, end = (Fraction(chapter[key]) * base - sound.shift for key in ("start", "end"))
        if sound.until is not None:
            end = min(end, sound.until)
        if end > max(begin, 0):
            kept.append({**chapter, "start": round(max(begin, Fraction(0)) / base), "end": round(end / base)})
    if kept:
        out.set_chapters(kept)


def fitting_container(path: Path) -> str:
    """The suffix of a container that holds the sound and the subtitles of a clip: .mp4, or else .mkv."""
    av = require("av", "video")
    with clips.opened(path) as source, av.open(BytesIO(), "w", format="mp4") as out:
        names = [s.codec_context.name for s in source.streams if s.type in ("audio", "subtitle") and s.codec_context]
        return ".mp4" if all(name in out.supported_codecs for name in names) else ".mkv"
