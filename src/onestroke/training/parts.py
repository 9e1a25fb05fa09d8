"""Instantiates parts of the config; errors are one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pytorch_lightning.loggers import Logger

from onestroke.errors import UserError
from onestroke.training.loggers import in_run_folder


def instantiate_part(name: str, part: Any, kind: type) -> Any:
    """Instantiate a part of the config.

    Args:
        name: its place in the config.
        part: a mapping with a `_target_`, as Hydra takes it; anything else is returned as it is.
        kind: the class that it must be an instance of.

    Raises:
        UserError: with the error of its constructor, for unknown options, and for another kind.
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


def instantiate_group(config: Mapping[str, Any], group: str, kind: type, run_dir: Path) -> list[Any]:
    """The loggers or callbacks of a config, built; the group is absent where none is chosen.

    Raises:
        UserError: as `instantiate_part`, and where the group is no mapping.
    """
    parts = config.get(group) or {}
    if not isinstance(parts, Mapping):
        raise UserError(f"{group} must be a list of what is in configs/{group}/, such as {group}=[...]")
    return [instantiate_part(f"{group}.{name}", in_run_folder(part, run_dir), kind) for name, part in parts.items()]
