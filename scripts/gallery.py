#!/usr/bin/env python
"""Contact sheet for the README: photos that anyone may publish, painted in several styles.

    python scripts/gallery.py out=docs/gallery.jpg side=384 paintings=3
    python scripts/gallery.py out=sheet.jpg [ckpt=checkpoints/starry_night.safetensors ...] [photo=my.jpg ...]
    python scripts/gallery.py out=docs/pairs.jpg pairs=checkpoints/gallery.safetensors

Without photo= it takes four photos that scikit-image ships (extra `demo`), which are CC0 or in the public domain;
without ckpt=, every style of checkpoints/gallery.safetensors. With paintings=, each photo is shown in so many styles,
in turn.
pairs= paints the first photo in all pairs of a file's styles, half and half; on the diagonal in one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke import Stylizer, UserError
from onestroke.cli.options import CommandOptions, command, option
from onestroke.data.datamodule import to_image
from onestroke.imaging import images
from onestroke.style_file import read_document

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
"""Of scikit-image: NASA, in the public domain; S. van der Walt, CC0; R. Michetti, CC0; SpaceX, in the public domain."""

_QUALITY = 88  # of a JPEG, so that a clone stays small


def photos(paths: list[str], side: int) -> list[Tensor]:
    """The pictures to paint, each (1, 3, side, side) in [0, 1], cut from the middle."""
    pictures = [images.read(Path(path)).rgb for path in paths]
    if not pictures:
        try:
            from skimage import data
        except ImportError as error:
            raise UserError("the photos come with the extra demo: pip install -e '.[demo]', or name photo=") from error
        pictures = [to_image(torch.from_numpy(getattr(data, name)().copy())[None]) for name in PHOTOS]
    return [square(picture, side) for picture in pictures]


def square(picture: Tensor, side: int) -> Tensor:
    """The middle of a picture, at the size of the sheet's cells."""
    small = images.fit(picture, short_side=side)
    top, left = (small.shape[2] - side) // 2, (small.shape[3] - side) // 2
    return small[:, :, top : top + side, left : left + side]


def sheet(originals: list[Tensor], stylizers: list[Stylizer], each: int, gap: int = 6) -> Tensor:
    """A row for each photo: the photo, then `each` paintings of it, in the styles in turn. (1, 3, H, W) in [0, 1]."""
    rows = []
    for number, photo in enumerate(originals):
        chosen = [stylizers[(number * each + i) % len(stylizers)] for i in range(each)]
        cells = [photo, *(stylizer.paint(photo) for stylizer in chosen)]
        rows.append(torch.cat([F.pad(cell, (0, gap, 0, gap), value=1.0) for cell in cells], dim=3))
    return torch.cat(rows, dim=2)[..., :-gap, :-gap]


def stylizers(paths: list[str]) -> list[Stylizer]:
    """One for each style of each file."""
    found = []
    for path in paths:
        names = read_document(Path(path)).styles
        found += [Stylizer(path, mix=name) for name in names] if len(names) > 1 else [Stylizer(path)]
    return found


def pairs(photo: Tensor, path: str, gap: int = 6) -> Tensor:
    """A square of all pairs of a file's styles, (1, 3, H, W) in [0, 1]."""
    names = read_document(Path(path)).styles
    rows = []
    for one in names:
        mixes = [one if one == other else f"{one},{other}" for other in names]
        cells = [Stylizer(path, mix=mix).paint(photo) for mix in mixes]
        rows.append(torch.cat([F.pad(cell, (0, gap, 0, gap), value=1.0) for cell in cells], dim=3))
    return torch.cat(rows, dim=2)[..., :-gap, :-gap]


@dataclass
class Options(CommandOptions):
    """What is painted, in which styles, and where the sheet goes."""

    out: str = option("the sheet", placeholder="FILE", example="docs/gallery.jpg", path=True)
    ckpt: list[str] = option(
        "style files, of which every style is shown", ["checkpoints/gallery.safetensors"], placeholder="FILE", path=True
    )
    photo: list[str] = option("photos; default: four that scikit-image ships", [], placeholder="FILE", path=True)
    side: int = option("side of a picture in the sheet, in pixels", 256, low=32)
    paintings: int | None = option("how many of each photo; default: one in every style", None, low=1)
    pairs: str | None = option(
        "a style file, to paint the first photo in all pairs of its styles", None, placeholder="FILE", path=True
    )


def make(options: Options) -> None:
    """Paint, and write the sheet."""
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    originals = photos(options.photo, options.side)
    if options.pairs is not None:
        images.write(
            out, pairs(images.fit(originals[0], short_side=options.side // 2), options.pairs), quality=_QUALITY
        )
    else:
        chosen = stylizers(options.ckpt)
        images.write(out, sheet(originals, chosen, options.paintings or len(chosen)), quality=_QUALITY)
    print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(command(Options, "python scripts/gallery.py out=FILE [options]", make, None))
