"""Paint the frames of a camera or a clip, all of one size, at close to the speed of the network alone."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from onestroke.errors import UserError, near
from onestroke.imaging.levels import levels_of
from onestroke.inference.backend import Backend, NotFinite, Past
from onestroke.inference.compositing import recoloured
from onestroke.inference.memory import check_free, memory_errors_for_users

FRAME_COLORS = ("style", "photo")
"""The colours of frames; matching the palette of each frame anew would flicker."""
_DARK = 63  # a frame of no higher level may be painted all black


class Painter(Protocol):
    """What frames need of a Stylizer."""

    path: Path
    backend: Backend

    def check_memory(self, count: int, height: int, width: int) -> None:
        """Raise a UserError if painting takes more memory than is free."""
        ...


class Frames:
    """Paints frame after frame of one size, as `Stylizer.frames` returns it.

        frames = stylizer.frames(480, 640)
        painted = frames(frame)

    The memory is checked once, and the runtime keeps its memory between frames. What `Stylizer.set` changes holds from
    the next frame on. The levels are those that the Stylizer paints; with color=photo within one of them, since the
    painting is rounded before.

    A recurrent style (`frames.recurrent`) paints a clip steadily where each frame comes with its last painting, moved
    along the motion between the two frames; the first frame, and one after a cut, come without:

        moved = cv2.remap(painted, x + motion.back[..., 0], y + motion.back[..., 1], cv2.INTER_CUBIC)
        painted = frames(frame, past=(moved, motion.trust))

    Args:
        stylizer: paints the frames.
        height, width: of each frame, in pixels.

    Raises:
        UserError: painting a frame of this size takes more memory than is free.
    """

    def __init__(self, stylizer: Painter, height: int, width: int) -> None:
        if height < 1 or width < 1:
            raise UserError(f"there is nothing to paint in a frame of {width} x {height}")
        stylizer.check_memory(1, height, width)
        backend = stylizer.backend
        if backend.recurrent:
            check_free(lambda *size: backend.memory(1, *size, past=True), backend.device, height, width)
        self.stylizer = stylizer
        self.shape = (height, width, 3)

    @property
    def recurrent(self) -> bool:
        """Whether the style also sees its last painting; if not, a past changes nothing."""
        return self.stylizer.backend.recurrent

    def __call__(self, frame: np.ndarray, color: str = "style", past: Past | None = None) -> np.ndarray:
        """Paint a frame.

        Args:
            frame: uint8 (H, W, 3), RGB.
            color: style, or photo for the luminance of the painting in the colours of the frame.
            past: for a recurrent style, its last painting, as it was returned with color=style, moved to where its
                content is in this frame, uint8 (H, W, 3), and how well each pixel of it is known, float32 (H, W) from 0
                (hidden before, or outside) to 1.

        Returns:
            uint8 (H, W, 3), RGB, in memory of its own.

        Raises:
            UserError: the frame or the past has another shape or type, there is no such color, the memory does not
                suffice, or the painting is not finite or all black.
        """
        if frame.shape != self.shape or frame.dtype != np.uint8:
            raise UserError(f"these frames are uint8 {self.shape}, not {frame.dtype} {frame.shape}")
        if color not in FRAME_COLORS:
            raise UserError(f"color={color}: {near(color, FRAME_COLORS)}")
        ready = np.require(frame, requirements=["C", "W"])  # torch warns of arrays that can't be written to
        if past is not None:
            past = self._checked(*past)
        try:
            with memory_errors_for_users(*self.shape[:2]):
                painted = self.stylizer.backend.paint_frame(ready, past)
        except NotFinite as error:
            raise no_picture(self.stylizer.path) from error
        if not painted.any() and frame.max() > _DARK:
            raise no_picture(self.stylizer.path)
        return painted if color == "style" else _recoloured(painted, ready, color)

    def _checked(self, moved: np.ndarray, known: np.ndarray) -> Past:
        sound = moved.shape == self.shape and moved.dtype == np.uint8
        if not sound or known.shape != self.shape[:2] or known.dtype != np.float32:
            raise UserError(
                f"the past of these frames is uint8 {self.shape} and float32 {self.shape[:2]}, not "
                f"{moved.dtype} {moved.shape} and {known.dtype} {known.shape}"
            )
        return np.require(moved, requirements=["C", "W"]), np.require(known, requirements=["C", "W"])


def no_picture(path: Path) -> UserError:
    """The error about a style file whose painting is not finite or all black."""
    return UserError(f"{path} paints no picture (numbers that are not finite, or all black); train it again")


def _recoloured(painted: np.ndarray, photo: np.ndarray, color: str) -> np.ndarray:
    return levels_of(recoloured(image_of(painted), image_of(photo), color)[0])


def image_of(frame: np.ndarray) -> Tensor:
    """A frame, uint8 (H, W, 3), as an image: float32 (1, 3, H, W) in [0, 1]."""
    # torch warns of arrays that can't be written to
    return torch.from_numpy(np.require(frame, requirements=["C", "W"]))[None].permute(0, 3, 1, 2) / 255
