"""`onestroke optimize`: style transfer of one picture by direct optimisation, slow (Gatys et al., 2016)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from onestroke.cli.marks import KEY, MARK, SIGN, Marker, certificate_of, check_mark
from onestroke.cli.options import CommandOptions, command, option
from onestroke.devices import NO_MEMORY, choose_device
from onestroke.errors import UserError
from onestroke.files import make_folder
from onestroke.imaging import images
from onestroke.losses.objective import Objective
from onestroke.optimization.descent import Optimizer, Start
from onestroke.optimization.reference import Objectives, Trace, coarse_to_fine, sides
from onestroke.provenance.credentials import OTHERS, SIGNABLE
from onestroke.provenance.origin import Origin, styles_of

USAGE = "onestroke optimize style=NAME input=PHOTO [options]"
LEAST = 16  # minimum side in pixels, which is 2 at relu4_3
_REPORT_EVERY = 10.0  # seconds between two lines of progress without a terminal


@dataclass
class Options(CommandOptions):
    """The options of `onestroke optimize`."""

    input: str = option(
        "the photo; its name alone will do", placeholder="PHOTO", example="photo.jpg", path=True, bare=True
    )
    style: str | None = option("a style that ships, such as starry_night", None, placeholder="NAME", path=True)
    image: str | None = option("your own painting, in place of style=", None, placeholder="PAINTING", path=True)
    output: str | None = option(
        "the painting; default: beside the photo, as photo.reference.starry_night.png",
        None, placeholder="FILE", path=True,
    )  # fmt: skip
    size: int = option(
        "shorter side of what is painted, in pixels; a smaller photo keeps its size", 512, low=16, high=100_000
    )
    style_size: int = option(
        "shorter side of the style picture in pixels: sets the size of its strokes", 256, low=64, high=4096
    )
    strength: float = option("0 the photo, 1 the painting", 0.5, low=0, high=1)
    iterations: int = option("at each scale", 200, low=1, high=1_000_000)
    scales: int = option(
        "coarse to fine: number of sizes, each twice as large as the last; 1 is the full size only", 2, low=1, high=8
    )
    optimizer: Optimizer = option("lbfgs or adam", "lbfgs")
    start: Start = option("content or noise", "content")
    seed: int = option("of the noise", 0, low=0, high=999_999_999)
    device: str = option("auto, cpu, cuda or mps", "auto")
    overwrite: bool = option("replace a painting that is there already; the photo is never replaced", False)
    mark: str = option(**MARK)
    sign: str | None = option(**SIGN)
    key: str | None = option(**KEY)

    def check(self) -> None:
        """Raise a UserError unless exactly one of style and image is given, and for marks that can't be combined."""
        check_mark(self.mark, self.sign, self.key)
        if (self.style is None) == (self.image is None):
            raise UserError("one of style and image is needed: style=starry_night, or image=my_painting.jpg")


def run(options: Options) -> None:
    """Paint one photo, after checking all options.

    Raises:
        UserError: a file can't be read or written, or an option can't be used.
    """
    place = target(options)
    device = choose_device(options.device)
    certificate = certificate_of(options.sign, options.key)
    picture = images.read(options.input)
    side = min(options.size, picture.height, picture.width)
    if side < LEAST:
        raise UserError(
            f"'{options.input}' is only {picture.width} x {picture.height}; its shorter side must be at least {LEAST}"
        )
    picture = picture.fit(short_side=side)
    photo, alpha = picture.rgb, picture.alpha
    objectives = Objectives(options.style, options.image, options.style_size, options.strength, side, device)
    facts = asdict(objectives(side).style.facts)  # before the optimisation, since the style may be wrong
    marker = Marker(None if options.mark == "none" else origin(options, facts), certificate)
    make_folder(place.parent)
    begun = time.monotonic()
    with progress_shown(options.iterations, sides(side, options.scales)) as progress:
        trace = paint(objectives, photo.to(device), options, progress)
    style = options.style or Path(options.image or "").stem
    marks = marker.marks(Path(options.input), picture, place, trace.picture)
    images.write(place, trace.picture, alpha, painted_in=f"{style}, by direct optimisation", exif=picture.exif, **marks)
    print(place)
    for line in marker.remarks():
        print(line, file=sys.stderr)
    print(f"loss {trace.loss:.4f}, {time.monotonic() - begun:.0f} s", file=sys.stderr)


def origin(options: Options, facts: Mapping[str, str]) -> Origin:
    """What is said of the painting, with the facts that are known about the style."""
    name = options.style or Path(options.image or "").stem
    settings = {
        "method": "direct optimisation", "strength": f"{options.strength:g}", "iterations": f"{options.iterations}",
        "scales": f"{options.scales}", "size": f"{options.size}",
    }  # fmt: skip
    return Origin("", "", styles_of({"styles": [{**facts, "name": name}]}), settings)


def paint(
    objectives: Callable[[int], Objective],
    photo: Tensor,
    options: Options,
    progress: Callable[[int, int, float], object],
) -> Trace:
    """Optimise from coarse to fine; lack of memory becomes a UserError."""
    try:
        return coarse_to_fine(
            objectives, photo, scales=options.scales, iterations=options.iterations, optimizer=options.optimizer,
            start=options.start, seed=options.seed, progress=progress,
        )  # fmt: skip
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in NO_MEMORY):
            raise UserError(f"there is not enough memory for size={options.size}; take a smaller one") from error
        raise


def target(options: Options) -> Path:
    """The path of the painting.

    Raises:
        UserError: it is an input or exists (unless overwrite=true), or its suffix is not that of a known format.
    """
    photo, name = Path(options.input), options.style or Path(options.image or "").stem
    default = f"{photo.stem}.reference.{name}.png"
    place = photo.parent / default if options.output is None else Path(options.output)
    if options.output is not None and (os.path.isdir(place) or options.output.endswith(("/", os.sep))):
        place = place / default
    if place.suffix.lower() not in images.WRITABLE:
        known = ", ".join(sorted(images.WRITABLE))
        raise UserError(f"output={options.output}: a painting is written as {known}; a folder's name ends in /")
    if options.mark == "c2pa" and images.WRITABLE[place.suffix.lower()] not in SIGNABLE:
        raise UserError(f"mark=c2pa: {place.suffix} files hold no Content Credentials: {OTHERS}")
    for source in (options.input, options.image):
        if source is not None and os.path.exists(place) and os.path.exists(source) and place.samefile(source):
            raise UserError(f"{place} is one of the inputs, and is never overwritten: choose another output")
    if os.path.lexists(place) and not options.overwrite:
        raise UserError(f"{place} is there already: choose another output, or add overwrite=true")
    return place


@contextmanager
def progress_shown(iterations: int, scales: list[int]) -> Iterator[Callable[[int, int, float], None]]:
    """Show progress: a bar for each scale with loss and remaining time, or lines without a terminal.

    Args:
        iterations: at each scale.
        scales: shorter side in pixels at each scale.

    Yields:
        A function of (side, iteration, loss) that updates the progress.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    tasks: dict[int, TaskID] = {}
    begun: dict[int, float] = {}
    reported = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def progress(side: int, iteration: int, loss: float) -> None:
            nonlocal reported
            now = time.monotonic()
            label = f"{side} px, scale {scales.index(side) + 1} of {len(scales)}"
            if side not in tasks:
                tasks[side], begun[side] = bars.add_task(label, total=iterations, loss=loss), now
            bars.update(tasks[side], completed=iteration, loss=loss)
            if not console.is_terminal and (now - reported > _REPORT_EVERY or iteration == iterations):
                left = (now - begun[side]) / max(1, iteration) * (iterations - iteration)
                print(f"{label}: {iteration} of {iterations}, loss {loss:.4f}, {left:.0f} s left", file=sys.stderr)
                reported = now

        yield progress


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after printing the user's mistake in one sentence."""
    return command(Options, USAGE, run, arguments)
