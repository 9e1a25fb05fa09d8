"""The command line of reference.py."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_args

from onestroke.arguments import Values, keyed
from onestroke.errors import UserError
from onestroke.optimization.descent import Optimizer, Start

USAGE = """\
usage: python -m onestroke.optimization.reference style=NAME input=PHOTO [options]

  style=NAME       a style that ships, such as starry_night
  image=PAINTING   your own painting, in place of style=
  input=PHOTO      the photo; its name alone will do
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
    """Read `key=value` arguments; any file name may follow the first `=`, and the photo may come without a key.

    Raises:
        UserError: for unknown, missing, repeated or empty keys and values of the wrong type.
    """
    values = Values(keyed(arguments, [field.name for field in fields(Options)], several=("input",), bare="input"))
    photos = values.values.get("input", [])
    if len(photos) > 1:
        raise UserError(f"input is given twice ({photos[0]} and {photos[1]}); direct optimisation paints one photo")
    photo, style, image = values.needed("input", "photo.jpg"), values.path("style"), values.path("image")
    if not photo:
        raise UserError("input has no value: write input=...")
    if (style is None) == (image is None):
        raise UserError("one of style and image is needed: style=starry_night, or image=my_painting.jpg")
    whole = {key: values.whole(key, *bounds) for key, bounds in _WHOLE.items() if key in values.values}
    strength = values.share("strength")
    return Options(
        input=photo,
        style=style,
        image=image,
        output=values.path("output"),
        strength=0.5 if strength is None else strength,
        optimizer=values.choice("optimizer", get_args(Optimizer)),
        start=values.choice("start", get_args(Start)),
        device=values.text("device", "auto"),
        overwrite=values.flag("overwrite"),
        **whole,
    )
