"""Marks of paintings: whether anything was painted, and the packet of one that is saved from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from PIL import Image
from torch import Tensor

from onestroke.imaging.images import same_levels, xmp_room
from onestroke.provenance.origin import Origin, origin_of
from onestroke.provenance.packet import of_painting
from onestroke.style_document import Metadata


class Painter(Protocol):
    """Protocol of what a style was opened with, such as a Stylizer."""

    path: Path
    metadata: Metadata


def xmp_packet(stylizer: Painter, photo: Image.Image | None = None, **settings: object) -> bytes:
    """The XMP packet of a painting, which Pillow writes: `painting.save("p.jpg", xmp=xmp_packet(stylizer, photo))`.

    Args:
        stylizer: what painted it.
        photo: as it was opened, whose own XMP is kept; None for none.
        settings: more that is said of the painting, such as color="photo"; None and False are left out.

    Raises:
        UserError: the style file can't be read.
    """
    own = None if photo is None else photo.info.get("xmp")
    return of_painting(own, origin_of(stylizer.path, stylizer.metadata, settings), True, xmp_room(".jpg"))


def rounding(origin: Origin) -> int:
    """Levels by which a painting may differ from its photo though nothing was painted: at strength 0, by rounding."""
    return 1 if origin.settings.get("strength") == "0" else 0


def is_painted(photo: Tensor, painting: Tensor, origin: Origin) -> bool:
    """Whether anything of a photo was painted: not at strength 0, nor with a mask that is all black.

    At strength 0, a level's difference is rounding.

    Args:
        photo: (1, 3, H, W) in [0, 1].
        painting: (3, H, W) or (1, 3, H, W), in [0, 1].
        origin: with the settings.
    """
    return not same_levels(photo[0], painting.reshape(photo.shape[1:]), rounding(origin))
