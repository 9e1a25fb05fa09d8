#!/usr/bin/env python
"""Contact sheet for the README: photos that anyone may publish, painted in several styles.

    python scripts/gallery.py out=docs/gallery.jpg [ckpt=checkpoints/starry_night.safetensors ...] [photo=my.jpg ...]
    python scripts/gallery.py out=docs/pairs.jpg pairs=checkpoints/gallery.safetensors

Without photo= it takes a public-domain NASA photo that scikit-image ships (extra `demo`) and a scene of our own;
without ckpt=, every style of checkpoints/gallery.safetensors. pairs= paints the first photo in all pairs of a file's
styles, half and half; on the diagonal in one.
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
from onestroke.scenes.compositions import render
from onestroke.style_file import read_document

SIDE = 256
SCENES = ((6, 11),)  # (seed, index)


def photos(paths: list[str]) -> list[Tensor]:
    """The pictures to paint, each (1, 3, SIDE, SIDE) in [0, 1], cut from the middle."""
    pictures = [images.read(Path(path)).rgb for path in paths]
    if not pictures:
        try:
            from skimage import data
        except ImportError as error:
            raise UserError(
                "the NASA photo comes with the extra demo: pip install -e '.[demo]', or name photo="
            ) from error
        astronaut = data.astronaut()  # type: ignore[no-untyped-call]
        pictures = [to_image(torch.from_numpy(astronaut.copy())[None])]
        pictures += [to_image(torch.from_numpy(render(*scene, SIDE).copy())[None]) for scene in SCENES]
    return [square(picture) for picture in pictures]


def square(picture: Tensor) -> Tensor:
    """The middle of a picture, at the size of the sheet's cells."""
    small = images.fit(picture, short_side=SIDE)
    top, left = (small.shape[2] - SIDE) // 2, (small.shape[3] - SIDE) // 2
    return small[:, :, top : top + SIDE, left : left + SIDE]


def sheet(originals: list[Tensor], stylizers: list[Stylizer], gap: int = 6) -> Tensor:
    """A row for each photo: the photo, then its paintings. (1, 3, H, W) in [0, 1]."""
    rows = []
    for photo in originals:
        cells = [photo, *(stylizer.paint(photo) for stylizer in stylizers)]
        space = torch.ones(1, 3, SIDE, gap)
        rows.append(torch.cat([part for cell in cells for part in (cell, space)][:-1], dim=3))
    space = torch.ones(1, 3, gap, rows[0].shape[3])
    return torch.cat([part for row in rows for part in (row, space)][:-1], dim=2)


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
    photo: list[str] = option(
        "photos; default: a NASA photo that scikit-image ships, and a made-up scene", [], placeholder="FILE", path=True
    )
    pairs: str | None = option(
        "a style file, to paint the first photo in all pairs of its styles", None, placeholder="FILE", path=True
    )


def make(options: Options) -> None:
    """Paint, and write the sheet."""
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    originals = photos(options.photo)
    if options.pairs is not None:
        images.write(out, pairs(images.fit(originals[0], short_side=SIDE // 2), options.pairs))
    else:
        images.write(out, sheet(originals, stylizers(options.ckpt)))
    print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(command(Options, "python scripts/gallery.py out=FILE [options]", make, None))
