"""The classic, slow style transfer of one picture (Gatys et al., 2016), and what networks are measured against.

    python -m onestroke.optimization.reference style=starry_night input=photo.jpg output=painted.png

The doors are here, with the command; descent.py optimises, traces.py is what comes of it, cache.py keeps it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from onestroke.arguments import command
from onestroke.devices import NO_MEMORY, choose_device
from onestroke.errors import UserError
from onestroke.files import make_folder
from onestroke.imaging import images
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective, Term
from onestroke.optimization.arguments import USAGE, Options, parse
from onestroke.optimization.descent import Landscape, coarse_to_fine, optimise, sides
from onestroke.optimization.trace import Trace, iterations_to
from onestroke.optimization.trace_cache import cached, default_folder, fingerprint
from onestroke.perception import styles
from onestroke.perception.styles import CARD_SIZES, Style
from onestroke.perception.vgg import VGG

__all__ = [
    "Landscape",
    "Trace",
    "cached",
    "coarse_to_fine",
    "default_folder",
    "fingerprint",
    "iterations_to",
    "optimise",
    "sides",
]

LEAST = 16  # pixels a side, of which two are left at relu4_3
_SAID_EVERY = 10.0  # seconds between two lines where there is no terminal for a bar


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
    objectives = Objectives(options, side, device)
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


class Objectives:
    """The objective of the default configs, by the shorter side of the picture that is painted.

    Strokes keep their size in the picture: at half its size the painting is seen at half its size too, or at the
    smallest that its card knows.
    """

    def __init__(self, options: Options, side: int, device: torch.device) -> None:
        self.options, self.side, self.device = options, side, device
        self.terms: dict[str, Term] = {"content": Content(), "gram": Gram()}
        self.layers = [layer for term in self.terms.values() for layer in term.layers]
        self.vgg = VGG(self.layers)

    def __call__(self, side: int) -> Objective:
        objective = Objective(self.terms, self.vgg, self.style(side), self.options.strength)
        return objective.to(self.device).eval()

    def style(self, side: int) -> Style:
        """The painting as it is to be seen beside a picture of this shorter side."""
        options, layers = self.options, self.terms["gram"].layers
        scaled = options.style_size * side / self.side
        try:
            if options.image is not None:
                size = max(64, round(scaled))
                return styles.from_pictures(Path(options.image).stem, [options.image], size, layers, self.vgg.cpu())
            assert options.style is not None
            # a size that no card knows is refused as it was given
            size = options.style_size if side == self.side else min(CARD_SIZES, key=lambda s: abs(s - scaled))
            return styles.from_card(options.style, size, layers)
        except UserError as error:
            # those messages are written for train.py
            said = str(error).replace("style.image", "image").replace("style.size", "style_size")
            raise UserError(said) from error


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
    return command(USAGE, _job, arguments)


def _job(arguments: list[str]) -> int:
    run(parse(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
