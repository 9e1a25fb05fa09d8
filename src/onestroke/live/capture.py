"""Frames of a camera or a clip: a thread reads them, the newest is painted, and a lost camera is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from onestroke.errors import UserError
from onestroke.packages import require

_AGAIN = 1.0  # seconds between attempts to open a camera that is gone
_RATE = 25.0  # frames a second of a clip that doesn't say
_PATIENCE = 2.0  # seconds in which a reading thread should end


class Source(Protocol):
    """A camera or a clip. name: for messages, such as `camera 0`."""

    name: str

    def open(self) -> None:
        """Raise a UserError if it can't be opened; called again after `read` has returned None."""
        ...

    def read(self) -> np.ndarray | None:
        """Wait for the next frame, uint8 (H, W, 3), RGB; None if there is no more."""
        ...

    def close(self) -> None:
        """Let go of the device or file."""
        ...


@dataclass(frozen=True)
class Shot:
    """A frame of a source. number: from 1. time: time.perf_counter() when it was read. pixels: uint8 (H, W, 3), RGB."""

    number: int
    time: float
    pixels: np.ndarray


class _Opened:
    """What cameras and clips have in common: OpenCV's VideoCapture."""

    def __init__(self) -> None:
        self._cv2 = require("cv2", "live")
        logging = self._cv2.utils.logging
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # what can't be opened is told in one sentence
        self._video: Any = None

    def _frame(self) -> np.ndarray | None:
        there, frame = self._video.read() if self._video is not None else (False, None)
        return self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB) if there else None

    def close(self) -> None:
        """See Source."""
        if self._video is not None:
            self._video.release()
            self._video = None


class Camera(_Opened):
    """A camera, by OpenCV.

    Args:
        which: its number, from 0, its device (/dev/video0) or the address of a stream (rtsp://...).
    """

    def __init__(self, which: str) -> None:
        super().__init__()
        self.name = f"camera {which}"
        self._which: int | str = int(which) if which.isdecimal() and len(which) < 10 else which

    def open(self) -> None:
        """See Source."""
        self.close()
        self._video = self._cv2.VideoCapture(self._which)
        if not self._video.isOpened():
            self.close()
            raise UserError(
                f"{self.name} can't be opened: plug one in, choose another with camera=1, or play input=clip.mp4"
            )
        # otherwise up to four old frames wait in the driver, and are painted late
        self._video.set(self._cv2.CAP_PROP_BUFFERSIZE, 1)

    def read(self) -> np.ndarray | None:
        """See Source."""
        return self._frame()


class Clip(_Opened):
    """A clip, played at its own speed again and again, or a photo, as a camera would show them.

    Args:
        path: a file that OpenCV reads.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.name = path, str(path)
        self._due, self._gap = 0.0, 0.0

    def open(self) -> None:
        """See Source."""
        self.close()
        if not self.path.is_file():
            raise UserError(f"{self.path} is no file: input= takes a clip")
        self._video = self._cv2.VideoCapture(str(self.path))
        rate = float(self._video.get(self._cv2.CAP_PROP_FPS)) if self._video.isOpened() else 0.0
        self._gap = 1 / (rate if 1 <= rate <= 240 else _RATE)
        if not self._video.isOpened() or not self._video.grab():
            self.close()
            raise UserError(f"{self.path} is no clip that OpenCV can read")
        self._rewind()
        self._due = time.perf_counter()

    def _rewind(self) -> None:
        # opened anew, as seeking is not exact in all formats
        self._video.release()
        self._video = self._cv2.VideoCapture(str(self.path))

    def read(self) -> np.ndarray | None:
        """See Source."""
        frame = self._frame()
        if frame is None and self._video is not None:
            self._rewind()
            frame = self._frame()
        wait = self._due - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        # a clip that was held up, as by a sleeping computer, goes on from there
        self._due = max(self._due + self._gap, time.perf_counter())
        return frame


class Capture:
    """A thread that reads a source and keeps its newest frame; a context manager.

    Args:
        source: the camera or clip; opened on entering.
        say: told in a sentence that the source is gone, and that it is back; from the thread.
        again: seconds between attempts to open a source that is gone.

    Raises:
        UserError: on entering, if the source can't be opened.
    """

    def __init__(self, source: Source, say: Callable[[str], None], again: float = _AGAIN) -> None:
        self.source, self._say, self._again = source, say, again
        self._newest: Shot | None = None
        self._given = 0
        self._read = 0
        self._problem: Exception | None = None
        self._fresh = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __enter__(self) -> Capture:
        self.source.open()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(_PATIENCE)  # a driver may never return; the thread is a daemon
        if not self._thread.is_alive():
            self.source.close()

    @property
    def read(self) -> int:
        """The number of frames that the source gave."""
        return self._read

    def newest(self, timeout: float) -> Shot | None:
        """Wait for a frame that is newer than the last one returned; None after `timeout` seconds without one."""
        with self._fresh:
            self._fresh.wait_for(lambda: self._problem is not None or self._read > self._given, timeout)
            if self._problem is not None:
                raise self._problem
            if self._newest is None or self._newest.number == self._given:
                return None
            self._given = self._newest.number
            return self._newest

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                pixels = self.source.read()
                if pixels is None:
                    self._wait_for_it()
                    continue
                with self._fresh:
                    self._read += 1
                    self._newest = Shot(self._read, time.perf_counter(), pixels)
                    self._fresh.notify_all()
        except Exception as error:
            with self._fresh:
                self._problem = error
                self._fresh.notify_all()

    def _wait_for_it(self) -> None:
        """Open the source again and again until it is back."""
        self._say(f"{self.source.name} is gone: waiting for it")
        self.source.close()
        while not self._ended.wait(self._again):
            try:
                self.source.open()
            except UserError:
                continue
            self._say(f"{self.source.name} is back")
            return
