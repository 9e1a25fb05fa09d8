"""Download COCO's photos and unpack them for training.

    python scripts/fetch_coco.py root=/data/coco [split=train2017|val2017] [keep_zip=false] [url=...]

    root       folder to put train2017/ (or val2017/) into
    split      train2017: 118,287 photos, 19.3 GB (needs twice that until the zip is unpacked);
               val2017: 5,000 photos, 0.8 GB
    keep_zip   true keeps the zip beside the unpacked folder
    url        a mirror, or any zip that holds photos in a folder named like the split
    md5        checksum of the zip at url=, to be checked if given

A download or an unpacking that was stopped goes on when the same command is run again.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from onestroke.data.download import fetch
from onestroke.errors import UserError, near
from onestroke.files import atomic, home


@dataclass(frozen=True)
class Split:
    photos: int
    zip_bytes: int
    size: int | None  # exact length of the zip, where known
    md5: str


SPLITS = {
    "train2017": Split(118_287, 19_336_861_798, 19_336_861_798, "cced6f7f71b7629ddf16f17bbcfab6b2"),
    "val2017": Split(5_000, 816_000_000, None, "442b8da7639aecaf257c1dceb8ba8c80"),
}
URL = "http://images.cocodataset.org/zips/{split}.zip"
KEYS = ("root", "split", "keep_zip", "url", "md5")
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def main(arguments: list[str]) -> int:
    if {"--help", "-h", "help"} & set(arguments):
        print(__doc__)
        return 0
    try:
        run(parse(arguments))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def parse(arguments: list[str]) -> dict[str, str]:
    """`key=value` arguments as a dict.

    Raises:
        UserError: For anything else, unknown keys and values, and a missing root.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        key, value = argument.split("=", 1) if "=" in argument else (argument, "")
        if key not in KEYS:
            raise UserError(f"there is no setting '{key}': {near(key, KEYS)}")
        if not value:
            raise UserError(f"{key} has no value: write {key}=... without spaces")
        given[key] = value
    if "root" not in given:
        raise UserError("root is missing: say where to put the photos with root=/data/coco")
    if given.setdefault("split", "train2017") not in SPLITS:
        raise UserError(f"there is no split '{given['split']}': {near(given['split'], SPLITS)}")
    if given.setdefault("keep_zip", "false").lower() not in BOOLEANS:
        raise UserError(f"keep_zip is '{given['keep_zip']}', but only true or false will do")
    if "md5" in given and "url" not in given:
        raise UserError("md5= goes with url=: the checksum of COCO's own zip is known, so leave it out")
    if not re.fullmatch(r"[0-9a-fA-F]{32}", given.get("md5", "0" * 32)):
        raise UserError(f"md5 '{given['md5']}' cannot be one: give 32 hexadecimal characters")
    return given


def run(given: dict[str, str]) -> None:
    """Download, unpack, and say how to train with the photos.

    Raises:
        UserError: If anything of it cannot be done.
    """
    name, root = given["split"], Path(home(given["root"]))
    split = SPLITS[name]
    archive, folder, done = root / f"{name}.zip", root / name, root / f".{name}.done"
    if not whole(folder, done, None if "url" in given else split.photos):
        if "url" in given:
            fetch(given["url"], archive, md5=given.get("md5"))
        else:
            check_room(root, archive, folder, split)
            fetch(URL.format(split=name), archive, md5=split.md5, size=split.size)
        count = unpack(archive, root, name)
        with atomic(done) as temporary:
            temporary.write_text(f"{count}\n", encoding="utf-8")
    if not BOOLEANS[given["keep_zip"].lower()]:
        archive.unlink(missing_ok=True)
    print(f"{count_photos(folder)} photos in {folder}; train with them by\n\n    {command(root, name)}")


def command(root: Path, name: str) -> str:
    """The command that trains with the photos, or that validates on them beside the training split."""
    start = "python train.py data=coco "
    if name == "train2017":
        return start + shlex.quote(f"data.root={root}")
    if (root / "train2017").is_dir():
        return start + shlex.join([f"data.root={root}", f"data.val={root / name}"])
    return start + shlex.quote(f"data.root={root / name}")


def whole(folder: Path, done: Path, photos: int | None) -> bool:
    """Whether all photos were unpacked before, by this script or by hand."""
    try:
        photos = int(done.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass
    return photos is not None and count_photos(folder) >= photos


def count_photos(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(not name.startswith(".") for _, _, files in os.walk(folder) for name in files)


def check_room(root: Path, archive: Path, folder: Path, split: Split) -> None:
    """Raise a UserError if the disk lacks room for what is missing of the zip and of the photos."""
    parts = (archive, archive.with_name(archive.name + ".part"))
    here = sum(part.stat().st_size for part in parts if part.is_file())
    missing = 1 - min(count_photos(folder) / split.photos, 1)
    needed = max(split.zip_bytes - here, 0) + int(split.zip_bytes * 1.02 * missing)
    _need(root, needed)


def _need(root: Path, needed: int) -> None:
    place = next(parent for parent in (root.absolute(), *root.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"{root} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are needed: make room, or use "
            "a root= on another disk"
        )


def unpack(archive: Path, root: Path, name: str) -> int:
    """Unpack the files that `archive` holds in folder `name`, but for those that are there already.

    Returns:
        How many files the folder of the archive holds.

    Raises:
        UserError: If the archive is damaged, or holds names that lead out of the folder.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            entries = [e for e in source.infolist() if safe(e, archive) and e.filename.startswith(f"{name}/")]
            if not entries:
                raise UserError(f"{archive} holds no folder {name}/: check url= and split=")
            missing = [e for e in entries if not _there(root / e.filename, e.file_size)]
            _need(root, sum(e.file_size for e in missing))
            bar = (TextColumn("unpacking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*bar, console=Console(stderr=True)) as progress:
                task = progress.add_task("", total=len(entries), completed=len(entries) - len(missing))
                for entry in missing:
                    _write(source, entry, root / entry.filename)
                    progress.advance(task)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{archive} cannot be unpacked ({error}): delete it and run again") from error
    except OSError as error:
        raise UserError(f"cannot unpack into {root} ({error.strerror or error}): mend that and run again") from error
    return len(entries)


def safe(entry: zipfile.ZipInfo, archive: Path) -> bool:
    """Whether an entry is a file to unpack; folders are not, as files bring their own.

    Raises:
        UserError: If its name leads out of the folder it is unpacked in, or it is a link.
    """
    path = entry.filename
    outside = path.startswith("/") or ".." in path.split("/") or "\\" in path or ":" in path
    if outside or stat.S_ISLNK(entry.external_attr >> 16):
        raise UserError(f"{archive} holds '{path}', which may write outside of its folder: use another zip")
    return not entry.is_dir()


def _there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _write(source: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)  # what a kill has left, or a link
        with source.open(entry) as packed, part.open("xb") as file:
            shutil.copyfileobj(packed, file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
