"""Reports of an evaluation: a table, a JSON file, and one HTML page with embedded pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from torch import Tensor

from onestroke.errors import printable
from onestroke.evaluation.explanation.explaining import Explanation
from onestroke.evaluation.explanation.page_section import section
from onestroke.evaluation.figures import figure, number, text
from onestroke.evaluation.measure import means
from onestroke.files import atomic

CROP = 96  # pixels of a picture that are shown enlarged
MAIN = (
    "total",
    "content",
    "gram",
    "iterations",
    "gram_unseen_layers",
    "gram_at_384",
    "gram_at_512",
    "e_statistic",
    "ssim",
    "self_similarity",
)
"""The metrics of the table; all others are in the JSON file and on the page."""


@dataclass
class Row:
    """One photo with its painting and metrics.

    photo, output, reference: (1, 3, H, W) in [0, 1]; reference is the result of direct optimisation, if there is one.
    metrics: by name.
    """

    name: str
    photo: Tensor
    output: Tensor
    reference: Tensor | None
    metrics: dict[str, float]


@dataclass
class Entry:
    """One style file, or one folder of finished pictures.

    name: of the file or folder. style: its name. facts: about its origin. rows: one for each photo. own: metrics of the
    network itself, not of single photos. fired: names of the artefact detectors that fire. explanation: of the
    first photo's painting.
    """

    name: str
    style: str
    facts: dict[str, Any]
    rows: list[Row]
    own: dict[str, float] = field(default_factory=dict)
    fired: list[str] = field(default_factory=list)
    explanation: Explanation | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each metric over photos, and those of the network itself."""
        return {**means([row.metrics for row in self.rows]), **self.own}


def table(entries: Sequence[Entry]) -> Table:
    """The main metrics as a table with a row for each entry."""
    present = [name for name in MAIN if any(name in entry.metrics for entry in entries)]
    result = Table("painter", "style", *[name.replace("_", " ") for name in present], "artefacts")
    for entry in entries:
        numbers = [number(entry.metrics.get(name)) for name in present]
        # a file's name may contain rich's markup and control characters of terminals
        named = (escape(printable(name)) for name in (entry.name, entry.style))
        result.add_row(*named, *numbers, ", ".join(entry.fired) or "none")
    return result


def write_json(path: Path, entries: Sequence[Entry], settings: Mapping[str, Any]) -> None:
    """Write all metrics, for each photo and their means.

    Raises:
        UserError: if the file can't be written.
    """
    document = {
        "settings": dict(settings),
        "entries": [
            {
                "name": entry.name,
                "style": entry.style,
                "facts": entry.facts,
                "metrics": _finite(entry.metrics),
                "artefacts": entry.fired,
                "photos": {row.name: _finite(row.metrics) for row in entry.rows},
                **({} if entry.explanation is None else {"explanation": entry.explanation.document()}),
            }
            for entry in entries
        ],
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_html(path: Path, entries: Sequence[Entry], settings: Mapping[str, Any]) -> None:
    """One page that needs nothing beside it: contact sheets, enlarged crops, bars of each layer, all numbers.

    Raises:
        UserError: where it can't be written.
    """
    parts = [_HEAD, "<h1>OneStroke: evaluation</h1>", _settings(settings), _overview(entries)]
    parts += [_entry(entry) for entry in entries]
    with atomic(path) as temporary:
        temporary.write_text("\n".join([*parts, "</body></html>\n"]), encoding="utf-8")


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _settings(settings: Mapping[str, Any]) -> str:
    return "<p class=small>" + " · ".join(f"{text(k)} {text(v)}" for k, v in settings.items()) + "</p>"


def _overview(entries: Sequence[Entry]) -> str:
    present = [name for name in MAIN if any(name in entry.metrics for entry in entries)]
    head = "".join(f"<th>{text(name.replace('_', ' '))}</th>" for name in present)
    lines = []
    for entry in entries:
        cells = "".join(f"<td>{number(entry.metrics.get(name))}</td>" for name in present)
        fired = ", ".join(entry.fired) or "none"
        lines.append(
            f"<tr><td><a href='#{_anchor(entry)}'>{text(entry.name)}</a></td><td>{text(entry.style)}</td>{cells}"
        )
        lines.append(f"<td>{text(fired)}</td></tr>")
    return f"<table><tr><th>painter</th><th>style</th>{head}<th>artefacts</th></tr>{''.join(lines)}</table>"


def _anchor(entry: Entry) -> str:
    return text(f"{entry.name} {entry.style}".replace(" ", "-"))


def _entry(entry: Entry) -> str:
    anchor = f"<h2 id='{_anchor(entry)}'>{text(entry.name)} <span class=small>{text(entry.style)}</span></h2>"
    figures = "".join(_row(row) for row in entry.rows)
    numbers = "".join(
        f"<tr><td>{text(name)}</td><td>{number(value)}</td></tr>" for name, value in sorted(entry.metrics.items())
    )
    details = f"<details><summary>all numbers</summary><table>{numbers}</table></details>"
    explained = "" if entry.explanation is None else section(entry.explanation)
    return f"{anchor}{_bars(entry.metrics)}{figures}{details}{explained}"


def _row(row: Row) -> str:
    pictures = [("photo", row.photo), ("output", row.output)]
    if row.reference is not None:
        pictures.append(("direct optimisation at this loss", row.reference))
    whole = "".join(figure(picture, f"{row.name}: {label}") for label, picture in pictures)
    near = "".join(figure(_middle(picture), f"{label}, enlarged", "crop", lossless=True) for label, picture in pictures)
    words = " · ".join(f"{name.replace('_', ' ')} {number(row.metrics[name])}" for name in MAIN if name in row.metrics)
    return f"<div class=row>{whole}</div><div class=row>{near}</div><p class=small>{text(words)}</p>"


def _bars(metrics: Mapping[str, float]) -> str:
    """Bars of the content and style error of each layer."""
    named = {name: value for name, value in metrics.items() if name.startswith(("content/", "style/", "style_"))}
    layers = {name: value for name, value in named.items() if "/relu" in name}
    if not layers:
        return ""
    largest = max(layers.values()) or 1.0
    lines = [
        f"<tr><td>{text(name)}</td><td class=bar><div class={name.split('/')[0]} "
        f"style='width:{100 * value / largest:.1f}%'></div></td><td>{number(value)}</td></tr>"
        for name, value in layers.items()
    ]
    return f"<table class=bars>{''.join(lines)}</table>"


def _middle(picture: Tensor) -> Tensor:
    height, width = picture.shape[-2:]
    top, left = max(0, (height - CROP) // 2), max(0, (width - CROP) // 2)
    return picture[..., top : top + CROP, left : left + CROP]


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OneStroke: evaluation</title>
<meta name="viewport" content="width=device-width"><style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left }
.row { display: flex; gap: .5rem; margin-top: .5rem } figure { margin: 0; flex: 1 } img { width: 100%; display: block }
.crop img { image-rendering: pixelated } figcaption, .small { font-size: 12px; color: #666; font-weight: normal }
.grid { display: grid; grid-template-columns: repeat(4, 1fr); gap: .5rem; margin-top: .5rem }
.map img, .patches img { image-rendering: pixelated }
.bars { width: 100% } .bars td { border: 0; padding: .1rem .4rem; white-space: nowrap } .bar { width: 100% }
.bar div { height: .8rem; background: #b58900 }
.bar .content { background: #268bd2 } .bar .style { background: #dc322f }
</style></head><body>"""
