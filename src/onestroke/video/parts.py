"""The folder in which a clip is painted part by part, so that a run can go on at the last whole part."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from onestroke.files import atomic
from onestroke.unfinished import UnfinishedFolder, damaged

FRAMES = 120
"""Frames of a part: each begins with a key frame, and a run that was killed loses at most one."""


@dataclass
class Part:
    """A whole part: its file, the file of what is known after it, the time of its first frame in ticks of the clip, how
    long its last frame is seen, and the number of its frames."""

    file: str
    state: str
    begin: int
    last: int
    frames: int


class Parts(UnfinishedFolder):
    """The parts of a clip in a hidden folder beside the painted clip.

    Args:
        target: the painted clip.
        run: what decides how the clip is painted; a folder of another run is not gone on with.
        resume: go on with what is there; else it is removed.

    Raises:
        UserError: as `UnfinishedFolder`.
    """

    def __init__(self, target: Path, run: dict[str, Any], resume: bool) -> None:
        super().__init__(target, "parts.json", run, resume)
        self.parts: list[Part] = []
        if self.document is None:
            return
        try:
            parts = [Part(**part) for part in self.document["parts"]]
        except (TypeError, KeyError) as error:
            raise damaged(self.index) from error
        if all((self.folder / part.file).exists() and (self.folder / part.state).exists() for part in parts[-1:]):
            self.parts = parts

    @property
    def frames(self) -> int:
        """The number of frames in whole parts."""
        return sum(part.frames for part in self.parts)

    def state(self) -> dict[str, np.ndarray]:
        """What was known after the last whole part; empty before the first.

        Raises:
            UserError: it can't be read.
        """
        if not self.parts:
            return {}
        file = self.folder / self.parts[-1].state
        try:
            with np.load(file, allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise damaged(file) from error

    def path(self, suffix: str) -> Path:
        """The path of the part that is being written."""
        return self.folder / f"{len(self.parts):06d}{suffix}"

    def add(self, file: Path, begin: int, last: int, frames: int, state: dict[str, np.ndarray]) -> None:
        """Record a whole part, and what is known after it.

        The state of the part before is removed once the index no longer names it: whenever a run is killed, the index
        and the files that it names belong together.
        """
        after = self.folder / f"{len(self.parts):06d}.npz"
        with atomic(after) as temporary, open(temporary, "wb") as opened:
            np.savez(opened, **state)  # type: ignore[arg-type]
        self.parts.append(Part(file.name, after.name, begin, last, frames))
        self.write(parts=[asdict(part) for part in self.parts])
        for part in self.parts[-2:-1]:
            (self.folder / part.state).unlink(missing_ok=True)
