"""Encoders and containers: which codec a painted clip is written in, with what settings, and a writer of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onestroke.errors import UserError
from onestroke.files import make_folder
from onestroke.imaging import images
from onestroke.packages import require
from onestroke.video.clip import Clip
from onestroke.video.filters import PRECISE, chain

PRESETS = ("fast", "medium", "slow")
DEFAULT_QUALITY = 75
_SHARE = 1.6
"""Largest bit rate at the default quality, as a share of the clip's own.

A file should have at most twice the size of the clip's. The start of each part may exceed this rate, and the container
takes some."""
_BURST = 0.5  # seconds of the largest bit rate that may be spent at once


@dataclass(frozen=True)
class Codec:
    """How frames are encoded.

    encoder: FFmpeg's name, and gpu: that of one on a GPU, or "". pixels: the format of pixels, and odd: that for clips
    with odd sides, or "" if `pixels` takes them. alpha: the format with alpha, or "". best and worst: the constant rate
    factors of quality 100 and 1. presets: settings for PRESETS.
    """

    encoder: str
    gpu: str
    pixels: str
    odd: str
    alpha: str
    best: float
    worst: float
    presets: tuple[dict[str, str], ...]


def _named(*names: str) -> tuple[dict[str, str], ...]:
    return tuple({"preset": name} for name in names)


CODECS = {
    "h264": Codec("libx264", "h264_nvenc", "yuv420p", "yuv444p", "", 10, 42, _named("veryfast", "medium", "slow")),
    "hevc": Codec("libx265", "hevc_nvenc", "yuv420p", "yuv444p", "", 12, 44, _named("fast", "medium", "slow")),
    "av1": Codec("libsvtav1", "av1_nvenc", "yuv420p", "", "", 16, 60, _named("10", "8", "5")),
    "vp9": Codec(
        "libvpx-vp9", "", "yuv420p", "", "yuva420p", 14, 58,
        tuple({"deadline": "good", "row-mt": "1", "cpu-used": speed} for speed in ("6", "4", "2")),
    ),
    "prores": Codec("prores_ks", "", "yuv422p10le", "yuv444p10le", "yuva444p10le", 2, 24, ({}, {}, {})),
}  # fmt: skip
LOSSLESS = Codec("ffv1", "", "bgr0", "", "bgra", 0, 0, ({}, {}, {}))
"""What animations are kept in until they are whole."""

FILMS = {
    ".mp4": ("mp4", ("h264", "hevc", "av1", "vp9")),
    ".m4v": ("mp4", ("h264", "hevc")),
    ".mov": ("mov", ("h264", "hevc", "prores")),
    ".mkv": ("matroska", ("h264", "hevc", "av1", "vp9", "prores")),
    ".webm": ("webm", ("vp9", "av1")),
}
"""Suffix -> FFmpeg's name of the container, and the codecs that players expect in it, the default first."""
ANIMATIONS = {".gif": "gif", ".webp": "webp", ".apng": "apng", ".png": "apng"}
"""Suffix -> FFmpeg's name of the container of an animation."""


def codec_for(suffix: str, wanted: str | None, clip: Clip) -> str:
    """The name of the codec for a container: the one that is wanted, or one that keeps alpha, or the usual one.

    Raises:
        UserError: the container doesn't hold the wanted codec.
    """
    codecs = FILMS[suffix][1]
    if wanted is None:
        transparent = {".mov": "prores", ".webm": "vp9", ".mkv": "vp9"}.get(suffix)
        return transparent if clip.alpha and transparent else codecs[0]
    if wanted not in codecs:
        holding = ", ".join(s for s, (_, names) in FILMS.items() if wanted in names)
        raise UserError(f"codec={wanted} is not for {suffix}, which holds {', '.join(codecs)}; it goes into {holding}")
    return wanted


@cache
def encodes(encoder: str) -> bool:
    """Whether an encoder of a GPU works on this machine, by opening it for a small picture."""
    av = require("av", "video")
    if not encoder:
        return False
    try:
        context = av.CodecContext.create(encoder, "w")
        context.width, context.height, context.pix_fmt, context.time_base = 256, 256, "yuv420p", Fraction(1, 25)
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


def part_format(codec: Codec, clip: Clip) -> tuple[str, str]:
    """FFmpeg's name of the container in which parts are kept, which keeps times exactly, and its suffix."""
    if codec is LOSSLESS:
        return "nut", ".nut"
    if codec.alpha and clip.alpha and codec.encoder == "libvpx-vp9":
        return "matroska", ".mkv"  # the only one that holds VP9 with alpha
    return ("mov", ".mov") if codec.encoder == "prores_ks" else ("mp4", ".mp4")


@dataclass(frozen=True)
class Settings:
    """What the user chose of the encoding.

    codec: a name of CODECS, or a suffix of pictures. quality: 1 to 100; None: the default, with a limit on the size.
    preset: one of PRESETS. gpu: whether encoders of the GPU are tried.
    """

    codec: str
    quality: int | None = None
    preset: str = "medium"
    gpu: bool = False


class PartWriter:
    """Encodes frames to one file, which begins with a key frame and at the time 0.

    Args:
        path: the file.
        container: FFmpeg's name of its format.
        codec: how to encode.
        clip: what is painted; gives size, time base, aspect and colours.
        settings: quality and preset.

    Raises:
        UserError: the encoder can't be opened with these settings.
    """

    def __init__(self, path: Path, container: str, codec: Codec, clip: Clip, settings: Settings) -> None:
        self.path = path
        self.av = require("av", "video")
        self.codec, self.clip, self.settings = codec, clip, settings
        self.file = self.av.open(str(path), "w", format=container)
        self.has_alpha = clip.alpha and bool(codec.alpha)
        self.pixels = codec.alpha if self.has_alpha else codec.pixels
        if codec.odd and (clip.width % 2 or clip.height % 2) and not self.has_alpha:
            self.pixels = codec.odd
        self.colours = clip.colours.written(clip.height)
        self.stream = self._stream()
        self.graph = self._graph()
        self.begin: int | None = None
        self.durations: dict[int, int] = {}

    def _stream(self) -> Any:
        name = self.codec.encoder
        if self.settings.gpu and encodes(self.codec.gpu):
            name = self.codec.gpu
        stream = self.file.add_stream(name, options=self._options(name))
        context, clip = stream.codec_context, self.clip
        context.width, context.height, context.pix_fmt = clip.width, clip.height, self.pixels
        context.time_base = stream.time_base = clip.time_base
        context.framerate = clip.rate
        context.sample_aspect_ratio = clip.aspect
        if self.codec is not LOSSLESS:
            context.colorspace, context.color_primaries = self.colours.matrix, self.colours.primaries
            context.color_trc, context.color_range = self.colours.transfer, self.colours.range_code
        if self.codec.encoder == "libx265" and self.file.format.name in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # which Apple's players ask for
        if name == "libvpx-vp9":
            context.bit_rate = self._largest_rate() or 0
        return stream

    def _options(self, name: str) -> dict[str, str]:
        codec, quality = self.codec, self.settings.quality
        options = dict(codec.presets[PRESETS.index(self.settings.preset)])
        if codec is LOSSLESS:
            return options
        factor = codec.best + (100 - (quality or DEFAULT_QUALITY)) * (codec.worst - codec.best) / 99
        if name == "prores_ks":
            return {"profile": "4444" if self.pixels.startswith("yuva444") or self.pixels == codec.odd else "hq"}
        if name.endswith("_nvenc"):
            return {"cq": f"{factor:.0f}", "preset": "p5", **self._limits()}
        if name == "libsvtav1":
            return {**options, "crf": f"{factor:.0f}", **self._limits()}
        return {**options, "crf": f"{factor:.1f}" if name in ("libx264", "libx265") else f"{factor:.0f}",
                **({"x265-params": "log-level=none"} if name == "libx265" else {}), **self._limits()}  # fmt: skip

    def _limits(self) -> dict[str, str]:
        largest = self._largest_rate()
        return {} if largest is None else {"maxrate": str(largest), "bufsize": str(int(largest * _BURST))}

    def _largest_rate(self) -> int | None:
        """The largest bit rate, None for no limit: where a quality was asked for, or the clip's own is not known."""
        if self.settings.quality is not None or not self.clip.bit_rate:
            return None
        return int(self.clip.bit_rate * _SHARE)

    def _graph(self) -> Any:
        clip, colours = self.clip, self.colours
        pixels = self.av.VideoFormat("rgba" if self.has_alpha else "rgb24")
        source = {"width": clip.width, "height": clip.height, "format": pixels, "time_base": clip.time_base}
        coding = f"out_color_matrix={colours.matrix_name}:out_range={colours.range_name}:"
        scale = PRECISE if self.codec is LOSSLESS else coding + PRECISE
        return chain(source, ("scale", scale), ("format", f"pix_fmts={self.pixels}"))

    def add(self, rgb: np.ndarray, alpha: np.ndarray | None, pts: int, duration: int) -> None:
        """Encode a frame: uint8 (H, W, 3), alpha uint8 (H, W) or None, its time and duration in ticks."""
        if self.begin is None:
            self.begin = pts
        kind = "rgb24"
        if self.has_alpha:
            cover = np.full(rgb.shape[:2], 255, np.uint8) if alpha is None else alpha
            rgb, kind = np.dstack((rgb, cover)), "rgba"
        frame = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=kind)
        frame.pts, frame.time_base = pts - self.begin, self.clip.time_base
        self.durations[frame.pts] = duration
        self.graph.push(frame)
        converted = self.graph.pull()
        converted.pts, converted.time_base = frame.pts, self.clip.time_base
        if self.codec is not LOSSLESS:
            converted.colorspace, converted.color_range = self.colours.matrix, self.colours.range_code
        converted.pict_type = 0
        self._mux(self.stream.encode(converted))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self.durations.pop(packet.pts, 0)
            self.file.mux(packet)

    def close(self) -> None:
        """Write what the encoder still holds, and close the file."""
        self._mux(self.stream.encode(None))
        self.file.close()

    def abandon(self) -> None:
        """Close the file without what the encoder still holds."""
        self.file.close()


class FrameWriter:
    """Writes frames as numbered pictures, as PartWriter encodes them.

    Args:
        folder: of the pictures.
        kind: suffix of the pictures, without its dot.
        first: the number of the first one, from 0; names count from 1.
        settings: quality, for kinds that have one.
        style: that they are painted in, for their metadata.
        xmp: the packet that says so too, or None.
    """

    def __init__(
        self, folder: Path, kind: str, first: int, settings: Settings, style: str, xmp: bytes | None = None
    ) -> None:
        make_folder(folder)
        self.path = folder
        self.kind, self.next, self.settings, self.style, self.xmp = kind, first + 1, settings, style, xmp

    def add(self, rgb: np.ndarray, alpha: np.ndarray | None, pts: int, duration: int) -> None:
        """Write a frame: uint8 (H, W, 3), and alpha uint8 (H, W) or None; its time is in its number alone."""
        image = torch.from_numpy(rgb).permute(2, 0, 1) / 255
        cover = None if alpha is None or bool((alpha == 255).all()) else torch.from_numpy(alpha)[None] / 255
        place = self.path / f"{self.next:06d}.{self.kind}"
        images.write(place, image, cover, self.settings.quality, self.style, xmp=self.xmp)
        self.next += 1

    def close(self) -> None:
        """Nothing is left to write."""

    def abandon(self) -> None:
        """Nothing is left to write."""
