"""Find the pictures among files, folders and patterns by their content, and record which files are left out and why."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from onestroke.errors import UserError
from onestroke.imaging import metadata
from onestroke.imaging.kinds import EXTENSIONS, HEAD, KNOWN, kind_of, unreadable
from onestroke.imaging.left_out import PAINTING, LeftOut

VIDEO, _RAW, _OTHER, _NONE = "a video", "a camera's raw file", "a kind of picture that isn't read", "no picture"
_JUNK = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini"))
_SUFFIXES = {
    VIDEO: ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .mts .m2ts .wmv .3gp .flv .ogv"
    " .ts .y4m .h264 .264 .hevc .265 .ivf .mxf .nut .dv",
    _RAW: ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .srw",
    _OTHER: ".svg .psd .psb .xcf .kra .exr .hdr .jxl .ico .icns .tga .dds .pcx .eps .ai .wmf .emf .pdf",
}
_BY_SUFFIX = {suffix: what for what, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_TS_PACKET, _TS_SYNC = 188, 0x47  # MPEG-TS
_VIDEO_HEADS = (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"0&\xb2u\x8ef\xcf\x11")


@dataclass(frozen=True)
class Found:
    """A picture, and its folder relative to the folder that was searched: `.` for a file that was named itself."""

    path: Path
    below: Path


def search(paths: Sequence[str], left_out: LeftOut, paintings: bool = False) -> list[Found]:
    """Expand files, folders and patterns to a list of pictures, without duplicates.

    A path that exists is taken literally, even with `[`, `*` or `?` in it. A file is returned whatever its content. A
    folder is searched recursively; a pattern (`**` matches folders recursively) gives the files that it matches and
    those in folders that it matches. Files from folders and patterns are returned if their content is of a readable
    kind, or if their suffix is that of one. Hidden files and folders are skipped; links to files are followed, links
    to folders are not.

    Args:
        paths: files, folders and patterns.
        left_out: receives the files and folders that are left out.
        paintings: whether OneStroke's own paintings are included. If False, one that is the only path is included.

    Returns:
        The pictures in the order of `paths`; those of a folder or pattern in natural order (2 before 10).

    Raises:
        UserError: a path gives no picture, or all paths together only paintings that are left out.
    """
    found: dict[str, Found] = {}
    for given in paths:
        for picture in _expand(given, left_out, paintings, alone=len(paths) == 1):
            found.setdefault(os.path.abspath(picture.path), picture)
    if not found:
        raise UserError("there is no photo among what was named, only paintings of this style or another")
    return list(found.values())


def _expand(given: str, left_out: LeftOut, paintings: bool, alone: bool) -> Iterable[Found]:
    if not given:
        raise UserError("the name of a picture is empty; give a file, a folder or a pattern")
    path = Path(given)
    if not os.path.lexists(path):
        path = Path(os.path.expanduser(given))
    own = LeftOut()
    if os.path.isdir(path):
        files, top = walk(str(path), own), path
        problem = f"the folder '{given}' holds no pictures"
    elif os.path.lexists(path):
        if not alone and not paintings and is_painting(path):
            left_out.add(path, PAINTING)
            return ()
        return (Found(path, Path()),)
    elif glob.has_magic(given):
        files, top = _matching(str(path), own), _fixed(path)
        problem = f"no picture matches '{given}'; check the pattern"
    else:
        raise UserError(f"there is no file or folder '{given}'; check the name")
    taken = filter_pictures(files, own, paintings)
    left_out.update(own)
    if not taken and not own.paintings:
        others = f" ({own})" if own.count else ""
        raise UserError(f"{problem}{others}; known are {KNOWN}")
    below = {folder: _below(folder, top) for folder in {os.path.dirname(name) for name in taken}}
    return (Found(Path(name), below[os.path.dirname(name)]) for name in sorted(taken, key=_natural))


def is_painting(path: str | os.PathLike[str]) -> bool:
    """Whether the metadata of a picture say that OneStroke painted it; False for a file that can't be read."""
    try:
        with open(path, "rb") as file:
            return metadata.is_painting(file)
    except OSError:
        return False  # reported when the file is decoded


def _matching(pattern: str, left_out: LeftOut) -> list[str]:
    """The files that a pattern matches, and those in folders that it matches."""
    files: list[str] = []
    seen: set[str] = set()
    for match in sorted(glob.glob(pattern, recursive=True)):
        if os.path.isdir(match):
            files += walk(match, left_out, seen=seen)
        else:
            files.append(match)
    return list(dict.fromkeys(os.path.normpath(file) for file in files))


def _fixed(pattern: Path) -> Path:
    """The part of a pattern before the first wildcard: the folder that contains all matches."""
    magic = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    return Path(*pattern.parts[:magic])


def _below(folder: str, top: Path) -> Path:
    """`folder` relative to `top`; `.` where it is not below it."""
    try:
        return Path(os.path.normpath(folder)).relative_to(os.path.normpath(top))
    except ValueError:
        return Path()


def _natural(path: str) -> tuple[list[str | int], str]:
    """Sort key that compares numbers in names by value."""
    parts = re.split(r"([0-9]+)", path.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path


def walk(root: str, left_out: LeftOut, links: bool = False, seen: set[str] | None = None) -> list[str]:
    """List all files below a folder; hidden files and folders are skipped.

    Args:
        root: the folder.
        left_out: receives folders that can't be listed, and links to folders that are not followed.
        links: whether links to folders are followed; each folder is searched once.
        seen: real paths of folders to skip; the folders that were searched are added.

    Returns:
        The paths of the files, each beginning with `root`.

    Raises:
        UserError: `root` itself can't be listed.
    """
    seen = set() if seen is None else seen
    found: list[str] = []
    waiting: list[str] = [root]
    linked: list[str] = []
    while waiting or linked:
        # links last, so that a folder that can be reached without a link is listed under its own path
        folder = waiting.pop() if waiting else linked.pop()
        # real paths, since links can give a folder several paths and form cycles
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                visible = sorted((e for e in entries if not _hidden(e.name)), key=lambda e: e.name, reverse=True)
        except OSError as error:
            if folder == root:
                raise UserError(f"the folder '{root}' may not be read ({error.strerror}); check it") from error
            left_out.folders[folder] = error.strerror or "can't be listed"
            continue
        for entry in visible:
            if not _is_folder(entry):
                found.append(entry.path)
            elif not entry.is_symlink():
                waiting.append(entry.path)
            elif links:
                linked.append(entry.path)
            else:
                left_out.folders[entry.path] = "a link; name it to have it looked into"
    return found


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def filter_pictures(files: Iterable[str], left_out: LeftOut, paintings: bool = False) -> list[str]:
    """Keep the files that are pictures by content or by suffix, in the same order.

    A file with the suffix of a picture but other content is kept, so that decoding it reports what is wrong.

    Args:
        files: paths.
        left_out: receives the other files.
        paintings: whether OneStroke's own paintings are kept.
    """
    taken = []
    for path in files:
        reason = rejection_reason(path, paintings)
        if reason:
            left_out.add(path, reason)
        else:
            taken.append(path)
    return taken


def rejection_reason(path: str, paintings: bool = False) -> str:
    """Why a file is left out; empty if it is a picture. Reads the header only."""
    suffix = os.path.splitext(path)[1].lower()
    named = suffix in EXTENSIONS
    try:
        if not os.path.isfile(path):
            return "a link that leads nowhere" if os.path.islink(path) else "no regular file"
        with open(path, "rb") as file:
            return _rejection_reason(file, suffix, named, paintings)
    except OSError as error:
        return "" if named else error.strerror or "can't be read"


def rejection_of(file: BinaryIO, name: str) -> str:
    """As `rejection_reason`, for a file that is open at its beginning; `name` gives the suffix."""
    suffix = os.path.splitext(name)[1].lower()
    return _rejection_reason(file, suffix, suffix in EXTENSIONS, paintings=False)


def _rejection_reason(file: BinaryIO, suffix: str, named: bool, paintings: bool) -> str:
    head = file.read(HEAD)
    kind = kind_of(head)
    if kind is None:
        return "" if named else _other_kind(head, suffix)
    if missing := unreadable(kind):
        return missing
    if kind == "TIFF" and not named and (_BY_SUFFIX.get(suffix) == _RAW or metadata.is_raw(file)):
        return _RAW
    return PAINTING if not paintings and metadata.is_painting(file) else ""


def is_film(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a video by its first bytes or, where these say nothing, by its suffix; no picture is one."""
    try:
        with open(path, "rb") as file:
            head = file.read(_TS_PACKET + 1)
    except OSError:
        return False
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".ts" and (len(head) <= _TS_PACKET or head[0] != _TS_SYNC or head[_TS_PACKET] != _TS_SYNC):
        return False  # TypeScript
    what = _BY_SUFFIX.get(suffix) if not head else _other_kind(head, suffix)
    return kind_of(head[:HEAD]) is None and what == VIDEO


def _other_kind(head: bytes, suffix: str) -> str:
    """Name the kind of a file that is not a readable picture, by its first bytes and its suffix."""
    if not head:
        return "empty"
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if head.startswith(_VIDEO_HEADS) or head[4:8] in (b"ftyp", b"moov") or (head[:4], head[8:12]) == (b"RIFF", b"AVI "):
        return VIDEO
    return _NONE
