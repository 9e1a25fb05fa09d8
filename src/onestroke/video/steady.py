"""Steady painting of a clip: strokes move along with what they were painted on.

Networks paint a scene that has moved by a fraction of a pixel with other strokes, which flickers. Averaging paintings
over time would destroy strokes. Instead each pixel remembers from which frame's painting it came, and from where in it
(texture advection, as in Bousseau et al., SIGGRAPH 2007). That origin moves along with the optical flow, and each
painting is sampled once, so that no blur builds up. What the flow adds up to is compared with that frame, and
corrected; where it no longer fits, or has been kept for long, the pixel is renewed from the painting of the present
frame. That painting is made of the frame averaged with those before along the flow, so that noise changes no strokes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onestroke.packages import require
from onestroke.video.averaging import Averaged, Averaging, mean_square
from onestroke.video.flow import Motion, alignment
from onestroke.video.kept_paintings import KeptPaintings

Paint = Callable[[np.ndarray], np.ndarray]
"""uint8 (H, W, 3), RGB, to the same."""

DEFAULT = 0.5
"""The amount that is taken where none is given."""

_AGE = 96.0  # frames for which a pixel is kept, at amount 1
_FADE = 13.0  # frames kept for which the fade to a renewed pixel loses half of the rest in a frame
_STALE = 4.0  # levels by which a frame may differ from the present one, where both are plain,
_SLOPE = 0.25  # and this share of the squared gradient is added to its square: half a pixel
_TRACK = 0.3  # share of the misalignment that is corrected in each frame
_SETTLE = 6  # every so many frames, what has newly come into view is renewed as a whole
_STRETCH = 1.3  # factor in size at which strokes are renewed
_CELL = 8  # pixels over which it is measured
_BORDER = 13  # pixels of half the size, twice the width of the border where nothing fades as the scene enters
_RIM = 12  # pixels at the border, whose painting depends on there being one
_RING = 7  # pixels of half the size around renewed places that are renewed too, but fade
_PATCH = 24.0  # size in pixels of what is renewed together for its age,
_ROUND = 24  # at frames that are multiples of this, and at most of two thirds of the shortest time for which it is kept


_AT_BORDER, _ENTERED = 1, 2  # painted at the frame's border; has just come into view
_STATE = ("_clean", "_x", "_y", "_origin", "_fading")


class Steady:
    """Paints the frames of a clip one after the other. Memory is bounded: see KeptPaintings.

    Calling it is `averaged`, then painting the average, then `steadied`. Each may run in a thread of its own, so that
    one frame is painted while the strokes of the frame before are moved along.

    Args:
        paint: paints one frame, uint8 (H, W, 3), RGB, to the same shape.
        amount: from 0, each frame is painted for itself, to 1, strokes are kept for as long as they fit.

    Raises:
        ValueError: amount is not from 0 to 1.
        UserError: OpenCV is not installed, and amount is not 0.
    """

    def __init__(self, paint: Paint, amount: float = DEFAULT) -> None:
        if not 0 <= amount <= 1:
            raise ValueError(f"steady is {amount}, not from 0 to 1")
        self.paint, self.amount = paint, amount
        self.averaged = Averaging(amount)
        self._cv2: Any = require("cv2", "video") if amount else None
        self._kept: KeptPaintings | None = None
        self._age = _AGE * amount
        self._number, self._together = 0, 1
        nothing: np.ndarray = np.zeros((1, 1, 3), np.float32)
        self._here, self._nothing, self._limit, self._rim = (nothing, nothing), nothing, nothing, np.zeros((1, 1), bool)
        self._clean, self._x, self._y, self._origin, self._fading = nothing, nothing, nothing, nothing, nothing

    def restart(self) -> None:
        """Forget all frames so far."""
        self._kept = self.averaged.latest = None

    def __call__(self, frame: np.ndarray, motion: Motion | None) -> np.ndarray:
        """Paint the next frame.

        Args:
            frame: uint8 (H, W, 3), RGB.
            motion: from the frame before to this one; None for the first one. A cut starts painting afresh.

        Returns:
            uint8 (H, W, 3), RGB.
        """
        averaged = self.averaged(frame, motion)
        return self.steadied(averaged, self.paint(averaged.clean))

    def steadied(self, averaged: Averaged, painting: np.ndarray) -> np.ndarray:
        """The painting of a frame, uint8 (H, W, 3), with the strokes of those before, where they still fit.

        Args:
            averaged: the frame.
            painting: of its average, uint8 (H, W, 3).
        """
        if self.amount == 0:
            return painting
        kept, motion = self._kept, averaged.motion
        self._clean = averaged.average
        if motion is None or kept is None:
            return self._first(averaged.frame, painting)
        self._number += 1
        kept.add(self._number, painting, averaged.clean)
        x, y = motion.places
        self._carry(x, y)
        changed = self._track(kept, kept.halved(averaged.frame))
        return self._renew(kept, painting, motion, x, y, changed)

    def _first(self, frame: np.ndarray, painting: np.ndarray) -> np.ndarray:
        """Start with a frame that has nothing to do with those before."""
        height, width = frame.shape[:2]
        kept = self._prepared(height, width)
        kept.add(0, painting, frame)
        self._number = 0
        self._x, self._y = (each.copy() for each in self._here)  # in a painting,
        # which painting, whether it was painted where it came into view, and when it is too old: a frame modulo 256
        self._origin = np.dstack(
            [np.zeros((height, width), np.uint8), self._rim.astype(np.uint8), self._due(self._limit)]
        )
        self._fading = self._nothing.copy()
        return painting

    def _prepared(self, height: int, width: int) -> KeptPaintings:
        """What depends on the size alone."""
        kept = self._kept
        if kept is None or (kept.height, kept.width) != (height, width):
            kept = self._kept = KeptPaintings(height, width, int(1.25 * self._age) + 3)
            x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
            self._here, self._nothing = (x, y), np.zeros((height, width, 3), np.int16)
            self._rim = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y)) < _RIM
            noise = np.random.default_rng(0).standard_normal((height, width)).astype(np.float32)
            noise = self._cv2.GaussianBlur(noise, (0, 0), _PATCH)
            spread = np.clip((noise - noise.mean()) / max(float(noise.std()), 1e-6) / 4, -0.5, 0.5)
            self._limit = min(self._age, (kept.count - 2) / 1.25) * (1 + 0.5 * spread)
            self._together = max(1, min(_ROUND, int(self._limit.min() / 1.5)))
        return kept

    def _due(self, limit: np.ndarray) -> np.ndarray:
        """The frame at which what is painted now is too old, modulo 256: for whole patches at once, uint8.

        limit: for how many frames each pixel is kept, a part of `_limit`.
        """
        due = np.floor((self._number + limit) / self._together) * self._together
        found: np.ndarray = np.mod(np.maximum(due, self._number + 1), 256).astype(np.uint8)
        return found

    def state(self) -> dict[str, np.ndarray]:
        """All that the next frame depends on; see `restore`."""
        if self._kept is None:
            return {}
        arrays = {name: getattr(self, name).copy() for name in _STATE}
        return {**arrays, "number": np.array(self._number), **self._kept.taken(np.unique(self._origin[..., 0]))}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on where `state` was taken."""
        if not state:
            return self.restart()
        for name in _STATE:
            setattr(self, name, state[name].copy())
        self._number, self.averaged.latest = int(state["number"]), self._clean
        height, width = self._clean.shape[:2]
        self._prepared(height, width).put(state)

    def _carry(self, x: np.ndarray, y: np.ndarray) -> None:
        """Move the origins along the flow; those in different paintings are never interpolated with each other."""
        cv2 = self._cv2
        whole = np.rint(x), np.rint(y)
        self._x, self._y, self._origin = (
            cv2.remap(each, *whole, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            for each in (self._x, self._y, self._origin)
        )
        self._x += np.subtract(x, whole[0], out=whole[0])
        self._y += np.subtract(y, whole[1], out=whole[1])

    def _shift(self, step: np.ndarray) -> None:
        """Move the places in the paintings, inside of them; `step` has half the size."""
        height, width = self._x.shape
        small = step.shape[1] * 2, step.shape[0] * 2
        for plane, side, part in zip((self._x, self._y), (width, height), self._cv2.split(step), strict=True):
            plane += self._cv2.resize(part, small)[:height, :width]
            np.clip(plane, 0, side - 1, out=plane)

    def _track(self, kept: KeptPaintings, now: np.ndarray) -> np.ndarray:
        """Correct the origins by comparing the frames that they point to with the present one, `now`, at half the size.

        Returns:
            bool, half the size: where they don't look alike.
        """
        cv2 = self._cv2
        was = kept.frames(self._x, self._y, self._origin[..., 0])
        grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.float32) for each in (was, now)]
        self._shift(alignment(*grey) * np.float32(2 * _TRACK))
        square = cv2.blur(mean_square(cv2, was.astype(np.float32) - now), (3, 3))
        slope = sum(np.square(cv2.Sobel(grey[1], cv2.CV_32F, *order, scale=1 / 8)) for order in ((1, 0), (0, 1)))
        changed: np.ndarray = square > _STALE**2 + _SLOPE * cv2.blur(slope, (3, 3))
        return changed

    def _renew(
        self, kept: KeptPaintings, fresh: np.ndarray, motion: Motion, x: np.ndarray, y: np.ndarray, changed: np.ndarray
    ) -> np.ndarray:
        """Sample the paintings, and take what doesn't fit or is too old from the present one."""
        cv2 = self._cv2
        height, width = fresh.shape[:2]
        slot, new, due = cv2.split(self._origin)
        outside = (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)
        lost = cv2.medianBlur((changed | (motion.trust[::2, ::2] < 0.5)).astype(np.uint8), 3)
        entering = cv2.dilate(outside[::2, ::2].astype(np.uint8), np.ones((_BORDER, _BORDER), np.uint8))
        round_one = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_RING, _RING))  # squares would be seen
        ring = cv2.dilate(lost, round_one) & (1 - entering)
        gone = (self._large(lost) > 0) | outside
        fades = self._large(ring) > 0
        fades |= cv2.LUT(due, (np.mod(self._number - np.arange(256), 256) < 128).astype(np.uint8)) > 0
        fades |= cv2.resize(self._stretched(), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        new[gone] = _ENTERED
        if self._number % _SETTLE == 0:
            gone |= new == _ENTERED
            fades |= (new == _AT_BORDER) & ~self._rim
            new[gone | ~self._rim] = 0
        fades &= ~gone
        out = kept.painted(self._x, self._y, slot)
        fading = cv2.remap(self._fading, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        cv2.add(fading, cv2.subtract(out, fresh, dtype=cv2.CV_16S), dst=fading, mask=fades.astype(np.uint8))
        fading = cv2.addWeighted(fading, self._age / (self._age + _FADE), fading, 0, 0)
        cv2.copyTo(self._nothing, (gone | (self._large(entering) > 0)).astype(np.uint8), fading)
        new[(gone | fades) & self._rim & (new == 0)] = _AT_BORDER
        due[gone | fades] = self._due(self._limit[gone | fades])
        renewed = (gone | fades).astype(np.uint8)
        cv2.copyTo(fresh, renewed, out)
        for here, place in zip(self._here, (self._x, self._y), strict=True):
            cv2.copyTo(here, renewed, place)
        slot[renewed > 0] = self._number % kept.count
        self._origin, self._fading = cv2.merge([slot, new, due]), fading
        painted: np.ndarray = cv2.add(out, fading, dtype=cv2.CV_8U)
        return painted

    def _large(self, mask: np.ndarray) -> np.ndarray:
        """A mask of half the size, uint8, enlarged."""
        height, width = self._x.shape
        size = 2 * mask.shape[1], 2 * mask.shape[0]
        enlarged: np.ndarray = self._cv2.resize(mask, size, interpolation=self._cv2.INTER_NEAREST)[:height, :width]
        return enlarged

    def _stretched(self) -> np.ndarray:
        """Where strokes are larger or smaller than they were painted by more than _STRETCH: uint8, a cell a pixel."""
        every = np.s_[::_CELL, ::_CELL]
        places, slots = np.dstack([self._x[every], self._y[every]]), self._origin[every][..., 0]
        if min(slots.shape) < 2:
            return np.zeros(slots.shape, np.uint8)
        first, right, below = (np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, :-1])
        x, y = places[right] - places[first], places[below] - places[first]
        area = (x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0]) / _CELL**2
        same = (slots[right] == slots[first]) & (slots[below] == slots[first])
        limit = 1 + (_STRETCH - 1) * self._limit[::_CELL, ::_CELL][first] / self._limit.mean()
        stretched = same & (np.abs(np.log(np.maximum(area, 1e-3))) > 2 * np.log(limit))
        return np.pad(stretched.astype(np.uint8), (0, 1), "edge")
