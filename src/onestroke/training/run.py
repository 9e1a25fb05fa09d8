"""One run, from its config to a finished style: check everything, build, train, export."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import os
import platform
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from torch import nn

from onestroke import documents, ranks, style_file
from onestroke.data.datamodule import PhotoBatches, Source, to_image
from onestroke.devices import memory_kept
from onestroke.errors import UserError, gather, printable
from onestroke.evaluation.measure import Measure, fired, style_at
from onestroke.files import check_writable
from onestroke.losses.objective import Objective, balance
from onestroke.losses.term import Term, make_terms
from onestroke.networks.assignment import Draw
from onestroke.perception.style import Style, from_pictures
from onestroke.perception.style_card import CARD_LAYERS, CARD_SIZES, card_names, from_card
from onestroke.perception.vgg import VGG
from onestroke.training import resume_file
from onestroke.training.callbacks import Files, Meter, Previews, Rehearsal, StopOnSignal, duration
from onestroke.training.distillation import Teacher
from onestroke.training.loggers import RunLoggers, in_run_folder
from onestroke.training.logs import write_config
from onestroke.training.machine import Machine
from onestroke.training.module import StyleTransfer
from onestroke.training.plateau import Plateau
from onestroke.training.resume_file import Begun, ResumeFile, owned
from onestroke.training.settings import Settings, StyleSettings
from onestroke.training.warm_start import AUTO, adapt_norms_only, choose, controls_come_along, warm_start
from onestroke.version import __version__

log = logging.getLogger(__name__)

_DEFAULT_OUT = Path("checkpoints")


@dataclass
class Parts:
    """What a config is built into, checked.

    at_sizes: each style at its size, and for a network with a control of strokes at larger ones too. file: of a
    resumed run.
    """

    settings: Settings
    style_settings: StyleSettings
    at_sizes: list[list[Style]]
    network: nn.Module
    terms: dict[str, Term]
    source: Source
    machine: Machine
    loggers: list[Logger]
    callbacks: list[pl.Callback]
    file: ResumeFile | None

    @property
    def styles(self) -> list[Style]:
        """Each style once, at its own size."""
        return [sizes[0] for sizes in self.at_sizes]


def train(config: Mapping[str, Any], run_dir: Path, clock: Callable[[], float] = time.monotonic) -> Path:
    """Train one style.

    Args:
        config: the composed and resolved config of configs/train.yaml, as plain containers.
        run_dir: the run's folder: resolved config, log, TensorBoard events, resume file.
        clock: what `minutes` and all else that goes by time is measured with, in seconds.

    Returns:
        The style file.

    Raises:
        UserError: where anything that the user gave doesn't work, all of it at once, before the first step.
    """
    parts = build(config, run_dir)
    settings, file = parts.settings, parts.file
    dtype = torch.bfloat16 if parts.machine.precision.startswith("bf16") else torch.float32
    objective = _objective(parts, config["vgg"], dtype, Draw.targets(parts.at_sizes))
    # in evaluation mode, as only the first process judges
    judge = _objective(parts, config["vgg"], torch.float32, parts.styles).eval()
    photos = parts.source.held_out(max(256, settings.crop))
    init = choose(settings.init, _network_document(config, len(parts.styles)))
    if init is not None and settings.resume is None:
        small = [F.avg_pool2d(to_image(torch.from_numpy(photo)[None]), 2) for photo in photos[:2]]
        warm_start(parts.network, init, judge, small)
    if settings.adapt != "all":
        if init is None:
            raise UserError(f"adapt={settings.adapt} needs a style file to adapt, with the same network: init=...")
        adapt_norms_only(parts.network, settings.adapt)
    module = StyleTransfer(
        parts.network, objective, judge, settings.recipe, settings.steps, settings.minutes,
        parts.style_settings.strength, settings.seed, _teacher(parts, config["vgg"], dtype),
        parts.machine.compiles, _moving(parts.network, init, settings.adapt), clock,
    )  # fmt: skip
    module.config_json = json.dumps(config)
    module.owner = (file and file.owner) or secrets.token_hex(16)
    data = PhotoBatches(parts.source, settings.batch_size, settings.crop, settings.seed, parts.machine.workers)

    if file is not None:
        resume_file.check(file, module, module.configure_optimizers())

    first = ranks.is_first()
    loggers = RunLoggers([] if parts.machine.tries else parts.loggers)
    writer = loggers if first else None
    previews = Previews(writer, photos, (lambda: _measures(parts)) if first and settings.measure else None)
    meter = Meter(writer, settings.batch_size, parts.machine.log_every)
    export = _Export(config, parts, previews, run_dir.name, module.owner)
    files = Files(run_dir / resume_file.NAME, export, settings.save_every)
    begun, stop = Begun(), StopOnSignal()
    rehearsal = Rehearsal(
        settings.batch_size, settings.crop, dtype,
        tells=settings.minutes is None and settings.resume is None and parts.machine.accelerator == "cpu",
    )  # fmt: skip
    plateau = [] if settings.plateau is None else [Plateau(previews, settings.plateau)]
    # those of the user before `files`, which is to see when one of them ends the run
    callbacks = [begun, rehearsal, meter, *plateau, previews, *parts.callbacks, stop, files]
    trainer = parts.machine.trainer(callbacks, run_dir, file, parts.loggers)
    if writer is not None:
        text = json.dumps(config, indent=2)
        write_config(run_dir / "config.json", text)
        writer.config(config, "    " + text.replace("\n", "\n    "))
        _announce(parts, run_dir)
        if file is not None:
            log.info("the style file goes to %s", export.path)
    try:
        with memory_kept():
            trainer.fit(module, datamodule=data, ckpt_path=settings.resume, weights_only=True)
    except Exception as error:
        if isinstance(error, MisconfigurationException | ModuleNotFoundError):  # mostly said by a callback
            raise UserError(f"trainer: {printable(str(error).strip().splitlines()[0])}") from error
        if file is None or begun.begun or isinstance(error, UserError):
            raise
        raise UserError(f"resume: {file.path} does not fit this OneStroke: {printable(error)}") from error
    finally:
        loggers.close()

    if first:
        try:
            export(module)
        except UserError as error:
            raise UserError(f"{error}; {_way_on(export, module, files.kept, run_dir)}") from error
        _report(export.path, module, previews.metrics, meter.skipped, stop.stopped, run_dir, settings.out)
    return export.path


def _again(run_dir: Path, out: str | None) -> str:
    """The command that goes on with a run; where to write has to be said again, as a resume file is not asked."""
    return f"python train.py resume={run_dir}" + ("" if out is None else f" out={out}")


def build(config: Mapping[str, Any], run_dir: Path) -> Parts:
    """Build what a run is made of, gathering all problems before the first is raised.

    Raises:
        UserError: what of the config doesn't work, or of the resume file that it names.
    """
    if config["resume"] is None:
        return _build(config, run_dir, None)
    file = resume_file.read(Path(config["resume"]))
    try:
        return _build(config, run_dir, file)
    except UserError:
        raise
    except Exception as error:  # what constructors make of a config that anyone may have written
        raise UserError(f"resume: the config in {file.path} can't be built: {printable(error)}") from error


def _build(config: Mapping[str, Any], run_dir: Path, file: ResumeFile | None) -> Parts:
    found: dict[str, Any] = {"file": file}

    def settings() -> None:
        found["settings"] = chosen = Settings.of(config)
        if chosen.init not in (None, AUTO):
            style_file.read_document(Path(chosen.init))
        found["machine"] = Machine.of(config["trainer"], chosen.batch_size)
        found["machine"].trainer([], run_dir)  # what Lightning says of its arguments is told with all else
        if chosen.teacher is not None:
            style_file.read_document(Path(chosen.teacher))
        if found["machine"].tries and chosen.out is None:
            found["settings"] = chosen = replace(chosen, out=str(run_dir / "fast_dev_run.safetensors"), overwrite=True)
        if chosen.out is not None:
            _check_out(Path(chosen.out), chosen.overwrite, "" if file is None else file.owner)

    def place() -> None:
        out = config["out"]  # whatever else is wrong with the settings
        check_writable(Path(out) if isinstance(out, str) else _DEFAULT_OUT / "style.safetensors")

    def run_place() -> None:
        check_writable(run_dir / resume_file.NAME)

    def style() -> None:
        chosen = StyleSettings.of(config["style"], card_names())
        balance(chosen.strength)
        found["style_settings"] = chosen
        loss = config.get("loss") or {}  # the group is absent where no term is chosen
        built = {name: instantiate_part(f"loss.{name}", part, object) for name, part in loss.items()}
        found["terms"] = terms = make_terms(built, str(config["vgg"]["arch"]))
        layers = {layer for term in terms.values() for layer in term.layers}
        sizes = _sizes(config, chosen.size)
        if chosen.image:
            vgg = VGG(layers, **config["vgg"])
            own = [from_pictures(chosen.name, chosen.image, size, layers, vgg) for size in sizes]
            found["at_sizes"] = [own]
        else:
            arch = config["vgg"]["arch"]
            found["at_sizes"] = [[from_card(card, size, layers, arch) for size in sizes] for card in chosen.cards]

    def network() -> None:
        part = _network(config, len(found.get("at_sizes", [])))
        if file is not None and "at_sizes" in found:
            with torch.device("meta"):  # what a file asks for takes no memory before it is seen to be there
                resume_file.check_weights(file, "network", instantiate_part("network", part, nn.Module))
        if "settings" in found:
            pl.seed_everything(found["settings"].seed, verbose=False)  # the network's start; data has its own streams
        found["network"] = built = instantiate_part("network", part, nn.Module)
        if style_file.network_classes().get(type(built).__name__) is not type(built):
            raise UserError(
                f"the network {type(built).__name__} could not be rebuilt from its style files: add it to NETWORKS in "
                "src/onestroke/networks/listed.py"
            )

    def source() -> None:
        found["source"] = instantiate_part("data", config["data"], object)
        found["source"].preflight()
        if getattr(found["source"], "validation", None) == 0:
            raise UserError(
                "data.validation=0 holds no picture out, and a training is judged and its start is chosen by those: "
                "use 1 or more"
            )

    def added() -> None:
        found["loggers"] = _added(config, "logger", Logger, run_dir)
        found["callbacks"] = _added(config, "callbacks", pl.Callback, run_dir)

    gather([settings, place, run_place, style, network, source, added])
    return Parts(**found)


def _added(config: Mapping[str, Any], group: str, kind: type, run_dir: Path) -> list[Any]:
    """The loggers or callbacks of a config, built; the group is absent where none is chosen."""
    parts = config.get(group) or {}
    if not isinstance(parts, Mapping):
        raise UserError(f"{group} must be a list of what is in configs/{group}/, such as {group}=[...]")
    return [instantiate_part(f"{group}.{name}", in_run_folder(part, run_dir), kind) for name, part in parts.items()]


def _moving(network: nn.Module, init: Path | None, adapt: str) -> float:
    """The share of the photos that are painted with the controls set at random."""
    if adapt == "controls":
        return 1.0
    return 0.0 if init is not None and controls_come_along(network, init) else 0.5


def _controls(config: Mapping[str, Any]) -> list[str]:
    """The controls of the network; none of strokes where style cards have no sizes for it."""
    controls = config["network"].get("controls") or []
    style = config["style"]
    no_strokes = not style["image"] and style["size"] != CARD_SIZES[0]
    return [control for control in controls if not (control == "stroke" and no_strokes)]


def _sizes(config: Mapping[str, Any], size: int) -> list[int]:
    """The sizes that a style is measured at: one, or for a control of strokes those up to twice that."""
    if "stroke" not in _controls(config):
        return [size]
    return [size * other // CARD_SIZES[0] for other in CARD_SIZES]


def _network(config: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The network group; only a run of several styles asks that a network knows of them."""
    network = dict(config["network"])
    if network.get("controls"):
        network["controls"] = _controls(config)
    return {**network, "styles": count} if count > 1 else network


def _network_document(config: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The network as a style file names it."""
    network = _network(config, count)
    return {"name": str(network.pop("_target_")).rsplit(".", 1)[-1], "args": network}


def instantiate_part(name: str, part: Any, kind: type) -> Any:
    """Build one `_target_` of the config.

    Raises:
        UserError: what its constructor says, or that it takes no such option.
    """
    if not isinstance(part, Mapping) or "_target_" not in part:
        if kind is Logger or kind is pl.Callback:
            raise UserError(
                f"{name} names no _target_: choose one of configs/{name.split('.')[0]}/, or add a yaml there"
            )
        return part  # whoever asked for it says what is missing
    try:
        built = instantiate(dict(part), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        if isinstance(cause, ModuleNotFoundError):
            raise UserError(f"{name} needs a package that is not installed: {' '.join(str(cause).split())}") from error
        reason = str(cause or error).splitlines()[0]
        raise UserError(f"{name} can't be built: {reason}; see its options in configs/{name.split('.')[0]}/") from error
    if not isinstance(built, kind):
        raise UserError(f"{name} is a {type(built).__name__} and should be a {kind.__name__}")
    return built


class _Export:
    """Writes the style file of a run, under the name that is its own."""

    def __init__(self, config: Mapping[str, Any], parts: Parts, previews: Previews, run: str, owner: str) -> None:
        self.config, self.parts, self.previews, self.run, self.owner = config, parts, previews, run, owner
        out = parts.settings.out
        self.path = Path(out) if out else self._free(_DEFAULT_OUT / f"{parts.style_settings.name}.safetensors")

    def __call__(self, module: StyleTransfer) -> Path:
        if self.parts.settings.out is None:
            self.path = self._free(self.path)  # another run may have finished meanwhile
        return self.write(self.path, module)

    def write(self, path: Path, module: StyleTransfer) -> Path:
        """Write it under another name."""
        settings, style = self.parts.settings, self.parts.style_settings
        painter = style_file.Painter(
            network=_network_document(self.config, len(self.parts.styles)),
            style={
                "name": style.name,
                "size": style.size,
                "strength": style.strength,
                "styles": [{"name": part.name, **asdict(part.facts)} for part in self.parts.styles],
            },
            training={
                "run": self.run,
                "owner": owned(self.owner),
                "config": self.config,
                "seed": settings.seed,
                "steps": module.step,
                "images": module.step * settings.batch_size,
                "dataset": self.parts.source.describe(),
                "seconds": round(module.elapsed, 1),
                "device": self.parts.machine.name,
                "version": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            metrics=style_file.finite({**self.previews.metrics, "step": float(self.previews.step)}),
        )
        style_file.save(path, module.ema, painter)
        return path

    def _free(self, path: Path) -> Path:
        """`path` where it is free or ours, else the same with the run's name, and then with a number too."""
        stem = f"{self.parts.style_settings.name}-{self.run}"
        numbered = (f"{stem}_{number}" for number in itertools.count(2))
        places = (path.with_name(f"{name}.safetensors") for name in itertools.chain([path.stem, stem], numbered))
        return next(place for place in places if not os.path.lexists(place) or _is_ours(place, self.owner))


def _is_ours(path: Path, owner: str) -> bool:
    """Whether a style file is one of the run with this secret."""
    try:
        return bool(owner) and style_file.read_document(path).training.get("owner") == owned(owner)
    except UserError:
        return False


def _check_out(out: Path, overwrite: bool, owner: str) -> None:
    if out.suffix != ".safetensors":
        raise UserError(f"out={out}: a style file's name ends in .safetensors")
    # a link that leads nowhere is there, too
    if os.path.lexists(out) and not overwrite and not _is_ours(out, owner):
        raise UserError(f"out={out} is there already: choose another name, or add overwrite=true")


def _way_on(export: _Export, module: StyleTransfer, kept: int | None, run_dir: Path) -> str:
    """What can be done where the style file couldn't be written at the end; without a resume file it goes elsewhere.

    Args:
        export: of the style file.
        module: what was trained.
        kept: the step that the resume file stands at, as far as this process has written it.
        run_dir: the run's folder.
    """
    if kept == module.step:
        return f"the training itself is safe, and  {_again(run_dir, export.parts.settings.out)}  exports it"
    for folder in (run_dir, Path(tempfile.gettempdir())):
        with suppress(UserError):
            return f"the style file is {export.write(folder / f'{run_dir.name}-{export.path.name}', module)} instead"
    if (run_dir / resume_file.NAME).is_file():
        again = _again(run_dir, export.parts.settings.out)
        return f"mend that, and  {again}  goes on from the last step that was kept"
    return "the resume file could not be written either, so mend that and train anew"


def _objective(parts: Parts, vgg: Mapping[str, Any], dtype: torch.dtype, several: Sequence[Style]) -> Objective:
    layers = {layer for term in parts.terms.values() for layer in term.layers}
    return Objective(
        copy.deepcopy(parts.terms),
        VGG(layers, **vgg, dtype=dtype),
        several,
        parts.style_settings.strength,
    )


def _teacher(parts: Parts, vgg: Mapping[str, Any], dtype: torch.dtype) -> Teacher | None:
    path = parts.settings.teacher
    return None if path is None else Teacher(Path(path), parts.styles, VGG(Teacher.LAYERS, **vgg, dtype=dtype))


def _measures(parts: Parts) -> list[Measure]:
    """By the embedded VGG, whatever the run is trained with, so that numbers compare across runs."""
    vgg = VGG(CARD_LAYERS)
    chosen = parts.style_settings
    return [Measure(style_at(style.name, list(chosen.image), vgg), vgg, chosen.size) for style in parts.styles]


def _announce(parts: Parts, run_dir: Path) -> None:
    settings, machine = parts.settings, parts.machine
    budget = f"{settings.steps} steps" + (f" or {settings.minutes:g} minutes" if settings.minutes else "")
    log.info("training %s on %s: %s of %d at %d px", parts.style_settings.name, machine.name, budget,
             settings.batch_size, settings.crop)  # fmt: skip
    log.info("photos from %s; run folder %s", parts.source.describe(), run_dir)


def _report(
    path: Path,
    module: StyleTransfer,
    metrics: Mapping[str, float],
    skipped: list[str],
    stopped: bool,
    run_dir: Path,
    out: str | None,
) -> None:
    log.info("%s after %d steps in %s", "stopped" if stopped else "done", module.step, duration(module.elapsed))
    log.info("held-out loss: %s", "  ".join(f"{k} {v:.3f}" for k, v in metrics.items() if "/" not in k))
    broken = fired({name.removeprefix("measured/"): value for name, value in metrics.items()})
    if broken:
        log.info(
            "looks broken: %s (see onestroke/evaluation/artifacts/summary.py for what that means)", ", ".join(broken)
        )
    if module.skipped_steps:
        log.info("%d steps were skipped, as their gradients were not finite", module.skipped_steps)
    if skipped:
        log.info("%d files were skipped:", len(skipped))
        for line in skipped[:10]:
            log.info("  %s", printable(line, documents.TEXT))
        if len(skipped) > 10:
            log.info("  and %d more", len(skipped) - 10)
    if stopped:
        log.info("go on with   %s", _again(run_dir, out))
    log.info("style file   %s (%.2f MB)", path, path.stat().st_size / 1e6)
    log.info("paint with   python infer.py ckpt=%s input=photo.jpg", path)
