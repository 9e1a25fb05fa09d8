"""The summary lines of a run's log, before the first step and after the last."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from onestroke import documents
from onestroke.errors import printable
from onestroke.evaluation.measure import fired
from onestroke.training.build import Parts
from onestroke.training.module import StyleTransfer
from onestroke.training.times import duration

log = logging.getLogger(__name__)

_SKIPPED_SHOWN = 10  # files


def announce(parts: Parts, run_dir: Path, style_file: Path) -> None:
    """Log what is trained, for how long, and from which photos."""
    settings, machine = parts.settings, parts.machine
    budget = f"{settings.steps} steps" + (f" or {settings.minutes:g} minutes" if settings.minutes else "")
    sides = " px, then ".join(map(str, settings.crops))
    log.info("training %s on %s: %s of %d at %s px", parts.style_settings.name, machine.name, budget,
             settings.batch_size, sides)  # fmt: skip
    log.info("photos from %s; run folder %s", parts.source.describe(), run_dir)
    if parts.file is not None:
        log.info("the style file goes to %s", style_file)


def report(
    path: Path, module: StyleTransfer, metrics: Mapping[str, float], skipped: list[str], resume: str | None
) -> None:
    """Log the result.

    Args:
        path: the style file.
        module: what was trained.
        metrics: the held-out losses, and `measured/...`.
        skipped: files that could not be read, each with its reason.
        resume: the command that continues a run that was stopped; None if it was not.
    """
    taken = duration(module.schedule.elapsed)
    log.info("%s after %d steps in %s", "done" if resume is None else "stopped", module.step, taken)
    losses = {name: value for name, value in metrics.items() if "/" not in name}
    if losses:
        log.info("held-out loss: %s", "  ".join(f"{name} {value:.3f}" for name, value in losses.items()))
    broken = fired({name.removeprefix("measured/"): value for name, value in metrics.items()})
    if broken:
        log.info("looks broken: %s (docs/measuring.md says what that means)", ", ".join(broken))
    if module.guard.skipped_steps:
        log.info("%d steps were skipped, as their gradients were not finite", module.guard.skipped_steps)
    if skipped:
        log.info("%d files were skipped:", len(skipped))
        for line in skipped[:_SKIPPED_SHOWN]:
            log.info("  %s", printable(line, documents.TEXT))
        if len(skipped) > _SKIPPED_SHOWN:
            log.info("  and %d more", len(skipped) - _SKIPPED_SHOWN)
    if resume is not None:
        log.info("go on with   %s", resume)
    log.info("style file   %s (%.2f MB)", path, path.stat().st_size / 1e6)
    log.info("paint with   python infer.py ckpt=%s input=photo.jpg", path)
