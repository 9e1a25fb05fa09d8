"""The command line of reference.py."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, fields
from typing import Any

from onestroke.errors import UserError, near
from onestroke.evaluation.descent import Optimizer, Start

USAGE = """\
usage: python -m onestroke.evaluation.reference style=NAME input=PHOTO [options]

  style=NAME       a style that ships, such as starry_night
  image=PAINTING   your own painting, in place of style=
  input=PHOTO      the photo
  output=FILE      the painting; default: beside the photo, as photo.reference.starry_night.png
  size=512         shorter side of what is painted, in pixels; a smaller photo keeps its size
  style_size=256   shorter side at which the style is seen: the size of its strokes
  strength=0.5     0 the photo, 1 the painting
  iterations=200   at each scale
  scales=2         small pictures first, each twice as large as the last; 1 paints at the full size only
  optimizer=lbfgs  lbfgs or adam
  start=content    content or noise
  seed=0           of the noise
  device=auto      auto, cpu, cuda or mps
  overwrite=true   replace a painting that is there already; the photo is never replaced
"""

_WHOLE = {
    "size": (16, 100_000),
    "style_size": (64, 4096),
    "iterations": (1, 1_000_000),
    "scales": (1, 8),
    "seed": (0, 999_999_999),
}
_CHOICES = {"optimizer": ("lbfgs", "adam"), "start": ("content", "noise"), "overwrite": ("true", "false")}
_PATHS = ("input", "output", "image")


@dataclass
class Options:
    """The command line."""

    input: str
    style: str | None = None
    image: str | None = None
    output: str | None = None
    size: int = 512
    style_size: int = 256
    strength: float = 0.5
    iterations: int = 200
    scales: int = 2
    optimizer: Optimizer = "lbfgs"
    start: Start = "content"
    seed: int = 0
    device: str = "auto"
    overwrite: bool = False


def parse(arguments: list[str]) -> Options:
    """Read `key=value` arguments; any file name may follow the first `=`.

    Raises:
        UserError: for unknown, missing, repeated or empty keys and values of the wrong type.
    """
    known = [field.name for field in fields(Options)]
    values: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in known:
            hint = f"write input={argument}" if os.path.lexists(argument) else near(key, known)
            raise UserError(f"there is no option '{key}': {hint}")
        if not equals or not value:
            raise UserError(f"{key} has no value: write {key}=...")
        if key in values:
            raise UserError(f"{key} is given twice")
        values[key] = _value(key, value)
    if "input" not in values:
        raise UserError("input is needed: input=photo.jpg")
    if ("style" in values) == ("image" in values):
        raise UserError("one of style and image is needed: style=starry_night, or image=my_painting.jpg")
    return Options(**values)


def _value(key: str, value: str) -> Any:
    if key in _PATHS:
        return os.path.expanduser(value)  # no shell expands the ~ behind a =
    if key in _WHOLE:
        least, most = _WHOLE[key]
        if not re.fullmatch("[0-9]{1,9}", value) or not least <= int(value) <= most:
            raise UserError(f"{key} must be a whole number from {least} to {most}, not '{value}'")
        return int(value)
    if key in _CHOICES:
        if value.lower() not in _CHOICES[key]:
            raise UserError(f"{key} must be {' or '.join(_CHOICES[key])}, not '{value}'")
        return value.lower() == "true" if key == "overwrite" else value.lower()
    if key == "strength":
        try:
            strength = float(value)
        except ValueError:
            strength = math.nan
        if not 0 <= strength <= 1:
            raise UserError(f"strength must be a number from 0 (the photo) to 1 (the painting), not '{value}'")
        return strength
    return value
