"""The folder of a site: written completely or not at all, and never in place of what is not a site of ours."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from onestroke.errors import UserError
from onestroke.files import make_folder

MARK = "site.json"
"""The file by which a site is recognised; under `files`, it lists the site's files."""


def check_site(folder: Path, overwrite: bool) -> None:
    """Check that a site may be written to a folder.

    Args:
        folder: of the site.
        overwrite: whether a site of ours that is there may be replaced.

    Raises:
        UserError: something else than an empty folder is there, and it is no site of ours or `overwrite` is false.
    """
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"out={folder} is a file or a link, and a site is a folder: choose another out")
    if not any(folder.iterdir()):
        return
    if _listed(folder) is None:
        raise UserError(f"{folder} is no site that export.py wrote: choose another out")
    if not overwrite:
        raise UserError(f"{folder} is there already: choose another out, or add overwrite=true")


def write_site(folder: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write a site, in place of one that is there; files that its owner has added to that one are kept.

    Args:
        folder: of the site, as `check_site` allows it.
        files: by its path in the folder, the content of each file, or the file that it is a copy of.

    Raises:
        UserError: it can't be written; what was there stays.
    """
    make_folder(folder.parent)
    new, old = (folder.with_name(f".{folder.name}.{secrets.token_hex(4)}") for _ in range(2))
    try:
        for name, content in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_bytes(content)
        _keep(folder, new)
        if folder.is_dir():
            os.replace(folder, old)
        os.replace(new, folder)
    except OSError as error:
        if old.is_dir() and not folder.exists():
            with suppress(OSError):
                os.replace(old, folder)
        raise UserError(f"cannot write '{folder}': {error.strerror or error}; choose another out") from error
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _keep(old: Path, new: Path) -> None:
    """Copy to the new site what its owner added to the old one, such as .htaccess or CNAME."""
    listed = _listed(old)
    for path in sorted(old.rglob("*")) if listed is not None else ():
        name = path.relative_to(old)
        if path.is_file() and name.as_posix() not in (listed or ()) and not (new / name).exists():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, new / name)


def _listed(folder: Path) -> list[str] | None:
    """The files of a site of ours; None for another folder."""
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    listed = found.get("files") if isinstance(found, dict) and "onestroke_site" in found else None
    return listed if isinstance(listed, list) else None
