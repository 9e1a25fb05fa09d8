"""A film that is divided among workers: its sections, and those that are painted, in a folder beside the painting."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from onestroke.errors import UserError
from onestroke.stores import Store, join
from onestroke.video import clip as clips
from onestroke.video.assembly import Segment
from onestroke.video.sections import SECONDS, Glimpse, Section

_LONG, _MOST = 4, 256
"""A film of several sections has some of up to _LONG times SECONDS, and of more where there would be over _MOST."""
_EACH = 8  # sections from which on they get longer


@dataclass(frozen=True)
class Share:
    """A section of a film that one worker paints.

    number: from 0. count: of all sections of the film. seconds: of each but the last, which has the rest; it really
    ends at the first cut after them. version: of the film, so that sections of two are never joined.
    """

    number: int
    count: int
    seconds: int
    version: str

    def encoded(self) -> str:
        """This as JSON, in which it travels."""
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, text: str) -> Share:
        """What `encoded` returned, again."""
        return cls(**json.loads(text))

    @property
    def section(self) -> Section:
        """The section, not painted yet."""
        last = self.number == self.count - 1
        return Section(self.number * self.seconds or None, None if last else (self.number + 1) * self.seconds)


def shares_of(folder: str, name: str) -> list[Share]:
    """The sections of a film; fewer than two for one that is painted whole.

    Raises:
        UserError: it can't be read.
    """
    store = Store(folder)
    with store.reading(name) as file:
        seconds = clips.divisible_seconds(file)
    count, length = division(seconds)
    version = store.version(name)
    return [Share(number, count, length, version) for number in range(count)]


def division(seconds: float) -> tuple[int, int]:
    """The number of sections of a film that lasts so long, and the seconds of each but the last."""
    units = int(seconds // SECONDS)
    together = max(1, min(_LONG, units // _EACH), math.ceil(units / _MOST))
    return units // together, SECONDS * together


class PaintedSections:
    """The sections of a film that are painted: a hidden folder beside the painting, as infer.py has one.

    Args:
        output: address of the job's output.
        place: of the painting in it.
        share: the section that asks.
    """

    def __init__(self, output: str, place: str, share: Share) -> None:
        self.store, self.share = Store(join(output, folder_of(place))), share
        self._prefix = f"{share.version}-{share.count:04d}"

    def there(self) -> bool:
        """Whether the section that asks is painted."""
        name = f"{self._name(self.share.number)}.json"
        return name in self.store.present([name])

    def complete(self) -> bool:
        """Whether all sections are painted."""
        names = {f"{self._name(number)}.json" for number in range(self.share.count)}
        return names <= set(self.store.files(below=False))

    def add(self, section: Section, segments: Sequence[Segment], frames: int, short: bool) -> None:
        """Store the section that asks: first its parts, and then what is known of it.

        Args:
            section: after it was painted.
            segments: its parts.
            frames: how many there are in them.
            short: whether the film ends early.

        Raises:
            UserError: it can't be written.
        """
        own = self._name(self.share.number)
        parts = []
        for number, segment in enumerate(segments):
            name = f"{own}-{number:06d}{segment.path.suffix}"
            self.store.put(name, segment.path)
            parts.append({"file": name, "begin": segment.begin, "last": segment.last})
        known = {"parts": parts, "frames": frames, "short": short, "first": None, "after": None}
        for key in ("first", "after"):
            if (seen := getattr(section, key)) is not None:
                known[key] = asdict(seen)
        self.store.write(f"{own}.json", json.dumps(known).encode())

    def fetch(self, folder: Path) -> tuple[list[Segment], int, bool] | None:
        """Copy all sections to a folder of this machine.

        Returns:
            Their parts in order, the number of frames, and whether the film ends early. None if a section doesn't end
            with the frame with which the next one begins: the film was not decoded the same each time.

        Raises:
            UserError: they can't be read, or are damaged.
        """
        found = [json.loads(self.store.read(f"{self._name(number)}.json")) for number in range(self.share.count)]
        filled = [one for one in found if one["first"] is not None]
        firsts, afters = ([_glimpse(one[key]) for one in filled] for key in ("first", "after"))
        if not filled or filled[0] is not found[0] or [*firsts[1:], None] != afters:
            return None
        segments = []
        for part in (part for one in filled for part in one["parts"]):
            if PurePosixPath(part["file"]).name != part["file"]:  # what is in a store must not write elsewhere here
                raise _damaged()
            path = folder / part["file"]
            self.store.fetch(path, part["file"])
            segments.append(Segment(path, part["begin"], part["last"]))
        return segments, sum(one["frames"] for one in filled), any(one["short"] for one in filled)

    def paint_whole(self) -> None:
        """Note that the film can't be divided, and that the worker of the section that asks paints it whole."""
        self.store.write(f"{self._prefix}-whole", str(self.share.number).encode())

    def painted_whole(self) -> int | None:
        """The number of the section whose worker paints the film whole; None if it is divided."""
        name = f"{self._prefix}-whole"
        return int(self.store.read(name)) if self.store.present([name]) else None

    def _name(self, number: int) -> str:
        return f"{self._prefix}-{number:04d}"


def folder_of(place: str) -> str:
    """The folder beside a painting that holds its painted sections until they are joined."""
    path = PurePosixPath(place)
    return str(path.with_name(f".{path.name}.parts"))


def _glimpse(known: dict[str, Any] | None) -> Glimpse | None:
    try:
        return None if known is None else Glimpse(**known)
    except TypeError as error:
        raise _damaged() from error


def _damaged() -> UserError:
    return UserError("what an earlier run knew of a section of it is damaged: choose another output")
