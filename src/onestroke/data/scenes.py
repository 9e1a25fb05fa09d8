"""The built-in data set: endless rendered scenes, so that training needs no folder and no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onestroke.data.heldout import centre, check_count, validation_photos
from onestroke.data.listing import log_left_out
from onestroke.files import home
from onestroke.imaging.left_out import LeftOut
from onestroke.scenes.compositions import compose, render

_MIN_SIZE = 64
_HELD_OUT_SEED = 0x5CE7E


class Scenes:
    """Source of endless rendered scenes.

    Args:
        val: folder of held-out photos; None holds out scenes that are never trained on.
        validation: number of held-out pictures, 0 to 10,000.
    """

    def __init__(self, val: str | None = None, validation: int = 4) -> None:
        self.val = None if val is None else Path(home(val))
        self.validation = validation

    def preflight(self) -> None:
        """Check `validation` and the val folder; the scenes themselves need no check.

        Raises:
            UserError: `validation` is out of range, or the val folder is missing or has no readable photo.
        """
        check_count(self.validation)
        left_out = LeftOut()
        self._photos(left_out)
        if self.val is not None:
            log_left_out(self.val, left_out)

    def sample(self, n: int, seed: int, crop: int) -> tuple[NDArray[np.uint8], list[str]]:
        """The n-th training picture, uint8 (crop, crop, 3), and an empty list, since no file is skipped."""
        return render(seed, n, crop), []

    def held_out(self, size: int) -> list[NDArray[np.uint8]]:
        """The photos of `val`, or fixed scenes that no training seed gives; each uint8 (size, size, 3)."""
        if self.val is not None:
            return [centre(path, size) for path in self._photos(LeftOut())]
        streams = [
            # With a spawn key, these streams differ from every default_rng([seed, index]).
            np.random.SeedSequence([_HELD_OUT_SEED, k], spawn_key=(1,))
            for k in range(self.validation)
        ]
        return [compose(np.random.default_rng(stream), size) for stream in streams]

    def describe(self) -> str:
        """One line for the log."""
        return "scenes: made up, endless"

    def _photos(self, left_out: LeftOut) -> list[str]:
        return [] if self.val is None else validation_photos(self.val, self.validation, _MIN_SIZE, left_out)
