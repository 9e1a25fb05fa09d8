"""From picture files and what Pillow opens to planes of numbers: kinds, limits, orientation, profiles, alpha, depth."""

from onestroke.imaging.decoding.conversion import flat, upright
from onestroke.imaging.decoding.guard import FramesWarning, PictureWarning, guarded, tell_frames_once
from onestroke.imaging.decoding.opening import MAX_PIXELS, frames, load, opened, several
from onestroke.imaging.decoding.picture import Picture, exif_of, fitting, seen, to_picture
from onestroke.imaging.decoding.shrinking import resize

__all__ = [
    "MAX_PIXELS",
    "FramesWarning",
    "Picture",
    "PictureWarning",
    "exif_of",
    "fitting",
    "flat",
    "frames",
    "guarded",
    "load",
    "opened",
    "resize",
    "seen",
    "several",
    "tell_frames_once",
    "to_picture",
    "upright",
]
