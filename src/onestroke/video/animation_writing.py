"""Join the parts of a painted animation to an animated GIF, WebP or PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from onestroke.files import atomic
from onestroke.packages import require
from onestroke.video.assembly import Mark, Segment
from onestroke.video.clip import Clip
from onestroke.video.encoding import ANIMATIONS
from onestroke.video.filters import chain


def join_animation(segments: Sequence[Segment], clip: Clip, target: Path, quality: int | None, mark: Mark) -> None:
    """Write an animated GIF, WebP or PNG, atomically; the parts are lossless.

    Args:
        segments: the parts in order.
        clip: the clip; gives how often the animation is played.
        target: the file, whose suffix is one of ANIMATIONS.
        quality: 1 to 100, of WebP.
        mark: what says that it is painted.
    """
    av = require("av", "video")
    kind = ANIMATIONS[target.suffix.lower()]
    base = Fraction(1, 100) if kind == "gif" else Fraction(1, 1000)
    last = max(1, round(segments[-1].last * clip.time_base / base))
    options, encoder_options = _animation_options(kind, clip.loops or 0, last * base, quality)
    with atomic(target) as temporary:
        with av.open(str(temporary), "w", format=kind, options=options) as out:
            _write(out, kind, base, segments, clip, last, encoder_options)
        mark.finish(temporary)


def _write(
    out: Any, kind: str, base: Fraction, segments: Sequence[Segment], clip: Clip, last: int, options: dict[str, str]
) -> None:
    """Encode the frames. base: seconds of a tick of the animation. last: ticks of the last frame."""
    stream = out.add_stream(_ENCODERS[kind][0], rate=clip.rate, options=options)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = clip.width, clip.height, _ENCODERS[kind][1]
    context.time_base = stream.time_base = base
    graph: Any = None
    for frame, seconds in _decoded(segments, clip):
        if graph is None:
            source = {"width": frame.width, "height": frame.height, "format": frame.format, "time_base": base}
            pixels = ("format", f"pix_fmts={context.pix_fmt}")
            graph = _palette(source) if kind == "gif" else chain(source, pixels)
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
    """Options of the container and of the encoder. loops: 0 for ever. last: seconds of the last frame."""
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


def _palette(source: dict[str, Any]) -> Any:
    """Filters that give each frame the 256 colours that suit it best; the argument as for `filters.chain`."""
    graph = require("av", "video").filter.Graph()
    frames = graph.add_buffer(**source)
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=1")
    use = graph.add("paletteuse", "new=1:dither=sierra2_4a:alpha_threshold=128")
    sink = graph.add("buffersink")
    frames.link_to(split)
    split.link_to(palette, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph
