"""Which classes a resume file may name.

A resume file may come from anyone, and the classes that its config names are instantiated. So it may name the classes
that are listed here. A class of the user's own is accepted only if the command line or a file in configs/ names it too,
in the same place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from onestroke.data.photos import Photos
from onestroke.data.scenes import Scenes
from onestroke.data.shards import Shards
from onestroke.data.videos import Videos
from onestroke.errors import UserError, printable
from onestroke.losses.activation_peaks import ActivationPeaks
from onestroke.losses.adversarial import Adversarial
from onestroke.losses.checkerboard import Checkerboard
from onestroke.losses.content import Content
from onestroke.losses.contrast import Contrast
from onestroke.losses.gram import Gram
from onestroke.losses.histogram import Histogram
from onestroke.losses.moments import Moments
from onestroke.losses.nnfm import NearestFeatures
from onestroke.losses.raw import RawContent, RawGram
from onestroke.losses.shift_consistency import ShiftConsistency
from onestroke.losses.temporal import Temporal
from onestroke.losses.tv import TotalVariation
from onestroke.losses.wasserstein import SlicedWasserstein
from onestroke.networks.listed import NETWORKS
from onestroke.training.machine import TRAINER


def _paths(*classes: type) -> frozenset[str]:
    return frozenset(f"{one.__module__}.{one.__qualname__}" for one in classes)


OWN = {
    "network": _paths(*NETWORKS.values()),
    "loss": _paths(
        ActivationPeaks, Adversarial, Checkerboard, Content, Contrast, Gram, Histogram, Moments, NearestFeatures,
        RawContent, RawGram, ShiftConsistency, SlicedWasserstein, Temporal, TotalVariation,
    ),
    "data": _paths(Photos, Scenes, Shards, Videos),
}  # fmt: skip
"""OneStroke's own classes, by the config group that may name them."""
LISTED = ("logger", "callbacks")
"""Groups of which a resume file only chooses the members; configs/ defines them."""
_TARGET = "_target_"


def check(stored: Mapping[str, Any], named: Mapping[str, Any], configs: Path) -> None:
    """Check every class that a stored config names, before anything is built from it.

    Args:
        stored: the config of a resume file.
        named: this command line's config, composed from `configs`.
        configs: the folder of the config groups.

    Raises:
        UserError: for a class that is neither OneStroke's own nor named by the user.
    """
    parts = dict(_parts(stored))
    again = dict(_parts(named))
    for key, value in stored.items():
        if key == "trainer" and isinstance(value, Mapping) and value.get(_TARGET) == TRAINER:
            value = {name: part for name, part in value.items() if name != _TARGET}  # which is ours in any case
        if key in LISTED:
            _check_listed(key, value, named.get(key), configs)
        elif key not in OWN and _special(value):
            raise UserError(f"resume: {printable(key)} has no place for {_special(value)}, and is not built")
    for place, part in parts.items():
        if part == again.get(place):
            continue  # all of it is the user's
        _check_part(place, part, again.get(place), configs)


def _parts(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The parts of a config that are instantiated, by their place: network, data, and each loss."""
    yield "network", config.get("network")
    yield "data", config.get("data")
    losses = config.get("loss") or {}
    if not isinstance(losses, Mapping):
        raise UserError("resume: loss is no group of losses")
    yield from ((f"loss.{name}", part) for name, part in losses.items())


def _check_listed(group: str, stored: Any, again: Any, configs: Path) -> None:
    """Check that loggers and callbacks, which may write anywhere, are exactly as a file in configs/ defines them."""
    for name, part in stored.items() if isinstance(stored, Mapping) else [(printable(stored), None)]:
        mine = again.get(name) if isinstance(again, Mapping) else None
        if part is None or (part != mine and part not in list(_members(configs / group, f"{group}.{name}"))):
            raise UserError(
                f"resume: {group}.{printable(name)} is not as configs/{group}/ says, and a resume file may come from "
                f"anyone: repeat {group}=... as the run was started, or choose others with {group}=[...]"
            )


def _check_part(place: str, part: Any, again: Any, configs: Path) -> None:
    group = place.split(".")[0]
    where = printable(place)
    target = part.get(_TARGET) if isinstance(part, Mapping) else None
    if not isinstance(target, str):
        raise UserError(f"resume: {where} names nothing that could be built")
    rest = {key: value for key, value in part.items() if key != _TARGET}
    if _special(rest):
        raise UserError(
            f"resume: {where} holds {_special(rest)}, which a resume file may not bring; if it is yours, repeat "
            f"{group}=... as the run was started"
        )
    same = isinstance(again, Mapping) and again.get(_TARGET) == target
    if target not in OWN[group] and not same and target not in set(_kept(configs / group, place)):
        raise UserError(
            f"resume: {where} is {printable(target)}, which is none of OneStroke's own, and a resume file may come "
            f"from anyone: if it is yours, repeat what the run was started with, {group}=<its name in configs/{group}/>"
        )


def _special(value: Any) -> str:
    """The first of what Hydra would act on instead of passing it on: keys such as _target_, and ${...}; or nothing."""
    waiting = [value]
    for one in waiting:  # grows meanwhile
        if isinstance(one, Mapping):
            found = [key for key in one if str(key).startswith("_") and str(key).endswith("_")]
            if found:
                return printable(found[0])
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str) and "${" in one:
            return printable(one)
    return ""


def _kept(folder: Path, place: str) -> Iterator[str]:
    """The targets that a group's files in configs/ name, in the same place."""
    for part in _members(folder, place):
        if isinstance(part, dict) and isinstance(part.get(_TARGET), str):
            yield part[_TARGET]


def _members(folder: Path, place: str) -> Iterator[Any]:
    """What a group's files in configs/ say in the same place."""
    for path in sorted(folder.glob("*.yaml")):
        try:
            config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        except (OmegaConfBaseException, OSError, ValueError):
            continue
        for name in place.split(".")[1:]:
            config = config.get(name) if isinstance(config, dict) else None
        if config is not None:
            yield config
