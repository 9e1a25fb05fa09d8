"""The folder in which a large picture is painted, so that a run that was stopped can go on at its last row of tiles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from onestroke.errors import UserError
from onestroke.files import atomic, make_folder
from onestroke.imaging.raw_rows import RawRows
from onestroke.inference.norm_statistics import Statistics

_INDEX, _STATISTICS = "painting.json", "statistics.safetensors"


class Workplace:
    """A hidden folder beside a painting: the decoded photo, the norm statistics, and the rows that are painted.

    Args:
        target: the painting.
        run: what decides how it is painted; a folder of another run is not gone on with.
        resume: go on with what is there; else it is removed.

    Raises:
        UserError: resume, and the folder was begun with other settings, or the folder can't be made.
    """

    def __init__(self, target: Path, run: dict[str, Any], resume: bool) -> None:
        self.folder = target.with_name(f".{target.name}.parts")
        self.state: dict[str, Any] = {"run": run, "size": None, "alpha": False, "side": 0, "rows": 0}
        if resume:
            self._read(run)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        make_folder(self.folder)

    def _read(self, run: dict[str, Any]) -> None:
        index = self.folder / _INDEX
        if not index.exists():
            return
        try:
            state = json.loads(index.read_text())
            differs = sorted(name for name in run if state["run"].get(name) != run[name])
            sound = state.keys() == self.state.keys()
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{index} is damaged; leave out resume=true to start again") from error
        if differs or not sound:
            raise UserError(
                f"{self.folder} was begun with another {', '.join(differs) or 'version'}; give what was given then, or "
                "leave out resume=true to start again"
            )
        self.state = state

    def keep(self, **changes: Any) -> None:
        """Change the state, on disk too."""
        self.state |= changes
        with atomic(self.folder / _INDEX) as temporary:
            temporary.write_text(json.dumps(self.state))

    @property
    def rows(self) -> int:
        """The number of rows of pixels that are painted."""
        return int(self.state["rows"])

    def pixels(self, name: str, channels: int) -> RawRows:
        """The pixels of the photo's size that have a name here."""
        height, width = self.state["size"]
        return RawRows(self.folder / f"{name}.raw", height, width, channels)

    def statistics(self) -> list[Statistics]:
        """The statistics of the norms that are measured.

        Raises:
            UserError: they can't be read.
        """
        file = self.folder / _STATISTICS
        if not file.exists():
            return []
        try:
            stored = load_file(file)
            return [(stored[f"{i}.mean"], stored[f"{i}.variance"]) for i in range(len(stored) // 2)]
        except (OSError, KeyError, SafetensorError) as error:
            raise UserError(f"{file} is damaged; leave out resume=true to start again") from error

    def keep_statistics(self, statistics: Sequence[Statistics]) -> None:
        """Store the statistics of the norms that are measured."""
        tensors: dict[str, torch.Tensor] = {}
        for i, (mean, variance) in enumerate(statistics):
            tensors |= {f"{i}.mean": mean.contiguous(), f"{i}.variance": variance.contiguous()}
        with atomic(self.folder / _STATISTICS) as temporary:
            save_file(tensors, temporary)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
