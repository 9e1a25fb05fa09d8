"""What the marks of a file say: its XMP, and its Content Credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onestroke.errors import UserError
from onestroke.imaging import images, xmp
from onestroke.imaging.animation_xmp import gif_xmp
from onestroke.imaging.decoding import opened, xmp_of
from onestroke.imaging.finding import is_painting
from onestroke.imaging.kinds import HEAD, kind_of
from onestroke.imaging.xmp import NoPacket, Packet
from onestroke.provenance import clips, packet
from onestroke.provenance.packet import ACTION, HISTORY, OWN, PARAMETERS, SOFTWARE, SOURCE_TYPE

_CLIPS = (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"qt  ")


@dataclass(frozen=True)
class Marks:
    """What a file says of itself. Nothing of it is proved.

    source_type: IPTC's digital source type, an address. facts: what OneStroke wrote, by name. styles: of the mix, a
    line each. history: an event each, oldest first. software: whether the EXIF or the header names OneStroke.
    """

    source_type: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    styles: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    software: bool = False

    @property
    def found(self) -> bool:
        """Whether there is anything to say."""
        return bool(self.source_type or self.facts or self.history or self.software)


def kind(path: Path) -> str:
    """The kind of a file: one of Pillow's names, or MP4 for MP4 and MOV.

    Raises:
        UserError: it can't be read, or is neither a picture nor a clip of a known kind.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UserError(f"'{path}' can't be read: {error.strerror}") from error
    found = kind_of(head)
    if found is None and head[4:8] == b"ftyp" and head[8:12] in _CLIPS:
        return "MP4"
    if found is None:
        raise UserError(f"'{path}' is neither a picture nor an MP4 that is known")
    return found


def packet_in(path: Path) -> bytes | None:
    """The XMP packet of a picture or an MP4, or None.

    Raises:
        UserError: the file is neither, or can't be decoded.
        OSError: it can't be read.
    """
    found = kind(path)
    if found == "MP4":
        return clips.xmp_of(path)
    if found == "GIF":
        return gif_xmp(path)
    with opened(path, images.MAX_PIXELS, quiet=True) as image:
        return xmp_of(image)


def read(path: Path) -> Marks:
    """Read the marks of a picture or an MP4.

    Raises:
        UserError: the file can't be read, or its XMP is not fit to be read.
    """
    try:
        content = packet_in(path)
    except OSError as error:
        raise UserError(f"'{path}' can't be read: {error.strerror}") from error
    if content is None:
        return Marks(software=is_painting(path))
    try:
        return marks_of(xmp.parse(content), is_painting(path))
    except NoPacket as error:
        raise UserError(f"the XMP in '{path}' can't be read: {error}") from error


def marks_of(parsed: Packet, software: bool) -> Marks:
    """What a parsed packet says."""
    own = [one for one in parsed.properties if one.tag.startswith(f"{{{OWN}}}")]
    styles = [xmp.fields(item) for one in own for item in xmp.items(one)]
    history = parsed.get(HISTORY)
    events = [] if history is None else [xmp.fields(item) for item in xmp.items(history)]
    return Marks(
        parsed.text(SOURCE_TYPE),
        {_name(one.tag): xmp.simple_text(one) for one in own if not len(one)},
        [", ".join(f"{_name(tag).lower()} {value}" for tag, value in one.items()) for one in styles],
        [_line(event) for event in events],
        software,
    )


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _line(event: dict[str, str]) -> str:
    """An event of the history in a line."""
    agent = event.get(SOFTWARE)
    return " ".join(filter(None, (event.get(ACTION), f"by {agent}:" if agent else "", event.get(PARAMETERS))))


def painted_before(content: bytes | None) -> list[str]:
    """What a photo's XMP says of earlier paintings by OneStroke, a line each, oldest first."""
    return packet.painted_before(packet.read(content))
