"""Motion between two frames of a clip: optical flow, where it can be trusted, and whether a cut lies between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onestroke.packages import require
from onestroke.video.camera_motion import simplified
from onestroke.video.sampling import moved, places, squared

_SCALE = 2  # flow is estimated at this fraction of the size
_BLUR = 1.0  # standard deviation in pixels of that size: without it, interpolation biases the flow by 0.1 pixels
_WINDOW = 15  # side in pixels of the window over which the flow is refined
_OTHER = 8.0  # levels of difference from which on a pixel hardly counts
_FLAT = 4.0  # squared gradient, in levels, below which a window has too little contrast to refine the flow
_TRUSTED = 0.15  # share of pixels whose flow is trusted that a cut never reaches,
_ALIKE = 0.3  # and the correlation of details,
_DETAIL = 8.0  # which are smaller than this many pixels,
_PLAIN = 1.0  # in frames that have some, in levels
_LEAST = 16  # pixels of a side below which there is no flow


@dataclass(frozen=True)
class Motion:
    """The motion from a frame, `before`, to the next, `now`.

    back: float32 (H, W, 2), for each pixel of `now` its offset to where it was in `before`, x and y in pixels.
    trust: float32 (H, W) in [0, 1], how well the flow forwards and backwards agree; 0 where a pixel was hidden before.
    cut: whether a cut lies between the two; `back` then means nothing.
    """

    back: np.ndarray
    trust: np.ndarray
    cut: bool

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y that `back` points to, float32 (H, W) each."""
        return places(self.back)


def motion(before: np.ndarray, now: np.ndarray) -> Motion:
    """Estimate the motion between two frames of the same size; may run in several threads at once.

    DIS flow (Kroeger et al., ECCV 2016) at half the size, then one step of Lucas and Kanade's over larger windows,
    which halves its error; where the picture is plain, the motion of the camera and of the surroundings, see
    `camera_motion`. Brightness may change, as in a fade.

    Args:
        before, now: uint8 (H, W, 3), RGB.

    Raises:
        UserError: OpenCV is not installed.
    """
    cv2 = require("cv2", "video")
    height, width = now.shape[:2]
    if min(height, width) < _LEAST * _SCALE:
        return Motion(np.zeros((height, width, 2), np.float32), np.zeros((height, width), np.float32), False)
    small = (width + 1) // _SCALE, (height + 1) // _SCALE
    grey = [_grey(cv2, frame, small) for frame in (before, now)]
    eight = [each.round().astype(np.uint8) for each in grey]
    back = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(eight[1], eight[0], None)
    forth = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST).calc(eight[0], eight[1], None)
    trust = _trust(cv2, back, forth)
    there = moved(grey[0], back)
    cut = bool(trust.mean() < _TRUSTED) and _unlike(cv2, there, grey[1])
    back, plain = simplified(cv2, grey[0], grey[1], back + alignment(there, grey[1]), trust)
    x, y = places(back)
    trust[plain & _inside(x, y)] = 1
    back = cv2.resize(back, (width, height), interpolation=cv2.INTER_LINEAR)
    back[..., 0] *= width / small[0]
    back[..., 1] *= height / small[1]
    trust = cv2.resize(trust, (width, height), interpolation=cv2.INTER_LINEAR)
    return Motion(back, trust, cut)


def _grey(cv2: Any, frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Luma at another size, blurred, as float32 levels."""
    luma = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred: np.ndarray = cv2.GaussianBlur(luma, (0, 0), _BLUR)
    return blurred


def _trust(cv2: Any, back: np.ndarray, forth: np.ndarray) -> np.ndarray:
    """Where the flow there and back ends where it began (Sundaram et al., ECCV 2010), and inside of the frame."""
    x, y = places(back)
    there = moved(forth, back)
    gap = squared(cv2, back + there)
    limit = np.float32(0.01) * (squared(cv2, back) + squared(cv2, there)) + np.float32(0.5)
    trusted: np.ndarray = ((gap < limit) & _inside(x, y)).astype(np.float32)
    return trusted


def _inside(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    height, width = x.shape
    inside: np.ndarray = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    return inside


def _unlike(cv2: Any, moved: np.ndarray, now: np.ndarray) -> bool:
    """Whether details differ, whatever the brightness: those of two scenes correlate by 0.25 at most."""
    x, y = (each - cv2.GaussianBlur(each, (0, 0), _DETAIL) for each in (moved, now))
    if min(float(x.std()), float(y.std())) < _PLAIN:
        return False  # black or white, as between fades
    return float((x * y).mean()) < _ALIKE * float(x.std() * y.std())


def alignment(moved: np.ndarray, now: np.ndarray) -> np.ndarray:
    """One step of Lucas and Kanade's, over windows and in the mean of both gradients.

    Args:
        moved, now: float32 (H, W), luma in levels, slightly blurred.

    Returns:
        float32 (H, W, 2): offsets in pixels, at most 1, where `moved` has what `now` has here.

    Raises:
        UserError: OpenCV is not installed.
    """
    cv2 = require("cv2", "video")
    mean = (moved + now) * np.float32(0.5)
    gap = moved - now
    x, y = (cv2.Sobel(mean, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    # what is hidden or moves in another way hardly counts
    weight = 1 / (1 + np.square(gap * np.float32(1 / _OTHER)))
    left, right = x * weight, y * weight
    pairs = (left, x), (left, y), (right, y), (left, gap), (right, gap)
    xx, xy, yy, xg, yg = (cv2.blur(cv2.multiply(*pair), (_WINDOW, _WINDOW)) for pair in pairs)
    xx += np.float32(_FLAT)
    yy += np.float32(_FLAT)
    scale = 1 / (xx * yy - xy * xy)
    step: np.ndarray = cv2.merge([(xy * yg - yy * xg) * scale, (xy * xg - xx * yg) * scale])
    return np.clip(step, -1, 1, out=step)
