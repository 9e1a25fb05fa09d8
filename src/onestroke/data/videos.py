"""Training crops from a folder of clips: frames that follow one another, or single ones, as photos."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onestroke.data.chains import LONGEST, Link
from onestroke.data.heldout import centre, check_count, validation_photos
from onestroke.data.listing import check_folder
from onestroke.data.resized import MAX_ZOOM, cut
from onestroke.errors import UserError, printable
from onestroke.files import home
from onestroke.imaging.left_out import LeftOut
from onestroke.packages import require

log = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".ogv", ".gif")
_KEPT = 40  # chains whose crops are kept in memory, a little more than a run of small batches has at once
_HELD_OUT = 0.1  # the last part of each clip, which is never trained on
_MOST_HELD_OUT = 3  # seconds of it at most

Frame = npt.NDArray[np.uint8]


class Videos:
    """Source of training crops from a folder of clips and its subfolders.

    The last tenth of each clip, at most three seconds, is never trained on: held-out pictures are from there. A clip
    that can't be read is left out and named.

    Args:
        root: folder of the clips.
        val: folder of held-out photos; None holds out frames of the clips.
        validation: number of held-out pictures.
        min_size: clips with a shorter side of fewer pixels are left out.
    """

    def __init__(self, root: str, val: str | None = None, validation: int = 4, min_size: int = 64) -> None:
        self.root = Path(home(root))
        self.given = root
        self.val = None if val is None else Path(home(val))
        self.validation, self.min_size = validation, min_size
        self._clips: list[tuple[str, int]] | None = None
        self._bad: dict[str, str] = {}
        self._chains: OrderedDict[tuple[int, int, int], tuple[list[Frame], list[str]]] = OrderedDict()

    def preflight(self) -> None:
        """Check that there are clips to train on, and name those that can't be read.

        Raises:
            UserError: root is missing or no folder, no clip of it can be read, a folder given as `data.val` has no
                readable photo, or the package for clips is not installed.
        """
        check_count(self.validation)
        self.clips()
        for path, reason in self._bad.items():
            log.warning("%s is left out: %s", printable(path), reason)
        if self.val is not None:
            validation_photos(self.val, self.validation, self.min_size, LeftOut())

    def clips(self) -> list[tuple[str, int]]:
        """Each clip that can be read, with the number of its frames that are trained on.

        Raises:
            UserError: as `preflight`.
        """
        if self._clips is None:
            if not self.given:
                raise UserError("no folder of clips is given: set data.root=/path/to/clips")
            check_folder(self.root, "data.root", "/path/to/clips")
            paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(self.root) for name in names)
            shown = (path for path in paths if not os.path.basename(path).startswith("."))
            found = [path for path in shown if path.lower().endswith(SUFFIXES)]
            lengths = {path: self._length(path) for path in found}
            self._clips = [(path, length) for path, length in lengths.items() if length]
            if not self._clips:
                why = f" (one {next(iter(self._bad.values()))})" if self._bad else ""
                raise UserError(f"none of {len(found)} clips in {self.root} can be used{why}: set data.root to others")
        return self._clips

    def sample(self, n: int, seed: int, crop: int) -> tuple[Frame, list[str]]:
        """The n-th training picture, uint8 (crop, crop, 3), and `path: reason` of each clip that was skipped for it."""
        return self.frame(Link(n, 0), seed, crop)

    def frame(self, link: Link, seed: int, crop: int) -> tuple[Frame, list[str]]:
        """A frame of the chain that begins with a sample; depends on its arguments alone. See `datamodule.Clips`.

        A clip that has fewer frames than a chain is played forwards and backwards.

        Raises:
            UserError: no clip can be read any more.
        """
        key = (link.first, seed, crop)
        if key not in self._chains:
            self._chains[key] = self._chain(*key)
            while len(self._chains) > _KEPT:
                self._chains.popitem(last=False)
        self._chains.move_to_end(key)
        frames, skipped = self._chains[key]
        turn = link.age % max(1, 2 * len(frames) - 2)
        return frames[min(turn, 2 * len(frames) - 2 - turn)], skipped if link.age == 0 else []

    def held_out(self, size: int) -> list[Frame]:
        """Pictures that are never trained on, each uint8 (size, size, 3)."""
        if self.val is not None:
            paths = validation_photos(self.val, self.validation, self.min_size, LeftOut())
            return [centre(path, size) for path in paths]
        found = []
        clips = self.clips()
        for i in range(self.validation):
            path, trained = clips[i * len(clips) // self.validation % len(clips)]
            held = list(self._decoded(path, trained, trained + 1 + i))
            found.append(cut(held[-1] if held else next(self._decoded(path, 0, 1)), size, 1.0, 0.5, 0.5, False))
        return found

    def describe(self) -> str:
        """Number and folder of the clips, in one line."""
        return f"videos: {len(self.clips())} in {self.root}"

    def _chain(self, first: int, seed: int, crop: int) -> tuple[list[Frame], list[str]]:
        """The crops of a chain, all cut at the same place, and what was skipped for them."""
        clips, random = self.clips(), np.random.default_rng([seed, first])
        zoom, down, right, mirror, where, start = random.uniform(1, MAX_ZOOM), *random.random(5)
        shares = np.cumsum([length for _, length in clips])
        chosen = int(np.searchsorted(shares, where * shares[-1], side="right"))
        skipped: list[str] = []
        for turn in range(len(clips)):
            path, length = clips[(chosen + turn) % len(clips)]
            begin = int(start * max(1, length - LONGEST + 1))
            try:
                several = list(self._decoded(path, begin, min(length, begin + LONGEST)))
            except UserError as error:
                several, reason = [], str(error)
            else:
                reason = "has no frame there"
            if several:
                return [cut(_enlarged(f, crop), crop, zoom, down, right, mirror < 0.5) for f in several], skipped
            skipped.append(f"{path}: {reason}")
        raise UserError(f"no clip in {self.root} can be read any more (one {skipped[0]})")

    def _length(self, path: str) -> int:
        """The number of frames of a clip that are trained on; 0, noted in `_bad`, if it can't be read."""
        try:
            with _opened(path) as container:
                stream = container.streams.video[0]
                rate = float(stream.average_rate or stream.guessed_rate or 25)
                seconds = (
                    float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
                )
                count = stream.frames or int(seconds * rate)
                if min(stream.width, stream.height) < self.min_size:
                    raise UserError(f"is too small: {stream.width} x {stream.height}")
            next(self._decoded(path, 0, 1))
        except (UserError, StopIteration) as error:
            self._bad[path] = str(error) or "has no frames"
            return 0
        return max(1, count - int(min(_HELD_OUT * count, _MOST_HELD_OUT * rate)))

    @staticmethod
    def _decoded(path: str, start: int, end: int) -> Iterator[Frame]:
        """The frames from number `start` up to before `end`, uint8 (H, W, 3), as far as there are."""
        av = require("av", "video")
        with _opened(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            origin = stream.start_time or 0
            try:
                if start:
                    container.seek(origin + int(start / rate / float(stream.time_base)), stream=stream)
                for frame in container.decode(stream):
                    number = (
                        start if frame.pts is None else round((frame.pts - origin) * float(stream.time_base) * rate)
                    )
                    if number >= end:
                        return
                    if number >= start:
                        yield frame.to_ndarray(format="rgb24")
            except (av.FFmpegError, ValueError) as error:
                raise UserError(f"can't be decoded: {printable(error)}") from error


def _opened(path: str) -> Any:
    """A clip, opened by PyAV.

    Raises:
        UserError: it can't be read or has no pictures, or PyAV is not installed.
    """
    av = require("av", "video")
    try:
        container = av.open(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"can't be opened: {printable(error)}") from error
    if not container.streams.video:
        container.close()
        raise UserError("has no pictures")
    return container


def _enlarged(frame: Frame, crop: int) -> Frame:
    """A frame with sides of at least `crop` pixels."""
    short = min(frame.shape[:2])
    if short >= crop:
        return frame
    height, width = (max(crop, round(side * crop / short)) for side in frame.shape[:2])
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
