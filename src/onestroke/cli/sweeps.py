"""Sweeps, Hydra's runs of many trials: where a trial writes, by what it is judged, and what goes wrong between them."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode

from onestroke.errors import UserError

PLUGINS = {
    "hydra/launcher": {"joblib": "sweep", "submitit_local": "sweep", "submitit_slurm": "sweep", "ray": "sweep-ray"},
    "hydra/sweeper": {"optuna": "sweep"},
    "hydra/sweeper/sampler": dict.fromkeys(("grid", "random", "tpe", "cmaes", "motpe", "nsgaii"), "sweep"),
}
"""Config group of Hydra -> its choices that are packages of their own -> the extra that installs them."""

# what these raise outside of a trial is a mistake in their options
_PACKAGES = ("hydra._internal.", "hydra_plugins.", "optuna.", "submitit.")


def is_sweep() -> bool:
    """Whether the run that Hydra has started is a trial of a sweep."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def is_plain() -> bool:
    """Whether a sweep is Hydra's own: one trial after the other in this process, and nobody asks for its value."""
    choices = HydraConfig.get().runtime.choices
    return bool(choices["hydra/launcher"] == choices["hydra/sweeper"] == "basic")


def place(style: object, run_dir: Path) -> str:
    """A trial's style file: in its own run folder, as trials may end at the same moment.

    Args:
        style: the style's name; what can't be one is told by whoever reads the settings.
        run_dir: the trial's folder.
    """
    with suppress(ValueError):  # short, as it stands in the style file, too
        run_dir = run_dir.relative_to(Path.cwd())
    return (run_dir / (re.sub(r"[^\w.-]+", "_", str(style)) + ".safetensors")).as_posix()


def objective(path: Path) -> float:
    """The held-out total that a trial's style file says.

    Raises:
        UserError: it says none, as that of a run whose losses were not finite.
    """
    from onestroke.style_file import read_document  # imports torch

    total = read_document(path).metrics.get("total")
    if total is None:
        raise UserError(f"{path} has no held-out total, by which the trials of a sweep are judged")
    return total


def check_out(arguments: Sequence[str]) -> None:
    """Raise a UserError where several trials would write one style file.

    Args:
        arguments: the command line.
    """
    with suppress(HydraException):  # which Hydra tells itself
        overrides = OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")])
        values = {override.key_or_group: override for override in overrides}
        search = values.get("hparams_search")
        searches = search is not None and search.value() is not None
        several = searches or any(override.is_sweep_override() for override in overrides)
        asked = searches or {"-m", "--multirun"} & set(arguments) or "hydra.mode=MULTIRUN" in arguments
        out = values.get("out")
        if several and asked and out is not None and not out.is_sweep_override() and "${" not in str(out.value()):
            raise UserError(
                f"out={out.value()} would be written by every trial of the sweep: leave it out, and each has a style "
                "file in its run folder, or name each, such as 'out=checkpoints/${style.name}.safetensors'"
            )


def missing(config: str) -> str | None:
    """What to install for a config that Hydra did not find, such as hydra/launcher/joblib; None for any other."""
    group, _, name = config.rpartition("/")
    extra = PLUGINS.get(group, {}).get(name)
    return extra and f"{group}={name} needs a package that is not installed: pip install 'onestroke[{extra}]'"


def explained(error: Exception) -> str | None:
    """One sentence for what Hydra and its plugins say of their own options; None for what else goes wrong.

    Args:
        error: was raised between the trials.
    """
    raised = [f"{frame.f_globals.get('__name__')}." for frame, _ in traceback.walk_tb(error.__traceback__)]
    return " ".join(str(error).split()) if raised and raised[-1].startswith(_PACKAGES) else None


def with_place(config: Mapping[str, Any], run_dir: Path) -> dict[str, Any]:
    """A trial's config, with its own style file where `out` names none."""
    return {**config, "out": place(config["style"]["name"], run_dir) if config["out"] is None else config["out"]}
