"""`onestroke optimize`: the classic, slow style transfer of one picture (Gatys et al., 2016)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from onestroke.cli.options import CommandOptions, command, option
from onestroke.devices import NO_MEMORY, choose_device
from onestroke.errors import UserError
from onestroke.files import make_folder
from onestroke.imaging import images
from onestroke.losses.objective import Objective
from onestroke.optimization.descent import Optimizer, Start
from onestroke.optimization.reference import Objectives, Trace, coarse_to_fine, sides

USAGE = "onestroke optimize style=NAME input=PHOTO [options]"
LEAST = 16  # pixels a side, of which two are left at relu4_3
_SAID_EVERY = 10.0  # seconds between two lines where there is no terminal for a bar


@dataclass
class Options(CommandOptions):
    """What is painted like what, and how long."""

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
    style_size: int = option("shorter side at which the style is seen: the size of its strokes", 256, low=64, high=4096)
    strength: float = option("0 the photo, 1 the painting", 0.5, low=0, high=1)
    iterations: int = option("at each scale", 200, low=1, high=1_000_000)
    scales: int = option(
        "small pictures first, each twice as large as the last; 1 paints at the full size only", 2, low=1, high=8
    )
    optimizer: Optimizer = option("lbfgs or adam", "lbfgs")
    start: Start = option("content or noise", "content")
    seed: int = option("of the noise", 0, low=0, high=999_999_999)
    device: str = option("auto, cpu, cuda or mps", "auto")
    overwrite: bool = option("replace a painting that is there already; the photo is never replaced", False)

    def check(self) -> None:
        """Raise a UserError where it isn't clear what is to be imitated."""
        if (self.style is None) == (self.image is None):
            raise UserError("one of style and image is needed: style=starry_night, or image=my_painting.jpg")


def run(options: Options) -> None:
    """Paint one photo, all that was given being checked first.

    Raises:
        UserError: where something can't be read, made or written.
    """
    place = target(options)
    device = choose_device(options.device)
    picture = images.read(options.input)
    side = min(options.size, picture.height, picture.width)
    if side < LEAST:
        raise UserError(
            f"'{options.input}' is only {picture.width} x {picture.height}; its shorter side must be at least {LEAST}"
        )
    picture = picture.fit(short_side=side)
    photo, alpha = picture.rgb, picture.alpha
    objectives = Objectives(options.style, options.image, options.style_size, options.strength, side, device)
    objectives(side)  # so that a bad style is told now
    make_folder(place.parent)
    begun = time.monotonic()
    with shown(options.iterations, sides(side, options.scales)) as tell:
        trace = paint(objectives, photo.to(device), options, tell)
    style = options.style or Path(options.image or "").stem
    images.write(place, trace.picture, alpha, painted_in=f"{style}, by direct optimisation", exif=picture.exif)
    print(place)
    print(f"loss {trace.loss:.4f}, {time.monotonic() - begun:.0f} s", file=sys.stderr)


def paint(
    objectives: Callable[[int], Objective], photo: Tensor, options: Options, tell: Callable[[int, int, float], object]
) -> Trace:
    """From coarse to fine; a machine that is too small for it is told as such."""
    try:
        return coarse_to_fine(
            objectives, photo, scales=options.scales, iterations=options.iterations, optimizer=options.optimizer,
            start=options.start, seed=options.seed, progress=tell,
        )  # fmt: skip
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in NO_MEMORY):
            raise UserError(f"there is not enough memory for size={options.size}; take a smaller one") from error
        raise


def target(options: Options) -> Path:
    """Where the painting goes.

    Raises:
        UserError: where it would replace the photo, or something else unasked, or its suffix tells of no kind.
    """
    photo, name = Path(options.input), options.style or Path(options.image or "").stem
    default = f"{photo.stem}.reference.{name}.png"
    place = photo.parent / default if options.output is None else Path(options.output)
    if options.output is not None and (os.path.isdir(place) or options.output.endswith(("/", os.sep))):
        place = place / default
    if place.suffix.lower() not in images.WRITABLE:
        known = ", ".join(sorted(images.WRITABLE))
        raise UserError(f"output={options.output}: a painting is written as {known}; a folder's name ends in /")
    for source in (options.input, options.image):
        if source is not None and os.path.exists(place) and os.path.exists(source) and place.samefile(source):
            raise UserError(f"{place} is what is to be read, and is never overwritten: choose another output")
    if os.path.lexists(place) and not options.overwrite:
        raise UserError(f"{place} is there already: choose another output, or add overwrite=true")
    return place


@contextmanager
def shown(iterations: int, scales: list[int]) -> Iterator[Callable[[int, int, float], None]]:
    """A bar for each scale, with loss and time left; a line now and then where there is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    tasks: dict[int, TaskID] = {}
    begun: dict[int, float] = {}
    said = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def tell(side: int, iteration: int, loss: float) -> None:
            nonlocal said
            now = time.monotonic()
            label = f"{side} px, scale {scales.index(side) + 1} of {len(scales)}"
            if side not in tasks:
                tasks[side], begun[side] = bars.add_task(label, total=iterations, loss=loss), now
            bars.update(tasks[side], completed=iteration, loss=loss)
            if not console.is_terminal and (now - said > _SAID_EVERY or iteration == iterations):
                left = (now - begun[side]) / max(1, iteration) * (iterations - iteration)
                print(f"{label}: {iteration} of {iterations}, loss {loss:.4f}, {left:.0f} s left", file=sys.stderr)
                said = now

        yield tell


def main(arguments: list[str] | None = None) -> int:
    """The command line: 2 and one sentence for a user's mistake, else 0."""
    return command(Options, USAGE, run, arguments)
