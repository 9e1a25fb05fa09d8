"""Which photos a folder holds, links and unreadable corners included."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from onestroke.errors import UserError
from onestroke.imaging import finding
from onestroke.imaging.finding import LeftOut
from onestroke.imaging.kinds import EXTENSIONS

log = logging.getLogger(__name__)

MANY = 20_000  # files, beyond which those named as pictures are not opened before they are needed


def check_folder(folder: Path, setting: str, example: str) -> None:
    """See that a folder is there.

    Raises:
        UserError: If it is missing or no folder; the sentence says what to set, with `example` as its value.
    """
    if not os.path.exists(folder):
        raise UserError(f"there is no folder {folder}: set {setting}={example}")
    if not os.path.isdir(folder):
        raise UserError(f"{folder} is no folder: set {setting}={example}")


def walk(root: Path, apart: Path | None, left_out: LeftOut) -> list[str]:
    """All photos below `root` but not below `apart`, sorted.

    Photos are told by their content, as `finding.reason` says; where there are MANY files, which from a slow disk
    would take minutes to open, those that are named as pictures are taken by their name. OneStroke's own paintings
    are no photos. Hidden files and folders are left out. Links are followed, and what they lead to is taken once.

    Raises:
        UserError: If `root` itself cannot be listed.
    """
    seen = {os.path.realpath(apart)} if apart is not None else set()
    files = _once(finding.walk(str(root), left_out, links=True, seen=seen))
    if len(files) > MANY:
        named = {path for path in files if os.path.splitext(path)[1].lower() in EXTENSIONS}
        unnamed = set(finding.sift((path for path in files if path not in named), left_out))
        files = [path for path in files if path in named or path in unnamed]
    else:
        files = finding.sift(files, left_out)
    return sorted(files, key=lambda path: path.replace(os.sep, "/"))


def tell(folder: Path, left_out: LeftOut) -> None:
    """Log in a line what a folder holds that isn't taken."""
    if left_out.count:
        log.info("%s: %s", folder, left_out)


def _once(files: list[str]) -> list[str]:
    """Without the links to files that are among the others, or that another link leads to."""
    links = {path for path in files if os.path.islink(path)}
    if not links:
        return files
    # A photo that is there goes by its own name, and a link to it is no second photo.
    seen = {os.path.realpath(path) for path in files if path not in links}
    kept = [path for path in files if path not in links]
    for path in sorted(links):
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            kept.append(path)
    return kept
