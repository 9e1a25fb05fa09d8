"""What a picture that is painted in tiles is painted from: its pixels, its mask and its style map, stored by rows."""

from __future__ import annotations

from pathlib import Path

from onestroke.cli.infer_options import Options
from onestroke.devices import free_memory, used_memory
from onestroke.errors import UserError
from onestroke.imaging import images, large_reading
from onestroke.imaging.large_reading import Header
from onestroke.imaging.levels import levels_of
from onestroke.imaging.raw_rows import RawRows, band_rows
from onestroke.inference import large
from onestroke.inference.workplace import Workplace


def room(options: Options) -> float:
    """Bytes that painting may still take; what the process takes already counts towards `memory`."""
    return min(free_memory(), max(0.0, options.most_memory - used_memory()))


def store(work: Workplace, path: Path, head: Header, size: tuple[int, int], options: Options) -> None:
    """Store the photo and the mask in the working folder, unless an earlier run did."""
    if work.state["size"] is not None:
        return
    hides = options.mask != "alpha"
    shrinks = size != (head.height, head.width)
    if shrinks or (head.memory < room(options) / 2 and head.height * head.width <= images.MAX_PIXELS):
        picture = images.read(path, max_side=options.max_side, alpha_hides=hides)
        large.store(work, size, [picture])
        return
    large.store(work, size, large_reading.bands(path, hides))


def mask_of(work: Workplace, options: Options) -> RawRows | None:
    """The mask as grey rows of the photo's size."""
    if options.mask is None:
        return None
    if options.mask == "alpha":
        return work.pixels("alpha", 1) if work.state["alpha"] else None
    return grey_of(work, options, "mask")


def grey_of(work: Workplace, options: Options, name: str) -> RawRows:
    """The mask or the style map, which is named, as grey rows of the photo's size.

    Raises:
        UserError: it has another size, or can't be read.
    """
    path = str(getattr(options, name))
    head = large_reading.header(Path(path))
    height, width = work.state["size"]
    if (head.height, head.width) != (height, width):
        raise UserError(
            f"{name}={path} has {head.width} x {head.height} pixels: for a picture in tiles, it has the picture's "
            f"size, {width} x {height}"
        )
    rows, top = work.pixels(name, 1), 0
    whole = head.memory < room(options) / 2
    for band in [images.read(path)] if whole else large_reading.bands(Path(path)):
        high = band_rows(band.width)
        for begin in range(0, band.height, high):
            part = slice(begin, begin + high)
            piece = images.Picture(band.pixels[:, :, part], None if band.cover is None else band.cover[:, :, part])
            grey = images.luminance(piece.rgb) if piece.alpha is None else images.luminance(piece.rgb) * piece.alpha
            rows.write(top, levels_of(grey[0]))
            top += grey.shape[2]
    return rows
