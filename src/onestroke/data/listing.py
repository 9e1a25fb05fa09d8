"""Which photos a folder holds, links and unreadable corners included."""

from __future__ import annotations

import os
from pathlib import Path

from onestroke.errors import UserError
from onestroke.kinds import EXTENSIONS


def check_folder(folder: Path, setting: str, example: str) -> None:
    """See that a folder is there.

    Raises:
        UserError: If it is missing or no folder; the sentence says what to set, with `example` as its value.
    """
    if not os.path.exists(folder):
        raise UserError(f"there is no folder {folder}: set {setting}={example}")
    if not os.path.isdir(folder):
        raise UserError(f"{folder} is no folder: set {setting}={example}")


def walk(root: Path, apart: Path | None) -> tuple[list[str], int]:
    """All photos below `root` but not below `apart`, sorted, and how many folders could not be listed.

    Hidden files and folders are left out. Links are followed, and what they lead to is taken once.

    Raises:
        UserError: If `root` itself cannot be listed.
    """
    found: list[str] = []
    links: list[str] = []
    unlisted = 0
    # By their real names, since links lead to the same place by many names, and round in circles.
    seen = {os.path.realpath(apart)} if apart is not None else set()
    waiting = [str(root)]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if _is(entry, folder=True):
                        folders.append(entry.path)
                    elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS and _is(entry, folder=False):
                        if entry.is_symlink():
                            links.append(entry.path)
                        else:
                            found.append(entry.path)
                            seen.add(os.path.join(real, entry.name))
        except OSError as error:
            if folder == str(root):
                raise UserError(f"{root} cannot be listed ({error.strerror}): change its permissions") from error
            unlisted += 1
        waiting.extend(sorted(folders, reverse=True))
    # Last, so that a photo that is there goes by its own name and a link to it is no second photo.
    for path in sorted(links):
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            found.append(path)
    return sorted(found, key=lambda path: path.replace(os.sep, "/")), unlisted


def _is(entry: os.DirEntry[str], folder: bool) -> bool:
    try:
        return entry.is_dir() if folder else entry.is_file()
    except OSError:  # a link to itself
        return False
