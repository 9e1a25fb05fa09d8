"""Flow where a picture is plain: the motion of the camera, and of the surroundings.

Without contrast, optical flow is noise. The simplest motion that explains the picture as well is taken instead: none
where the camera stands still, else that of the camera (affine, fitted robustly where there is contrast), and what the
surroundings differ from it. Where the picture contradicts, the flow stays as it was estimated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onestroke.video.sampling import moved, squared

_CONTRAST = 2.0  # smaller eigenvalue of the structure tensor, in squared levels a pixel, that is half trusted
_ROUNDS = 8  # of the fit, each with new weights
_INLIER = 0.3  # pixels by which a pixel that moves with the camera may be off, at the end of the fit
_STRIDE = 6  # one pixel in so many, each way, takes part in the fit
_FEWEST = 0.02  # share of the picture that has contrast without which the camera's motion is unknown
_REFINED = 2  # steps in which the whole picture is aligned, which takes away what DIS flow is biased by
_OTHER = 6.0  # levels of difference from which on a pixel hardly counts then
_EDGE = 1.0  # squared levels that keep a picture without contrast where it is
_STILL = 0.04  # pixels at the corners below which the camera stands still
_SURROUNDINGS = 12.0  # pixels, standard deviation, from which flow is taken over
_COARSE = 4  # times smaller is the picture that they are taken from
_WINDOW = 9  # pixels of the window over which two flows are compared
_WORSE = 0.15  # share of the squared error, and in squared levels, by which a simpler motion may explain worse
_LEAST = 0.3
_PLAIN = 0.5  # contrast, as a share, and need of another motion below which a picture is plain,
_SAME = 2.0  # and squared levels below which it is the same as before


def simplified(
    cv2: Any, before: np.ndarray, now: np.ndarray, back: np.ndarray, trust: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Replace flow that the picture doesn't need by simpler motion.

    Args:
        before, now: float32 (H, W), luma in levels, slightly blurred.
        back: float32 (H, W, 2), for each pixel of `now` its offset to where it was in `before`.
        trust: float32 (H, W) in [0, 1].

    Returns:
        The flow, float32 (H, W, 2), and where the picture is plain and it explains it: bool (H, W). There, flow that
        was estimated both ways disagrees by chance.
    """
    contrast = _contrast(cv2, now)
    sure = trust * contrast
    camera = _camera(cv2, before, now, back, sure)
    rest = back - camera
    near = _surroundings(cv2, sure) + np.float32(0.05)
    simple = camera + cv2.merge([_surroundings(cv2, each * sure) / near for each in cv2.split(rest)])
    own, of_simple, of_camera = (_error(cv2, before, now, each) for each in (back, simple, camera))
    simple += _need(of_simple, own) * (back - simple)
    need = _need(of_camera, np.minimum(own, of_simple))
    camera += need * (simple - camera)
    return camera, (contrast < _PLAIN) & (of_camera < _SAME) & (need[..., 0] < _PLAIN)


def _surroundings(cv2: Any, values: np.ndarray) -> np.ndarray:
    """The mean over the surroundings of each pixel, (H, W); so smooth that a smaller picture tells it."""
    height, width = values.shape
    size = max(1, width // _COARSE), max(1, height // _COARSE)
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), _SURROUNDINGS * size[0] / width, sigmaY=_SURROUNDINGS * size[1] / height)
    mean: np.ndarray = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return mean


def _need(plainer: np.ndarray, error: np.ndarray) -> np.ndarray:
    """From 0, where a plainer motion explains the picture nearly as well, to 1, where it errs more: (H, W, 1)."""
    share = (plainer - error) / (_WORSE * error + np.float32(_LEAST)) - 1
    need: np.ndarray = np.clip(share, 0, 1, out=share)[..., None]
    return need


def _error(cv2: Any, before: np.ndarray, now: np.ndarray, back: np.ndarray) -> np.ndarray:
    """The squared error of a flow, in levels, over windows."""
    gap = moved(before, back) - now
    found: np.ndarray = cv2.blur(gap * gap, (_WINDOW, _WINDOW))
    return found


def _contrast(cv2: Any, now: np.ndarray) -> np.ndarray:
    """How far flow is determined by the contrast around a pixel, in both directions; float32 (H, W) in [0, 1)."""
    x, y = (cv2.Sobel(now, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    xx, xy, yy = (cv2.blur(a * b, (_WINDOW, _WINDOW)) for a, b in ((x, x), (x, y), (y, y)))
    smaller = (xx + yy) / 2 - np.sqrt(np.square((xx - yy) / 2) + xy * xy)
    smaller = np.clip(smaller, 0, None)
    sure: np.ndarray = smaller / (smaller + np.float32(_CONTRAST))
    return sure


def _camera(cv2: Any, before: np.ndarray, now: np.ndarray, back: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """The motion of the camera, float32 (H, W, 2): affine; zeros where it is unknown or next to nothing."""
    if sure.mean() < _FEWEST:
        return np.zeros_like(back)
    height, width = sure.shape
    # from the middle, as a share of the longer side
    x, y = ((np.arange(side, dtype=np.float32) - (side - 1) / 2) / max(width, height) for side in (width, height))
    some = slice(_STRIDE // 2, None, _STRIDE)
    points = np.broadcast_arrays(1, x[some], y[some, None])
    terms = np.stack(points).reshape(3, -1).astype(np.float64)
    found = _fitted(terms, back[some, some].reshape(-1, 2).T.astype(np.float64), sure[some, some].ravel())
    for _ in range(_REFINED):
        camera = _affine(cv2, x, y, found)
        off = squared(cv2, back[::2, ::2] - camera[::2, ::2])
        moves_along = 1 - sure[::2, ::2] * (1 - 1 / np.square(1 + off * np.float32(1 / _INLIER**2)))
        found = found + _aligned(cv2, before, now, (x, y), camera, moves_along)
    camera = _affine(cv2, x, y, found)
    if np.abs(camera[[0, 0, -1, -1], [0, -1, 0, -1]]).max() < _STILL:
        return np.zeros_like(back)
    return camera


def _affine(cv2: Any, x: np.ndarray, y: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The affine motion of each pixel, float32 (H, W, 2), by its table (2, 3); x: (W,), y: (H,)."""
    planes = [(one + along * x) + (down * y)[:, None] for one, along, down in found.astype(np.float32)]
    motion: np.ndarray = cv2.merge(planes)
    return motion


def _fitted(terms: np.ndarray, flow: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The affine motion, (2, 3), of most of the flow, (2, N), with the terms (3, N): least squares, reweighted."""
    found = np.zeros((2, 3))
    found[:, 0] = np.median(flow[:, weight >= 0.5 * weight.max()], axis=1)
    for turn in range(_ROUNDS):
        limit = _INLIER * 2.0 ** max(0, 4 - turn)
        x, y = flow - found @ terms
        weighted = terms * (weight / np.square(1 + (x * x + y * y) / limit**2))
        found = np.linalg.solve(weighted @ terms.T + 1e-6 * np.eye(3), weighted @ flow.T).T
    return found


def _aligned(
    cv2: Any,
    before: np.ndarray,
    now: np.ndarray,
    at: tuple[np.ndarray, np.ndarray],
    camera: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """What is missing from the camera's motion, (2, 3): one step of Lucas and Kanade's over the whole picture.

    at: x, (W,), and y, (H,). weight: of every second pixel each way.
    """
    there = moved(before, camera)
    every = np.s_[::2, ::2]
    gap, mean = (there - now)[every], (there + now) * np.float32(0.5)
    slopes = [cv2.Sobel(mean, cv2.CV_32F, *order, scale=1 / 8)[every] for order in ((1, 0), (0, 1))]
    weight = weight / np.square(1 + np.square(gap * np.float32(1 / _OTHER)))
    x, y = at[0][::2], at[1][::2, None]
    rows = np.stack([each for slope in slopes for each in (slope, slope * x, slope * y)]).reshape(6, -1)
    weighted = rows * weight.reshape(-1)
    square, wanted = ((weighted @ each).astype(np.float64) for each in (rows.T, gap.ravel()))
    step: np.ndarray = np.linalg.solve(square + _EDGE * np.eye(6), -wanted).reshape(2, 3)
    return step
