"""Give a recurrent style its last painting, moved along the motion from frame to frame."""

from __future__ import annotations

import numpy as np

from onestroke.inference.frames import Frames
from onestroke.video import sampling
from onestroke.video.flow import Motion


class LastPainting:
    """Paints the frames of a clip one after the other with a recurrent style.

    Args:
        frames: of the style.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._last: np.ndarray | None = None

    def __call__(self, frame: np.ndarray, motion: Motion | None) -> np.ndarray:
        """Paint the next frame.

        Args:
            frame: uint8 (H, W, 3), RGB.
            motion: from the frame before; None for the first. A cut starts painting afresh.

        Returns:
            uint8 (H, W, 3), RGB.

        Raises:
            UserError: as `Frames`, or OpenCV is not installed.
        """
        # not None, for which ONNX Runtime has another graph, whose memory it would keep beside that of this one
        past = (frame, np.zeros(frame.shape[:2], np.float32))
        if motion is not None and not motion.cut and self._last is not None:
            past = (moved(self._last, motion.back), motion.trust)
        painted = self.frames(frame, past=past)
        self._last = painted.copy()  # whoever gets it may write on it
        return painted

    def state(self) -> dict[str, np.ndarray]:
        """All that the next frame depends on; see `restore`."""
        return {} if self._last is None else {"last": self._last}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on where `state` was taken."""
        self._last = state.get("last")


def moved(painting: np.ndarray, back: np.ndarray) -> np.ndarray:
    """A painting, uint8 (H, W, 3), at the places that `back`, (H, W, 2), points to; bicubic."""
    return sampling.moved(painting, back, bicubic=True)
