"""Sweeps (Hydra's multirun): the output path and the objective of a trial, and errors between trials."""

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
"""Config group of Hydra -> choice that needs another package -> the extra that installs it."""

# an exception raised in these packages outside of a trial is a mistake in their options
_PACKAGES = ("hydra._internal.", "hydra_plugins.", "optuna.", "submitit.")


def is_sweep() -> bool:
    """Whether the current run is a trial of a sweep."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def is_plain() -> bool:
    """Whether launcher and sweeper are Hydra's basic ones, which run trials in this process and ignore their values."""
    choices = HydraConfig.get().runtime.choices
    return bool(choices["hydra/launcher"] == choices["hydra/sweeper"] == "basic")


def place(style: object, run_dir: Path) -> str:
    """The path of a trial's style file, in its own run folder, since several trials may run at once.

    Args:
        style: the style's name; not checked here.
        run_dir: the trial's folder.
    """
    with suppress(ValueError):  # a relative path if possible, as it is recorded in the style file
        run_dir = run_dir.relative_to(Path.cwd())
    return (run_dir / (re.sub(r"[^\w.-]+", "_", str(style)) + ".safetensors")).as_posix()


def objective(path: Path) -> float:
    """The objective of a trial: the held-out total loss in its style file.

    Raises:
        UserError: the style file has none, since the losses of the run were not finite.
    """
    from onestroke.style_file import read_document  # imports torch

    total = read_document(path).metrics.get("total")
    if total is None:
        raise UserError(f"{path} has no held-out total, by which the trials of a sweep are judged")
    return total


def check_out(arguments: Sequence[str]) -> None:
    """Raise a UserError if several trials would write the same style file.

    Args:
        arguments: of the command line.
    """
    with suppress(HydraException):  # reported by Hydra
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
    """The message for a config that needs another package, such as hydra/launcher/joblib; None for any other config."""
    group, _, name = config.rpartition("/")
    extra = PLUGINS.get(group, {}).get(name)
    return extra and f"{group}={name} needs a package that is not installed: pip install 'onestroke[{extra}]'"


def explained(error: Exception) -> str | None:
    """The message of an exception of Hydra or its plugins about their options; None for any other exception.

    Args:
        error: raised between the trials.
    """
    raised = [f"{frame.f_globals.get('__name__')}." for frame, _ in traceback.walk_tb(error.__traceback__)]
    return " ".join(str(error).split()) if raised and raised[-1].startswith(_PACKAGES) else None


def with_place(config: Mapping[str, Any], run_dir: Path) -> dict[str, Any]:
    """A trial's config with `out` set to its own style file, if it is not set."""
    return {**config, "out": place(config["style"]["name"], run_dir) if config["out"] is None else config["out"]}
