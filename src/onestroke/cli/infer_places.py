"""Where each photo's painting goes."""

from __future__ import annotations

import os
from pathlib import Path

from onestroke.cli.infer_options import Options
from onestroke.errors import UserError
from onestroke.files import home
from onestroke.imaging import images
from onestroke.imaging.finding import PAINTING, Found, LeftOut


def without_paintings(photos: list[Found], given: list[str], style: str, left_out: LeftOut) -> list[Found]:
    """Leave out what by its name was painted with this style, unless it is the one input that is named.

    Paintings that say what they are in their metadata were left out before; these have lost it, or never had it.

    Raises:
        UserError: where nothing is left.
    """
    only = Path(home(given[0])) if len(given) == 1 else None
    endings = tuple(f".{style}{suffix}" for suffix in images.WRITABLE)
    left = []
    for photo in photos:
        if photo.path != only and photo.path.name.endswith(endings):
            left_out.add(photo.path, PAINTING)
        else:
            left.append(photo)
    if not left:
        raise UserError("there is no photo among the input, only paintings of this style or another")
    return left


def plan(photos: list[Found], options: Options, style: str) -> list[tuple[Path, Path]]:
    """Where each photo's painting goes; no two go to one place, and none onto a photo.

    Raises:
        UserError: where `output`, `format` or `quality` can't be what it would have to be.
    """
    output, suffix = options.output, f".{options.format or 'png'}"
    if output is not None and _is_file_name(output, len(photos) == 1):
        pairs = [(photos[0].path, _file(output, options.format, len(photos)))]
        suffix = pairs[0][1].suffix.lower()
    else:
        pairs = _in_folders(photos, output, style, suffix)
    if options.quality is not None and images.WRITABLE[suffix] not in images.LOSSY:
        raise UserError(
            f"quality={options.quality} is for JPEG and WebP, not for {suffix}: leave it out, or write format=jpg"
        )
    sources = {_identity(photo.path) for photo in photos} - {None}
    for _, place in pairs:
        if _identity(place) in sources:
            raise UserError(f"{place} is one of the photos, which are never overwritten: choose another output")
    return pairs


def _file(output: str, form: str | None, count: int) -> Path:
    """`output` as the name of the one painting."""
    target = Path(output)
    if count > 1:
        raise UserError(f"output={output} names a file, but {count} photos need a folder")
    kind = images.WRITABLE.get(target.suffix.lower())
    if kind is None:
        raise UserError(
            f"output={output}: a painting is written as {', '.join(sorted(images.WRITABLE))}; "
            "the name of a new folder ends in /"
        )
    if form is not None and images.WRITABLE[f".{form}"] != kind:
        raise UserError(f"output={output} and format={form} name two kinds: leave out format, or name a folder")
    return target


def _in_folders(photos: list[Found], output: str | None, style: str, suffix: str) -> list[tuple[Path, Path]]:
    """Below `output` as the photos lie below what was named, or beside them."""
    pairs, taken = [], set()
    for photo in photos:
        folder = photo.path.parent if output is None else Path(output) / photo.below
        stem = photo.path.stem
        place, count = folder / f"{stem}.{style}{suffix}", 2
        # photo.jpg and photo.png, two folders' photo.jpg, or Photo.jpg where disks don't tell case
        while (key := str(place).casefold()) in taken:
            place, count = folder / f"{stem}-{count}.{style}{suffix}", count + 1
        taken.add(key)
        pairs.append((photo.path, place))
    return pairs


def _is_file_name(output: str, single: bool) -> bool:
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return False
    suffix = Path(output).suffix.lower()
    # for one photo any suffix tells a file, so that painted.gif is refused and makes no folder of that name
    return suffix in images.WRITABLE or (single and suffix != "") or os.path.exists(output)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells that two names are one file, through links and on disks that don't tell case."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
