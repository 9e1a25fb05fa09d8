"""The knobs of a run that everybody needs, checked before anything is built from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from onestroke.errors import UserError


@dataclass(frozen=True)
class Settings:
    """The top of configs/train.yaml, where each is explained."""

    steps: int
    minutes: float | None
    batch_size: int
    crop: int
    lr: float
    seed: int
    init: str | None
    out: str | None
    overwrite: bool
    resume: str | None
    save_every: int

    def __post_init__(self) -> None:
        """Raise one UserError that names every knob that is off."""
        problems = [
            *(_whole(name, getattr(self, name), least) for name, least in _LEAST.items()),
            *(_text(name, getattr(self, name)) for name in ("init", "out", "resume")),
            _positive("lr", self.lr),
            None if self.minutes is None else _positive("minutes", self.minutes),
            None if isinstance(self.overwrite, bool) else f"overwrite must be true or false, not {self.overwrite!r}",
        ]
        found = [problem for problem in problems if problem]
        if found:
            raise UserError("; ".join(found))

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """The knobs of a whole config."""
        return cls(**{f.name: config[f.name] for f in fields(cls)})


# Crops under 32 px leave relu4_3 a few pixels, of which no style can be told.
_LEAST = {"steps": 1, "batch_size": 1, "crop": 32, "seed": 0, "save_every": 1}


@dataclass(frozen=True)
class StyleSettings:
    """What the run is to imitate: the `style` group.

    image: pictures of the style, or empty for the card of that name. size: shorter side in pixels at which it is
    measured, so how large its strokes are. strength: 0 (the photo) to 1 (the painting).
    """

    name: str
    image: tuple[str, ...]
    size: int
    strength: float

    @classmethod
    def of(cls, style: Mapping[str, Any], cards: list[str]) -> StyleSettings:
        """Check the group.

        Raises:
            UserError: for a name that can't name a file, an own picture under a shipped style's name, or wrong types.
        """
        name, image = style["name"], style["image"]
        if not isinstance(name, str) or not name or any(c in name for c in '/\\:*?"<>|\n') or name.startswith("."):
            raise UserError(f"style.name must be usable as a file name, such as my_style, not {name!r}")
        pictures = [] if image is None else image if isinstance(image, list) else [image]
        if not all(isinstance(p, str) and p for p in pictures):
            raise UserError(f"style.image must be a picture's path or a list of them, not {image!r}")
        if pictures and name in cards:
            raise UserError(f"style.image needs a name of its own (not {name}): add style.name=my_style")
        problem = _whole("style.size", style["size"], 32)
        if problem:
            raise UserError(problem)
        return cls(name, tuple(pictures), style["size"], style["strength"])


def _whole(name: str, value: object, least: int) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        return f"{name} must be a whole number of at least {least}, not {value!r}"
    return None


def _positive(name: str, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return f"{name} must be a number above 0, not {value!r}"
    return None


def _text(name: str, value: object) -> str | None:
    return None if value is None or isinstance(value, str) else f"{name} must be a path, not {value!r}"
