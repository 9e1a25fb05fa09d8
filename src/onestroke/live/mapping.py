"""Mappings of signals to controls: what moves, sounds and is touched changes style, strength and stroke.

A mapping is a JSON file that the exported page (`export.py format=web`) and live.py share:

    {"onestroke_map": 1, "name": "breathing", "routes": [
      {"signal": "time.sine", "period": 8, "control": "strength", "input": [0, 1], "output": [0.3, 1],
       "curve": 1.0, "attack": 0.1, "release": 0.6}]}

Each route does, for a signal v in [0, 1] and `input` [a, b]:

1. t = (v - a) / (b - a), clamped to [0, 1], then t ** curve
2. f follows t as a one-pole low pass: f += (t - f) * (1 - exp(-dt / s)), where s is `attack` (seconds) if t is above f,
   else `release`; with s = 0, f = t. It begins at the first t.
3. the route gives output[0] + (output[1] - output[0]) * f

What all routes of a control give is added and clamped to [0, 1]. A signal that nothing measures is 0.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from onestroke import documents
from onestroke.documents import is_name, is_number
from onestroke.errors import UserError, near, printable, quoted

VERSION = 1
SIGNALS = (
    "motion.amount", "motion.x", "motion.y",
    "sound.level", "sound.low", "sound.mid", "sound.high", "sound.beat",
    "pointer.x", "pointer.y", "pointer.down",
    "touch.count",
    "time.sine", "time.saw",
)  # fmt: skip
"""All signals but midi.<controller number> and remote.<name>."""
CONTROLS = ("strength", "stroke", "style", "mix", "colors")
"""style: the position among the file's styles, neighbours mixed. mix: from the first chosen style to the second.
colors: from 0.5 on, the colours of the camera."""

_NUMBERED = re.compile(r"midi\.(?:[0-9]|[1-9][0-9]|1[01][0-9]|12[0-7])")
_REMOTE = re.compile(r"remote\.[A-Za-z0-9_.-]{1,64}")
_PERIOD = 8.0  # seconds, of a time signal without one
_LONGEST = 3600.0  # seconds, of a period, an attack or a release
_KEYS = ("onestroke_map", "name", "routes")
_MAX_ROUTES = 64
_MAX_BYTES = 2**16


def is_signal(name: object) -> bool:
    """Whether a route may name this signal."""
    return isinstance(name, str) and (
        name in SIGNALS or bool(_NUMBERED.fullmatch(name)) or bool(_REMOTE.fullmatch(name))
    )


@dataclass(frozen=True)
class Route:
    """One signal and what it does to one control; see the module.

    period: of a time signal, in seconds. input, output: ranges, in [0, 1]; either may fall. curve: an exponent above 0.
    attack, release: in seconds.
    """

    signal: str
    control: str
    input: tuple[float, float] = (0.0, 1.0)
    output: tuple[float, float] = (0.0, 1.0)
    curve: float = 1.0
    attack: float = 0.1
    release: float = 0.6
    period: float = _PERIOD

    def shaped(self, value: float) -> float:
        """The signal through input range and curve: [0, 1] -> [0, 1]."""
        low, high = self.input
        return math.pow(min(1.0, max(0.0, (value - low) / (high - low))), self.curve)

    def given(self, followed: float) -> float:
        """What the route gives to its control, for a followed value in [0, 1]."""
        return self.output[0] + (self.output[1] - self.output[0]) * followed


@dataclass(frozen=True)
class SignalMap:
    """A mapping: its name and its routes."""

    name: str
    routes: tuple[Route, ...] = ()

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that have a route."""
        return tuple(control for control in CONTROLS if any(route.control == control for route in self.routes))


class Followers:
    """A mapping in motion: the followed value of each route.

    Args:
        mapping: the mapping.
    """

    def __init__(self, mapping: SignalMap) -> None:
        self.mapping = mapping
        self._now = 0.0
        self._followed: list[float | None] = [None] * len(mapping.routes)

    def step(self, signals: Mapping[str, float], seconds: float) -> dict[str, float]:
        """The controls at this moment.

        Args:
            signals: name -> value in [0, 1]; the signals of time are computed here.
            seconds: since the last step.

        Returns:
            The value of each control that has a route, in [0, 1].
        """
        self._now += seconds
        totals: dict[str, float] = {}
        for index, route in enumerate(self.mapping.routes):
            value = at_time(route, self._now) if route.signal.startswith("time.") else signals.get(route.signal, 0.0)
            target, before = route.shaped(value), self._followed[index]
            if before is None:
                followed = target
            else:
                slow = route.attack if target > before else route.release
                followed = target if slow == 0 else before + (target - before) * -math.expm1(-seconds / slow)
            self._followed[index] = followed
            totals[route.control] = totals.get(route.control, 0.0) + route.given(followed)
        return {control: min(1.0, max(0.0, total)) for control, total in totals.items()}


def at_time(route: Route, seconds: float) -> float:
    """A signal of time: `sine` rises from 0 to 1 and falls again within a period, `saw` rises from 0 to 1."""
    turn = seconds / route.period
    return 0.5 - 0.5 * math.cos(2 * math.pi * turn) if route.signal == "time.sine" else turn % 1.0


def preset_names() -> list[str]:
    """The mappings that ship with the package."""
    folder = files("onestroke") / "live" / "presets"
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".json"))


def read_map(name: str) -> SignalMap:
    """Read a mapping that ships, by its name, or a JSON file.

    Raises:
        UserError: there is neither, or the file is no mapping.
    """
    if name in preset_names():
        return parse_map((files("onestroke") / "live" / "presets" / f"{name}.json").read_text("utf-8"), name)
    path = Path(name)
    if not path.suffix and not path.exists():
        raise UserError(f"there is no map '{name}': {near(name, preset_names())} (or a JSON file)")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UserError(f"{path} is no map: it has more than {_MAX_BYTES // 1024} KiB")
        return parse_map(content.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise UserError(f"can't read the map {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no map: it is no UTF-8 text") from error


def parse_map(text: str, source: str) -> SignalMap:
    """Read the text of a mapping.

    Args:
        text: JSON.
        source: what error messages call it, such as the path of the file.

    Raises:
        UserError: a key, a signal or a control is unknown or missing, or a number is out of range.
    """
    try:
        document = documents.parse(text)
    except documents.NoDocument as error:
        raise UserError(f"{source} is no map: {error}") from error
    version = document.get("onestroke_map")
    if version != VERSION or isinstance(version, bool):
        raise UserError(f'{source} is no map: it needs "onestroke_map": {VERSION}')
    _known(document, _KEYS, source)
    name, routes = document.get("name"), document.get("routes")
    if not is_name(name):
        raise UserError(f"{source}: the name of a map is a text of 1 to {documents.NAME} characters")
    if not isinstance(routes, list) or not all(isinstance(route, dict) for route in routes):
        raise UserError(f"{source}: routes is a list of objects, each with a signal and a control")
    if len(routes) > _MAX_ROUTES:
        raise UserError(f"{source} has {len(routes)} routes, and {_MAX_ROUTES} are the most")
    return SignalMap(str(name), tuple(_route(route, f"{source}: route {i}") for i, route in enumerate(routes, 1)))


def _known(given: Mapping[str, object], keys: Sequence[str], source: str) -> None:
    for key in given:
        if key not in keys:
            raise UserError(f"{source}: there is no '{printable(key)}': {near(key, keys)}")


def _route(given: dict[str, Any], source: str) -> Route:
    _known(given, [*Route.__dataclass_fields__], source)
    signal, control = given.get("signal"), given.get("control")
    if not is_signal(signal):
        known = near(str(signal), (*SIGNALS, "midi.<0 to 127>", "remote.<name>"))
        raise UserError(f"{source}: there is no signal {quoted(signal)}: {known}")
    if control not in CONTROLS:
        raise UserError(f"{source}: there is no control {quoted(control)}: {near(str(control), CONTROLS)}")
    if "period" in given and not str(signal).startswith("time."):
        raise UserError(f"{source}: period is for time.sine and time.saw, not for {signal}")
    for key, least, most in (
        ("curve", 0.01, 100.0), ("attack", 0.0, _LONGEST), ("release", 0.0, _LONGEST), ("period", 0.01, _LONGEST),
    ):  # fmt: skip
        if key in given and not is_number(given[key], least, most):
            raise UserError(f"{source}: {key} is a number from {least:g} to {most:g}, not {quoted(given[key])}")
    for key in ("input", "output"):
        pair = given.get(key, [0, 1])
        if not isinstance(pair, list) or len(pair) != 2 or not all(is_number(end, 0, 1) for end in pair):
            raise UserError(f"{source}: {key} is two numbers from 0 to 1, not {quoted(pair)}")
    if "input" in given and given["input"][0] == given["input"][1]:
        raise UserError(f"{source}: input is two different numbers, not {quoted(given['input'])}")
    numbers = {key: float(given[key]) for key in ("curve", "attack", "release", "period") if key in given}
    pairs = {key: (float(given[key][0]), float(given[key][1])) for key in ("input", "output") if key in given}
    return Route(signal=str(signal), control=str(control), **numbers, **pairs)  # type: ignore[arg-type]


def written_map(mapping: SignalMap) -> str:
    """A mapping as the text of its file, with every number."""
    routes = []
    for route in mapping.routes:
        one = {name: getattr(route, name) for name in Route.__dataclass_fields__}
        routes.append({key: value for key, value in one.items() if key != "period" or route.signal.startswith("time.")})
    return json.dumps({"onestroke_map": VERSION, "name": mapping.name, "routes": routes}, indent=1)
