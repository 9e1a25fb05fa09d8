"""Convert picture files and PIL images to tensors: format, limits, orientation, colour profile, alpha, bit depth."""

from onestroke.imaging.decoding.conversion import flat, upright
from onestroke.imaging.decoding.guard import FramesWarning, PictureWarning, guarded, warn_frames_once
from onestroke.imaging.decoding.opening import MAX_PIXELS, frames, frames_sentence, load, opened
from onestroke.imaging.decoding.picture import Picture, exif_of, fitting, seen, to_picture, xmp_of
from onestroke.imaging.decoding.shrinking import resize, shrunk_rows

__all__ = [
    "MAX_PIXELS",
    "FramesWarning",
    "Picture",
    "PictureWarning",
    "exif_of",
    "fitting",
    "flat",
    "frames",
    "frames_sentence",
    "guarded",
    "load",
    "opened",
    "resize",
    "seen",
    "shrunk_rows",
    "to_picture",
    "upright",
    "warn_frames_once",
    "xmp_of",
]
