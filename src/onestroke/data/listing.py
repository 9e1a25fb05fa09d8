"""List the photos of a folder recursively, following links and skipping subfolders that can't be read."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from onestroke.errors import UserError
from onestroke.imaging import finding
from onestroke.imaging.kinds import EXTENSIONS
from onestroke.imaging.left_out import LeftOut

log = logging.getLogger(__name__)

MANY = 20_000  # files; in larger folders, files with the suffix of a picture are not opened for listing


def check_folder(folder: Path, setting: str, example: str) -> None:
    """Check that a folder exists.

    Args:
        folder: the folder.
        setting: name of the option that gives it, for the message.
        example: an example value of the option, for the message.

    Raises:
        UserError: it is missing, or not a folder.
    """
    if not os.path.exists(folder):
        raise UserError(f"there is no folder {folder}: set {setting}={example}")
    if not os.path.isdir(folder):
        raise UserError(f"{folder} is no folder: set {setting}={example}")


def walk(root: Path, apart: Path | None, left_out: LeftOut) -> list[str]:
    """The paths of all photos below `root` but not below `apart`, sorted.

    Photos are recognised by their content, see `finding.rejection_reason`. With more than MANY files, which could take
    minutes to open on a slow disk, files with the suffix of a picture are included unread. OneStroke's own paintings
    and hidden files and folders are left out. Links are followed; a file that has several paths is listed once.

    Args:
        root: the folder.
        apart: a folder to skip, or None.
        left_out: receives the files and folders that are left out.

    Raises:
        UserError: `root` itself can't be listed.
    """
    seen = {os.path.realpath(apart)} if apart is not None else set()
    files = _once(finding.walk(str(root), left_out, links=True, seen=seen))
    if len(files) > MANY:
        named = {path for path in files if os.path.splitext(path)[1].lower() in EXTENSIONS}
        unnamed = set(finding.filter_pictures((path for path in files if path not in named), left_out))
        files = [path for path in files if path in named or path in unnamed]
    else:
        files = finding.filter_pictures(files, left_out)
    return sorted(files, key=lambda path: path.replace(os.sep, "/"))


def log_left_out(folder: Path, left_out: LeftOut) -> None:
    """Log in one line which files of a folder are left out, if any."""
    if left_out.count:
        log.info("%s: %s", folder, left_out)


def _once(files: list[str]) -> list[str]:
    """Remove links to files that are listed already, directly or through another link."""
    links = {path for path in files if os.path.islink(path)}
    if not links:
        return files
    # A photo is listed under its own path rather than a link's.
    seen = {os.path.realpath(path) for path in files if path not in links}
    kept = [path for path in files if path not in links]
    for path in sorted(links):
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            kept.append(path)
    return kept
