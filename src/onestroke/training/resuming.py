"""The config of a resumed run: that of its resume file, except for what may not be taken from a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onestroke import documents
from onestroke.errors import UserError, near, printable
from onestroke.training import targets
from onestroke.training.machine import ARGUMENTS
from onestroke.training.resume_file import NAME, read

log = logging.getLogger(__name__)

# options that may change when a run is resumed
RESUMABLE = ("steps", "minutes", "out", "overwrite", "trainer", "logger", "callbacks", "resume", "save_every")
_NOTHING = object()
_WRITES = ("out", "overwrite")  # never taken from a resume file, which may come from anyone


def resumed(config: Mapping[str, Any], overrides: list[str], configs: Path) -> tuple[dict[str, Any], Path]:
    """The config to resume a run with: the one it was started with, with the options that may change.

    Args:
        config: this command line's config, with `resume`, a run's folder or its resume file.
        overrides: what the command line changed.
        configs: the folder of the config groups.

    Raises:
        UserError: if there is nothing to resume, if the command line changes an option that is fixed, or if the file
            names a class that only the file names.
    """
    path = Path(str(config["resume"])).expanduser()
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"resume: there is no file {path}; name a run's folder or its {NAME}")
    for name in (NAME, "config.json", "train.log", "csv", "mlruns", "wandb"):
        if (path.parent / name).is_symlink():
            raise UserError(
                f"resume: {path.parent / name} is a link, and would be written to; put the file itself there"
            )
    stored = read(path).config
    changed = {override.lstrip("+~").split("=", 1)[0] for override in overrides}
    repeated = _checked_changes(changed, config, stored)
    # for these groups, the command line overrides the file
    stored = {key: value for key, value in stored.items() if key not in targets.LISTED or key not in repeated}
    targets.check(stored, config, configs)
    # an option that was added since has its default
    before = {key: _merged(key, config[key], stored[key]) for key in config if key in stored}
    before |= {key: stored[key] for key in ("loss", *targets.LISTED) if key in stored}
    before |= {key: config[key] for key in {*repeated, *_WRITES}}
    _without_folders(before, stored, config)
    return {**config, **before, "resume": str(path)}, path.parent


def _checked_changes(changed: set[str], config: Mapping[str, Any], stored: Mapping[str, Any]) -> set[str]:
    """The options of RESUMABLE, or their groups, that were changed; all others must be as they were."""
    roots = {key: key.split(".")[0] for key in sorted(changed)}
    foreign = [key for key, root in roots.items() if root not in (*RESUMABLE, *targets.OWN, "hydra")]
    if foreign:
        raise UserError(
            f"a resumed run keeps its settings, so leave out {', '.join(foreign)} (only {', '.join(RESUMABLE)} "
            "may change); to start from a style's weights under new settings, use init="
        )
    for key, group in roots.items():
        # a group that is repeated counts with the options that are changed in it
        part = group if group in changed else key
        if group not in targets.OWN or (was := _at(stored, part)) == _at(config, part):
            continue
        if was is _NOTHING and key != group:
            raise UserError(
                f"there is no option '{key}' in the run that is resumed: {near(key, _names(stored, group))}"
            )
        raise UserError(
            f"a resumed run keeps its settings, so leave {key} out, or repeat all of {group} as the run "
            f"was started with it: {printable(json.dumps(stored.get(group)), documents.TEXT)}"
        )
    return {root for root in roots.values() if root in RESUMABLE}


def _at(config: Mapping[str, Any], key: str) -> Any:
    """The value of an option by its dotted name; _NOTHING if there is none."""
    found: Any = config
    for name in key.split("."):
        found = found.get(name, _NOTHING) if isinstance(found, Mapping) else _NOTHING
    return found


def _names(config: Mapping[str, Any], group: str) -> list[str]:
    """The dotted names of the options of a group."""
    part, names = config.get(group), []
    for name, value in part.items() if isinstance(part, Mapping) else ():
        inner = _names({f"{group}.{name}": value}, f"{group}.{name}") if isinstance(value, Mapping) else []
        names += inner or [printable(f"{group}.{name}")]
    return [name for name in names if not name.endswith("_target_")]


def _merged(key: str, default: Any, stored: Any) -> Any:
    """A stored value of the kind that its default has; in a group, options that are missing have their default."""
    if key in (*targets.OWN, *targets.LISTED) or not isinstance(default, Mapping):
        return stored
    if not isinstance(stored, Mapping):
        raise UserError(f"resume: {key} should be a group of options, not {printable(stored)}")
    known = (*default, *(ARGUMENTS if key == "trainer" else ()))
    return {**default, **{name: value for name, value in stored.items() if name in known}}


def _without_folders(config: dict[str, Any], stored: Mapping[str, Any], named: Mapping[str, Any]) -> None:
    """Say where the run writes now, if its file says something else: that counts where the command line says it."""
    if stored.get("out") is not None and named["out"] is None:
        log.warning(
            "the run was started with out=%s; where to write is not taken from a resume file, so add that again, or "
            "the style file goes to checkpoints/", printable(stored["out"]),
        )  # fmt: skip
    data = stored.get("data")
    again = named["data"].get("cache") if isinstance(named["data"], Mapping) else None
    if isinstance(data, Mapping) and data.get("cache", "auto") not in ("auto", None, again):
        log.warning(
            "the run was started with data.cache=%s; where to write is not taken from a resume file, so its photos are "
            "kept as with data.cache=auto", printable(data["cache"]),
        )  # fmt: skip
        config["data"] = {**data, "cache": "auto"}
