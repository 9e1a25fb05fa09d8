"""Clips that are no films: animated GIF, WebP and PNG, and folders of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from onestroke.errors import UserError
from onestroke.imaging import decoding, images
from onestroke.video.clip import Clip, is_animation
from onestroke.video.reading import Damage, Frame, visible

_MILLISECOND = Fraction(1, 1000)
_SHORTEST = 20
"""Milliseconds; browsers show frames that are to be seen for a shorter time for _USUAL instead."""
_USUAL = 100


@dataclass
class Animation:
    """An animated GIF, WebP or PNG.

    Args:
        path: the file.
        start, end: seconds; only frames that begin in between are given.
        max_side: frames are shrunk so that their longer side has at most this many pixels.

    Raises:
        UserError: as `images.read`.
    """

    path: Path
    start: float | None = None
    end: float | None = None
    max_side: int | None = None
    damage: Damage = field(default_factory=Damage)

    def __post_init__(self) -> None:
        with _opened(self.path) as image:
            height, width = decoding.fitting(image.height, image.width, max_side=self.max_side)
            count = int(getattr(image, "n_frames", 1))
            first = _milliseconds(image)
            loops = int(image.info.get("loop", 0))
            if image.format == "GIF":  # which counts repetitions, and is played once where it has none
                loops = loops + (loops > 0) if "loop" in image.info else 1
        rate = Fraction(1000, first)
        self.clip = Clip(
            self.path, width, height, _MILLISECOND, rate, count, count * first / 1000, alpha=True, loops=loops
        )

    def frames(self) -> Iterator[Frame]:
        """See Source."""
        self.damage = Damage()
        time, index = 0, 0
        first, last = (None if t is None else round(t * 1000) for t in (self.start, self.end))
        with _opened(self.path) as image:
            for number in range(self.clip.frames):
                try:
                    image.seek(number)
                    pixels = np.asarray(image.convert("RGBA"))
                except (EOFError, OSError, SyntaxError, ValueError):
                    self.damage.short = self.clip.frames - number
                    break
                duration = _milliseconds(image)
                if last is not None and time >= last:
                    break
                if first is None or time >= first:
                    rgb, alpha = visible(_fitted(pixels, self.clip))
                    yield Frame(rgb, alpha, time - (first or 0), duration, index)
                    index += 1
                time += duration
        if not index:
            raise UserError(f"'{self.path}' has no frame to paint")


@dataclass
class FrameFolder:
    """Pictures that are the frames of a clip, in their order.

    Args:
        path: the folder, for messages and names.
        pictures: the files.
        fps: frames a second.
        start, end: seconds; only frames that begin in between are given.
        max_side: frames are shrunk so that their longer side has at most this many pixels.

    Raises:
        UserError: as `images.read` for the first picture.
    """

    path: Path
    pictures: Sequence[Path]
    fps: Fraction
    start: float | None = None
    end: float | None = None
    max_side: int | None = None
    damage: Damage = field(default_factory=Damage)

    def __post_init__(self) -> None:
        first = images.read(self.pictures[0], max_side=self.max_side)
        chosen = [i for i in range(len(self.pictures)) if self._within(i)]
        if not chosen:
            raise UserError(f"'{self.path}' has no frame from start={self.start} to end={self.end}")
        self.chosen = chosen
        self.clip = Clip(
            self.path, first.width, first.height, 1 / self.fps, self.fps, len(chosen), len(chosen) / float(self.fps),
            alpha=first.alpha is not None,
        )  # fmt: skip

    def _within(self, number: int) -> bool:
        time = number / self.fps
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)

    def frames(self) -> Iterator[Frame]:
        """See Source. A picture that can't be read, or of another size, is left out: the one before stays."""
        self.damage = Damage()
        index = 0
        for place, number in enumerate(self.chosen):
            try:
                picture = images.read(self.pictures[number], max_side=self.max_side)
                if picture.size != (self.clip.height, self.clip.width):
                    raise UserError("another size")
            except UserError:
                self.damage.frames += 1
                continue
            pixels = np.asarray(images.to_pil(picture.rgb))
            alpha = None
            if self.clip.alpha:
                ones = np.full(picture.size, 255, np.uint8)
                alpha = ones if picture.alpha is None else np.asarray(images.to_pil(picture.rgb, picture.alpha))[..., 3]
            yield Frame(pixels, alpha, place, 1, index)
            index += 1


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    with decoding.opened(path, decoding.MAX_PIXELS, quiet=True) as image:
        yield image


def count(path: Path) -> int:
    """The number of frames of a GIF, WebP or PNG; 1 for any other file, and for one that can't be read."""
    if not is_animation(path):
        return 1
    try:
        with _opened(path) as image:
            return int(getattr(image, "n_frames", 1))
    except UserError:
        return 1


def _milliseconds(image: Any) -> int:
    """How long the present frame is seen."""
    said = round(float(image.info.get("duration", _USUAL) or 0))
    return said if said >= _SHORTEST else _USUAL


def _fitted(pixels: np.ndarray, clip: Clip) -> np.ndarray:
    if pixels.shape[:2] == (clip.height, clip.width):
        return pixels
    # premultiplied, so that hidden colours don't show at edges
    small = Image.fromarray(pixels).convert("RGBa").resize((clip.width, clip.height), Image.Resampling.LANCZOS)
    return np.asarray(small.convert("RGBA"))
