"""Clips that tests make with PyAV, and what FFmpeg's own programs say of a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onestroke import style_file
from onestroke.networks.residual import ResidualNetwork
from onestroke.scenes.compositions import render
from onestroke.style_document import Metadata

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'onestroke[video]'")

_MISSING = shutil.which("ffprobe") is None or shutil.which("ffmpeg") is None
# where they are required, the tests run and fail
needs_ffmpeg = pytest.mark.skipif(
    _MISSING and os.environ.get("ONESTROKE_READERS") != "required",
    reason="needs FFmpeg's programs: ./scripts/setup_readers.sh",
)


def scene(number: int, height: int, width: int) -> np.ndarray:
    """A frame of a made-up clip: a coloured gradient over which a square moves, uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack((x * 255 // width, y * 255 // height, np.full_like(x, 90)), axis=-1).astype(np.uint8)
    left = (3 * number) % max(1, width - 16)
    pixels[height // 3 : height // 3 + 12, left : left + 12] = (230, 40, 60)
    return pixels


def make_clip(
    path: Path,
    times: Sequence[int] = range(12),
    base: Fraction = Fraction(1, 25),
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    audio: str | None = "aac",
    rotation: int = 0,
    alpha: bool = False,
    colours: dict[str, int] | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    last: int = 1,
    shown: Callable[[int, int, int], np.ndarray] = scene,
) -> Path:
    """Write a clip whose frames are seen at `times`, in ticks of `base` seconds; the last for `last` ticks.

    shown: number, height and width of a frame -> uint8 (H, W, 3).
    """
    height, width = size
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, options=options or {})
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, pixels
        context.time_base = stream.time_base = base
        context.framerate = 1 / base
        for name, value in (colours or {}).items():
            setattr(context, name, value)
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        sound = out.add_stream(audio, rate=48000, layout="mono") if audio else None
        durations = {t: n - t for t, n in zip(times, [*times[1:], times[-1] + last], strict=True)}
        for number, time in enumerate(times):
            rgb = shown(number, height, width)
            if alpha:
                cover = np.zeros((height, width), np.uint8)
                cover[:, width // 4 :] = 255
                frame = av.VideoFrame.from_ndarray(np.dstack((rgb, cover)), format="rgba")
            else:
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = time, base
            _mux(out, stream.encode(frame), durations)
        _mux(out, stream.encode(None), durations)
        if sound is not None:
            _write_sound(out, sound, float((times[-1] + 1) * base))
    return path


def make_scenes(path: Path, cuts: Sequence[int], frames: int) -> Path:
    """Write a film of two made-up scenes in turns, 4 frames a second, with a cut before each of `cuts`.

    In a .webm, VP9: x264 doesn't always encode the same frames twice the same.
    """
    begins = [0, *cuts]

    def shown(number: int, height: int, width: int) -> np.ndarray:
        place = max(place for place, begin in enumerate(begins) if begin <= number)
        left = number - begins[place]
        return np.ascontiguousarray(_rendered(place % 2)[:height, left : left + width])

    codec, audio, options = "libx264", "aac", dict[str, str]()
    if path.suffix == ".webm":
        codec, audio, options = "libvpx-vp9", "libopus", {"deadline": "realtime", "cpu-used": "8", "crf": "20"}
    base = Fraction(1, 4)
    return make_clip(path, range(frames), base, (128, 160), codec, audio=audio, options=options, shown=shown)


@cache
def _rendered(place: int) -> np.ndarray:
    return render(7, place, 200)


def _mux(out: Any, packets: list[Any], durations: dict[int, int]) -> None:
    for packet in packets:
        packet.duration = durations[packet.pts]
        out.mux(packet)


def _write_sound(out: Any, stream: Any, seconds: float) -> None:
    samples = (8000 * np.sin(np.arange(int(48000 * seconds)) * 0.05)).astype(np.int16)
    size = stream.codec_context.frame_size or 1024
    for begin in range(0, len(samples), size):
        piece = samples[None, begin : begin + size]
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, begin, Fraction(1, 48000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def sound_hash(path: Path) -> str:
    """A hash of all packets of sound, as they lie in the file."""
    digest = sha256()
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            digest.update(bytes(packet))
    return digest.hexdigest()


def packets_of(path: Path, kind: str = "video") -> list[tuple[Fraction, bool, bytes]]:
    """Of each packet of the first stream of a kind: its time in seconds, whether it is a key frame, and its content."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(**{kind: 0}) if packet.size]
        return [(packet.pts * packet.time_base, packet.is_keyframe, bytes(packet)) for packet in packets]


def frame_times(path: Path) -> list[Fraction]:
    """The seconds at which each frame is seen."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    # bare H.264 has no times, and 25 frames a second where it says nothing else
    return [Fraction(i, 25) if f.pts is None else f.pts * f.time_base for i, f in enumerate(frames)]


def decoded(path: Path) -> np.ndarray:
    """All frames as FFmpeg's program decodes them, upright: uint8 (N, H, W, 3)."""
    stream = probe(path)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt",
               "rgb24", "-"]  # fmt: skip
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    height, width = int(stream["height"]), int(stream["width"])
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def probe(path: Path, kind: str = "v") -> dict[str, Any]:
    """What ffprobe says of the first stream of a kind; fails if it finds fault with the file."""
    command = ["ffprobe", "-v", "error", "-select_streams", f"{kind}:0", "-show_streams", "-of", "json", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not said.stderr, said.stderr
    streams = json.loads(said.stdout)["streams"]
    return dict(streams[0]) if streams else {}


def style_of_two(folder: Path) -> None:
    """Write a style file of two styles, a.safetensors, whose painting differs much from the photo."""
    args: dict[str, Any] = {"channels": [4, 4, 4], "blocks": 1, "ends": 3, "controls": ["strength"], "styles": 2}
    torch.manual_seed(0)
    network = ResidualNetwork(**args)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    styles = [{"name": "udnie"}, {"name": "wave"}]
    metadata = Metadata({"name": "ResidualNetwork", "args": args}, {"name": "two", "size": 256, "styles": styles})
    style_file.save(folder / "a.safetensors", network, metadata)
