"""What makes small trainings quick: small held-out pictures, and configs that are parsed once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from io import StringIO
from pathlib import Path
from typing import IO, Any

HELD_OUT_SIDE = 64
"""Pixels, in place of 256, of which looking at them takes most of the time of a training of a few steps."""


def parsed_once() -> Callable[[str | Path | IO[Any]], Any]:
    """In place of OmegaConf.load: the same, but each text is parsed once; Hydra reads two dozen for a command line."""
    from omegaconf import OmegaConf

    parse, found = OmegaConf.load, cache(lambda text: parse(StringIO(text)))

    def load(file: str | Path | IO[Any]) -> Any:
        if isinstance(file, str | Path):
            return parse(file)  # with its messages about files
        content = file.read()
        return copy.deepcopy(found(content.decode() if isinstance(content, bytes) else content))

    return load
