"""The controls of a performance: what was chosen, what the mapping makes of the signals, and the Stylizer set so."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onestroke import style_file
from onestroke.documents import is_number
from onestroke.errors import UserError, near, quoted
from onestroke.graphs.live import layout
from onestroke.graphs.onnx_file import read
from onestroke.inference.controls import DEFAULT_CONTROLS, StyleControls, settings_of, shares
from onestroke.inference.stylizer import Stylizer
from onestroke.live.mapping import Followers, SignalMap
from onestroke.style_document import Metadata

_STEP = 1000  # controls are set in steps of a thousandth: a smaller change is not seen


class Performance:
    """A Stylizer whose controls are moved by hand and by a mapping. `set` may be called from any thread.

    A control with a route follows its signals; the others stay where they were set.

    Args:
        path: a style file, or an ONNX file that export.py wrote with controls=live.
        chosen: style (default: the first two of the file, the first alone), strength and stroke at the beginning.
        device, backend: see Stylizer.
        mapping: of signals to controls; None for none.

    Raises:
        UserError: as for Stylizer.
    """

    def __init__(
        self,
        path: Path,
        chosen: StyleControls = DEFAULT_CONTROLS,
        device: str = "auto",
        backend: str | None = "auto",
        mapping: SignalMap | None = None,
    ) -> None:
        self.metadata, live = _document(path)
        self.styles = self.metadata.styles
        self.controls = layout(self.metadata.network["args"]).controls if live else ()
        mix = {self.styles[0]: 1.0} if chosen.mix is None else shares(chosen.mix, self.styles)
        if not live and chosen == DEFAULT_CONTROLS:
            self.styles = self.styles[:1]
            self.stylizer = Stylizer(path, device, backend)
        else:
            named = _text(mix) if len(self.styles) > 1 else chosen.mix
            self.stylizer = Stylizer(path, device, backend, False, named, chosen.strength, chosen.stroke)
        self._lock = threading.Lock()
        self._values = settings_of(path, self.controls, self.metadata, chosen)
        first, second = [*mix, *(name for name in self.styles if name not in mix), self.styles[0]][:2]
        self._chosen = (first, second)
        self._base = mix
        self._values |= {"mix": mix[second] if len(mix) == 2 else 0.0, "colors": 0.0}
        self._followers: Followers | None = None
        self._moved: dict[str, float] = {}
        self._set: dict[str, Any] = {}
        self.map(mapping)
        if self.controls or len(self.styles) > 1:
            self.stylizer.set()  # what takes a second at the first change is done before the first frame

    def idle_routes(self, mapping: SignalMap) -> list[str]:
        """The controls with a route that this file doesn't have."""
        return [control for control in mapping.controls if not self._has(control)]

    def _has(self, control: str) -> bool:
        if control in ("style", "mix"):
            return len(self.styles) > 1
        return control == "colors" or control in self.controls

    def map(self, mapping: SignalMap | None) -> None:
        """Follow another mapping from now on; None for none."""
        with self._lock:
            self._followers = None if mapping is None else Followers(mapping)
            self._moved = {}

    def set(self, values: Mapping[str, object]) -> None:
        """Set controls by hand.

        Args:
            values: strength, stroke, mix and colors in [0, 1]; styles: one name or two, for mix.

        Raises:
            UserError: for an unknown control, one that the file lacks, a style that it lacks, or a value out of range;
                nothing is set.
        """
        for name, value in values.items():
            if name == "styles":
                self._check_styles(value)
            elif name not in self._settable():
                raise UserError(f"there is no control {quoted(name)}: {near(name, ['styles', *self._settable()])}")
            elif not is_number(value, 0, 1):
                raise UserError(f"{name} must be a number from 0 to 1, not {quoted(value)}")
        with self._lock:
            styles: Any = values.get("styles")
            if styles is not None:
                second = styles[1] if len(styles) > 1 else self._chosen[1]
                self._chosen = (styles[0], second)
                self._values["mix"] = 0.0
            self._values |= {name: float(str(value)) for name, value in values.items() if name != "styles"}
            if styles is not None or "mix" in values:
                self._base = _mixed({self._chosen[0]: 1.0}, {self._chosen[1]: 1.0}, self._values["mix"])

    def _settable(self) -> list[str]:
        return [name for name in ("strength", "stroke", "mix", "colors") if self._has(name)]

    def _check_styles(self, value: object) -> None:
        if not isinstance(value, list) or not 1 <= len(value) <= 2:
            raise UserError(f"styles is a list of one or two names, not {quoted(value)}")
        for name in value:
            if name not in self.styles:
                raise UserError(f"this style file has no {quoted(name)}: {near(str(name), self.styles)}")

    def step(self, signals: Mapping[str, float], seconds: float) -> str:
        """Set the Stylizer for the next frame.

        Args:
            signals: name -> value in [0, 1].
            seconds: since the last frame.

        Returns:
            The color of the frame: style or photo.
        """
        with self._lock:
            if self._followers is not None:
                moved = self._followers.step(signals, seconds)
                self._moved = {control: value for control, value in moved.items() if self._has(control)}
            values, mix = self._values | self._moved, self._mix()
        now: dict[str, Any] = {name: round(values[name] * _STEP) / _STEP for name in self.controls}
        if len(self.styles) > 1:
            now["mix"] = _text({name: round(share * _STEP) / _STEP for name, share in mix.items()})
        if now != self._set:
            self.stylizer.set(**now)
            self._set = now
        return "photo" if values["colors"] >= 0.5 else "style"

    def _mix(self) -> dict[str, float]:
        """Name -> share of the styles of the next frame."""
        if not {"style", "mix"} & self._moved.keys():
            return self._base
        first = {self._chosen[0]: 1.0}
        if "style" in self._moved:
            position = self._moved["style"] * (len(self.styles) - 1)
            index = min(int(position), len(self.styles) - 2)
            first = _mixed({self.styles[index]: 1.0}, {self.styles[index + 1]: 1.0}, position - index)
        mix = self._moved["mix"] if "mix" in self._moved else 0.0 if "style" in self._moved else self._values["mix"]
        return _mixed(first, {self._chosen[1]: 1.0}, mix)

    def state(self) -> dict[str, Any]:
        """Where the controls are, for a page: values, chosen styles, shares in force, the mapping and what it moves."""
        with self._lock:
            mapping = None if self._followers is None else self._followers.mapping
            return {
                **{name: round(value, 3) for name, value in (self._values | self._moved).items() if name != "style"},
                "styles": list(self._chosen),
                "shares": {name: round(share, 3) for name, share in self._mix().items() if share > 0},
                "map": None if mapping is None else mapping.name,
                "moved": list(self._moved),
            }


def _mixed(first: Mapping[str, float], second: Mapping[str, float], share: float) -> dict[str, float]:
    """Two mixes of styles, with the share of the second."""
    names = dict.fromkeys([*first, *second])
    return {name: first.get(name, 0.0) * (1 - share) + second.get(name, 0.0) * share for name in names}


def _text(mix: Mapping[str, float]) -> str:
    """A mix in the syntax of `shares`."""
    return ",".join(f"{name}:{share:g}" for name, share in mix.items() if share > 0)


def _document(path: Path) -> tuple[Metadata, bool]:
    """The document of a file with all its styles, and whether style and controls can change."""
    if path.suffix.lower() != ".onnx":
        return style_file.read_document(path), True
    painting, metadata = read(path)
    return metadata, bool(painting.rows)
