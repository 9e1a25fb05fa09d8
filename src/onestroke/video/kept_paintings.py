"""The latest paintings of a clip, with what they were painted from, to sample pixels of many of them at once."""

from __future__ import annotations

import math

import numpy as np

from onestroke.packages import require
from onestroke.video.sampling import sharply, with_curvature

_MEMORY = 384 << 20  # bytes that are kept at most, except for _FEWEST paintings
_FEWEST = 4
_MOST = 255
_PAD = 2  # pixels around each painting, so that sampling never reaches the next
_BLUR = 1.0  # standard deviation in pixels of the frames at half size


class KeptPaintings:
    """A ring of paintings, and of the frames at half the size, each in one large picture, sampled in one go.

    Args:
        height, width: of a painting, in pixels.
        count: how many are wanted; fewer are kept where they would take more than 384 MiB.
    """

    def __init__(self, height: int, width: int, count: int) -> None:
        self._cv2 = require("cv2", "video")
        self.height, self.width = height, width
        self.half = (height + 1) // 2, (width + 1) // 2
        self.count = max(_FEWEST, min(count, _MOST, _MEMORY // (height * width * 5)))
        self._columns = math.ceil(math.sqrt(self.count))
        rows = math.ceil(self.count / self._columns)
        self._tile = height + 2 * _PAD, width + 2 * _PAD
        self._small = self.half[0] + 2 * _PAD, self.half[1] + 2 * _PAD
        self._paintings = np.zeros((rows * self._tile[0], self._columns * self._tile[1], 4), np.uint8)
        self._frames = np.zeros((rows * self._small[0], self._columns * self._small[1], 4), np.uint8)

    def add(self, number: int, painting: np.ndarray, frame: np.ndarray) -> None:
        """Keep a painting, in place of that `count` frames before.

        Args:
            number: of the frame.
            painting: uint8 (H, W, 3).
            frame: what it was painted from, uint8 (H, W, 3).
        """
        four = with_curvature(self._cv2, painting), self._cv2.cvtColor(self.halved(frame), self._cv2.COLOR_RGB2RGBA)
        padding = (_PAD, _PAD, _PAD, _PAD, self._cv2.BORDER_REPLICATE)
        for (_, tiles), content in zip(self._tiles(), four, strict=True):
            self._cv2.copyMakeBorder(content, *padding, dst=tiles[number % self.count])

    def taken(self, slots: np.ndarray) -> dict[str, np.ndarray]:
        """The contents of some slots, copied; see `put`."""
        return {"slots": slots, **{name: np.stack([tiles[slot] for slot in slots]) for name, tiles in self._tiles()}}

    def put(self, contents: dict[str, np.ndarray]) -> None:
        """Put back what was taken."""
        for name, tiles in self._tiles():
            for slot, content in zip(contents["slots"], contents[name], strict=True):
                tiles[slot][:] = content

    def _tiles(self) -> list[tuple[str, list[np.ndarray]]]:
        """Views of all slots, of the paintings and of the frames."""
        views = []
        for name, whole, tile in (("paintings", self._paintings, self._tile), ("frames", self._frames, self._small)):
            corners = [(slot // self._columns * tile[0], slot % self._columns * tile[1]) for slot in range(self.count)]
            views.append((name, [whole[top : top + tile[0], left : left + tile[1]] for top, left in corners]))
        return views

    def halved(self, frame: np.ndarray) -> np.ndarray:
        """A frame at half the size, rounded up, and blurred; uint8."""
        cv2 = self._cv2
        even = cv2.copyMakeBorder(frame, 0, self.height % 2, 0, self.width % 2, cv2.BORDER_REPLICATE)
        small = cv2.resize(even, self.half[::-1], interpolation=cv2.INTER_AREA)
        blurred: np.ndarray = cv2.GaussianBlur(small, (0, 0), _BLUR)
        return blurred

    def painted(self, x: np.ndarray, y: np.ndarray, slot: np.ndarray) -> np.ndarray:
        """Sample the paintings.

        Args:
            x, y: float32 (H, W), for each pixel its place in a painting.
            slot: uint8 (H, W), in which painting: the number of its frame modulo `count`.

        Returns:
            uint8 (H, W, 3).
        """
        left, top = self._corners(slot, self._tile)
        left += x
        top += y
        return sharply(self._cv2, self._paintings, (left, top), (x, y))

    def frames(self, x: np.ndarray, y: np.ndarray, slot: np.ndarray) -> np.ndarray:
        """What the pixels of `painted` were painted from, at half the size: uint8 ((H + 1) / 2, (W + 1) / 2, 3)."""
        left, top = self._corners(np.ascontiguousarray(slot[::2, ::2]), self._small)
        left += x[::2, ::2] * np.float32(0.5)
        top += y[::2, ::2] * np.float32(0.5)
        sampled = self._cv2.remap(self._frames, left, top, self._cv2.INTER_LINEAR)  # four channels are thrice as fast
        found: np.ndarray = self._cv2.cvtColor(sampled, self._cv2.COLOR_RGBA2RGB)
        return found

    def _corners(self, slot: np.ndarray, tile: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """x and y of the upper left corner of each slot, inside of its border, float32 (H, W)."""
        row, column = np.divmod(np.arange(256, dtype=np.float32), np.float32(self._columns))
        x, y = column * np.float32(tile[1]) + np.float32(_PAD), row * np.float32(tile[0]) + np.float32(_PAD)
        return self._cv2.LUT(slot, x), self._cv2.LUT(slot, y)
