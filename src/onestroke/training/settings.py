"""The top-level options of a run, checked before anything is built from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from onestroke.documents import is_name
from onestroke.errors import UserError, quoted
from onestroke.training.recipe import Recipe


@dataclass(frozen=True)
class Settings:
    """The top of configs/train.yaml, where each is explained."""

    steps: int
    minutes: float | None
    batch_size: int
    crop: int | list[int]
    lr: float
    optimizer: str
    schedule: str
    betas: list[float]
    ema: float | None
    clip: float | None
    plateau: float | None
    seed: int
    init: str | None
    adapt: str
    vary: str | float
    teacher: str | None
    out: str | None
    overwrite: bool
    resume: str | None
    save_every: int
    measure: bool

    def __post_init__(self) -> None:
        """Raise one UserError that names every wrong option."""
        problems = [
            *(_whole(name, getattr(self, name), least) for name, least in _LEAST.items()),
            *(_text(name, getattr(self, name)) for name in ("init", "out", "resume", "teacher")),
            *(_whole("crop", crop, _LEAST_CROP) for crop in self.crops),
            "crop must be a size or a list of sizes, not []" if not self.crops else None,
            _positive("lr", self.lr),
            _betas(self.betas),
            *(_positive(n, getattr(self, n)) for n in _NULLABLE if getattr(self, n) is not None),
            None
            if self.optimizer in ("muon", "adam")
            else f"optimizer must be muon or adam, not {quoted(self.optimizer)}",
            None
            if self.schedule in _SCHEDULES
            else f"schedule must be cosine or constant, not {quoted(self.schedule)}",
            None if self.minutes is None else _positive("minutes", self.minutes),
            None if self.adapt in _ADAPT else f"adapt must be all, norms or controls, not {quoted(self.adapt)}",
            _share(self.vary),
            *(_switch(name, getattr(self, name)) for name in ("overwrite", "measure")),
        ]
        found = [problem for problem in problems if problem]
        if found:
            raise UserError("; ".join(found))

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """The options of a whole config."""
        return cls(**{f.name: config[f.name] for f in fields(cls)})

    @property
    def crops(self) -> tuple[int, ...]:
        """Sides of the training pictures in pixels, each for an equal share of the run."""
        return tuple(self.crop) if isinstance(self.crop, list) else (self.crop,)

    @property
    def recipe(self) -> Recipe:
        """How the weights are moved."""
        first, second = self.betas
        schedule: Literal["cosine", "constant"] = "constant" if self.schedule == "constant" else "cosine"
        optimizer: Literal["muon", "adam"] = "adam" if self.optimizer == "adam" else "muon"
        return Recipe(self.lr, optimizer, schedule, (first, second), self.ema, self.clip, self.crops)


AUTO = "auto"
_SCHEDULES = ("cosine", "constant")
_NULLABLE = ("ema", "clip", "plateau")
_ADAPT = ("all", "norms", "controls")
_LEAST = {"steps": 1, "batch_size": 1, "seed": 0, "save_every": 1}
_LEAST_CROP = 32  # below, relu4_3 has a few pixels left, of which no style can be told


@dataclass(frozen=True)
class StyleSettings:
    """What the run is to imitate: the `style` group.

    image: pictures of the style, or empty for `cards`: the cards of one style, or of several in one network. size:
    shorter side in pixels at which it is measured, so how large its strokes are. strength: 0 (the photo) to 1 (the
    painting).
    """

    name: str
    image: tuple[str, ...]
    cards: tuple[str, ...]
    size: int
    strength: float

    @classmethod
    def of(cls, style: Mapping[str, Any], cards: list[str]) -> StyleSettings:
        """Check the group.

        Raises:
            UserError: for a name that can't name a file, an own picture under a shipped style's name, or wrong types.
        """
        name, image = style["name"], style["image"]
        if not is_name(name) or any(c in name for c in '/\\:*?"<>|') or name.startswith("."):
            raise UserError(f"style.name must be usable as a file name, such as my_style, not {quoted(name)}")
        pictures = [] if image is None else image if isinstance(image, list) else [image]
        if not all(isinstance(p, str) and p for p in pictures):
            raise UserError(f"style.image must be a picture's path or a list of them, not {quoted(image)}")
        if pictures and name in cards:
            raise UserError(f"style.image needs a name of its own (not {name}): add style.name=my_style")
        chosen = style["cards"]
        if not isinstance(chosen, Mapping) or not all(isinstance(card, str) for card in chosen):
            raise UserError(
                f"style.cards must be names of style cards, each with nothing behind it, not {quoted(chosen)}"
            )
        if not pictures and len(chosen) > 1 and name in cards:
            raise UserError(
                f"{len(chosen)} styles in one network need a name for it (not {name}): add style.name=my_gallery, or "
                "experiment=many"
            )
        problem = _whole("style.size", style["size"], 32)
        if problem:
            raise UserError(problem)
        return cls(name, tuple(pictures), () if pictures else tuple(chosen), style["size"], style["strength"])


def _whole(name: str, value: object, least: int) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        return f"{name} must be a whole number of at least {least}, not {quoted(value)}"
    return None


def _share(value: object) -> str | None:
    within = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    return None if within or value == AUTO else f"vary must be auto or a share from 0 to below 1, not {quoted(value)}"


def _positive(name: str, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return f"{name} must be a number above 0, not {quoted(value)}"
    return None


def _betas(value: object) -> str | None:
    numbers = value if isinstance(value, list) else []
    sound = all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n < 1 for n in numbers)
    return None if len(numbers) == 2 and sound else f"betas must be two numbers from 0 to below 1, not {quoted(value)}"


def _switch(name: str, value: object) -> str | None:
    return None if isinstance(value, bool) else f"{name} must be true or false, not {quoted(value)}"


def _text(name: str, value: object) -> str | None:
    return None if value is None or isinstance(value, str) else f"{name} must be a path, not {quoted(value)}"
