"""Open a picture file, check its header, and decode its pixels."""

from __future__ import annotations

import importlib
import logging
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, MpoImagePlugin, TiffImagePlugin

from onestroke.errors import UserError
from onestroke.imaging import kinds
from onestroke.imaging.decoding import jpeg_end, memory, samples
from onestroke.imaging.decoding.guard import damaged, guarded, printing_caught

MAX_PIXELS = 200_000_000
_PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "TIFF": "TiffImagePlugin",
    "BMP": "BmpImagePlugin",
    "GIF": "GifImagePlugin",
    "AVIF": "AvifImagePlugin",
    "PPM": "PpmImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
}


@contextmanager
def opened(path: Path, max_pixels: int, quiet: bool = False) -> Iterator[ImageFile.ImageFile]:
    """Context manager: open a picture file and check its header; no pixels are decoded yet.

    The body is guarded too: an exception of Pillow becomes a UserError about a damaged picture, and the warnings of
    libraries become one warning with the picture's name.

    Args:
        path: the file.
        max_pixels: maximum width * height in the header.
        quiet: drop the warnings of libraries.

    Raises:
        UserError: the file is missing, not regular, not readable, empty, not a picture of a known format, damaged,
            or has more than `max_pixels` pixels.
    """
    name = f"'{path}'"
    # Without a handler, Python prints Pillow's log messages where logging is not set up.
    if not (logger := logging.getLogger("PIL")).handlers:
        logger.addHandler(logging.NullHandler())
    with _file(path) as file, guarded(name, quiet):
        head = file.read(kinds.HEAD)
        file.seek(0)
        if not head:
            raise UserError(f"{name} is empty; replace it with a whole copy")
        kind = kinds.kind_of(head)
        if kind is None:
            raise UserError(f"{name} cannot be read as a picture; convert it to one of {kinds.KNOWN} first")
        if missing := kinds.unreadable(kind):
            raise UserError(f"{name} cannot be read, since {kind} {missing}; or convert it first")
        try:
            image = _opener(kind)(file, "")
        except Exception as error:
            raise _not_opened(error, kind, name, file) from error
        check_size(image.size, name, max_pixels)
        samples.check_tags(image, name)
        yield image


def _opener(kind: str) -> Callable[[Any, str], ImageFile.ImageFile]:
    """Pillow's class that opens files of a format."""
    # Not Image.open: that has a global size limit, and tries formats whose decoders start other programs.
    if kind == "HEIF":
        importlib.import_module("pillow_heif").register_heif_opener()
    else:
        importlib.import_module(f"PIL.{_PLUGINS[kind]}")  # which registers the format in Image.OPEN
    return Image.OPEN[kind][0]


def check_size(size: tuple[int, int], name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise a UserError for a picture (width, height) with more than `max_pixels` pixels, or with none."""
    width, height = size
    if width * height > max_pixels:
        raise UserError(
            f"{name} is too large: {width} x {height} is {width * height:,} pixels and {max_pixels:,} "
            "are allowed; make it smaller first"
        )
    if width < 1 or height < 1:
        raise UserError(f"{name} has no pixels ({width} x {height}); replace it with a whole copy")


def load(path: Path, image: ImageFile.ImageFile, least: tuple[int, int] | None = None) -> ImageFile.ImageFile:
    """Decode the pixels of an image that `opened` yielded.

    Args:
        path: the file.
        image: the opened image.
        least: the minimum width and height of a JPEG that is decoded at a reduced scale; None decodes at full size.

    Returns:
        The image with its pixels: `image`, or a new one if the end marker of a JPEG was missing.

    Raises:
        UserError: the file is damaged, cut short or too large for the memory.
    """
    name = f"'{path}'"
    size, draft = image.size, None if least is None else (image.mode, least)
    if draft is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(*draft)
    memory.check(image, name, size, shrinks=least is not None)
    samples.in_native_order(image)
    both = samples.keep_both_bytes(image)
    prints = any(tile[0] == "libtiff" for tile in image.tile)
    try:
        with printing_caught() if prints else nullcontext():
            image.load()
    except Exception as error:
        whole = _without_end(path, image, draft, error)
        if whole is None:
            raise  # `guarded` in `opened` turns it into a UserError
        return whole
    if both:
        samples.from_both_bytes(image)
    check_size(image.size, name)  # the decoder may find another size than the header's
    return image


def _without_end(
    path: Path, image: ImageFile.ImageFile, draft: tuple[str, tuple[int, int]] | None, error: Exception
) -> ImageFile.ImageFile | None:
    """The decoded image of a JPEG that lacks only its end marker; None for any other file."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not isinstance(error, OSError):
        return None
    try:
        return jpeg_end.ended(path.read_bytes(), draft)
    except Exception:
        return None


def frames(path: Path, image: ImageFile.ImageFile) -> int:
    """The number of frames or pages of a file; 1 for an MPO, whose further pictures are variants of the photo.

    Must be called before `load`. If the later frames are damaged, returns 2.
    """
    if isinstance(image, MpoImagePlugin.MpoImageFile):
        return 1
    if not isinstance(image, GifImagePlugin.GifImageFile | TiffImagePlugin.TiffImageFile):
        return max(1, int(getattr(image, "n_frames", 1)))
    try:
        with path.open("rb") as file:
            other = type(image)(file, "")  # opened again, since counting moves the file position and can fail
            if not other.is_animated:
                return 1
            return samples.pages(other) if isinstance(other, TiffImagePlugin.TiffImageFile) else other.n_frames
    except Exception:
        return 2


def frames_sentence(name: str, image: ImageFile.ImageFile, count: int) -> str:
    """The warning for a file with `count` frames or pages, of which one is taken."""
    if image.format in ("TIFF", "HEIF"):
        return f"{name} holds {count} pictures; {'its main one' if image.format == 'HEIF' else 'the first'} is taken"
    return f"{name} is an animation of {count} frames; the first is taken"


@contextmanager
def _file(path: Path) -> Iterator[IO[bytes]]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"'{path}' is a folder, not a picture; name a file in it")
        if not stat.S_ISREG(mode):
            raise UserError(f"'{path}' is not a regular file; save the picture to a file first")
        file = path.open("rb")
    except FileNotFoundError:
        raise UserError(f"there is no file '{path}'; check the name") from None
    except PermissionError:
        raise UserError(f"'{path}' may not be read (permission denied); change its permissions") from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be opened ({error}); check the name and the disk") from error
    with file:
        yield file


def _not_opened(error: Exception, kind: str, name: str, file: IO[bytes]) -> UserError:
    """The UserError for a header that Pillow can't read; a TIFF may be intact, with samples of an unsupported type."""
    if kind == "TIFF" and isinstance(error, SyntaxError):
        try:
            return samples.unknown(file, name)
        except Exception:
            pass
    return damaged(name, error)
