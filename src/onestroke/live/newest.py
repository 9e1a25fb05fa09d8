"""The newest painting as a JPEG, encoded once for all who watch; older ones are left out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from onestroke.live.stage import Painting
from onestroke.packages import require

QUALITY = 90  # of the JPEGs


def to_jpeg(pixels: np.ndarray) -> bytes:
    """Encode uint8 (H, W, 3), RGB."""
    cv2 = require("cv2", "live")
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return bytes(buffer)


class Newest:
    """Made, and used except for `put`, in the event loop that it belongs to."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._fresh, self._changed = asyncio.Event(), asyncio.Condition()
        self._painting: Painting | None = None
        self._encoded: tuple[Painting, bytes] | None = None
        self._watching = 0

    def put(self, painting: Painting) -> None:
        """Hand on a painting, from any thread."""
        self._painting = painting
        self._loop.call_soon_threadsafe(self._fresh.set)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While someone watches; nothing is encoded for nobody."""
        self._watching += 1
        self._fresh.set()
        try:
            yield
        finally:
            self._watching -= 1

    async def after(self, number: int) -> tuple[Painting, bytes]:
        """Wait for a painting that is newer than this one; returns it and its JPEG."""
        async with self._changed:
            while self._encoded is None or self._encoded[0].number <= number:
                await self._changed.wait()
            return self._encoded

    async def run(self) -> None:
        """Encode until cancelled."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            painting = self._painting
            if painting is None or not self._watching:
                continue
            jpeg = await asyncio.to_thread(to_jpeg, painting.pixels)
            async with self._changed:
                self._encoded = (painting, jpeg)
                self._changed.notify_all()
