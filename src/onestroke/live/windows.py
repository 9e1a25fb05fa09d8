"""Show paintings without a browser: in a window, or as a virtual camera for other programs."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from onestroke.errors import UserError
from onestroke.live.stage import Painting, Shown
from onestroke.packages import require

_ESCAPE = 27
_RATE = 30.0  # frames a second that a virtual camera announces


class Window:
    """A window of OpenCV. Escape or q closes it, f switches to full screen and back.

    Args:
        title: of the window.
        shown: told when a painting is shown.

    Raises:
        UserError: there is no screen, or this OpenCV has no windows.
    """

    def __init__(self, title: str, shown: Shown) -> None:
        self._cv2, self._title, self._shown = require("cv2", "live"), title, shown
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("show=window needs a screen, and this session has none: take show=page")
        self._full = False
        try:
            self._cv2.namedWindow(title, self._cv2.WINDOW_NORMAL)
        except self._cv2.error as error:
            raise UserError(
                "this OpenCV has no windows: pip uninstall opencv-python-headless, then pip install opencv-python; or "
                "take show=page"
            ) from error

    def show(self, painting: Painting) -> bool:
        """See Output."""
        self._cv2.imshow(self._title, self._cv2.cvtColor(painting.pixels, self._cv2.COLOR_RGB2BGR))
        key = self._cv2.waitKey(1) & 0xFF
        self._shown(painting.captured, time.perf_counter())
        if key == ord("f"):
            self._full = not self._full
            kind = self._cv2.WINDOW_FULLSCREEN if self._full else self._cv2.WINDOW_NORMAL
            self._cv2.setWindowProperty(self._title, self._cv2.WND_PROP_FULLSCREEN, kind)
        open_ = self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) >= 1
        return open_ and key not in (_ESCAPE, ord("q"))

    def close(self) -> None:
        """See Output."""
        self._cv2.destroyAllWindows()


class VirtualCamera:
    """A camera that other programs see, by pyvirtualcam; it has the size of the first painting.

    Args:
        shown: told when a painting is shown.
        say: told the name of the camera.

    Raises:
        UserError: (by `show`) there is no driver for virtual cameras.
    """

    def __init__(self, shown: Shown, say: Any) -> None:
        self._virtual, self._cv2 = require("pyvirtualcam", "live"), require("cv2", "live")
        self._shown, self._say = shown, say
        self._camera: Any = None

    def show(self, painting: Painting) -> bool:
        """See Output."""
        height, width = painting.pixels.shape[:2]
        if self._camera is None:
            try:
                self._camera = self._virtual.Camera(width=width, height=height, fps=_RATE)
            except (RuntimeError, OSError) as error:
                raise UserError(
                    "there is no virtual camera: on Linux, install v4l2loopback (apt install v4l2loopback-dkms, then "
                    "modprobe v4l2loopback), on Windows and macOS OBS Studio"
                ) from error
            self._say(f"the paintings are the camera {self._camera.device}")
        pixels = painting.pixels
        if (self._camera.height, self._camera.width) != (height, width):  # another camera was plugged in
            pixels = self._cv2.resize(pixels, (self._camera.width, self._camera.height))
        self._camera.send(pixels)
        self._shown(painting.captured, time.perf_counter())
        return True

    def close(self) -> None:
        """See Output."""
        if self._camera is not None:
            self._camera.close()
