"""Builds the parts of a run from its config; all mistakes are reported at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch import nn

from onestroke import style_file
from onestroke.data.datamodule import Source
from onestroke.errors import UserError, gather, printable
from onestroke.evaluation.measure import Measure, style_at
from onestroke.files import check_writable
from onestroke.losses.objective import Objective, balance
from onestroke.losses.term import Term, layers_of, make_terms, sampled_layers
from onestroke.networks.assignment import Draw
from onestroke.perception.style import Style
from onestroke.perception.style_card import CARD_LAYERS, CARD_SIZES, card_names, from_card
from onestroke.perception.style_from_pictures import from_pictures
from onestroke.perception.vgg import VGG
from onestroke.training import resume_file
from onestroke.training.distillation import Teacher
from onestroke.training.machine import Machine
from onestroke.training.output import DEFAULT_FOLDER, check_out
from onestroke.training.parts import instantiate_group, instantiate_part
from onestroke.training.resume_file import ResumeFile
from onestroke.training.settings import Settings, StyleSettings
from onestroke.training.warm_start import AUTO


@dataclass
class Parts:
    """The parts of a run, checked.

    vgg: the config's group. at_sizes: each style at its size, and for a network with a control of strokes at larger
    ones too. file: of a resumed run.
    """

    settings: Settings
    style_settings: StyleSettings
    vgg: Mapping[str, Any]
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

    def objective(self) -> Objective:
        """The objective for training pictures, in the training's precision."""
        return self.objective_of(self.machine.dtype, Draw.targets(self.at_sizes))

    def validation(self) -> Objective:
        """The same in fp32, for held-out photos; it does not communicate between processes."""
        return self.objective_of(torch.float32, self.styles).eval()

    def teacher(self) -> Teacher | None:
        """The network to distil from, if there is one."""
        if self.settings.teacher is None:
            return None
        vgg = VGG(Teacher.LAYERS, **self.vgg, dtype=self.machine.dtype)
        return Teacher(Path(self.settings.teacher), self.styles, vgg)

    def measures(self) -> list[Measure]:
        """The metrics of evaluate.py for each style, always with the VGG16 that ships, so that runs compare."""
        vgg = VGG(CARD_LAYERS)
        own = self.style_settings
        return [Measure(style_at(style.name, list(own.image), vgg), vgg, own.size) for style in self.styles]

    def objective_of(self, dtype: torch.dtype, several: Sequence[Style]) -> Objective:
        """The run's terms, with features in a precision, for these styles."""
        vgg = VGG(layers_of(self.terms.values()), **self.vgg, dtype=dtype)
        return Objective(copy.deepcopy(self.terms), vgg, several, self.style_settings.strength)


def build(config: Mapping[str, Any], run_dir: Path) -> Parts:
    """Build the parts of a run, and report all problems in one error.

    Raises:
        UserError: for everything that is wrong with the config, or with the resume file that it names.
    """
    if config["resume"] is None:
        return _Builder(config, run_dir, None).build()
    file = resume_file.read(Path(config["resume"]))
    with built_from(file):
        return _Builder(config, run_dir, file).build()


@contextmanager
def built_from(file: ResumeFile | None) -> Iterator[None]:
    """Report whatever constructors raise as one sentence, if their config comes from a resume file.

    Raises:
        UserError: for any exception, as anyone may have written that config.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if file is None:
            raise
        raise UserError(f"resume: the config in {file.path} can't be built: {printable(error)}") from error


class _Builder:
    """Builds the parts one by one; each uses those before it, as far as they could be built."""

    def __init__(self, config: Mapping[str, Any], run_dir: Path, file: ResumeFile | None) -> None:
        self.config, self.run_dir, self.file = config, run_dir, file
        self.found: dict[str, Any] = {"file": file, "vgg": config["vgg"]}

    def build(self) -> Parts:
        gather([self.settings, self.place, self.run_place, self.style, self.network, self.source, self.added])
        return Parts(**self.found)

    def settings(self) -> None:
        self.found["settings"] = chosen = Settings.of(self.config)
        if chosen.init not in (None, AUTO):
            style_file.read_document(Path(chosen.init))
        machine = self.found["machine"] = Machine.of(self.config["trainer"], chosen.batch_size)
        machine.trainer([], self.run_dir)  # so that wrong arguments are reported with everything else
        if chosen.teacher is not None:
            style_file.read_document(Path(chosen.teacher))
        if machine.tries and chosen.out is None:
            out = str(self.run_dir / "fast_dev_run.safetensors")
            self.found["settings"] = chosen = replace(chosen, out=out, overwrite=True)
        if chosen.out is not None:
            check_out(Path(chosen.out), chosen.overwrite, "" if self.file is None else self.file.owner)

    def place(self) -> None:
        out = self.config["out"]  # checked even if other settings are wrong
        check_writable(Path(out) if isinstance(out, str) else DEFAULT_FOLDER / "style.safetensors")

    def run_place(self) -> None:
        check_writable(self.run_dir / resume_file.NAME)

    def style(self) -> None:
        config = self.config
        chosen = StyleSettings.of(config["style"], card_names())
        balance(chosen.strength)
        self.found["style_settings"] = chosen
        self.seed()
        loss = config.get("loss") or {}  # the group is absent where no term is chosen
        built = {name: instantiate_part(f"loss.{name}", part, object) for name, part in loss.items()}
        self.found["terms"] = terms = make_terms(built, str(config["vgg"]["arch"]))
        layers, sampled = layers_of(terms.values()), sampled_layers(terms, bool(chosen.image))
        sizes = _sizes(config, chosen.size)
        if chosen.image:
            vgg = VGG(layers, **config["vgg"])
            own = [from_pictures(chosen.name, chosen.image, size, layers, vgg, sampled) for size in sizes]
            self.found["at_sizes"] = [own]
        else:
            arch = config["vgg"]["arch"]
            self.found["at_sizes"] = [[from_card(card, size, layers, arch) for size in sizes] for card in chosen.cards]

    def seed(self) -> None:
        """Seed torch, so that a part does not depend on those built before it; data has generators of its own."""
        if "settings" in self.found:
            pl.seed_everything(self.found["settings"].seed, verbose=False)

    def network(self) -> None:
        part = _network(self.config, len(self.found.get("at_sizes", [])))
        if self.file is not None and "at_sizes" in self.found:
            with torch.device("meta"):  # takes no memory before the file is known to have these weights
                resume_file.check_weights(self.file, "network", instantiate_part("network", part, nn.Module))
        self.seed()
        self.found["network"] = built = instantiate_part("network", part, nn.Module)
        if style_file.network_classes().get(type(built).__name__) is not type(built):
            raise UserError(
                f"the network {type(built).__name__} could not be rebuilt from its style files: add it to NETWORKS in "
                "src/onestroke/networks/listed.py"
            )

    def source(self) -> None:
        self.found["source"] = instantiate_part("data", self.config["data"], object)
        self.found["source"].preflight()
        if getattr(self.found["source"], "validation", None) == 0:
            raise UserError(
                "data.validation=0 holds no picture out, and a training is judged and its start is chosen by those: "
                "use 1 or more"
            )

    def added(self) -> None:
        self.found["loggers"] = instantiate_group(self.config, "logger", Logger, self.run_dir)
        self.found["callbacks"] = instantiate_group(self.config, "callbacks", pl.Callback, self.run_dir)


def network_document(config: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The network as a style file of so many styles names it."""
    network = _network(config, count)
    return {"name": str(network.pop("_target_")).rsplit(".", 1)[-1], "args": network}


def _network(config: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The network group; only a run of several styles asks that a network knows of them."""
    network = dict(config["network"])
    if network.get("controls"):
        network["controls"] = _controls(config)
    return {**network, "styles": count} if count > 1 else network


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
