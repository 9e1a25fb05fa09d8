"""The loop of a performance: the newest frame, its motion, the controls, the painting, and where it is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onestroke.inference.frames import Frames
from onestroke.live.capture import Capture
from onestroke.live.figures import Figures, Report
from onestroke.live.performance import Performance
from onestroke.live.signals import Motion, Signals
from onestroke.packages import require

_MULTIPLE = 4  # of both sides: networks would pad others
_PATIENCE = 0.5  # seconds to wait for a frame before looking at the clock


@dataclass(frozen=True)
class Painting:
    """A painted frame, uint8 (H, W, 3). number: from 1. captured: time.perf_counter() when the camera gave it."""

    number: int
    captured: float
    pixels: np.ndarray


class Output(Protocol):
    """Where paintings are shown."""

    def show(self, painting: Painting) -> bool:
        """Show a painting, or hand it on; returns whether to go on: false once a window was closed."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Stage:
    """Paints what a source gives until it is interrupted, or its output is closed.

    Args:
        performance: the Stylizer and its controls.
        signals: what is measured elsewhere; the motion of the picture is added here.
        capture: the source, entered.
        output: where paintings are shown.
        figures, report: what is counted and printed.
        size: the longer side of the paintings in pixels; smaller pictures are not enlarged.
        mirror: whether left and right are exchanged.
    """

    def __init__(
        self,
        performance: Performance,
        signals: Signals,
        capture: Capture,
        output: Output,
        figures: Figures,
        report: Report,
        size: int,
        mirror: bool = False,
    ) -> None:
        self.performance, self.signals, self.capture, self.output = performance, signals, capture, output
        self.figures, self.report, self.size, self.mirror = figures, report, size, mirror
        self._motion = Motion()
        self._frames: Frames | None = None
        self._number = 0

    def run(self) -> None:
        """Paint until KeyboardInterrupt is raised, or the output is closed.

        Raises:
            UserError: the source, the style or the output fails for good.
        """
        before, going = time.perf_counter(), True
        while going:
            shot = self.capture.newest(_PATIENCE)
            now = time.perf_counter()
            if shot is not None:
                pixels = self.painted(fitted(shot.pixels, self.size, self.mirror), now - before)
                before = now
                self._number += 1
                self.figures.painted(time.perf_counter())
                going = self.output.show(Painting(self._number, shot.time, pixels))
            if self.report.due(now):
                self.report.update(self.figures.line(self.capture.read, now))

    def painted(self, picture: np.ndarray, seconds: float) -> np.ndarray:
        """Paint a picture, uint8 (H, W, 3), as the signals say `seconds` after the last one."""
        self.signals.put(self._motion.step(picture), "camera")
        color = self.performance.step(self.signals.read(), seconds)
        if self._frames is None or self._frames.shape != picture.shape:
            self._frames = self.performance.stylizer.frames(*picture.shape[:2])
        return self._frames(picture, color)


def fitted(pixels: np.ndarray, size: int, mirror: bool = False) -> np.ndarray:
    """A frame, uint8 (H, W, 3), shrunk so that its longer side is `size`; both sides are multiples of 4."""
    cv2 = require("cv2", "live")
    height, width = pixels.shape[:2]
    scale = min(1.0, size / max(height, width))
    sides = [max(_MULTIPLE, round(side * scale / _MULTIPLE) * _MULTIPLE) for side in (width, height)]
    if sides != [width, height]:
        # down to a half, bilinear interpolation leaves no pixel out, and is ten times as fast
        kind = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, sides, interpolation=kind)
    return np.ascontiguousarray(pixels[:, ::-1]) if mirror else pixels


Shown = Callable[[float, float], None]
"""Called with the time a frame was captured, and that at which it is shown."""
