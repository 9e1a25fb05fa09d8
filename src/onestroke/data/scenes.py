"""The built-in training set: made-up photos without end, so that no folder and no download are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onestroke.data.heldout import centre, check_count, validation_photos
from onestroke.data.listing import tell
from onestroke.files import home
from onestroke.imaging.finding import LeftOut
from onestroke.scenes.compositions import compose, render

_MIN_SIZE = 64
_HELD_OUT_SEED = 0x5CE7E


class Scenes:
    """Endless made-up photos as a training source.

    Args:
        val: Folder of held-out photos; None holds out scenes that are never trained on.
        validation: How many pictures to hold out.
    """

    def __init__(self, val: str | None = None, validation: int = 4) -> None:
        self.val = None if val is None else Path(home(val))
        self.validation = validation

    def preflight(self) -> None:
        """See that there are held-out pictures; of the scenes themselves none can be missing.

        Raises:
            UserError: If validation is no count, or the val folder is missing or has no readable photo.
        """
        check_count(self.validation)
        left_out = LeftOut()
        self._photos(left_out)
        if self.val is not None:
            tell(self.val, left_out)

    def sample(self, n: int, seed: int, crop: int) -> tuple[NDArray[np.uint8], list[str]]:
        """The n-th training picture, uint8 (crop, crop, 3), and the names of what was skipped: none."""
        return render(seed, n, crop), []

    def held_out(self, size: int) -> list[NDArray[np.uint8]]:
        """The photos of `val`, or fixed scenes that no seed of training draws, each uint8 (size, size, 3)."""
        if self.val is not None:
            return [centre(path, size) for path in self._photos(LeftOut())]
        streams = [
            # A spawn key sets these apart from every default_rng([seed, index]).
            np.random.SeedSequence([_HELD_OUT_SEED, k], spawn_key=(1,))
            for k in range(self.validation)
        ]
        return [compose(np.random.default_rng(stream), size) for stream in streams]

    def describe(self) -> str:
        """One line for the log."""
        return "scenes: made up, endless"

    def _photos(self, left_out: LeftOut) -> list[str]:
        return [] if self.val is None else validation_photos(self.val, self.validation, _MIN_SIZE, left_out)
