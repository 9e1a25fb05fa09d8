"""Packs a folder of photos into one that is small enough to take along with the repository."""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from onestroke.cli.options import CommandOptions, option
from onestroke.data.listing import check_folder, walk
from onestroke.data.resized import decoded, inspect
from onestroke.errors import UserError
from onestroke.files import atomic, make_folder
from onestroke.imaging.left_out import LeftOut

ROOT = Path(__file__).resolve().parents[1]
_MOST = 45  # MiB of photos: more of them are not seen in ten minutes
_SPARE = 2  # MiB that are left free, for packages that the other machine lacks
_LEAST_SIDE = 64  # pixels, as training has it


@dataclass
class PackOptions(CommandOptions):
    """What is packed, and how small."""

    photos: str = option("folder of photos, with its subfolders", example="/path/to/photos", path=True)
    to: str = option("folder for the small ones; must not exist", example="runs/photos", path=True)
    side: int = option("shorter side of the small ones in pixels", 512, low=_LEAST_SIDE)
    quality: int = option("of the JPEGs", 80, low=1, high=95)
    total: int = option("MiB that the repository and these photos may have together", 64, low=1)


def pack(options: PackOptions) -> int:
    """Write as many photos as there is room for, chosen at random but always the same, and say how many.

    Raises:
        UserError: for folders that can't be used, and where there is no room for a photo.
    """
    source, target = Path(options.photos), Path(options.to)
    check_folder(source, "photos", "/path/to/photos")
    if target.exists():
        raise UserError(f"to={target} is there already: choose another name, or remove it")
    held = repository_bytes(ROOT)
    room = min(_MOST << 20, ((options.total - _SPARE) << 20) - held)
    found = walk(source, None, LeftOut())
    make_folder(target)
    order = np.random.default_rng(0).permutation(len(found))
    count, size = 0, 0
    for number in order:
        small = shrunk(found[number], options.side, options.quality)
        if small is None:
            continue
        if size + len(small) > room:
            break
        with atomic(target / f"{count:05d}.jpg") as temporary:
            temporary.write_bytes(small)
        count, size = count + 1, size + len(small)
    if not count:
        target.rmdir()
        raise UserError(
            f"none of the {len(found)} photos in {source} was packed: {max(0, room) / 2**20:.1f} MiB are left beside "
            f"the repository's {held / 2**20:.1f}, and photos need a shorter side of {_LEAST_SIDE} pixels"
        )
    print(f"{count} of {len(found)} photos in {target}: {size / 2**20:.1f} MiB, with the repository "
          f"{(size + held) / 2**20:.1f} of {options.total}")  # fmt: skip
    return 0


def shrunk(path: str, side: int, quality: int) -> bytes | None:
    """A photo as a JPEG, with a shorter side of at most `side` pixels; None for one that can't be used."""
    short, wrong = inspect(path, _LEAST_SIDE)
    if wrong:
        return None
    try:
        photo = decoded(path, min(side, short))
    except UserError:
        return None
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue()


def repository_bytes(root: Path) -> int:
    """The size of the files that git does not ignore, or without git of all that are not hidden."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True
    )
    if listed.returncode == 0:
        paths = [root / name.decode(errors="surrogateescape") for name in listed.stdout.split(b"\0") if name]
    else:
        paths = [path for path in root.rglob("*") if not any(p.startswith(".") for p in path.relative_to(root).parts)]
    return sum(path.stat().st_size for path in paths if path.is_file())
