"""Flow where a picture is plain: the motion of the camera, and of the surroundings.

Without contrast, optical flow is noise. The simplest motion that explains the picture as well is taken instead: none
where the camera stands still, else that of the camera (affine, fitted robustly where there is contrast), and what the
surroundings differ from it. Where the picture contradicts, the flow stays as it was estimated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onestroke.video.sampling import moved

_CONTRAST = 2.0  # smaller eigenvalue of the structure tensor, in squared levels a pixel, that is half trusted
_ROUNDS = 8  # of the fit, each with new weights
_INLIER = 0.3  # pixels by which a pixel that moves with the camera may be off, at the end of the fit
_STRIDE = 4  # one pixel in so many, each way, takes part in the fit
_FEWEST = 0.02  # share of the picture that has contrast without which the camera's motion is unknown
_REFINED = 2  # steps in which the whole picture is aligned, which takes away what DIS flow is biased by
_OTHER = 6.0  # levels of difference from which on a pixel hardly counts then
_EDGE = 1.0  # squared levels that keep a picture without contrast where it is
_STILL = 0.04  # pixels at the corners below which the camera stands still
_SURROUNDINGS = 12.0  # pixels, standard deviation, from which flow is taken over
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
    near = cv2.GaussianBlur(sure, (0, 0), _SURROUNDINGS)[..., None]
    simple = camera + cv2.GaussianBlur(rest * sure[..., None], (0, 0), _SURROUNDINGS) / (near + np.float32(0.05))
    own, of_simple, of_camera = (_error(cv2, before, now, each) for each in (back, simple, camera))
    simple += _need(of_simple, own) * (back - simple)
    need = _need(of_camera, np.minimum(own, of_simple))
    camera += need * (simple - camera)
    return camera, (contrast < _PLAIN) & (of_camera < _SAME) & (need[..., 0] < _PLAIN)


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
    height, width = sure.shape
    camera: np.ndarray = np.zeros_like(back)
    if sure.mean() < _FEWEST:
        return camera
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = (x - (width - 1) / 2) / max(width, height), (y - (height - 1) / 2) / max(width, height)
    terms = np.stack([np.ones_like(x), x, y], axis=-1)
    every = np.s_[_STRIDE // 2 :: _STRIDE, _STRIDE // 2 :: _STRIDE]
    found = _fitted(terms[every].reshape(-1, 3), back[every].reshape(-1, 2), sure[every].ravel())
    for _ in range(_REFINED):
        camera = (terms @ found).astype(np.float32)
        off = np.square(back - camera).sum(axis=-1)[::2, ::2]
        moves_along = 1 - sure[::2, ::2] * (1 - 1 / np.square(1 + off * np.float32(1 / _INLIER**2)))
        found = found + _aligned(cv2, before, now, terms, camera, moves_along)
    camera = (terms @ found).astype(np.float32)
    if np.abs(camera[[0, 0, -1, -1], [0, -1, 0, -1]]).max() < _STILL:
        return np.zeros_like(back)
    return camera


def _fitted(terms: np.ndarray, flow: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The affine motion, (3, 2), of most of the flow, (N, 2): least squares, each time with new weights."""
    found = np.zeros((3, 2))
    found[0] = np.median(flow[weight >= 0.5 * weight.max()], axis=0)
    for turn in range(_ROUNDS):
        limit = _INLIER * 2.0 ** max(0, 4 - turn)
        share = weight / np.square(1 + np.square(flow - terms @ found).sum(axis=1) / limit**2)
        weighted = (terms * share[:, None]).T
        found = np.linalg.solve(weighted @ terms + 1e-6 * np.eye(3), weighted @ flow)
    return found


def _aligned(
    cv2: Any, before: np.ndarray, now: np.ndarray, terms: np.ndarray, camera: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """What is missing from the camera's motion, (3, 2): one step of Lucas and Kanade's over the whole picture."""
    there = moved(before, camera)
    every = np.s_[::2, ::2]
    gap, mean = (there - now)[every], (there + now) * np.float32(0.5)
    x, y = (cv2.Sobel(mean, cv2.CV_32F, *order, scale=1 / 8)[every] for order in ((1, 0), (0, 1)))
    weight = weight / np.square(1 + np.square(gap * np.float32(1 / _OTHER)))
    slopes = np.concatenate([terms[every] * x[..., None], terms[every] * y[..., None]], axis=-1).reshape(-1, 6)
    weighted = (slopes * weight.reshape(-1, 1)).T.astype(np.float64)
    missing = np.linalg.solve(weighted @ slopes + _EDGE * np.eye(6), -(weighted @ gap.ravel()))
    step: np.ndarray = missing.reshape(2, 3).T
    return step
