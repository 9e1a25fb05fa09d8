"""From picture files and what Pillow opens to planes of numbers: kinds, limits, orientation, profiles, alpha, depth."""

from onestroke.decoding.conversion import flat, upright
from onestroke.decoding.guard import PictureWarning, guarded, tell_once
from onestroke.decoding.opening import MAX_PIXELS, frames, load, opened, several
from onestroke.decoding.picture import Picture, exif_of, fitting, from_array, to_picture
from onestroke.decoding.shrinking import resize

__all__ = [
    "MAX_PIXELS",
    "Picture",
    "PictureWarning",
    "exif_of",
    "fitting",
    "flat",
    "frames",
    "from_array",
    "guarded",
    "load",
    "opened",
    "resize",
    "several",
    "tell_once",
    "to_picture",
    "upright",
]
