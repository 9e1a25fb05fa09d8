"""The report of a comparison: a table, report.json, and report.html and sheets with the pictures side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from onestroke.errors import printable
from onestroke.evaluation.comparison import BEST, Errors, Line, Pair, Summary, lines, mean_curves, ratios
from onestroke.evaluation.figures import figure, text
from onestroke.files import atomic
from onestroke.imaging import images

NOTE = (
    "Ratio: style error of the other tool over that of the style file, at equal content error; above 1 the style file "
    "is better. Geometric mean over photos, 95 % bootstrap interval; *: the style size where the other tool is best; "
    "beyond: photos whose content error lies above the style file's largest, whose end point is taken then."
)
_GAP = 8  # pixels between pictures of a sheet


@dataclass
class Shown:
    """The pictures of one photo for the sheet, (1, 3, H, W) each; setting: the controls' positions of `ours`."""

    name: str
    photo: Tensor
    ours: Tensor
    setting: str
    theirs: Tensor


@dataclass
class Comparison:
    """A style file and a folder of another tool's pictures.

    name: of the style file. style: its name. peer: the folder. strengths: the positions of the curves' points.
    """

    name: str
    style: str
    peer: str
    strengths: Sequence[float]
    pairs: list[Pair] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The name of the folder."""
        return Path(self.peer).name or self.peer


def write(out: Path, comparisons: Sequence[Comparison], settings: Mapping[str, Any]) -> Table:
    """Write report.json, report.html and a sheet for each style file into a folder, and return the table.

    Raises:
        UserError: a file can't be written.
    """
    with atomic(out / "report.json") as temporary:
        document = {"settings": dict(settings), "comparisons": [_document(one) for one in comparisons]}
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    names = dict.fromkeys((one.name, one.style) for one in comparisons)
    parts = [_HEAD, "<h1>OneStroke: comparison</h1>", f"<p class=small>{text(NOTE)}</p>"]
    for name, style in names:
        own = [one for one in comparisons if (one.name, one.style) == (name, style)]
        parts += [f"<h2>{text(name)} <span class=small>{text(style)}</span></h2>", _html_table(own), *_html_rows(own)]
        images.write(out / f"sheet_{name}.jpg", _sheet(own))
    with atomic(out / "report.html") as temporary:
        temporary.write_text("\n".join([*parts, "</body></html>\n"]), encoding="utf-8")
    return table(comparisons)


def table(comparisons: Sequence[Comparison]) -> Table:
    """One row for each folder, size and style size."""
    result = Table(*_columns(comparisons), caption=NOTE)
    for one in comparisons:
        for line in lines(one.pairs):
            result.add_row(*[escape(printable(cell)) for cell in _cells(one, line, comparisons)])
    return result


def _strokes(comparisons: Sequence[Comparison]) -> list[str]:
    return list(dict.fromkeys(stroke for one in comparisons for stroke in one.pairs[0].curves))


def _columns(comparisons: Sequence[Comparison]) -> list[str]:
    strokes = [f"stroke {stroke}" for stroke in _strokes(comparisons)]
    head = ["painter", "against", "size", "style size", "its content", "its style", *strokes]
    return [*head, "best stroke [95 %]", "photos", "beyond"]


def _cells(one: Comparison, line: Line, comparisons: Sequence[Comparison]) -> list[str]:
    best = line.ratios[BEST]
    of_strokes = [_number(line.ratios[s].mean) if s in line.ratios else "" for s in _strokes(comparisons)]
    interval = f"{_number(best.mean)} [{_number(best.low)}, {_number(best.high)}]" if best.count else "none"
    size = f"{line.style_size}{' *' if line.headline else ''}"
    numbers = [f"{line.content:.3f}", f"{line.style:.3f}", *of_strokes, interval]
    return [one.name, one.label, line.side, size, *numbers, str(best.count), str(best.beyond)]


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else ""


def _document(one: Comparison) -> dict[str, Any]:
    sides: dict[str, Any] = {}
    for line in lines(one.pairs):
        pairs = [pair for pair in one.pairs if pair.side == line.side]
        side = sides.setdefault(line.side, {"curves": _curves(mean_curves(pairs)), "style_sizes": {}})
        side["style_sizes"][str(line.style_size)] = {
            "content": line.content,
            "style": line.style,
            "headline": line.headline,
            "ratios": {key: _summary(summary) for key, summary in line.ratios.items()},
        }
    photos: dict[str, Any] = {}
    for pair in one.pairs:
        each = {str(size): {k: asdict(r) for k, r in ratios(pair, size).items()} for size in pair.peer.style}
        photos.setdefault(pair.photo, {})[pair.side] = {
            "peer": _errors(pair.peer),
            "curves": _curves(pair.curves),
            "ratios": each,
        }
    names = {"name": one.name, "style": one.style, "against": one.peer, "strengths": list(one.strengths)}
    return {**names, "sizes": sides, "photos": photos}


def _summary(summary: Summary) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in asdict(summary).items()}


def _errors(errors: Errors) -> dict[str, Any]:
    return {"content": errors.content, "style": {str(size): value for size, value in errors.style.items()}}


def _curves(curves: Mapping[str, Sequence[Errors]]) -> dict[str, list[dict[str, Any]]]:
    return {stroke: [_errors(point) for point in curve] for stroke, curve in curves.items()}


def _html_table(own: Sequence[Comparison]) -> str:
    head = "".join(f"<th>{text(name)}</th>" for name in _columns(own))
    rows = [
        f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in _cells(one, line, own))}</tr>"
        for one in own
        for line in lines(one.pairs)
    ]
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _rows(own: Sequence[Comparison]) -> dict[str, list[tuple[str, Tensor]]]:
    """By photo, the captions and pictures of its row: the photo, then for each folder ours and theirs."""
    found: dict[str, list[tuple[str, Tensor]]] = {}
    for one in own:
        for shown in one.shown:
            row = found.setdefault(shown.name, [(shown.name, shown.photo)])
            setting = f": {shown.setting}" if shown.setting else ""
            row += [(f"{one.name}{setting}", shown.ours), (one.label, shown.theirs)]
    return found


def _html_rows(own: Sequence[Comparison]) -> list[str]:
    return [
        f"<div class=row>{''.join(figure(picture, caption, quality=92) for caption, picture in row)}</div>"
        for row in _rows(own).values()
    ]


def _sheet(own: Sequence[Comparison]) -> Tensor:
    """All rows as one picture, (1, 3, H, W), each picture at its full size."""
    rows = []
    for row in _rows(own).values():
        height = max(picture.shape[-2] for _, picture in row)
        padded = [
            F.pad(picture, (0, _GAP, 0, height - picture.shape[-2] + _GAP), value=1.0) for _, picture in row
        ]  # fmt: skip
        rows.append(torch.cat(padded, dim=3))
    width = max(row.shape[-1] for row in rows)
    return torch.cat([F.pad(row, (0, width - row.shape[-1], 0, 0), value=1.0) for row in rows], dim=2)


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OneStroke: comparison</title>
<meta name="viewport" content="width=device-width"><style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left }
.row { display: flex; gap: .5rem; margin-top: .5rem } figure { margin: 0 } img { display: block }
figcaption, .small { font-size: 12px; color: #666; font-weight: normal }
</style></head><body>"""
