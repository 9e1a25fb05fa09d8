"""Read the photos to paint and measure, and match finished pictures to them."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from onestroke.cli.evaluate_options import Options
from onestroke.data.loading import to_image
from onestroke.data.scenes import Scenes
from onestroke.errors import UserError
from onestroke.imaging import images
from onestroke.imaging.finding import Found, search
from onestroke.imaging.left_out import LeftOut

Pictures = dict[str, Tensor]
"""Name of a photo -> picture (1, 3, H, W) in [0, 1]."""


def read_photos(options: Options) -> Pictures:
    """Read the first `count` photos, or render scenes, with a shorter side of `size` pixels.

    Raises:
        UserError: there is no photo, or one can't be read.
    """
    if options.photos is None:
        scenes = Scenes(validation=options.photo_count).held_out(options.size)
        return {f"scene {i + 1}": to_image(torch.from_numpy(scene)[None]) for i, scene in enumerate(scenes)}
    left_out = LeftOut()
    found = search([options.photos], left_out)[: options.photo_count]
    if left_out.count:
        print(left_out, file=sys.stderr)
    names = photo_names(found)
    read = (images.read(photo.path).fit(short_side=options.size).rgb for photo in found)
    return dict(zip(names, read, strict=True))


def photo_names(photos: list[Found]) -> list[str]:
    """Unique names: the file name without suffix; with the folder, and then the suffix, where that is ambiguous."""
    stems = [photo.path.stem for photo in photos]
    below = [(photo.below / photo.path.stem).as_posix() for photo in photos]
    whole = [(photo.below / photo.path.name).as_posix() for photo in photos]
    return [
        stem if stems.count(stem) == 1 else inside if below.count(inside) == 1 else last
        for stem, inside, last in zip(stems, below, whole, strict=True)
    ]


def match(folder: str, photos: Collection[str]) -> dict[str, Path]:
    """Find the finished picture of each photo, by the photo's name.

    Raises:
        UserError: a photo has no picture, or several.
    """
    found = fitting(folder, photos, f"outputs={folder}")
    for name in photos:
        if name not in found:
            raise UserError(f"outputs={folder} has no picture of the photo {name}: name one {name}.png")
    return found


def fitting(folder: str, photos: Collection[str], argument: str) -> dict[str, Path]:
    """Find the finished pictures of photos by the photos' names; photos without one are left out.

    Args:
        folder: of the pictures.
        photos: names of photos, see `photo_names`.
        argument: for the message, such as `outputs=folder`.

    Raises:
        UserError: a photo has several pictures.
    """
    pictures = search([folder], LeftOut(), paintings=True)
    nested = any("/" in name for name in photos)
    stems = {p.path: (p.below / p.path.stem).as_posix() if nested else p.path.stem for p in pictures}
    found: dict[str, Path] = {}
    for name in photos:
        named = [path for path, stem in stems.items() if stem == name] or [
            path for path, stem in stems.items() if stem.startswith(name) and not stem[len(name)].isalnum()
        ]
        if len(named) > 1:
            raise UserError(f"{argument} has {len(named)} pictures of the photo {name}: name one {name}.png")
        if named:
            found[name] = named[0]
    return found
