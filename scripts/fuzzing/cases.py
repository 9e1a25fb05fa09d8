"""A case: a sound file, and what is changed in it; drawn from a seed and a number, so that it can be had again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

Change = Callable[[bytes, Random], bytes]
"""Takes a file's content and gives it changed; gives it back as it is where there is nothing to change."""

MOST_BYTES = 2**27  # what changes may blow a file up to
_BYTES_SHARE = 0.25  # of the changes, those that know nothing of the format
_SOUND_SHARE = 0.02  # of the cases, those with no change at all, which must be taken


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    make: writes the sound files into a folder; runs in a process of its own, so that it may start threads.
    changes: of a sound file's name, the changes that know its format, by name; the more often one is to be drawn, the
    larger its weight, see `weighted`.
    use: does with a file what the product does; gets the file, and what to choose from several uses by. What it raises
    decides the case: nothing and UserError are sound. A file without any change must raise nothing.
    warm: imports and loads what all cases need, before the first.
    leaves: names that `use` may leave in the folder of the case.
    """

    name: str
    make: Callable[[Path], None]
    changes: Callable[[str], Mapping[str, tuple[int, Change]]]
    use: Callable[[Path, Random], None]
    warm: Callable[[Path], None] = lambda _: None
    leaves: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """base: the name of a sound file. changes: name and seed of each, in order. use: the seed of its use."""

    number: int
    base: str
    changes: tuple[tuple[str, int], ...]
    use: int

    def without(self, place: int) -> Case:
        """The same with one change fewer."""
        return replace(self, changes=self.changes[:place] + self.changes[place + 1 :])

    def __str__(self) -> str:
        return f"{self.base}: " + (", ".join(name for name, _ in self.changes) or "unchanged")


def draw(kind: Kind, bases: list[str], seed: int, number: int) -> Case:
    """The case of a number: always the same for the same seed and the same sound files' names."""
    rng = Random(f"{kind.name}/{seed}/{number}")
    base = rng.choice(sorted(bases))
    known = kind.changes(base)
    names, weights = sorted(known), [known[name][0] for name in sorted(known)]
    count = 0 if rng.random() < _SOUND_SHARE else min(8, 1 + int(rng.expovariate(0.8)))
    chosen = []
    for _ in range(count):
        blind = not names or rng.random() < _BYTES_SHARE
        name = rng.choice(sorted(BYTES)) if blind else rng.choices(names, weights)[0]
        chosen.append((name, rng.getrandbits(32)))
    # what knows the format needs a file that still has one
    chosen.sort(key=lambda change: change[0] in BYTES)
    return Case(number, base, tuple(chosen), rng.getrandbits(32))


def build(kind: Kind, case: Case, content: bytes) -> bytes:
    """The content of a case's file."""
    known = kind.changes(case.base)
    for name, seed in case.changes:
        change = BYTES[name] if name in BYTES else known[name][1]
        try:
            changed = change(content, Random(seed))
        except Exception:
            continue  # an earlier change has left nothing that this one could be made to
        content = changed if len(changed) <= MOST_BYTES else content
    return content


def _place(content: bytes, rng: Random) -> int:
    """Somewhere in the file: where headers stand more often than elsewhere."""
    size = len(content)
    reach = rng.choice((16, 64, 1024, 8192, size, size))
    place = rng.randrange(max(1, min(reach, size)))
    return max(0, size - 1 - place) if rng.random() < 0.15 else place


def _flip(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        changed[_place(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    changed[_place(content, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def _insert(content: bytes, rng: Random) -> bytes:
    place = _place(content, rng)
    return content[:place] + rng.randbytes(rng.choice((1, 2, 4, 100, 5000))) + content[place:]


def _delete(content: bytes, rng: Random) -> bytes:
    place = _place(content, rng)
    return content[:place] + content[place + rng.choice((1, 2, 4, 100, 5000)) :]


def _cut(content: bytes, rng: Random) -> bytes:
    return content[: rng.choice((0, _place(content, rng), rng.randrange(len(content) + 1)))]


def _copy(content: bytes, rng: Random) -> bytes:
    """A part of the file over another, or once more in between."""
    start, place, size = _place(content, rng), _place(content, rng), rng.choice((4, 16, 256, 4096))
    part = content[start : start + size]
    return content[:place] + part + content[place + rng.choice((0, len(part))) :]


def _fill(content: bytes, rng: Random) -> bytes:
    place, size = _place(content, rng), rng.choice((4, 64, 1024))
    part = content[place : place + size]
    return content[:place] + bytes([rng.choice((0, 255))]) * len(part) + content[place + len(part) :]


def _number(content: bytes, rng: Random) -> bytes:
    """A number of the kind that lengths and sizes are: 1 to 8 bytes, either end first."""
    width = rng.choice((1, 2, 4, 8))
    top = 1 << 8 * width
    value = rng.choice((0, 1, top - 1, top // 2, top // 2 - 1, top // 3, 65535 % top, 1_000_000 % top))
    place = _place(content, rng)
    return content[:place] + value.to_bytes(width, rng.choice(("little", "big"))) + content[place + width :]


def _digits(content: bytes, rng: Random) -> bytes:
    """A number that stands there in digits."""
    places = [i for i, byte in enumerate(content[:100_000]) if 48 <= byte <= 57]
    place = rng.choice(places)
    return content[:place] + rng.choice((b"-1", b"0", b"9999999999", b"1e999", b"00")) + content[place + 1 :]


BYTES: Mapping[str, Change] = {
    "bytes.flip": _flip,
    "bytes.set": _set,
    "bytes.insert": _insert,
    "bytes.delete": _delete,
    "bytes.cut": _cut,
    "bytes.copy": _copy,
    "bytes.fill": _fill,
    "bytes.number": _number,
    "bytes.digits": _digits,
}
"""Changes that fit any file."""
