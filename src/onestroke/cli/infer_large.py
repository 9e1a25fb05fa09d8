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
from onestroke.cli.marks import Marker
from onestroke.cli.stopping import Stop, stopping
from onestroke.devices import free_memory, used_memory
from onestroke.errors import UserError, escaped
from onestroke.files import make_folder
from onestroke.imaging import decoding, images, large_reading, large_writing, metadata
from onestroke.imaging.encoding import WITHOUT_ALPHA
from onestroke.imaging.large_reading import Header
from onestroke.imaging.pyramid import PYRAMID, write_pyramid
from onestroke.imaging.raw_rows import RawRows, band_rows
from onestroke.inference import large, working_size
from onestroke.inference.backends import Torch
from onestroke.inference.controls import open_style
from onestroke.inference.finishing import Finish
from onestroke.inference.frames import no_picture
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

    Returns False for a file that can't be opened, and with style_map: the usual way tells what is wrong.
    """
    if options.style_map is not None:
        return False
    try:
        head = large_reading.header(path)
    except UserError:
        return False
    size = decoding.fitting(head.height, head.width, max_side=options.max_side)
    whole = size == (head.height, head.width)
    if whole and (head.height * head.width > images.MAX_PIXELS or head.memory > _room(options)):
        return True
    working = options.working_size(*size)
    beside = 0 if working == size else working_size.MEMORY * size[0] * size[1]
    return beside > _room(options) or not _fits(working, stylizer, _room(options) - beside)


def _fits(size: tuple[int, int], stylizer: Stylizer, room: float) -> bool:
    """Whether a picture can be painted at once in this many bytes; True where that can't be told."""
    try:
        with memory_errors_for_users(*size):
            return stylizer.backend.memory(1, *size) <= min(room, free_on(stylizer.device))
    except UserError:
        return True


def _room(options: Options) -> float:
    """Bytes that painting may still take; what the process takes already counts towards `memory`."""
    return min(free_memory(), max(0.0, options.most_memory - used_memory()))


def paint(path: Path, place: Path, stylizer: Stylizer, options: Options, marker: Marker) -> int:
    """Paint a photo in tiles, and write the painting; returns the number of frames or pages of the photo's file.

    Raises:
        UserError: it can't be painted so.
        Stopped: the user asked to stop; what is done is kept for resume=true.
    """
    head = large_reading.header(path, counts=True)
    size = decoding.fitting(head.height, head.width, max_side=options.max_side)
    working = options.working_size(*size)
    at_once = working != size and _fits(working, stylizer, _room(options) / 2)
    network = None if at_once else _network(stylizer, options)
    if options.compile:
        raise UserError(f"compile=true is for whole pictures, and {path} is painted in tiles: leave it out")
    if options.mark == "c2pa":
        _check_signable(path, size, _room(options))
    if place.suffix.lower() != PYRAMID:
        large_writing.check_writable_size(place, *size, _room(options))
    make_folder(place.parent)
    painter = None if network is None else TilePainter(network, stylizer.device)
    work = Workplace(place, _fingerprint(path, options), options.resume)
    large.check_disk(work, *size, working)
    if painter is not None:
        painter.side = large.tile_side(painter.field, _takes(painter), working[1], _room(options) / 3)
    with stopping("tile") as stop, _progress(path) as tell:
        try:
            _store(work, path, head, size, options)
            painting = _painted(work, working, painter or stylizer.paint, _checked(tell, stop))
        except Stopped:
            done, of = (work.state["enlarged"], size[0]) if work.state["enlarged"] else (work.rows, working[0])
            print(f"stopped after {done} of {of} rows; add resume=true to go on", file=sys.stderr)
            raise
    _write(work, painting, path, place, head, stylizer, options, marker)
    work.remove()
    print(escaped(str(place)))
    return head.frames


def _check_signable(path: Path, size: tuple[int, int], room: float) -> None:
    """Raise a UserError where signing a painting of this size would take more than `room` bytes."""
    needed = SIGNING * 3 * size[0] * size[1]
    if needed > room:
        raise UserError(
            f"mark=c2pa holds a file in memory to sign it, which may take {needed / 1e9:.1f} GB for the painting of "
            f"{path}, and {max(room, 0) / 1e9:.1f} GB are free: take mark=xmp"
        )


def _painted(
    work: Workplace, working: tuple[int, int], painter: TilePainter | Callable[[Tensor], Tensor], tell: large.Tell
) -> RawRows:
    """The painting of the photo that is stored, painted at the working size."""
    photo, painting = work.pixels("photo", 3), work.pixels("painting", 3)
    if working == (photo.height, photo.width):
        assert isinstance(painter, TilePainter)
        large.paint(work, photo, painting, painter, tell)
        return painting
    small, painted = large.shrink(work, working), work.pixels("painted", 3, working)
    if isinstance(painter, TilePainter):
        large.paint(work, small, painted, painter, lambda share: tell(share / 2))
    else:
        large.paint_at_once(work, small, painted, painter)
    large.enlarge(work, painted, small, lambda share: tell((1 + share) / 2))
    return painting


def _network(stylizer: Stylizer, options: Options) -> torch.nn.Module:
    """The network of a style, in PyTorch."""
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
        return painter.network(image.to(painter.device).contiguous(memory_format=torch.channels_last))

    held = peak_memory(run)
    return lambda side: 1.2 * held(1, side, side)


def _store(work: Workplace, path: Path, head: Header, size: tuple[int, int], options: Options) -> None:
    """Store the photo and the mask in the working folder, unless an earlier run did."""
    if work.state["size"] is not None:
        return
    hides = options.mask != "alpha"
    shrinks = size != (head.height, head.width)
    if shrinks or (head.memory < _room(options) / 2 and head.height * head.width <= images.MAX_PIXELS):
        picture = images.read(path, max_side=options.max_side, alpha_hides=hides)
        large.store(work, size, [picture])
        return
    large.store(work, size, large_reading.bands(path, hides))


def _mask(work: Workplace, options: Options) -> RawRows | None:
    """The mask as grey rows of the photo's size."""
    if options.mask is None:
        return None
    if options.mask == "alpha":
        return work.pixels("alpha", 1) if work.state["alpha"] else None
    head = large_reading.header(Path(options.mask))
    height, width = work.state["size"]
    if (head.height, head.width) != (height, width):
        raise UserError(
            f"mask={options.mask} has {head.width} x {head.height} pixels: for a picture in tiles, a mask has its "
            f"size, {width} x {height}"
        )
    rows, top = work.pixels("mask", 1), 0
    whole = head.memory < _room(options) / 2
    for band in [images.read(options.mask)] if whole else large_reading.bands(Path(options.mask)):
        high = band_rows(band.width)
        for begin in range(0, band.height, high):
            part = slice(begin, begin + high)
            piece = images.Picture(band.pixels[:, :, part], None if band.cover is None else band.cover[:, :, part])
            grey = images.luminance(piece.rgb) if piece.alpha is None else images.luminance(piece.rgb) * piece.alpha
            rows.write(top, large.levels_of(grey[0]))
            top += grey.shape[2]
    return rows


def _write(
    work: Workplace, painting: RawRows, path: Path, place: Path, head: Header, stylizer: Stylizer, options: Options,
    marker: Marker,
) -> None:  # fmt: skip
    """Finish a painting and write its file."""
    photo = work.pixels("photo", 3)
    alpha = work.pixels("alpha", 1) if work.state["alpha"] and options.mask != "alpha" else None
    mask = _mask(work, options)
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
    xmp = marker.xmp(path, head.xmp, place, painted)
    if place.suffix.lower() == PYRAMID:
        write_pyramid(place, finished, options.quality, stylizer.name, xmp)
        return
    block = metadata.of_painting(head.exif, photo.height, photo.width, stylizer.name)
    seal, kind = marker.seal(path, place, painted), images.WRITABLE[place.suffix.lower()]

    def sign(written: Path) -> None:
        if seal is not None:
            seal.seal_file(written, kind)

    large_writing.write_rows(place, finished, _room(options), options.quality, block, xmp, sign)


def _fingerprint(path: Path, options: Options) -> dict[str, object]:
    """What decides how a picture is painted, for a run that is gone on with."""
    names = ("style", "strength", "stroke", "max_side", "stroke_scale")
    return of_run(options, names, alpha=options.mask == "alpha", photo=of_file(path))


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
