"""A training run, from its config to the style file."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.nn.functional as F

from onestroke import ranks
from onestroke.data.datamodule import PhotoBatches
from onestroke.errors import UserError
from onestroke.networks.assignment import Draw
from onestroke.networks.conditioning import conditioning_of
from onestroke.training import resume_file
from onestroke.training.build import Parts, build, built_from, network_document
from onestroke.training.callbacks.held_out import HeldOut
from onestroke.training.callbacks.last_checkpoint import LastCheckpoint
from onestroke.training.callbacks.meter import Meter
from onestroke.training.callbacks.plateau import Plateau
from onestroke.training.callbacks.stop_on_signal import StopOnSignal
from onestroke.training.callbacks.warm_up import WarmUp
from onestroke.training.fitting import fit
from onestroke.training.loggers import RunLoggers
from onestroke.training.logs import write_config
from onestroke.training.module import StyleTransfer
from onestroke.training.output import resume_command
from onestroke.training.pasts import Flow, Pasts, pasts_of
from onestroke.training.schedule import Schedule
from onestroke.training.style_export import StyleExport
from onestroke.training.summary import announce, report
from onestroke.training.warm_start import adapt_norms_only, choose, moving_share, warm_start


def train(
    config: Mapping[str, Any], run_dir: Path, clock: Callable[[], float] = time.monotonic, flow: Flow | None = None
) -> Path:
    """Train one style, or several in one network, and return the style file.

    Args:
        config: the composed and resolved config of configs/train.yaml, as plain containers.
        run_dir: the run's folder: resolved config, log, TensorBoard events, resume file.
        clock: a monotonic clock in seconds, for everything in the run that depends on time.
        flow: estimates the motion in clips, for a recurrent network that is trained on them.

    Raises:
        UserError: for everything that is wrong with the config, at once and before the first step.
    """
    parts = build(config, run_dir)
    settings, first = parts.settings, ranks.is_first()
    pasts = pasts_of(parts.network, parts.source, settings, len(parts.styles), flow)
    chains, workers = None if pasts is None else pasts.chains, parts.machine.workers
    data = PhotoBatches(parts.source, settings.batch_size, max(settings.crops), settings.seed, workers, chains)
    with built_from(parts.file):
        module = _module(config, parts, data, pasts, clock)
    loggers = RunLoggers([] if parts.machine.tries else parts.loggers)
    held_out = _held_out(parts, loggers)
    export = StyleExport(config, parts, held_out, run_dir, module.owner)
    meter, stop = Meter(settings.batch_size, parts.machine.log_every), StopOnSignal()
    files = LastCheckpoint(run_dir / resume_file.NAME, export, settings.save_every)
    trainer = parts.machine.trainer(_callbacks(parts, held_out, stop, meter, files), run_dir, parts.file, parts.loggers)
    if first:
        write_config(run_dir / "config.json", json.dumps(config, indent=2))
        loggers.config(config)
        announce(parts, run_dir, export.path)
    try:
        fit(trainer, module, data, parts)
        if held_out.step != module.step and not parts.machine.skips_validation:
            trainer.validate(module, datamodule=data, verbose=False)  # a finished run was resumed
    finally:
        loggers.close()
    if first:
        export.finish(module, files.kept)
        again = resume_command(run_dir, settings.out) if stop.stopped else None
        report(export.path, module, held_out.metrics, meter.skipped, again)
    return export.path


def _held_out(parts: Parts, loggers: RunLoggers) -> HeldOut:
    """The callback for held-out photos; only the first process logs and measures."""
    first = ranks.is_first()
    measures = parts.measures if first and parts.settings.measure else None
    return HeldOut(loggers if first else None, measures, steers=parts.machine.steers_validation)


def _callbacks(
    parts: Parts, held_out: HeldOut, stop: StopOnSignal, meter: Meter, files: LastCheckpoint
) -> list[pl.Callback]:
    """The callbacks in order: those that may end the run come before those that act on its end."""
    settings, machine = parts.settings, parts.machine
    one_pace = settings.minutes is None and settings.resume is None and len(settings.crops) == 1
    tells = one_pace and machine.accelerator == "cpu"
    warm_up = WarmUp(settings.batch_size, max(settings.crops), machine.dtype, machine.compiles, tells)
    plateau = [] if settings.plateau is None else [Plateau(held_out, settings.plateau)]
    return [warm_up, *plateau, *parts.callbacks, stop, held_out, meter, files]


def _module(
    config: Mapping[str, Any], parts: Parts, data: PhotoBatches, pasts: Pasts | None, clock: Callable[[], float]
) -> StyleTransfer:
    """The Lightning module with its initial weights, checked against the resume file if there is one."""
    settings, network, validation = parts.settings, parts.network, parts.validation()
    init = choose(settings.init, network_document(config, len(parts.styles)), parts.style_settings.name)
    if init is not None and settings.resume is None:
        warm_start(network, init, validation, [F.avg_pool2d(photo, 2) for photo in data.held_out[:2]])
    if settings.adapt != "all":
        if init is None:
            raise UserError(f"adapt={settings.adapt} needs a style file to adapt, with the same network: init=...")
        adapt_norms_only(network, settings.adapt)
    draw = Draw(
        conditioning_of(network), len(parts.styles), len(parts.at_sizes[0]), parts.style_settings.strength,
        settings.seed, moving_share(settings, network, init),
    )  # fmt: skip
    schedule = Schedule(settings.steps, settings.minutes, clock)
    module = StyleTransfer(
        network, parts.objective(), validation, settings.recipe, schedule, draw, parts.teacher(), pasts
    )
    module.config_json = json.dumps(config)
    module.owner = (parts.file and parts.file.owner) or secrets.token_hex(16)
    if parts.file is not None:
        resume_file.check(parts.file, module, module.configure_optimizers())
    return module
