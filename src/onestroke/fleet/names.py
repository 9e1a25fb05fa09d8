"""Names of pictures and of their paintings. Those in tars, tables and lists are untrusted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

RESERVED = "_manifest"
"""Folder of the output that holds what the fleet knows about its pictures."""
_UNFIT = re.compile(r'[\0-\x1f\x7f<>:"|?*]')
_LONGEST = 180  # characters of a part


def safe(name: str) -> str:
    """A relative path of ordinary parts, which stays below the folder that it is put in."""
    parts = [_UNFIT.sub("_", part).strip() for part in re.split(r"[/\\]", name)]
    parts = [part if len(part) <= _LONGEST else part[-_LONGEST:] for part in parts if part.strip(". ")]
    if not parts:
        return "_"
    return "/".join([f"_{parts[0]}" if parts[0] == RESERVED else parts[0], *parts[1:]])


def of_address(address: str) -> str:
    """The name of a file of the web: host and path, with the query where there is one."""
    parts = urlsplit(address)
    query = f"-{parts.query.replace('/', '_')}" if parts.query else ""
    folder, _, name = safe(unquote(parts.path)).rpartition("/")
    path = PurePosixPath(name)
    return safe(f"{parts.hostname or 'web'}/{folder}/{path.stem}{query}{path.suffix}")


class Places:
    """The place of each picture's painting: `a/photo.jpg` -> `a/photo.starry_night.png`, folders kept.

    Where that place is another picture's already, as for photo.jpg and photo.png, the whole name is kept in it. So the
    pictures have to be asked for in an order that stays.

    Args:
        style: of the paintings, for their names.
        form: suffix of the paintings, without a dot.
        taken: places of other paintings.
    """

    def __init__(self, style: str, form: str, taken: Iterable[str] = ()) -> None:
        self.style, self.form = style, form
        self.taken = {place.casefold() for place in taken}

    def of(self, name: str, form: str | None = None) -> str:
        """The place of the painting of a picture with a safe name; form: its suffix, None for that of all."""
        path, ending = PurePosixPath(name), f".{self.style}.{form or self.form}"
        place = str(path.with_name(path.stem + ending))
        if place.casefold() in self.taken:
            place = str(path.with_name(path.name + ending))
        self.taken.add(place.casefold())
        return place
