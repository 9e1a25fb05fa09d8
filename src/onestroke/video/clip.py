"""Open a clip, and say what is known of it before its frames are decoded."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from onestroke.errors import UserError
from onestroke.imaging.decoding.opening import MAX_PIXELS
from onestroke.packages import require
from onestroke.video.colours import UNTAGGED, Colours

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,asf_o,ogg,mxf,nut,h264,hevc,ivf,"
    "obu,m4v,dv,yuv4mpegpipe,wtv,rm,gxf"
)
"""Containers that hold their own pictures. Playlists, which name other files or addresses, are not opened."""
_DIVISIBLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers whose frames all have times, and that have an index of their key frames."""
_COVER = 0x400  # FFmpeg's disposition of a cover picture
_ALPHA = ("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16", "pal8")
_ANIMATED = (b"GIF87a", b"GIF89a", b"RIFF", b"\x89PNG")


@dataclass(frozen=True)
class Turn:
    """How a decoded frame becomes upright: counter-clockwise quarter turns, after mirroring left and right."""

    quarters: int = 0
    mirrored: bool = False

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Turn pixels (H, W, ...)."""
        if self.mirrored:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, self.quarters)) if self.quarters or self.mirrored else pixels

    @property
    def swaps(self) -> bool:
        """Whether width and height change places."""
        return self.quarters % 2 == 1


UPRIGHT = Turn()


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before its frames are decoded.

    path: the file. width, height: of the upright frames, in pixels. time_base: seconds of a tick, in which times are
    given. rate: frames a second, on average. frames: their number, and seconds: the duration; 0 where the file doesn't
    say. bit_rate: of the pictures, in bits a second; 0 where it can't be told. aspect: width to height of a pixel.
    loops: how often an animation is played, 0 for ever; None for a film.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    frames: int = 0
    seconds: float = 0.0
    bit_rate: int = 0
    aspect: Fraction = Fraction(1)
    turn: Turn = UPRIGHT
    colours: Colours = UNTAGGED
    alpha: bool = False
    loops: int | None = None


def is_animation(path: Path) -> bool:
    """Whether a file begins as a GIF, WebP or PNG does; it may still hold a single picture."""
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith(_ANIMATED)
    except OSError:
        return False


@contextmanager
def opened(path: Path, gpu: bool = False) -> Iterator[Any]:
    """Context manager: open the container of a clip for reading, with PyAV.

    Args:
        path: the file.
        gpu: whether it is decoded on a GPU of Nvidia, where that can be used.

    Raises:
        UserError: PyAV is not installed, or the file is missing, no clip, damaged at its start, or without pictures.
    """
    av = require("av", "video")
    if not os.path.isfile(path):
        raise UserError(f"there is no file '{path}'; check the name")
    if not os.path.getsize(path):
        raise UserError(f"'{path}' is empty; replace it with a whole copy")
    # not the bare name, in which FFmpeg would take what stands before a colon for a protocol
    name = f"file:{os.path.abspath(path)}"
    try:
        container = _open(av, name, gpu)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise UserError(f"'{path}' can't be read as a clip; it is damaged, cut off, or no video") from error
    with container:
        if not container.streams.video:
            raise UserError(f"'{path}' has no moving picture in it")
        yield container


def divisible_seconds(file: Any) -> float:
    """How long a film lasts that can be decoded from its middle on; 0 for one that can't, or not be read.

    Args:
        file: is open, and can be read anywhere.

    Raises:
        UserError: PyAV is not installed.
    """
    av = require("av", "video")
    try:
        with _open(av, file, False) as container:
            if container.format.name not in _DIVISIBLE or not container.streams.video:
                return 0.0
            return _seconds(container, picture_stream(container))
    except (av.FFmpegError, ValueError, OSError):
        return 0.0


def _open(av: Any, name: Any, gpu: bool) -> Any:
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", "enable_drefs": "0"}
    if gpu:
        with suppress(av.FFmpegError, ValueError):  # as where there is no such GPU
            hardware = av.codec.hwaccel.HWAccel("cuda", allow_software_fallback=True)
            return av.open(name, options=options, metadata_errors="replace", hwaccel=hardware)
    return av.open(name, options=options, metadata_errors="replace")


def picture_stream(container: Any) -> Any:
    """The stream of pictures to paint: the first that is no cover picture."""
    streams = container.streams.video
    return next((s for s in streams if not int(s.disposition) & _COVER), streams[0])


def described(path: Path, container: Any, size: tuple[int, int], turn: Turn) -> Clip:
    """Describe an opened clip.

    Args:
        path: the file.
        container: as `opened` yields it.
        size: height and width of the first frame as decoded.
        turn: what makes it upright.

    Raises:
        UserError: its frames are larger than the largest picture.
    """
    stream = picture_stream(container)
    context = stream.codec_context
    height, width = size
    if width * height > MAX_PIXELS:
        raise UserError(f"'{path}' is too large: {width} x {height}, and {MAX_PIXELS:,} pixels are allowed")
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    if aspect <= 0:
        aspect = Fraction(1)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    seconds = _seconds(container, stream)
    limited = int(context.color_range) != 2 and not str(context.pix_fmt or "").startswith("yuvj")
    if turn.swaps:
        height, width, aspect = width, height, 1 / aspect
    return Clip(
        path,
        width,
        height,
        Fraction(stream.time_base or 1 / rate),
        Fraction(rate),
        stream.frames,
        seconds,
        _bit_rate(path, container, stream, seconds),
        aspect,
        turn,
        Colours(int(context.colorspace), int(context.color_primaries), int(context.color_trc), limited),
        has_alpha(stream) or str(context.pix_fmt or "").startswith(_ALPHA),
    )


def _seconds(container: Any, stream: Any) -> float:
    return float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6


def has_alpha(stream: Any) -> bool:
    """Whether a VP8 or VP9 stream carries alpha beside its pictures, as WebM does."""
    return stream.codec_context.name in ("vp8", "vp9", "libvpx-vp9", "libvpx") and any(
        key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items()
    )


def turn_of(frame: Any) -> Turn:
    """How a frame becomes upright, by the display matrix that came with it.

    A matrix that turns by another angle than quarters is ignored, as players do.
    """
    for data in frame.side_data:
        if str(data.type).endswith("DISPLAYMATRIX"):
            a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
            signs = tuple((value > 0) - (value < 0) for value in (a, b, c, d))
            return _TURNS.get(signs, Turn())
    return Turn()


# signs of the matrix (a, b, c, d), that maps x, y to a x + c y, b x + d y with y pointing down
_TURNS = {
    (1, 0, 0, 1): Turn(),
    (0, 1, -1, 0): Turn(3),
    (-1, 0, 0, -1): Turn(2),
    (0, -1, 1, 0): Turn(1),
    (-1, 0, 0, 1): Turn(0, True),
    (1, 0, 0, -1): Turn(2, True),
    (0, 1, 1, 0): Turn(1, True),
    (0, -1, -1, 0): Turn(3, True),
}


def _bit_rate(path: Path, container: Any, stream: Any, seconds: float) -> int:
    """Bits a second of the pictures: what the stream says, or the file's less that of the other streams."""
    if stream.codec_context.bit_rate:
        return int(stream.codec_context.bit_rate)
    if seconds <= 0:
        return 0
    others = sum(int(getattr(s.codec_context, "bit_rate", 0) or 0) for s in container.streams.audio)
    return max(0, int(os.path.getsize(path) * 8 / seconds) - others)
