"""Configs that are parsed once: Hydra reads two dozen files, slowly, for each command line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from io import StringIO
from pathlib import Path
from typing import IO, Any


def parsed_once() -> Callable[[str | Path | IO[Any]], Any]:
    """In place of OmegaConf.load: the same, but each text is parsed once."""
    from omegaconf import OmegaConf

    parse, found = OmegaConf.load, cache(lambda text: parse(StringIO(text)))

    def load(file: str | Path | IO[Any]) -> Any:
        if isinstance(file, str | Path):
            return parse(file)  # with its messages about files
        content = file.read()
        return copy.deepcopy(found(content.decode() if isinstance(content, bytes) else content))

    return load
