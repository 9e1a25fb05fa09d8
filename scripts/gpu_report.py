"""What gpu_night.py writes for people: report.md, whose tables fit into BENCHMARKS.md, and the curve of a training."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench_report import append

from onestroke.files import atomic


def write_report(found: Mapping[str, Any], path: Path) -> None:
    """Write all that is known as Markdown."""
    lines = ["# A GPU's checks, speed and gallery", "", "## Checks", "", "| check | held | numbers (limit) |"]
    lines += ["| --- | --- | --- |", *(_row(name, check) for name, check in found["checks"].items())]
    lines += ["", "## Stages", "", "| stage | end | seconds |", "| --- | --- | ---: |"]
    lines += [f"| {one['name']} | {_cell(one['state'])} | {one['seconds']:.0f} |" for one in found["stages"]]
    lines += _gallery(found["gallery"])
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for result in found["bench"].values():
        append(result, path)


def _row(name: str, check: Mapping[str, Any]) -> str:
    limits = check.get("limits", {})
    numbers = [
        f"{key} {value:.4g}" + (f" ({limits[key]:g})" if key in limits else "")
        for key, value in check.get("numbers", {}).items()
    ]
    parts = [*numbers, *([check["error"]] if "error" in check else [])]
    return f"| {name} | {'yes' if check.get('held') else 'no'} | {_cell(', '.join(parts))} |"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def _gallery(gallery: Mapping[str, Any]) -> list[str]:
    if not gallery:
        return ["", "## Gallery", "", "Not trained."]
    losses = {name: value for name, value in gallery["held_out"].items() if "/" not in name and name != "step"}
    return [
        "",
        "## Gallery",
        "",
        f"{gallery['steps']} steps, {gallery['images']} images in {gallery['seconds'] / 60:.1f} minutes, "
        f"{gallery['images'] / max(gallery['seconds'], 1e-9):.1f} a second, on {gallery['device']}; "
        f"{gallery['dataset']}. Held-out: {', '.join(f'{name} {value:.3f}' for name, value in losses.items())}.",
    ]


def held_out_curve(out: Path) -> list[dict[str, float]]:
    """The held-out losses of a run's last session by step; its metrics.csv is moved from Lightning's folder to `out`.

    Args:
        out: the run's folder. Without a metrics.csv in it, the curve is empty.
    """
    written = sorted((out / "csv").glob("version_*/metrics.csv"), key=lambda path: path.stat().st_mtime_ns)
    if not written:
        return []
    shutil.copyfile(written[-1], out / "metrics.csv")
    shutil.rmtree(out / "csv", ignore_errors=True)
    with (out / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
    kept = [row for row in rows if "held_out/total" in row]
    return [{key: float(value) for key, value in row.items() if key == "step" or "held_out" in key} for row in kept]
