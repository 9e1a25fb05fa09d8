"""Measure how the fleet scales: pictures a second with 1, 2, ... workers, on this machine, or seconds of one film.

    python scripts/bench_fleet.py ckpt=checkpoints/starry_night.safetensors pictures=200 size=256 workers=1 workers=2
    python scripts/bench_fleet.py ckpt=checkpoints/starry_night.safetensors frames=300 size=256 workers=1 workers=2

The pictures are made up, in JPEG. The rate counts from the first result, when all workers have started. The film has 25
frames a second and a cut every two seconds; from its seconds those of a film of eight frames are subtracted, in which
the workers start.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from onestroke.cli.options import CommandOptions, command, option
from onestroke.errors import UserError
from onestroke.fleet.inputs import portions
from onestroke.fleet.job import Job
from onestroke.fleet.manifest import DONE, Manifest, Row
from onestroke.fleet.names import Places
from onestroke.fleet.progress import Progress
from onestroke.fleet.running import Workers, paint_all
from onestroke.inference.controls import StyleControls
from onestroke.packages import require
from onestroke.scenes.compositions import render

_RATE, _SCENE, _SHORT = 25, 50, 8  # frames a second, of a scene, and of the film in whose time workers start


@dataclass
class Options(CommandOptions):
    """The options of this script."""

    ckpt: str = option(
        "the style file, of one style", placeholder="FILE", example="checkpoints/starry_night.safetensors", path=True
    )
    pictures: int = option("how many", 200, low=20)
    frames: int = option("of a film, which is then measured in place of pictures; 0 for none", 0, low=0)
    size: int = option("side of each, in pixels", 256, low=16, high=4096)
    workers: list[str] = option("how many workers, as often as you like; default: 1 and 2", ["1", "2"], placeholder="N")


def made_up(folder: Path, count: int, size: int) -> None:
    """Pictures of blurred noise, which JPEG compresses as it does photos."""
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 256, (size // 8 + 1, size // 8 + 1, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{i:06d}.jpg")


@contextmanager
def cluster(count: int) -> Iterator[None]:
    """Context manager: Ray on this machine, with a CPU for each worker."""
    ray = require("ray", "fleet")
    ray.init("local", num_cpus=count, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def paint(
    options: Options, folder: Path, output: Path, count: int, each: Callable[[list[Row]], object] = lambda rows: None
) -> Manifest:
    """Paint what is in a folder by a number of workers; `each` is as for `paint_all`. Returns the manifest."""
    style, manifest = Path(options.ckpt), Manifest(str(output))
    job = Job(str(output), style.name, "", "bench", StyleControls())
    left = list(portions(str(folder), {}, str(output), Places("bench", "png")))
    paint_all(left, job, style.read_bytes(), manifest, Workers(count), each=each)
    return manifest


def rate(options: Options, folder: Path, output: Path, count: int) -> float:
    """Pictures a second of a number of workers."""
    progress, workers = Progress(options.pictures), set[str]()

    def each(rows: list[Row]) -> None:
        workers.update(row.worker for row in rows)
        if len(workers) == count:  # all have started
            progress.add(sum(row.status == DONE for row in rows), 0)

    with cluster(count):
        paint(options, folder, output, count, each)
        return progress.rate


def made_up_film(path: Path, count: int, size: int) -> None:
    """A film of made-up scenes, over which the camera moves."""
    av = require("av", "video")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=_RATE)
        stream.width = stream.height = size
        for number in range(count):
            scene, left = divmod(number, _SCENE)
            if left == 0:
                picture = render(7, scene % 2, size + _SCENE)
            pixels = np.ascontiguousarray(picture[:size, left : left + size])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))


def seconds_of_film(options: Options, film: Path, output: Path, count: int) -> float:
    """Seconds in which a film is painted by a number of workers, with those in which they start."""
    with cluster(count):
        began = time.monotonic()
        manifest = paint(options, film.parent, output, count)
        taken = time.monotonic() - began
    if [row.status for row in manifest.rows.values()] != [DONE]:
        raise UserError(f"the film was not painted: {list(manifest.rows.values())}")
    return taken


def measure_film(options: Options) -> None:
    """Print a table of the seconds of a film."""
    print("| workers | seconds | of the first |")
    print("|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as made:
        films = [Path(made) / name / "film.mp4" for name in ("short", "long")]
        for film, frames in zip(films, (_SHORT, options.frames), strict=True):
            film.parent.mkdir()
            made_up_film(film, frames, options.size)
        first = 0.0
        for count in map(int, options.workers):
            start, whole = (
                seconds_of_film(options, film, Path(made) / f"out{count}-{film.parent.name}", count) for film in films
            )
            found = whole - start
            first = first or found
            print(f"| {count} | {found:.1f} | {found / first:.2f} |", flush=True)


def measure(options: Options) -> None:
    """Print a table of rates."""
    if options.frames:
        return measure_film(options)
    print("| workers | pictures a second | of the first |")
    print("|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "in"
        folder.mkdir()
        made_up(folder, options.pictures, options.size)
        first = 0.0
        for count in map(int, options.workers):
            found = rate(options, folder, Path(made) / f"out{count}", count)
            first = first or found
            print(f"| {count} | {found:.2f} | {found / first:.2f} |", flush=True)


if __name__ == "__main__":
    sys.exit(command(Options, "python scripts/bench_fleet.py ckpt=STYLE.safetensors [options]", measure, sys.argv[1:]))
