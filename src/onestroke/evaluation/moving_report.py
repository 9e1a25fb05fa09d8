"""The report about painted clips: a table, report.json, and report.html with a strip of time of each clip."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from onestroke.errors import printable
from onestroke.evaluation.figures import figure, number, text
from onestroke.files import atomic

COLUMNS = ("short", "long", "gram", "content")
NOTE = (
    "short, long: warping error of the paintings over that of the frames themselves, against 1 and 5 frames before; "
    "read them with gram and content, the errors of the frames that were painted: a weak style is steady too."
)


@dataclass
class Moving:
    """What a painter made of a clip, or of all clips.

    painter: name of the style file. style: that it imitates. steady: how much strokes are kept. clip: its name.
    numbers: by COLUMNS. strip: the middle row of pixels of all frames, one below the other, (1, 3, T, W).
    """

    painter: str
    style: str
    steady: float
    clip: str
    numbers: dict[str, float]
    strip: Tensor | None = None


def strip_of_time(pictures: Sequence[np.ndarray]) -> Tensor:
    """The middle row of each picture, uint8 (H, W, 3), one below the other: (1, 3, T, W) in [0, 1]."""
    rows = np.stack([picture[picture.shape[0] // 2] for picture in pictures])
    return torch.from_numpy(rows).permute(2, 0, 1)[None] / 255


def table(found: Sequence[Moving]) -> Table:
    """One row for each painter, amount and clip."""
    result = Table("painter", "style", "steady", "clip", *COLUMNS, caption=NOTE)
    for one in found:
        names = [escape(printable(cell)) for cell in (one.painter, one.style, f"{one.steady:g}", one.clip)]
        result.add_row(*names, *[number(one.numbers[name]) for name in COLUMNS])
    return result


def write(out: Path, found: Sequence[Moving], settings: Mapping[str, Any]) -> Table:
    """Write report.json and report.html into a folder, and return the table.

    Raises:
        UserError: a file can't be written.
    """
    entries = [
        {
            **{name: getattr(one, name) for name in ("painter", "style", "steady", "clip")},
            **{name: value if math.isfinite(value) else None for name, value in one.numbers.items()},
        }
        for one in found
    ]
    with atomic(out / "report.json") as temporary:
        document = {"settings": dict(settings), "clips": entries}
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with atomic(out / "report.html") as temporary:
        temporary.write_text(_page(found), encoding="utf-8")
    return table(found)


def _page(found: Sequence[Moving]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("painter", "style", "steady", "clip", *COLUMNS))
    rows = "".join(
        f"<tr><td>{text(one.painter)}</td><td>{text(one.style)}</td><td>{one.steady:g}</td><td>{text(one.clip)}</td>"
        + "".join(f"<td>{number(one.numbers[name])}</td>" for name in COLUMNS)
        + "</tr>"
        for one in found
    )
    strips = "".join(
        figure(one.strip, f"{one.painter} {one.style}, {one.clip}, steady={one.steady:g}", "time", lossless=True)
        for one in found
        if one.strip is not None
    )
    return "\n".join(
        [
            _HEAD,
            "<h1>OneStroke: painted clips</h1>",
            f"<p class=small>{text(NOTE)}</p><table><tr>{head}</tr>{rows}</table><h2>Strips of time</h2>",
            "<p class=small>The middle row of pixels of all frames, the first on top: lines that go on are strokes",
            f"that move along, and what is torn from row to row flickers.</p>{strips}</body></html>\n",
        ]
    )


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OneStroke: painted clips</title>
<meta name="viewport" content="width=device-width"><style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left }
figure { margin: 0 0 1rem } img { display: block; width: 100%; max-width: 1000px; image-rendering: pixelated }
figcaption, .small { font-size: 12px; color: #666; font-weight: normal }
</style></head><body>"""
