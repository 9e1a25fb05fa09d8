"""Which files of folders and patterns are pictures, by their content, and what is left out, and why."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from onestroke.errors import UserError
from onestroke.imaging import metadata
from onestroke.imaging.kinds import EXTENSIONS, HEAD, KNOWN, kind_of, unreadable

PAINTING = "painting of OneStroke"
_VIDEO, _RAW, _OTHER, _NONE = "a video", "a camera's raw file", "a kind of picture that isn't read", "no picture"
_JUNK = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini"))
_SUFFIXES = {
    _VIDEO: ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .mts .m2ts .wmv .3gp .flv .ogv",
    _RAW: ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .srw",
    _OTHER: ".svg .psd .psb .xcf .kra .exr .hdr .jxl .ico .icns .tga .dds .pcx .eps .ai .wmf .emf .pdf",
}
_BY_SUFFIX = {suffix: what for what, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_VIDEO_HEADS = (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"0&\xb2u\x8ef\xcf\x11")
_NAMED = 3  # folders that are named, of all that can't be listed
_GROUPS = 12


@dataclass
class LeftOut:
    """What was found and not taken, to be told in a line."""

    files: Counter[tuple[str, str]] = field(default_factory=Counter)
    folders: dict[str, str] = field(default_factory=dict)
    """Folders that were not looked into, and why."""

    def add(self, path: str | os.PathLike[str], reason: str) -> None:
        """A file that isn't taken."""
        suffix = os.path.splitext(path)[1].lower()
        shown = suffix if suffix.isprintable() and len(suffix) <= 12 else ""
        self.files["" if reason == PAINTING else shown, reason] += 1

    def update(self, other: LeftOut) -> None:
        """All that another one has."""
        self.files.update(other.files)
        self.folders.update(other.folders)

    @property
    def count(self) -> int:
        """How many files and folders."""
        return self.files.total() + len(self.folders)

    @property
    def paintings(self) -> int:
        """How many of them are paintings."""
        return self.files["", PAINTING]

    def __str__(self) -> str:
        """Such as `4 left out: 1 .mp4 (a video), 3 paintings of OneStroke`; empty where nothing was left out."""
        groups = sorted(self.files.items(), key=lambda item: (-item[1], item[0]))
        parts = [_group(suffix, reason, count) for (suffix, reason), count in groups[:_GROUPS]]
        if more := sum(count for _, count in groups[_GROUPS:]):
            parts.append(f"{more} of other kinds")
        folders = list(self.folders.items())
        parts += [f"the folder '{_printable(path)}' ({why})" for path, why in folders[:_NAMED]]
        if len(folders) > _NAMED:
            parts.append(f"{len(folders) - _NAMED} more folders")
        return f"{self.count} left out: {', '.join(parts)}" if parts else ""


def _group(suffix: str, reason: str, count: int) -> str:
    if reason == PAINTING:
        return f"{count} {PAINTING}" if count == 1 else f"{count} {PAINTING.replace('painting', 'paintings')}"
    return f"{count} {suffix or 'without a suffix'} ({reason})"


def _printable(text: str) -> str:
    return text.encode("unicode_escape").decode() if not text.isprintable() else text


@dataclass(frozen=True)
class Found:
    """A picture, and the folder that it has below the one that was named: `.` for what was named itself."""

    path: Path
    below: Path


def search(paths: Sequence[str], left_out: LeftOut, paintings: bool = False) -> list[Found]:
    """Expand files, folders and patterns to pictures, in the order given, each once, 2 before 10.

    A name that exists is taken literally, even with `[`, `*` or `?` in it. A file that is named is taken whatever it
    is. A folder gives the pictures in it and in the folders below it, a pattern (`**` goes into folders) those that it
    matches and those in folders that it matches: files whose content is of a kind that is read, or whose name says
    so. Hidden files and folders are not looked at; links to files are followed, links to folders are not.

    Args:
        paths: the names.
        left_out: takes what was left out.
        paintings: whether OneStroke's own paintings are taken. Where they are not, one that is named alone is.

    Raises:
        UserError: one of the names gives nothing, or all of them paintings alone.
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
    taken = sift(files, own, paintings)
    left_out.update(own)
    if not taken and not own.paintings:
        told = f" ({own})" if own.count else ""
        raise UserError(f"{problem}{told}; known are {KNOWN}")
    below = {folder: _below(folder, top) for folder in {os.path.dirname(name) for name in taken}}
    return (Found(Path(name), below[os.path.dirname(name)]) for name in sorted(taken, key=_natural))


def is_painting(path: str | os.PathLike[str]) -> bool:
    """Whether OneStroke painted a picture, by its metadata; False for what can't be read."""
    try:
        with open(path, "rb") as file:
            return metadata.is_painting(file)
    except OSError:
        return False  # what can't be read is told when it is read


def _matching(pattern: str, left_out: LeftOut) -> list[str]:
    """The files that a pattern matches and those in folders that it matches."""
    files: list[str] = []
    seen: set[str] = set()
    for match in sorted(glob.glob(pattern, recursive=True)):
        if os.path.isdir(match):
            files += walk(match, left_out, seen=seen)
        else:
            files.append(match)
    return list(dict.fromkeys(os.path.normpath(file) for file in files))


def _fixed(pattern: Path) -> Path:
    """The folder that all matches of a pattern lie in."""
    magic = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    return Path(*pattern.parts[:magic])


def _below(folder: str, top: Path) -> Path:
    try:
        return Path(os.path.normpath(folder)).relative_to(os.path.normpath(top))
    except ValueError:
        return Path()


def _natural(path: str) -> tuple[list[str | int], str]:
    parts = re.split(r"([0-9]+)", path.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path


def walk(root: str, left_out: LeftOut, links: bool = False, seen: set[str] | None = None) -> list[str]:
    """All files below a folder, hidden ones left out, and those of hidden folders.

    Args:
        root: the folder.
        left_out: takes folders that can't be listed, and links that lead nowhere.
        links: whether links to folders are followed, each folder being looked into once. Else they are left out.
        seen: real names of folders that aren't looked into, and afterwards of those that were, too.

    Raises:
        UserError: the folder itself can't be listed.
    """
    seen = set() if seen is None else seen
    found: list[str] = []
    waiting: list[str] = [root]
    linked: list[str] = []
    while waiting or linked:
        # links last, so that what is there goes by its own name
        folder = waiting.pop() if waiting else linked.pop()
        # by real names, since links lead to one place by many names, and round in circles
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


def sift(files: Iterable[str], left_out: LeftOut, paintings: bool = False) -> list[str]:
    """Those of the files that are pictures, by their content or at least by their name, in the same order.

    What a name promises and the content doesn't hold is taken, so that whoever reads it tells what is wrong with it.
    """
    taken = []
    for path in files:
        why = reason(path, paintings)
        if why:
            left_out.add(path, why)
        else:
            taken.append(path)
    return taken


def reason(path: str, paintings: bool = False) -> str:
    """Why a file is no picture to take; empty where it is one. Little more than its first bytes are read."""
    suffix = os.path.splitext(path)[1].lower()
    named = suffix in EXTENSIONS
    try:
        if not os.path.isfile(path):
            return "a link that leads nowhere" if os.path.islink(path) else "no regular file"
        with open(path, "rb") as file:
            return _reason(file, suffix, named, paintings)
    except OSError as error:
        return "" if named else error.strerror or "can't be read"


def _reason(file: BinaryIO, suffix: str, named: bool, paintings: bool) -> str:
    head = file.read(HEAD)
    kind = kind_of(head)
    if kind is None:
        return "" if named else _what(head, suffix)
    if missing := unreadable(kind):
        return missing
    if kind == "TIFF" and not named and (_BY_SUFFIX.get(suffix) == _RAW or metadata.is_raw(file)):
        return _RAW
    return PAINTING if not paintings and metadata.is_painting(file) else ""


def _what(head: bytes, suffix: str) -> str:
    """What a file is that is no picture of a kind that is read."""
    if not head:
        return "empty"
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if head.startswith(_VIDEO_HEADS) or head[4:8] in (b"ftyp", b"moov") or (head[:4], head[8:12]) == (b"RIFF", b"AVI "):
        return _VIDEO
    return _NONE
