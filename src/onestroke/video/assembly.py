"""Join the parts of a painted clip to one file, with the sound, subtitles and chapters of the clip copied bit for bit."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

from onestroke.errors import UserError
from onestroke.files import atomic
from onestroke.packages import require
from onestroke.video import clip as clips
from onestroke.video.clip import Clip
from onestroke.video.encoding import ANIMATIONS

_LEAST_TIMESCALE = 1000
_OWN = frozenset(
    ("encoder", "major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id", "duration")
)
"""Metadata that describe the file and not what is in it."""

MARK = "painted by OneStroke"
"""How the comment in the metadata of a painted clip begins."""


@dataclass(frozen=True)
class Segment:
    """An encoded part: its file, the time of its first frame in ticks of the clip, and how long its last is seen."""

    path: Path
    begin: int
    last: int = 0


@dataclass(frozen=True)
class Sound:
    """Where the streams that are copied come from: the clip's file, the seconds that are taken from their times, and the
    time at which they end, None for their own."""

    path: Path
    shift: Fraction = Fraction(0)
    until: Fraction | None = None


def join_film(
    segments: Sequence[Segment], clip: Clip, target: Path, container: str, sound: Sound | None, mark: dict[str, str]
) -> list[str]:
    """Write the painted clip, atomically.

    Args:
        segments: the parts in order.
        clip: the clip.
        target: the file.
        container: FFmpeg's name of its format.
        sound: what else is copied; None for a clip without.
        mark: metadata that say what was painted, and how.

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
        out.metadata.update(mark)
        if sound is not None:
            source = stack.enter_context(clips.opened(sound.path))
            out.metadata.update({k: v for k, v in source.metadata.items() if k.lower() not in _OWN | set(mark)})
            copied = _copied_streams(source, out, left_out)
            _copy_chapters(source, out, sound)
            if copied:
                streams.append(_copied(source, copied, sound))
        for _, packet in heapq.merge(*streams, key=lambda item: item[0]):
            out.mux_one(packet)
    return left_out


def _pictures(segments: Sequence[Segment], clip: Clip, stream: Any) -> Iterator[tuple[Fraction, Any]]:
    """The packets of all parts with their times, and decoding times that rise through all of them."""
    reorder = max((_reorder(segment, clip) for segment in segments), default=0)
    shown: deque[int] = (
        deque()
    )  # times of presentation in their order, of which `reorder` lie before the present packet
    for segment in segments:
        times = sorted(packet.pts + segment.begin for packet in _packets(segment, clip))
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


def _reorder(segment: Segment, clip: Clip) -> int:
    """By how many frames decoding runs ahead of showing: the least with which no frame is decoded after it is shown."""
    times = [packet.pts for packet in _packets(segment, clip)]
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
        if stream.type not in ("audio", "subtitle"):
            if stream.type != "video":
                left_out.append(f"a stream of {stream.type}")
            elif stream is not clips.picture_stream(source):
                left_out.append("another stream of pictures")
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


def is_painting(path: Path) -> bool:
    """Whether the metadata of a clip say that OneStroke painted it; False for a file that can't be read."""
    try:
        with clips.opened(path) as container:
            return str(container.metadata.get("comment", container.metadata.get("COMMENT", ""))).startswith(MARK)
    except UserError:
        return False


def fitting_container(path: Path) -> str:
    """The suffix of a container that holds the sound and the subtitles of a clip: .mp4, or else .mkv."""
    av = require("av", "video")
    with clips.opened(path) as source, av.open(BytesIO(), "w", format="mp4") as out:
        names = [s.codec_context.name for s in source.streams if s.type in ("audio", "subtitle") and s.codec_context]
        return ".mp4" if all(name in out.supported_codecs for name in names) else ".mkv"


def join_animation(segments: Sequence[Segment], clip: Clip, target: Path, quality: int | None) -> None:
    """Write an animated GIF, WebP or PNG, atomically; the parts are lossless.

    Args:
        segments: the parts in order.
        clip: the clip; gives how often the animation is played.
        target: the file, whose suffix is one of ANIMATIONS.
        quality: 1 to 100, of WebP.
    """
    av = require("av", "video")
    kind = ANIMATIONS[target.suffix.lower()]
    base = Fraction(1, 100) if kind == "gif" else Fraction(1, 1000)
    last = max(1, round(segments[-1].last * clip.time_base / base))
    options, encoder_options = _animation_options(kind, clip.loops or 0, last * base, quality)
    with atomic(target) as temporary, av.open(str(temporary), "w", format=kind, options=options) as out:
        stream = out.add_stream(_ENCODERS[kind][0], rate=clip.rate, options=encoder_options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = clip.width, clip.height, _ENCODERS[kind][1]
        context.time_base = stream.time_base = base
        graph: Any = None
        for frame, seconds in _decoded(segments, clip):
            if graph is None:
                graph = _palette(av, frame, base) if kind == "gif" else _plain(av, frame, base, context.pix_fmt)
            frame.pts, frame.time_base = round(seconds / base), base
            graph.push(frame)
            drawn = graph.pull()
            drawn.pts, drawn.time_base, drawn.pict_type = frame.pts, base, 0
            _mux(out, stream.encode(drawn), last)
        _mux(out, stream.encode(None), last)


_ENCODERS = {"gif": ("gif", "pal8"), "webp": ("libwebp", "bgra"), "apng": ("apng", "rgba")}
"""FFmpeg's encoder and format of pixels for each container of animations."""


def _mux(out: Any, packets: list[Any], last: int) -> None:
    for packet in packets:
        packet.duration = last  # all but the last frame are seen until the next
        out.mux_one(packet)


def _animation_options(
    kind: str, loops: int, last: Fraction, quality: int | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Options of the container and of the encoder: how often it is played (0: for ever), and the last frame's seconds."""
    if kind == "gif":  # its number is that of repetitions, and -1 is none
        repeated = -1 if loops == 1 else max(0, loops - 1)
        return {"loop": str(repeated), "final_delay": str(round(last * 100))}, {}
    if kind == "apng":
        return {"plays": str(loops), "final_delay": f"{last.numerator}/{last.denominator}"}, {}
    return {"loop": str(loops)}, {"quality": str(quality or 90), "compression_level": "4"}


def _decoded(segments: Sequence[Segment], clip: Clip) -> Iterator[tuple[Any, Fraction]]:
    """The frames of lossless parts, with their times in seconds."""
    av = require("av", "video")
    for segment in segments:
        with av.open(str(segment.path)) as container:
            for frame in container.decode(video=0):
                yield frame, segment.begin * clip.time_base + frame.pts * frame.time_base


def _palette(av: Any, frame: Any, base: Fraction) -> Any:
    """Filters that give each frame the 256 colours that suit it best."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=1")
    use = graph.add("paletteuse", "new=1:dither=sierra2_4a:alpha_threshold=128")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _plain(av: Any, frame: Any, base: Fraction, pixels: str) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
    form, sink = graph.add("format", f"pix_fmts={pixels}"), graph.add("buffersink")
    source.link_to(form)
    form.link_to(sink)
    graph.configure()
    return graph
