#!/usr/bin/env python
"""Quality against images seen: the held-out loss of some runs, as one picture, and how much sooner the first is there.

python scripts/curves.py run=runs/mine/<time> run=runs/other/<time> [label=...] [rate=6.2] [out=curves.svg]
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from onestroke.cli.options import CommandOptions, command, option
from onestroke.errors import UserError
from onestroke.files import atomic

SUFFIXES = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Curve:
    """Values of one run, by images seen, in their order."""

    label: str
    images: list[int]
    values: list[float]


def read(folder: Path, label: str, tag: str) -> Curve:
    """The curve of a run's folder.

    Raises:
        UserError: where that is no run, or it has no such values.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"run={folder} is no run's folder: there is no {config.name} in it")
    batch = int(json.loads(config.read_text(encoding="utf-8"))["batch_size"])
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = sorted(events.Tags()["scalars"])
    if tag not in tags:
        raise UserError(f"run={folder} has no {tag}; it has {', '.join(tags) or 'no values yet'}")
    points = {point.step * batch: point.value for point in events.Scalars(tag)}
    return Curve(label, sorted(points), [points[n] for n in sorted(points)])


def reached(curve: Curve, level: float) -> float:
    """Images after which a curve is first at a level, between two points on a straight line; infinite for never."""
    if curve.values[0] <= level:
        return float(curve.images[0])
    for i in range(1, len(curve.values)):
        (x, y), (x2, y2) = ((curve.images[k], curve.values[k]) for k in (i - 1, i))
        if y2 <= level:
            return x + (x2 - x) * (y - level) / (y - y2)
    return math.inf


def comparison(curves: list[Curve], rate: float | None) -> list[str]:
    """Lines that say when each other run is where the first one ends."""
    first = curves[0]
    level, spent = first.values[-1], first.images[-1]
    lines = [f"{first.label}: {level:.3f} after {spent} images{_minutes(spent, rate)}"]
    for curve in curves[1:]:
        there = reached(curve, level)
        lines.append(
            f"{curve.label}: there after {there:.0f} images{_minutes(there, rate)}, {there / spent:.2f} times as many"
            if math.isfinite(there)
            else f"{curve.label}: {min(curve.values):.3f} at its best, and not there after {curve.images[-1]} images"
            f"{_minutes(curve.images[-1], rate)}, {curve.images[-1] / spent:.2f} times as many"
        )
    return lines


def _minutes(images: float, rate: float | None) -> str:
    return "" if rate is None else f" ({images / rate / 60:.1f} min)"


def draw(curves: list[Curve], rate: float | None, what: str, out: Path) -> None:
    """Write the picture."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("this needs matplotlib: pip install -e '.[plots]'") from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(curve.images, curve.values, marker="o", markersize=3, label=curve.label)
    axes.axhline(curves[0].values[-1], color="grey", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("images seen")
    axes.set_ylabel(what)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    if rate is not None:
        to, back = (lambda n: n / rate / 60), (lambda minutes: minutes * 60 * rate)
        minutes = axes.secondary_xaxis("top", functions=(to, back))
        minutes.set_xlabel(f"minutes at {rate:g} images/s")
        minutes.xaxis.set_major_formatter("{x:g}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out) as temporary:
        figure.savefig(temporary, format=out.suffix[1:], dpi=120)


@dataclass
class Options(CommandOptions):
    """Which runs are drawn, and how."""

    run: list[str] = option(
        "a run's folder, as often as you like", placeholder="FOLDER", example="runs/starry_night/<time>", path=True
    )
    label: list[str] = option("what a run is called, once for each; default: the folder's name", [], placeholder="NAME")
    value: str = option("what is drawn, a tag of TensorBoard", "held_out/total")
    rate: float | None = option(
        "images a second on the machine that counts, for an axis of minutes beside the one of images",
        None, placeholder="6.2", above=0,
    )  # fmt: skip
    out: str = option(f"the picture, {', '.join(SUFFIXES)}", "curves.svg", path=True)

    def check(self) -> None:
        """Raise a UserError for options that don't go together."""
        if self.label and len(self.label) != len(self.run):
            raise UserError(f"{len(self.label)} labels for {len(self.run)} runs: give one for each, or none")
        if Path(self.out).suffix not in SUFFIXES:
            raise UserError(f"out={self.out}: a picture of curves is written as {', '.join(SUFFIXES)}")


def make(options: Options) -> None:
    """Read the runs, say how they compare, and draw them."""
    runs, out = [Path(path) for path in options.run], Path(options.out)
    labels = options.label or [run.name for run in runs]
    curves = [read(run, label, options.value) for run, label in zip(runs, labels, strict=True)]
    print(*comparison(curves, options.rate), sep="\n")
    draw(curves, options.rate, options.value, out)
    print(f"wrote {out}")


if __name__ == "__main__":
    usage = "python scripts/curves.py run=FOLDER run=FOLDER [options]"
    sys.exit(command(Options, usage, make, None, "Needs matplotlib: pip install -e '.[plots]'."))
