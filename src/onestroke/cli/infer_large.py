"""Paint the pictures among what `onestroke infer` is to paint that don't fit in memory: in tiles."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor

from onestroke.cli.fingerprints import of_file, of_run
from onestroke.cli.infer_options import Options
from onestroke.cli.large_inputs import grey_of, mask_of, room, store
from onestroke.cli.marks import Marker
from onestroke.cli.stopping import Stop, stopping
from onestroke.errors import UserError, escaped
from onestroke.files import make_folder
from onestroke.imaging import decoding, images, large_reading, large_writing, metadata
from onestroke.imaging.encoding import WITHOUT_ALPHA
from onestroke.imaging.large_reading import Header
from onestroke.imaging.pyramid import PYRAMID, write_pyramid
from onestroke.imaging.raw_rows import RawRows
from onestroke.inference import large, working_size
from onestroke.inference.backends import Torch
from onestroke.inference.controls import open_style, read_grey
from onestroke.inference.finishing import Finish
from onestroke.inference.frames import no_picture
from onestroke.inference.mapped_styles import MappedNetwork, PhotoWithMap
from onestroke.inference.memory import free_on, memory_errors_for_users, peak_memory
from onestroke.inference.stylizer import Stylizer
from onestroke.inference.tiles import TilePainter
from onestroke.inference.workplace import Workplace
from onestroke.provenance.credentials import SIGNING
from onestroke.provenance.marking import rounding

_REPORT_EVERY = 30.0
"""Seconds between two lines about the progress, where there is no terminal."""
_DARK = 63  # a photo of no higher level may be painted all black


class Stopped(Exception):
    """The user asked to stop."""


def needs_tiles(path: Path, stylizer: Stylizer, options: Options) -> bool:
    """Whether a photo, or its painting, doesn't fit in memory.

    Returns False for a file that can't be opened: the usual way tells what is wrong.
    """
    try:
        head = large_reading.header(path)
    except UserError:
        return False
    size = decoding.fitting(head.height, head.width, max_side=options.max_side)
    whole = size == (head.height, head.width)
    if whole and (head.height * head.width > images.MAX_PIXELS or head.memory > room(options)):
        return True
    working = options.working_size(*size)
    beside = 0 if working == size else working_size.MEMORY * size[0] * size[1]
    return beside > room(options) or not _fits(working, stylizer, options, room(options) - beside)


def _fits(size: tuple[int, int], stylizer: Stylizer, options: Options, most: float) -> bool:
    """Whether a picture can be painted at once in this many bytes; True where that can't be told."""
    try:
        with memory_errors_for_users(*size):
            painter = stylizer.backend if options.style_map is None else stylizer.mapped
            return painter.memory(1, *size) <= min(most, free_on(stylizer.device))
    except UserError:
        return True


def paint(path: Path, place: Path, stylizer: Stylizer, options: Options, marker: Marker) -> int:
    """Paint a photo in tiles, and write the painting; returns the number of frames or pages of the photo's file.

    Raises:
        UserError: it can't be painted so.
        Stopped: the user asked to stop; what is done is kept for resume=true.
    """
    head = large_reading.header(path, counts=True)
    size = decoding.fitting(head.height, head.width, max_side=options.max_side)
    working = options.working_size(*size)
    at_once = working != size and _fits(working, stylizer, options, room(options) / 2)
    network = None if at_once else _network(stylizer, options)
    if options.compile:
        raise UserError(f"compile=true is for whole pictures, and {path} is painted in tiles: leave it out")
    if options.mark == "c2pa":
        _check_signable(path, size, room(options))
        marker.seal(path, size, place, painted=True)  # raises for a photo of a kind that C2PA doesn't know
    if place.suffix.lower() != PYRAMID:
        large_writing.check_writable_size(place, *size, room(options))
    make_folder(place.parent)
    inputs = MappedNetwork.INPUTS if options.style_map else 3
    painter = None if network is None else TilePainter(network, stylizer.device, inputs=inputs)
    work = Workplace(place, _fingerprint(path, options), options.resume)
    large.check_disk(work, *size, working)
    if painter is not None:
        painter.side = large.tile_side(painter.field, _takes(painter), working[1], room(options) / 3)
    with stopping("tile") as stop, _progress(path) as tell:
        try:
            store(work, path, head, size, options)
            painting = _painted(
                work, working, painter or _at_once(stylizer, options, working), options, _checked(tell, stop)
            )
        except Stopped:
            done, of = (work.state["enlarged"], size[0]) if work.state["enlarged"] else (work.rows, working[0])
            print(f"stopped after {done} of {of} rows; add resume=true to go on", file=sys.stderr)
            raise
    _write(work, painting, path, place, head, stylizer, options, marker)
    work.remove()
    print(escaped(str(place)))
    return head.frames


def _check_signable(path: Path, size: tuple[int, int], free: float) -> None:
    """Raise a UserError where signing a painting of this size would take more than `free` bytes."""
    needed = SIGNING * 3 * size[0] * size[1]
    if needed > free:
        raise UserError(
            f"mark=c2pa holds a file in memory to sign it, which may take {needed / 1e9:.1f} GB for the painting of "
            f"{path}, and {max(free, 0) / 1e9:.1f} GB are free: take mark=xmp"
        )


def _at_once(stylizer: Stylizer, options: Options, working: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Paints a picture of the working size, which fits in memory."""
    style_map = None if options.style_map is None else read_grey(options.style_map, *working)
    return lambda image: stylizer.paint(image, style_map=style_map)


def _painted(
    work: Workplace, working: tuple[int, int], painter: TilePainter | Callable[[Tensor], Tensor], options: Options,
    tell: large.Tell,
) -> RawRows:  # fmt: skip
    """The painting of the photo that is stored, painted at the working size."""
    photo, painting = work.pixels("photo", 3), work.pixels("painting", 3)
    style_map = grey_of(work, options, "style_map") if isinstance(painter, TilePainter) and options.style_map else None
    if working == (photo.height, photo.width):
        assert isinstance(painter, TilePainter)
        large.paint(work, photo if style_map is None else PhotoWithMap(photo, style_map), painting, painter, tell)
        return painting
    small, painted = large.shrink(work, working), work.pixels("painted", 3, working)
    if isinstance(painter, TilePainter):
        source = small if style_map is None else PhotoWithMap(small, large.shrink(work, working, style_map))
        large.paint(work, source, painted, painter, lambda share: tell(share / 2))
    else:
        large.paint_at_once(work, small, painted, painter)
    large.enlarge(work, painted, small, lambda share: tell((1 + share) / 2))
    return painting


def _network(stylizer: Stylizer, options: Options) -> torch.nn.Module:
    """The network of a style, in PyTorch."""
    if options.style_map is not None:
        return stylizer.mapped.network().eval()
    if isinstance(stylizer.backend, Torch):
        network: torch.nn.Module = stylizer.backend.network
        return network
    if options.backend != "auto" or stylizer.path.suffix.lower() == ".onnx":
        raise UserError(
            "a picture that doesn't fit in memory is painted in tiles, by backend=torch and from a style file "
            "(.safetensors): leave out backend, or use a smaller max_side"
        )
    return open_style(stylizer.path, stylizer.controls)[0].eval()


def _takes(painter: TilePainter) -> Callable[[int], float]:
    def run(image: torch.Tensor) -> object:
        image = image[:, [0, 1, 2, *([0] * (painter.inputs - 3))]]
        return painter.network(image.to(painter.device).contiguous(memory_format=torch.channels_last))

    held = peak_memory(run)
    return lambda side: 1.2 * held(1, side, side)


def _write(
    work: Workplace, painting: RawRows, path: Path, place: Path, head: Header, stylizer: Stylizer, options: Options,
    marker: Marker,
) -> None:  # fmt: skip
    """Finish a painting and write its file."""
    photo = work.pixels("photo", 3)
    alpha = work.pixels("alpha", 1) if work.state["alpha"] and options.mask != "alpha" else None
    mask = mask_of(work, options)
    flatten = images.WRITABLE.get(place.suffix.lower()) in WITHOUT_ALPHA
    finish = Finish(photo, painting, alpha, options.color, mask, options.feather, flatten)
    finished = work.pixels("finished", finish.channels)
    within = 0 if marker.origin is None else rounding(marker.origin)
    painted, brightest, lightest = False, 0, 0
    for top, band in finish.bands():
        finished.write(top, band)
        before = photo.rows(top, top + len(band))
        painted = painted or bool((abs(band[..., :3].astype(np.int16) - before) > within).any())
        brightest = max(brightest, int(painting.rows(top, top + len(band)).max()))
        lightest = max(lightest, int(before.max()))
    if not brightest and lightest > _DARK:
        raise no_picture(stylizer.path)
    size = photo.height, photo.width
    xmp = marker.xmp(path, size, head.xmp, place, painted)
    if place.suffix.lower() == PYRAMID:
        write_pyramid(place, finished, options.quality, stylizer.name, xmp)
        return
    block = metadata.of_painting(head.exif, *size, stylizer.name)
    seal, kind = marker.seal(path, size, place, painted), images.WRITABLE[place.suffix.lower()]

    def sign(written: Path) -> None:
        if seal is not None:
            seal.seal_file(written, kind)

    large_writing.write_rows(place, finished, room(options), options.quality, block, xmp, sign)


def _fingerprint(path: Path, options: Options) -> dict[str, object]:
    """What decides how a picture is painted, for a run that is gone on with."""
    names = ("style", "strength", "stroke", "max_side", "stroke_scale")
    style_map = None if options.style_map is None else of_file(Path(options.style_map))
    return of_run(options, names, alpha=options.mask == "alpha", photo=of_file(path), style_map=style_map)


def _checked(tell: large.Tell, stop: Stop) -> large.Tell:
    def told(share: float) -> None:
        tell(share)
        if stop.asked:
            raise Stopped

    return told


@contextmanager
def _progress(path: Path) -> Iterator[large.Tell]:
    """Show the share of all passes that is done, and the time left: a bar in a terminal, else a line at times."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    started = reported = time.monotonic()
    first: float | None = None
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(f"{escaped(path.name)} in tiles", total=1.0)

        def tell(share: float) -> None:
            nonlocal reported, first
            now = time.monotonic()
            first = share if first is None else first
            bars.update(task, completed=share)
            if not console.is_terminal and now - reported > _REPORT_EVERY and share > first:
                left = (now - started) * (1 - share) / (share - first)
                print(f"{escaped(path.name)} in tiles: {100 * share:.0f} %, {left:.0f} s left", file=sys.stderr)
                reported = now

        yield tell
