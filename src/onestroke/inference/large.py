"""Paint a picture that doesn't fit in memory: its pixels on disk, tile after tile, resumable."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from onestroke.errors import UserError
from onestroke.imaging.decoding import Picture
from onestroke.imaging.levels import levels_of
from onestroke.imaging.raw_rows import RawRows, band_rows
from onestroke.inference.enlarging import Enlargement
from onestroke.inference.receptive_field import CELL, ReceptiveField
from onestroke.inference.tiles import Source, TilePainter
from onestroke.inference.working_size import shrunk, unpainted
from onestroke.inference.workplace import Workplace

Tell = Callable[[float], None]
"""Is told the share of the work that is done, from 0 to 1; may raise to stop it."""

_LARGEST_TILE = 16 * CELL
_COPIES = 3  # a photo, its painting and the file that is written from it; each with alpha in the worst case


def tile_side(field: ReceptiveField, takes: Callable[[int], float], width: int, memory: float) -> int:
    """The largest side of a tile, in pixels, with which painting takes no more memory than is given; else the smallest.

    Args:
        field: of the network.
        takes: side of a square -> bytes that painting it takes.
        width: of the picture, in pixels; the rows of a tile are held over all of it.
        memory: bytes.
    """
    side = _LARGEST_TILE
    while side > CELL:
        around = side + 2 * field.overlap
        if takes(around) + 3 * width * (side + around) <= memory:
            return side
        side //= 2
    return CELL


def check_disk(work: Workplace, height: int, width: int, working: tuple[int, int]) -> None:
    """Raise a UserError where the disk has no room for what painting a picture of this size stores.

    Args:
        work: where it is stored.
        height, width: of the picture, in pixels.
        working: the height and width at which it is painted.
    """
    beside = 0 if working == (height, width) else 2 * 3 * working[0] * working[1]
    needed, free = _COPIES * 4 * height * width + beside, shutil.disk_usage(work.folder).free
    if needed > free:
        raise UserError(
            f"{width} x {height} is painted in tiles, which takes {needed / 1e9:.1f} GB in {work.folder.parent} for a "
            f"while, and {free / 1e9:.1f} GB are free: free some, or choose another output"
        )


def store(work: Workplace, size: tuple[int, int], bands: Iterable[Picture]) -> None:
    """Store the pixels of a photo, as they are read from the top down.

    Args:
        work: where to.
        size: height and width.
        bands: the photo, or its bands.
    """
    work.state["size"] = list(size)
    photo, alpha = work.pixels("photo", 3), work.pixels("alpha", 1)
    top, covered = 0, False
    for band in bands:
        high = band_rows(band.width)
        for begin in range(0, band.height, high):
            part = slice(begin, begin + high)
            colours = levels_of(band.pixels[0, :, part].expand(3, -1, -1))
            photo.write(top, colours)
            if band.cover is not None:
                covered = True
                alpha.write(top, levels_of(band.cover[0, :, part]))
            top += len(colours)
    if top != size[0]:
        raise UserError(f"the picture ends at row {top} of {size[0]}; replace it with a whole copy")
    work.keep(size=list(size), alpha=covered)


def paint(work: Workplace, photo: Source, painting: RawRows, painter: TilePainter, tell: Tell) -> None:
    """Measure the norm statistics, and paint, going on where an earlier run ended.

    Args:
        work: keeps what is done.
        photo: what is painted.
        painting: what is written.
        painter: paints; its side is that of the run that began.
        tell: see Tell.

    Raises:
        UserError: the painting is not finite.
    """
    painter.side = work.state["side"] or painter.side
    work.keep(side=painter.side)
    last = painter.passes
    pixels = photo.height * photo.width
    # the n-th pass runs the network up to its n-th norm, and the last one all of it
    shares = [n / (last * (last + 1) / 2) for n in range(1, last + 1)]
    done = 0.0

    def count(number: int, of: int) -> None:
        nonlocal done
        done += shares[of] * number / pixels
        tell(min(done, 1.0))

    statistics = work.statistics()
    done = sum(shares[: len(statistics)])
    for number in range(len(statistics), last - 1):
        statistics.append(painter.measure(photo, statistics, lambda n, of=number: count(n, of)))  # type: ignore[misc]
        work.keep_statistics(statistics)
    done += shares[-1] * work.rows / photo.height
    for band in painter.paint(photo, statistics, work.rows, lambda n: count(n, last - 1)):
        painting.write(work.rows, band)
        work.keep(rows=work.rows + len(band))


def paint_at_once(work: Workplace, photo: RawRows, painting: RawRows, paint: Callable[[Tensor], Tensor]) -> None:
    """Paint a picture that fits in memory, unless an earlier run did.

    Args:
        work, photo, painting: as for `paint`.
        paint: float (1, 3, H, W) in [0, 1] -> the same.
    """
    if work.rows < photo.height:
        image = torch.from_numpy(photo.rows(0, photo.height)).permute(2, 0, 1)[None] / 255
        painting.write(0, levels_of(paint(image)[0]))
        work.keep(rows=photo.height)


def shrink(work: Workplace, working: tuple[int, int], style_map: RawRows | None = None) -> RawRows:
    """Store the photo, or its style map, at the size at which it is painted, a height and width."""
    small, top = work.pixels("small" if style_map is None else "small_map", 3 if style_map is None else 1, working), 0
    alpha = work.pixels("alpha", 1) if work.state["alpha"] and style_map is None else None
    for rows in shrunk(style_map or work.pixels("photo", 3), alpha, working):
        small.write(top, rows)
        top += len(rows)
    return small


def enlarge(work: Workplace, painted: RawRows, small: RawRows, tell: Tell) -> None:
    """Enlarge a painting to the photo's size, going on where an earlier run ended.

    Args:
        work: holds the photo; takes the painting.
        painted, small: the painting and the photo at working size.
        tell: see Tell.
    """
    photo, painting = work.pixels("photo", 3), work.pixels("painting", 3)
    nothing = unpainted(painted, small)
    for top, band in Enlargement(painted, small, photo).bands(work.state["enlarged"]):
        bottom = top + len(band)
        painting.write(top, photo.rows(top, bottom) if nothing else levels_of(band.permute(2, 0, 1)))
        work.keep(enlarged=bottom)
        tell(bottom / photo.height)
