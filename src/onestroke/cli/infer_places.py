"""Choose the path of each photo's painting."""

from __future__ import annotations

import os
from pathlib import Path

from onestroke.cli.infer_options import Options
from onestroke.errors import UserError
from onestroke.files import home
from onestroke.imaging import images
from onestroke.imaging.finding import Found
from onestroke.imaging.left_out import PAINTING, LeftOut
from onestroke.imaging.pyramid import PYRAMID
from onestroke.provenance.credentials import OTHERS, SIGNABLE


def without_paintings(photos: list[Found], given: list[str], style: str, left_out: LeftOut) -> list[Found]:
    """Leave out files whose name is that of a painting in this style, unless it is the only input.

    Paintings with OneStroke's mark in their metadata have been left out before; these have lost their metadata.

    Raises:
        UserError: no photo is left.
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
    """Choose the path of each photo's painting; all are different, and none is a photo.

    Returns:
        (photo, painting) for each photo.

    Raises:
        UserError: `output`, `format`, `quality` and `mark` can't be combined, or a painting would replace a photo.
    """
    output, suffix = options.output, f".{options.format or 'png'}"
    if output is not None and _is_file_name(output, len(photos) == 1):
        pairs = [(photos[0].path, _file(output, options.format, len(photos)))]
        suffix = pairs[0][1].suffix.lower()
    else:
        pairs = _in_folders(photos, output, style, suffix)
    kind = "JPEG" if suffix == PYRAMID else images.WRITABLE[suffix]
    if options.quality is not None and kind not in images.LOSSY:
        raise UserError(
            f"quality={options.quality} is for JPEG and WebP, not for {suffix}: leave it out, or write format=jpg"
        )
    if options.mark == "c2pa" and (suffix == PYRAMID or kind not in SIGNABLE):
        raise UserError(f"mark=c2pa: {suffix} files hold no Content Credentials: {OTHERS}")
    sources = {_identity(photo.path) for photo in photos} - {None}
    for _, place in pairs:
        if _identity(place) in sources:
            raise UserError(f"{place} is one of the photos, which are never overwritten: choose another output")
    return pairs


def _file(output: str, form: str | None, count: int) -> Path:
    """The path of the painting, if `output` is a file name; raises a UserError if there are several photos."""
    target = Path(output)
    if count > 1:
        raise UserError(f"output={output} names a file, but {count} photos need a folder")
    kinds = {**images.WRITABLE, PYRAMID: "a pyramid"}
    kind = kinds.get(target.suffix.lower())
    if kind is None:
        raise UserError(
            f"output={output}: a painting is written as {', '.join(sorted(kinds))}; the name of a new folder ends in /"
        )
    if form is not None and kinds[f".{form}"] != kind:
        raise UserError(f"output={output} and format={form} name two kinds: leave out format, or name a folder")
    return target


def _in_folders(photos: list[Found], output: str | None, style: str, suffix: str) -> list[tuple[Path, Path]]:
    """Paths below `output` with the photos' relative folders, or beside the photos if `output` is None."""
    pairs, taken = [], set()
    for photo in photos:
        folder = photo.path.parent if output is None else Path(output) / photo.below
        stem = photo.path.stem
        place, count = folder / f"{stem}.{style}{suffix}", 2
        # photo.jpg and photo.png, two folders' photo.jpg, or Photo.jpg on disks that ignore case
        while (key := str(place).casefold()) in taken:
            place, count = folder / f"{stem}-{count}.{style}{suffix}", count + 1
        taken.add(key)
        pairs.append((photo.path, place))
    return pairs


def _is_file_name(output: str, single: bool) -> bool:
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return False
    suffix = Path(output).suffix.lower()
    # for a single photo any suffix means a file, so that painted.gif is refused, not created as a folder
    return suffix in images.WRITABLE or (single and suffix != "") or os.path.exists(output)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, equal for two paths of the same file; None if it doesn't exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
