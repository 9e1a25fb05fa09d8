"""Pixels on disk, row after row, for pictures that don't fit in memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

BAND_PIXELS = 2**20
"""Pixels of the bands of rows in which large pictures are converted, finished and written."""


def band_rows(width: int) -> int:
    """The number of rows of a band of a picture of this width in pixels: a multiple of 16."""
    return max(1, BAND_PIXELS // (16 * width)) * 16


class RawRows:
    """A file of uint8 pixels without a header: a picture that is written from the top down, and read anywhere.

    Its pages don't count as memory of this process, as those of a memory map would.

    Args:
        path: the file, which need not exist.
        height, width: in pixels.
        channels: of a pixel.
    """

    def __init__(self, path: Path, height: int, width: int, channels: int) -> None:
        self.path = path
        self.height, self.width, self.channels = height, width, channels

    @property
    def _row(self) -> int:
        return self.width * self.channels

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """The rows from `top` to `bottom`, uint8 (bottom - top, width, channels)."""
        shape = (bottom - top, self.width, self.channels)
        with self.path.open("rb") as file:
            found = np.fromfile(file, np.uint8, shape[0] * self._row, offset=top * self._row)
        return found.reshape(shape)

    def write(self, top: int, rows: np.ndarray) -> None:
        """Write rows that begin at `top`, and wait until the disk has them.

        Raises:
            OSError: the disk is full, or the file can't be written.
        """
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.seek(top * self._row)
            file.write(np.ascontiguousarray(rows, np.uint8).data)
            file.flush()
            os.fsync(file.fileno())
