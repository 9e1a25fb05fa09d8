"""Writes the style file of a run, with the facts of its training."""

from __future__ import annotations

import itertools
import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from onestroke import __version__, style_file
from onestroke.errors import UserError
from onestroke.style_document import Metadata
from onestroke.training import resume_file
from onestroke.training.build import Parts, network_document
from onestroke.training.callbacks.held_out import HeldOut
from onestroke.training.module import StyleTransfer
from onestroke.training.output import DEFAULT_FOLDER, is_ours, resume_command
from onestroke.training.resume_file import owned


class StyleExport:
    """Writes the style file of a run, never over that of another run.

    Args:
        config: of the run.
        parts: built from the config.
        held_out: has the held-out losses.
        run_dir: the run's folder.
        owner: the run's secret, by which it recognizes its own style file.
    """

    def __init__(self, config: Mapping[str, Any], parts: Parts, held_out: HeldOut, run_dir: Path, owner: str) -> None:
        self.config, self.parts, self.held_out, self.run_dir, self.owner = config, parts, held_out, run_dir, owner
        out = parts.settings.out
        self.path = Path(out) if out else self._free(DEFAULT_FOLDER / f"{parts.style_settings.name}.safetensors")

    def __call__(self, module: StyleTransfer) -> Path:
        """Write it.

        Raises:
            UserError: where it can't be written.
        """
        if self.parts.settings.out is None:
            self.path = self._free(self.path)  # another run may have finished meanwhile
        return self._write(self.path, module)

    def finish(self, module: StyleTransfer, kept: int | None) -> None:
        """Write it at the end of the run.

        Args:
            module: what was trained.
            kept: the step that the resume file stands at, as far as this process has written it.

        Raises:
            UserError: where it can't be written; says what can be done now.
        """
        try:
            self(module)
        except UserError as error:
            raise UserError(f"{error}; {self._way_on(module, kept)}") from error

    def _write(self, path: Path, module: StyleTransfer) -> Path:
        settings, style = self.parts.settings, self.parts.style_settings
        metadata = Metadata(
            network=network_document(self.config, len(self.parts.styles)),
            style={
                "name": style.name,
                "size": style.size,
                "strength": style.strength,
                "styles": [{"name": part.name, **asdict(part.facts)} for part in self.parts.styles],
            },
            training={
                "run": self.run_dir.name,
                "owner": owned(self.owner),
                "config": self.config,
                "seed": settings.seed,
                "steps": module.step,
                "images": module.step * settings.batch_size,
                "dataset": self.parts.source.describe(),
                "seconds": round(module.schedule.elapsed, 1),
                "device": self.parts.machine.name,
                "version": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            metrics=style_file.finite({**self.held_out.metrics, "step": float(self.held_out.step)}),
        )
        style_file.save(path, module.ema, metadata)
        return path

    def _free(self, path: Path) -> Path:
        """`path` where it is free or ours, else the same with the run's name, and then with a number too."""
        stem = f"{self.parts.style_settings.name}-{self.run_dir.name}"
        numbered = (f"{stem}_{number}" for number in itertools.count(2))
        places = (path.with_name(f"{name}.safetensors") for name in itertools.chain([path.stem, stem], numbered))
        return next(place for place in places if not os.path.lexists(place) or is_ours(place, self.owner))

    def _way_on(self, module: StyleTransfer, kept: int | None) -> str:
        """What the user can do now; without a resume file, the style file is written elsewhere."""
        again = resume_command(self.run_dir, self.parts.settings.out)
        if kept == module.step:
            return f"the training itself is safe, and  {again}  exports it"
        for folder in (self.run_dir, Path(tempfile.gettempdir())):
            with suppress(UserError):
                path = self._write(folder / f"{self.run_dir.name}-{self.path.name}", module)
                return f"the style file is {path} instead"
        if (self.run_dir / resume_file.NAME).is_file():
            return f"mend that, and  {again}  goes on from the last step that was kept"
        return "the resume file could not be written either, so mend that and train anew"
