"""The options style, strength and stroke, which infer and export share."""

from __future__ import annotations

from typing import Any

STYLE: dict[str, Any] = {
    "help": "for a file with several styles: one of them, or a mix such as starry_night:0.6,great_wave:0.4",
    "default": None,
    "placeholder": "NAMES",
}
STRENGTH: dict[str, Any] = {
    "help": "0 the photo, 1 the painting", "default": None, "placeholder": "0.5", "low": 0, "high": 1,
}  # fmt: skip
STROKE: dict[str, Any] = {
    "help": "0 fine strokes, 1 strokes of twice the size", "default": None, "placeholder": "0", "low": 0, "high": 1,
}  # fmt: skip
