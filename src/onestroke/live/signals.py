"""What is measured, outside and in the camera picture: the values of all signals at this moment."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from onestroke.documents import is_number
from onestroke.errors import UserError, near, quoted
from onestroke.live.mapping import SIGNALS, is_signal
from onestroke.packages import require

MOTION_SIZE = (64, 48)  # width, height at which pictures are compared
_NOISE = 0.04  # a smaller change of a pixel in [0, 1] is the camera's noise
_GAIN = 4.0  # the amount is 1 if a quarter of the picture changes
_MOST = 512  # names that are held, since those of remote signals are free


class Signals:
    """The last value of each signal, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, tuple[float, str]] = {}

    def put(self, values: Mapping[str, object], source: str) -> None:
        """Set signals; values are clamped to [0, 1].

        Args:
            values: by the name of the signal.
            source: who measured them, for `drop`.

        Raises:
            UserError: for a name that is no signal, or a value that is no number; nothing is set.
        """
        for name, value in values.items():
            if not is_signal(name) or name.startswith("time."):
                raise UserError(f"there is no signal {quoted(name)} to send: {near(str(name), SIGNALS)}")
            if not is_number(value):
                raise UserError(f"the signal {name} is a number from 0 to 1, not {quoted(value)}")
        with self._lock:
            for name, value in values.items():
                if name in self._values or len(self._values) < _MOST:
                    self._values[name] = (min(1.0, max(0.0, float(str(value)))), source)

    def drop(self, source: str) -> None:
        """Forget what one source measured, such as a page that was closed."""
        with self._lock:
            self._values = {name: pair for name, pair in self._values.items() if pair[1] != source}

    def read(self) -> dict[str, float]:
        """All signals that are known: name -> value in [0, 1]."""
        with self._lock:
            return {name: value for name, (value, _) in self._values.items()}


class Motion:
    """Where and how much the picture changes from one frame to the next.

    motion.amount: 4 times the share of the picture that changes by more than noise, at most 1. motion.x, motion.y: the
    centre of these changes, from the left and from the top, in [0, 1]; kept while nothing moves.
    """

    def __init__(self) -> None:
        self._cv2 = require("cv2", "live")
        self._before: np.ndarray | None = None
        self._place = (0.5, 0.5)

    def step(self, picture: np.ndarray) -> dict[str, float]:
        """The signals, for the next picture, uint8 (H, W, 3)."""
        grey = self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2GRAY)
        grey = self._cv2.resize(grey, MOTION_SIZE, interpolation=self._cv2.INTER_AREA).astype(np.float32) / 255
        amount = 0.0
        if self._before is not None:
            changed = np.maximum(np.abs(grey - self._before) - _NOISE, 0)
            total = float(changed.sum())
            if total > 0:
                amount = min(1.0, _GAIN * float((changed > 0).mean()))
                (width, height) = MOTION_SIZE
                x = float(changed.sum(axis=0) @ (np.arange(width) + 0.5)) / total / width
                y = float(changed.sum(axis=1) @ (np.arange(height) + 0.5)) / total / height
                self._place = (x, y)
        self._before = grey
        return {"motion.amount": amount, "motion.x": self._place[0], "motion.y": self._place[1]}
