"""The folder in which a large picture is painted, so that a run that was stopped can go on at its last row of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from onestroke.files import atomic
from onestroke.imaging.raw_rows import RawRows
from onestroke.inference.norm_statistics import Statistics
from onestroke.unfinished import UnfinishedFolder, damaged

_STATISTICS = "statistics.safetensors"


class Workplace(UnfinishedFolder):
    """A hidden folder beside a painting: the decoded photo, the norm statistics, and the rows that are painted.

    Args:
        target: the painting.
        run: what decides how it is painted; a folder of another run is not gone on with.
        resume: go on with what is there; else it is removed.

    Raises:
        UserError: as `UnfinishedFolder`.
    """

    def __init__(self, target: Path, run: dict[str, Any], resume: bool) -> None:
        super().__init__(target, "painting.json", run, resume)
        self.state: dict[str, Any] = {"size": None, "alpha": False, "side": 0, "rows": 0, "enlarged": 0}
        if self.document is not None:
            if self.document.keys() != {"run", *self.state}:
                raise self.of_another("version")
            self.state = {name: self.document[name] for name in self.state}

    def keep(self, **changes: Any) -> None:
        """Change the state, on disk too."""
        self.state |= changes
        self.write(**self.state)

    @property
    def rows(self) -> int:
        """The number of rows of pixels that are painted."""
        return int(self.state["rows"])

    def pixels(self, name: str, channels: int, size: tuple[int, int] | None = None) -> RawRows:
        """The pixels that have a name here, of a height and width, by default the photo's."""
        height, width = size or self.state["size"]
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
            raise damaged(file) from error

    def keep_statistics(self, statistics: Sequence[Statistics]) -> None:
        """Store the statistics of the norms that are measured."""
        tensors: dict[str, torch.Tensor] = {}
        for i, (mean, variance) in enumerate(statistics):
            tensors |= {f"{i}.mean": mean.contiguous(), f"{i}.variance": variance.contiguous()}
        with atomic(self.folder / _STATISTICS) as temporary:
            save_file(tensors, temporary)
