"""`python evaluate.py`: numbers that mean the same for every style, network and tool."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from onestroke import style_file
from onestroke.arguments import Values, command, keyed
from onestroke.data.datamodule import to_image
from onestroke.data.scenes import Scenes
from onestroke.errors import UserError
from onestroke.evaluation.artifacts import pairs
from onestroke.evaluation.measure import Measure, fired, from_reference, means
from onestroke.evaluation.report import Entry, Row, table, write_html, write_json
from onestroke.evaluation.stability import stability
from onestroke.files import make_folder
from onestroke.imaging import images
from onestroke.imaging.finding import Found, LeftOut, search
from onestroke.inference.stylizer import Stylizer
from onestroke.optimization.reference import Trace, cached, default_folder, iterations_to
from onestroke.packages import require
from onestroke.perception.styles import CARD_LAYERS
from onestroke.perception.vgg import VGG

USAGE = """\
usage: python evaluate.py ckpt=STYLE.safetensors [ckpt=...] [photos=FOLDER] [options]
       python evaluate.py outputs=FOLDER style=NAME photos=FOLDER [options]

  ckpt=FILE        a style file; as often as you like
  outputs=FOLDER   finished pictures of any other tool, named as their photos (photo.jpg: photo.png, photo_anything.png)
  photos=FOLDER    photos that no painter was trained on; default: made-up scenes that are held out
  style=NAME       the style that is imitated: one that ships, or a picture; default: as the style file says
  count=4          how many photos, the first ones of the folder
  size=256         shorter side in pixels at which all is painted and measured, but for artefacts of finished pictures,
                   which are looked for at the pictures' own size
  strength=0.5     the control of the objective, and of the painters that have one
  iterations=150   of direct optimisation at most, which each painting is measured by; 0 leaves it out
  stability=true   paint moving pictures and made-up fields too (a minute or so more)
  lpips=true       LPIPS too, with the extra 'lpips' installed: downloads AlexNet (233 MB) once; default: false
  out=FOLDER       where report.json and report.html go; default: reports/<time>
  cache=FOLDER     where the direct optimisations are kept, to be used again
  keep=true        write the mean numbers into the style files, too
  device=NAME      auto, cpu, cuda or mps
"""


@dataclass
class Options:
    """The command line."""

    ckpt: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    photos: str | None = None
    style: str | None = None
    count: int = 4
    size: int = 256
    strength: float = 0.5
    iterations: int = 150
    stability: bool = True
    lpips: bool = False
    out: str | None = None
    cache: str | None = None
    keep: bool = False
    device: str = "auto"


def parse(arguments: list[str]) -> Options:
    """Read `key=value` arguments.

    Raises:
        UserError: for unknown, missing, repeated or empty keys and values of the wrong type.
    """
    values = Values(keyed(arguments, [f.name for f in fields(Options)], several=("ckpt", "outputs")))
    options = Options(
        ckpt=values.paths("ckpt"),
        outputs=values.paths("outputs"),
        photos=values.path("photos"),
        style=values.path("style"),  # or its picture
        count=values.count("count") or 4,
        size=_size(values.count("size")),
        strength=_strength(values),
        iterations=0 if values.text("iterations", "") == "0" else values.count("iterations") or 150,
        stability=values.flag("stability", default=True),
        lpips=values.flag("lpips"),
        out=values.path("out"),
        cache=values.path("cache"),
        keep=values.flag("keep"),
        device=values.text("device", "auto"),
    )
    if not options.ckpt and not options.outputs:
        raise UserError("ckpt or outputs is needed: ckpt=checkpoints/starry_night.safetensors")
    if options.lpips:
        require("torchvision", "lpips")  # which has AlexNet's weights, whichever package computes LPIPS
    if options.outputs and options.style is None:
        raise UserError("outputs needs style=, the style that its pictures imitate: style=starry_night")
    if options.outputs and options.photos is None:
        raise UserError("outputs needs photos=, the folder of the photos that its pictures were made from")
    return options


def _size(size: int | None) -> int:
    if size is not None and not 64 <= size <= 4096:
        raise UserError(f"size must be from 64 to 4096 pixels, not {size}")
    return size or 256


def _strength(values: Values) -> float:
    number = values.number("strength")
    if number is not None and not 0 < number <= 1:
        raise UserError(f"strength must be a number above 0, up to 1, not '{values.text('strength', '')}'")
    return 0.5 if number is None else number


Pictures = dict[str, Tensor]


def read_photos(options: Options) -> Pictures:
    """The photos by name, each (1, 3, H, W) in [0, 1] with `size` as its shorter side.

    Raises:
        UserError: where there is none.
    """
    if options.photos is None:
        scenes = Scenes(validation=options.count).held_out(options.size)
        return {f"scene {i + 1}": to_image(torch.from_numpy(scene)[None]) for i, scene in enumerate(scenes)}
    left_out = LeftOut()
    found = search([options.photos], left_out)[: options.count]
    if left_out.count:
        print(left_out, file=sys.stderr)
    names = _names(found)
    read = (images.read(photo.path).fit(short_side=options.size).rgb for photo in found)
    return dict(zip(names, read, strict=True))


def _names(photos: list[Found]) -> list[str]:
    """What tells the photos apart: their names alone, or with their folders, and where needed with their suffixes."""
    stems = [photo.path.stem for photo in photos]
    below = [(photo.below / photo.path.stem).as_posix() for photo in photos]
    whole = [(photo.below / photo.path.name).as_posix() for photo in photos]
    return [
        stem if stems.count(stem) == 1 else inside if below.count(inside) == 1 else last
        for stem, inside, last in zip(stems, below, whole, strict=True)
    ]


def match(folder: str, photos: Collection[str]) -> dict[str, Path]:
    """The finished picture of each photo, by the photo's name.

    Raises:
        UserError: for a photo that has none, or several.
    """
    pictures = search([folder], LeftOut(), paintings=True)
    nested = any("/" in name for name in photos)
    stems = {p.path: (p.below / p.path.stem).as_posix() if nested else p.path.stem for p in pictures}
    found: dict[str, Path] = {}
    for name in photos:
        fitting = [path for path, stem in stems.items() if stem == name] or [
            path for path, stem in stems.items() if stem.startswith(name) and not stem[len(name)].isalnum()
        ]
        if len(fitting) != 1:
            what = "no picture" if not fitting else f"{len(fitting)} pictures"
            raise UserError(f"outputs={folder} has {what} of the photo {name}: name one {name}.png")
        found[name] = fitting[0]
    return found


def finished(folder: str, options: Options, photos: Pictures, measure: Measure) -> Job:
    """The job of a folder of finished pictures: errors at the photos' size, artefacts at the pictures' own.

    A grid of single pixels is gone once a picture is shrunk, so the photo is brought to the picture's size for those.

    Raises:
        UserError: as `match`, and for pictures that can't be read or are too small for the detectors.
    """
    assert options.style is not None and options.photos is not None
    originals = search([options.photos], LeftOut())[: options.count]
    paths = dict(zip(_names(originals), (photo.path for photo in originals), strict=True))
    job = Job(Path(folder).name, measure, options.style, {"folder": folder}, {})
    edges = []
    for name, path in match(folder, photos).items():
        read = images.read(path)
        picture, photo = read.rgb, images.read(paths[name]).resized(*read.rgb.shape[-2:]).rgb
        faults = pairs.pair(picture, photo, spot=measure.style.spot)
        job.faults[name] = {f"artefact/{fault}": value for fault, value in faults.items() if not math.isnan(value)}
        edges.append(pairs.edges_of(picture, photo))
        job.outputs[name] = read.resized(*photos[name].shape[-2:]).rgb
    bands = pairs.bands_among(edges)
    job.own = {} if bands is None else {"artefact/bands_among": bands}
    return job


@dataclass
class Job:
    """One painter to be measured: its name, style and pictures, and how it paints where it is a style file.

    faults: of finished pictures, the artefacts of each at its own size. own: those of all of them together.
    """

    name: str
    measure: Measure
    style: str
    facts: dict[str, Any]
    outputs: Pictures
    paint: Callable[[Tensor], Tensor] | None = None
    faults: dict[str, dict[str, float]] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)


def jobs(options: Options, photos: Pictures, vgg: VGG) -> list[Job]:
    """All that is to be measured, painted already.

    Raises:
        UserError: for style files, folders and styles that can't be used.
    """
    measures: dict[tuple[str, int], Measure] = {}

    def measure(style: str, size: int) -> Measure:
        if (style, size) not in measures:
            measures[style, size] = from_reference(style, size, vgg, options.strength)
        return measures[style, size]

    found = []
    for path in options.ckpt:
        painter = style_file.read_document(Path(path))
        several = len(painter.styles) > 1
        size = painter.style.get("size", 256)
        size = size if isinstance(size, int) and 64 <= size <= 4096 else 256
        facts = {"file": path, **{k: painter.training.get(k) for k in ("steps", "images", "seconds", "dataset")}}
        strength = options.strength if "strength" in painter.network["args"].get("controls", ()) else None
        for own in painter.styles:
            stylizer = Stylizer(path, options.device, mix=own if several else None, strength=strength)
            name = own if several else options.style or own
            try:
                eye = measure(name, size)
            except UserError as error:
                if name == options.style:
                    raise
                raise UserError(f"{path} imitates '{name}', which is no style that ships: add style=picture") from error
            outputs = {photo: stylizer.paint(image) for photo, image in photos.items()}
            found.append(Job(Path(path).stem, eye, name, facts, outputs, stylizer.paint))
    for folder in options.outputs:
        assert options.style is not None
        eye = measure(options.style, 256)
        found.append(finished(folder, options, photos, eye))
    return found


def evaluate(options: Options, tell: Callable[[str, int, int], None]) -> list[Entry]:
    """Measure all.

    Args:
        options: the command line.
        tell: told what is being done, and how much of all is done.

    Raises:
        UserError: where something that was given can't be used.
    """
    photos = read_photos(options)
    vgg = VGG(CARD_LAYERS)
    entries = []
    found = jobs(options, photos, vgg)
    total = sum(len(job.outputs) + (job.paint is not None and options.stability) for job in found)
    done = 0
    folder = Path(options.cache) if options.cache else default_folder()
    for job in found:
        rows = []
        for name, output in job.outputs.items():
            tell(f"{job.name}: {name}", done, total)
            metrics = job.measure.all(output, photos[name], options.lpips)
            if name in job.faults:
                metrics = {k: v for k, v in metrics.items() if not k.startswith("artefact/")} | job.faults[name]
            trace = reference(job.measure, photos[name], metrics["total"], options.iterations, folder)
            if trace is not None:
                metrics["iterations"] = min(iterations_to(trace, metrics["total"]), float(trace.iterations))
                metrics["reference_loss"] = trace.loss
            picture = None if trace is None else trace.picture.clamp(0, 1)
            rows.append(Row(name, photos[name], output, picture, metrics))
            done += 1
        own = dict(job.own)
        if job.paint is not None and options.stability:
            tell(f"{job.name}: stability", done, total)
            own = {f"stability/{k}": v for k, v in stability(job.paint, list(photos.values())[:2]).items()}
            own["artefact/flat_noise"] = pairs.flat_noise_of(job.paint)
            own["artefact/bands"] = max(pairs.bands_of(job.paint).values())
            done += 1
        everything = {**means([row.metrics for row in rows]), **own}
        entries.append(Entry(job.name, job.style, job.facts, rows, own, fired(everything)))
    tell("done", total, total)
    return entries


def reference(measure: Measure, photo: Tensor, loss: float, iterations: int, folder: Path) -> Trace | None:
    """The direct optimisation of a photo, as far as it takes to reach a loss; None where it isn't wanted."""
    if not iterations:
        return None
    return cached(measure.objective, photo, iterations=iterations, until=loss, folder=folder)


def run(options: Options) -> None:
    """Measure, print the table, write the report."""
    out = Path(options.out or Path("reports") / time.strftime("%Y-%m-%d_%H-%M-%S"))
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file: name a folder")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)
            if not console.is_terminal:
                print(f"{done} of {total}: {what}", file=sys.stderr)

        entries = evaluate(options, tell)
    settings = {f.name: getattr(options, f.name) for f in fields(Options) if getattr(options, f.name) is not None}
    make_folder(out)
    write_json(out / "report.json", entries, settings)
    write_html(out / "report.html", entries, settings)
    Console(width=None if sys.stdout.isatty() else 200).print(table(entries))
    if options.keep:
        for entry in entries:
            if "file" in entry.facts:
                several = len(style_file.read_document(Path(entry.facts["file"])).styles) > 1
                prefix = f"evaluated/{entry.style}/" if several else "evaluated/"
                style_file.annotate(
                    Path(entry.facts["file"]), {prefix + name: value for name, value in entry.metrics.items()}
                )
    print(f"report   {out / 'report.html'}")


def main(arguments: list[str] | None = None) -> int:
    """The command line: 2 and one sentence for a user's mistake, else 0."""
    return command(USAGE, _job, arguments)


def _job(arguments: list[str]) -> int:
    run(parse(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
