"""The cases of bench.py's mode clips: a clip painted from file to file, beside the network alone on the same frames."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from bench_frames import style_of
from bench_measure import Case, Contestant
from bench_modes import Size, photos_of, words

from onestroke.errors import UserError
from onestroke.inference.stylizer import Stylizer
from onestroke.packages import installed, require
from onestroke.video.clip import Clip
from onestroke.video.cores import share_cores
from onestroke.video.encoding import CODECS, PartWriter, Settings
from onestroke.video.flow import motion
from onestroke.video.painting import ClipPainter, Look
from onestroke.video.parts import Parts
from onestroke.video.pipeline import Job, paint_clip
from onestroke.video.reading import Film

FRAMES = 96
_PAN = 3  # pixels by which the picture moves from frame to frame


def clips_cases(sizes: Sequence[Size], networks: Sequence[str]) -> Iterator[Case]:
    """The network alone with ONNX Runtime, then whole clips with and without steadiness, and the parts of the work.

    Raises:
        UserError: ONNX Runtime, PyAV or OpenCV is missing.
    """
    if not installed("onnx", "onnxruntime", "av", "cv2"):
        raise UserError("the mode clips needs pip install 'onestroke[onnx,video]'")
    for name in networks:
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                path = style_of(name, Path(folder))
                film = _film(Path(folder) / "clip.mp4", size)
                labels: dict[str, str | int] = {"network": name, "size": words(size), "frames": FRAMES}
                yield Case(labels, list(_contestants(path, film)))


def _film(path: Path, size: Size) -> Film:
    """A pan over a picture, with a little noise, encoded as H.264."""
    height, width = size
    wide = photos_of((height, width + 4 * _PAN * FRAMES), 1)[0].numpy()
    random = np.random.default_rng(0)
    clip = Clip(path, width, height, Fraction(1, 25), Fraction(25))
    writer = PartWriter(path, "mp4", CODECS["h264"], clip, Settings("h264", quality=90))
    for i in range(FRAMES):
        moved = wide[:, _PAN * i : _PAN * i + width].astype(np.int16) + random.integers(-2, 3, (height, width, 1))
        writer.add(np.clip(moved, 0, 255).astype(np.uint8), None, i, 1)
    writer.close()
    return Film(path)


def _contestants(path: Path, film: Film) -> Iterator[Contestant]:
    cv2 = require("cv2", "video")
    frames = [frame.rgb for frame in film.frames()]
    size = frames[0].shape[:2]
    stylizer = Stylizer(path, device="cpu", backend="onnx", mix="one")
    paint = stylizer.frames(*size)
    threads, all_of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    share_cores()  # as infer.py does where clips are painted steadily
    shared, half = Stylizer(path, device="cpu", backend="onnx", mix="one"), cv2.getNumThreads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(all_of_opencv)

    def alone() -> None:
        for frame in frames:
            paint(frame)

    def whole(steady: float) -> None:
        target = film.path.with_name("painted.mp4")
        painter = ClipPainter(shared if steady else stylizer, film.clip, Look(steady=steady))
        cv2.setNumThreads(half if steady else all_of_opencv)
        paint_clip(Job(film, painter, target, Settings("h264"), Parts(target, {}, False)))
        cv2.setNumThreads(all_of_opencv)

    def moved() -> None:
        for before, now in pairwise(frames):
            motion(before, now)

    def decoded() -> None:
        for _ in film.frames():
            pass

    pixels = math.prod(size)
    yield Contestant("baseline", alone, FRAMES, pixels)
    yield Contestant("clip-steady=0", lambda: whole(0.0), FRAMES, pixels)
    yield Contestant("clip", lambda: whole(Look().steady), FRAMES, pixels)
    yield Contestant("motion", moved, FRAMES, pixels)
    yield Contestant("decoding", decoded, FRAMES, pixels)
