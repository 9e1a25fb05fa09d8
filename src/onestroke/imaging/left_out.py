"""A record of the files and folders that a search for pictures left out, and its one-line summary."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

PAINTING = "painting of OneStroke"
_NAMED = 3  # folders that a message names; the others are counted
_GROUPS = 12  # kinds of files that a message lists


@dataclass
class LeftOut:
    """The files and folders that a search left out, summarised in one line by `str`.

    files: (suffix, reason) -> count. folders: path of each folder that was not searched -> the reason.
    """

    files: Counter[tuple[str, str]] = field(default_factory=Counter)
    folders: dict[str, str] = field(default_factory=dict)

    def add(self, path: str | os.PathLike[str], reason: str) -> None:
        """Record a file that is left out."""
        suffix = os.path.splitext(path)[1].lower()
        shown = suffix if suffix.isprintable() and len(suffix) <= 12 else ""
        self.files["" if reason == PAINTING else shown, reason] += 1

    def forget(self, path: str | os.PathLike[str], reason: str) -> None:
        """Undo `add` for a file, if it was added."""
        key = os.path.splitext(path)[1].lower(), reason
        if self.files[key] > 0:
            self.files[key] -= 1
        self.files += Counter()  # without those that are 0

    def update(self, other: LeftOut) -> None:
        """Add all records of another LeftOut."""
        self.files.update(other.files)
        self.folders.update(other.folders)

    @property
    def count(self) -> int:
        """The number of files and folders left out."""
        return self.files.total() + len(self.folders)

    @property
    def paintings(self) -> int:
        """The number of paintings of OneStroke left out."""
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
