"""`onestroke evaluate`, `python evaluate.py`: metrics that are comparable between styles, networks and tools."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from onestroke import style_file
from onestroke.cli.evaluate_against import compare
from onestroke.cli.evaluate_moving import measured
from onestroke.cli.evaluate_options import Options
from onestroke.cli.evaluate_pictures import Pictures, match, photo_names, read_photos
from onestroke.cli.options import command
from onestroke.errors import UserError, escaped
from onestroke.evaluation import comparison_report, moving_report
from onestroke.evaluation.artifacts.edge_bias import edge_bias, edge_differences, shared_edge_bias
from onestroke.evaluation.artifacts.flat_noise import flat_noise_of
from onestroke.evaluation.explanation.explaining import Explanation, explain
from onestroke.evaluation.measure import Measure, fired, from_reference, means
from onestroke.evaluation.report import Entry, Row, table, write_html, write_json
from onestroke.evaluation.stability import stability
from onestroke.files import make_folder
from onestroke.imaging import images
from onestroke.imaging.finding import search
from onestroke.imaging.left_out import LeftOut
from onestroke.inference.controls import StyleControls
from onestroke.inference.stylizer import Stylizer
from onestroke.optimization.reference import Trace, cached, default_folder, iterations_to
from onestroke.perception.style_card import CARD_LAYERS
from onestroke.perception.vgg import VGG

USAGE = """\
python evaluate.py ckpt=STYLE.safetensors [ckpt=...] [photos=FOLDER] [options]
python evaluate.py outputs=FOLDER style=NAME photos=FOLDER [options]
python evaluate.py ckpt=STYLE.safetensors motion=exact [photos=FOLDER] [steady=0,0.5]
python evaluate.py ckpt=STYLE.safetensors video=CLIP.mp4 [steady=0,0.5]
python evaluate.py ckpt=STYLE.safetensors against=FOLDER [against=...] photos=FOLDER [options]
onestroke evaluate ... is the same, where OneStroke is installed"""


Result = TypeVar("Result")


def finished(folder: str, options: Options, photos: Pictures, measure: Measure) -> Job:
    """The job for a folder of finished pictures: losses at the photos' size, artefacts at the pictures' full size.

    Shrinking a picture would remove a checkerboard of single pixels, so the photo is resized for the artefacts.

    Raises:
        UserError: as `match`, or if a picture can't be read or is too small for the detectors.
    """
    assert options.style is not None and options.photos is not None
    originals = search([options.photos], LeftOut())[: options.photo_count]
    paths = dict(zip(photo_names(originals), (photo.path for photo in originals), strict=True))
    job = Job(Path(folder).name, measure, options.style, {"folder": folder}, {})
    edges = []
    for name, path in match(folder, photos).items():
        read = images.read(path)
        picture, photo = read.rgb, images.read(paths[name]).resized(*read.rgb.shape[-2:]).rgb
        faults = measure.faults(picture, photo)
        job.faults[name] = {f"artefact/{fault}": value for fault, value in faults.items() if not math.isnan(value)}
        edges.append(edge_differences(picture, photo))
        job.outputs[name] = read.resized(*photos[name].shape[-2:]).rgb
    bias = shared_edge_bias(edges)
    job.own = {} if bias is None else {"artefact/shared_edge_bias": bias}
    return job


@dataclass
class Job:
    """A painter to measure: a style of a style file, or a folder of finished pictures.

    outputs: its paintings. paint: float (N, 3, H, W) in [0, 1] -> the same, for a style file. faults: for finished
    pictures, the artefacts of each at its full size. own: metrics of all pictures together. paint_at: for a style file,
    by control, picture and position -> painting.
    """

    name: str
    measure: Measure
    style: str
    facts: dict[str, Any]
    outputs: Pictures
    paint: Callable[[Tensor], Tensor] | None = None
    faults: dict[str, dict[str, float]] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)
    paint_at: dict[str, Callable[[Tensor, float], Tensor]] = field(default_factory=dict)


def jobs(options: Options, photos: Pictures, vgg: VGG) -> list[Job]:
    """Create the jobs for all style files and folders, and paint the photos.

    Raises:
        UserError: a style file, a folder or a style can't be used.
    """
    measures: dict[tuple[str, int], Measure] = {}

    def measure(style: str, size: int) -> Measure:
        if (style, size) not in measures:
            measures[style, size] = from_reference(style, size, vgg, options.strength)
        return measures[style, size]

    found = []
    for path in options.ckpt:
        metadata = style_file.read_document(Path(path))
        several = len(metadata.styles) > 1
        size = metadata.style.get("size", 256)
        size = size if isinstance(size, int) and 64 <= size <= 4096 else 256
        facts = {"file": path, **{k: metadata.training.get(k) for k in ("steps", "images", "seconds", "dataset")}}
        controls = metadata.network["args"].get("controls", ())
        strength = options.strength if "strength" in controls else None
        for own in metadata.styles:
            mix = own if several else None
            stylizer = Stylizer(path, options.device, mix=mix, strength=strength)
            name = own if several else options.style or own
            try:
                own_measure = measure(name, size)
            except UserError as error:
                if name == options.style:
                    raise
                raise UserError(f"{path} imitates '{name}', which is no style that ships: add style=picture") from error
            outputs = {photo: stylizer.paint(image) for photo, image in photos.items()}
            found.append(Job(Path(path).stem, own_measure, name, facts, outputs, stylizer.paint))
            found[-1].paint_at = _along(path, options.device, StyleControls(mix, strength), controls)
    for folder in options.outputs:
        assert options.style is not None
        own_measure = measure(options.style, 256)
        found.append(finished(folder, options, photos, own_measure))
    return found


def _along(
    path: str, device: str, fixed: StyleControls, controls: Collection[str]
) -> dict[str, Callable[[Tensor, float], Tensor]]:
    """By control that a style file has, a function that paints a picture with that control at a position.

    Args:
        path: of the style file.
        device: to paint on.
        fixed: the style, and the strength at which the other control is varied.
        controls: that the file has.
    """

    def along(control: str) -> Callable[[Tensor, float], Tensor]:
        def paint(picture: Tensor, position: float) -> Tensor:
            strength, stroke = (position, None) if control == "strength" else (fixed.strength, position)
            return Stylizer(path, device, mix=fixed.mix, strength=strength, stroke=stroke).paint(picture)

        return paint

    return {control: along(control) for control in ("strength", "stroke") if control in controls}


def evaluate(options: Options, progress: Callable[[str, int, int], None]) -> list[Entry]:
    """Paint and measure everything.

    Args:
        options: the command line.
        progress: called with the current task, the number of finished tasks and the number of all tasks.

    Raises:
        UserError: a file, a folder or a style in the options can't be used.
    """
    photos = read_photos(options)
    vgg = VGG(CARD_LAYERS)
    entries = []
    found = jobs(options, photos, vgg)
    total = sum(len(job.outputs) + (job.paint is not None) * (options.stability + options.explain) for job in found)
    done = 0
    folder = Path(options.cache) if options.cache else default_folder()
    for job in found:
        rows = []
        for name, output in job.outputs.items():
            progress(f"{job.name}: {name}", done, total)
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
            progress(f"{job.name}: stability", done, total)
            own = {f"stability/{k}": v for k, v in stability(job.paint, list(photos.values())[:2]).items()}
            own["artefact/flat_noise"] = flat_noise_of(job.paint)
            own["artefact/edge_bias"] = max(edge_bias(job.paint).values())
            done += 1
        # rare but glaring, so that a mean over photos would hide it
        areas = [row.metrics["artefact/area_blobs"] for row in rows if "artefact/area_blobs" in row.metrics]
        own |= {"artefact/area_blobs": max(areas)} if areas else {}
        everything = {**means([row.metrics for row in rows]), **own}
        entry = Entry(job.name, job.style, job.facts, rows, own, fired(everything))
        if job.paint is not None and options.explain:
            progress(f"{job.name}: explanation", done, total)
            entry.explanation = _explained(job, photos)
            done += 1
        entries.append(entry)
    progress("done", total, total)
    return entries


def _explained(job: Job, photos: Pictures) -> Explanation:
    """The explanation of the first photo's painting."""
    first, photo = next(iter(photos.items()))
    paint_at = {control: partial(paint, photo) for control, paint in job.paint_at.items()}
    return explain(job.measure, photos, job.outputs[first], paint_at)


def reference(measure: Measure, photo: Tensor, loss: float, iterations: int, folder: Path) -> Trace | None:
    """The direct optimisation of a photo until it reaches a loss, for `iterations` at most; None if that is 0."""
    if not iterations:
        return None
    return cached(measure.objective, photo, iterations=iterations, until=loss, folder=folder)


def run(options: Options) -> None:
    """Measure or compare, print the table and write the report."""
    out = Path(options.out or Path("reports") / time.strftime("%Y-%m-%d_%H-%M-%S"))
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file: name a folder")
    settings = {f.name: getattr(options, f.name) for f in fields(Options) if getattr(options, f.name) is not None}
    if options.motion or options.video:
        moving = _with_progress(lambda progress: measured(options, progress))
        make_folder(out)
        found = moving_report.write(out, moving, settings)
    elif options.against:
        comparisons = _with_progress(lambda progress: compare(options, progress))
        make_folder(out)
        found = comparison_report.write(out, comparisons, settings)
    else:
        entries = _with_progress(lambda progress: evaluate(options, progress))
        make_folder(out)
        write_json(out / "report.json", entries, settings)
        write_html(out / "report.html", entries, settings)
        found = table(entries)
        if options.keep:
            _keep(entries)
    Console(width=None if sys.stdout.isatty() else 200).print(found)
    print(f"report   {out / 'report.html'}")


def _with_progress(job: Callable[[Callable[[str, int, int], None]], Result]) -> Result:
    """Run a job that is given a function for its progress: a bar in a terminal, else lines on stderr."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)

        def progress(label: str, done: int, total: int) -> None:
            bar.update(task, description=label, completed=done, total=total)
            if not console.is_terminal:
                print(f"{done} of {total}: {escaped(label)}", file=sys.stderr)

        return job(progress)


def _keep(entries: Sequence[Entry]) -> None:
    """Write the mean metrics into the style files.

    Raises:
        UserError: a file can't be written.
    """
    for entry in entries:
        if "file" in entry.facts:
            several = len(style_file.read_document(Path(entry.facts["file"])).styles) > 1
            prefix = f"evaluated/{entry.style}/" if several else "evaluated/"
            style_file.annotate(
                Path(entry.facts["file"]), {prefix + name: value for name, value in entry.metrics.items()}
            )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after printing the user's mistake in one sentence."""
    return command(Options, USAGE, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
