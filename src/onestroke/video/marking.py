"""What marks a painted clip: where it comes from, and a signature where one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onestroke.errors import UserError
from onestroke.imaging import images
from onestroke.imaging.animation_xmp import insert_xmp
from onestroke.imaging.xmp import MOST_BYTES
from onestroke.provenance import clips, packet, reading
from onestroke.provenance.credentials import Certificate, Credentials
from onestroke.provenance.origin import Origin
from onestroke.video import assembly
from onestroke.video import clip as clip_files
from onestroke.video.animations import Animation, FrameFolder
from onestroke.video.assembly import Mark
from onestroke.video.encoding import ANIMATIONS, FILMS
from onestroke.video.reading import Film, Source

_BOXES = (".mp4", ".m4v", ".mov")
"""Suffixes of films that hold a box with XMP, and a manifest."""
_KINDS = {**dict.fromkeys(_BOXES, "MP4"), ".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}


@dataclass(frozen=True)
class Said:
    """What a clip says of itself: the metadata of its container, and its XMP packet or None."""

    metadata: dict[str, str]
    xmp: bytes | None

    @property
    def painting(self) -> bool:
        """Whether it is a painting of OneStroke already."""
        return packet.AGENT in clips.comment_of(self.metadata) or bool(reading.painted_before(self.xmp))


def mark_of(
    source: Source,
    said: Said,
    target: Path,
    origin: Origin,
    painted: bool = True,
    form: str = "png",
    certificate: Certificate | None = None,
) -> Mark:
    """What marks a painted clip.

    Args:
        source: the clip.
        said: what it says of itself, see `said_by`.
        target: where it is painted.
        origin: where its paintings come from.
        painted: whether any frame differs from the clip's.
        form: of the frames of a clip in a folder, a suffix without a dot.
        certificate: signs the painted clip, or None.

    Raises:
        UserError: the clip can't be signed in this way, or the mark has no room.
    """
    if certificate is not None:
        _check_signable(source, target)
    suffix = target.suffix.lower()
    room = MOST_BYTES if suffix in (*FILMS, *ANIMATIONS) else images.xmp_room(f".{form}")
    content = packet.of_painting(said.xmp, origin, painted, room) if room else b""
    seal = None
    if certificate is not None:
        seal = Credentials(certificate, origin, source.clip.path, _kind(source), target.name, painted)
    return Mark(_metadata(origin, said.metadata, suffix), content or None, _finish(suffix, content, seal))


def _metadata(origin: Origin, own: dict[str, str], suffix: str) -> dict[str, str]:
    return clips.container_metadata(origin, own) if suffix in FILMS else {}


def said_by(source: Source) -> Said:
    """What a clip says of itself; its file is opened for that."""
    path = source.clip.path
    if isinstance(source, Film):
        with clip_files.opened(path) as container:
            return Said(assembly.own_metadata(container), clips.xmp_of(path))
    if isinstance(source, Animation):
        return Said({}, reading.packet_in(path))
    return Said({}, None)


def _kind(source: Source) -> str:
    """The kind of the clip's file; empty where C2PA knows none."""
    try:
        return reading.kind(source.clip.path)
    except UserError:
        return ""


def _check_signable(source: Source, target: Path) -> None:
    if isinstance(source, FrameFolder):
        raise UserError("mark=c2pa names the clip that was painted, and a folder of frames is no file: take mark=xmp")
    suffix = target.suffix.lower()
    if suffix not in _KINDS:
        what = f"{suffix} files hold" if suffix in FILMS else "the frames of a clip in a folder get"
        known = ", ".join(sorted(_KINDS))
        raise UserError(f"mark=c2pa: {what} no Content Credentials: write {known}, or leave out mark=c2pa")


def _finish(suffix: str, content: bytes, seal: Credentials | None) -> Callable[[Path], None]:
    """What is done to the whole file before it gets its name."""

    def finish(path: Path) -> None:
        if suffix in _BOXES:
            with path.open("ab") as file:
                file.write(clips.xmp_box(content))
        elif suffix in ANIMATIONS:
            insert_xmp(path, _KINDS[suffix], content)
        if seal is not None:
            seal.seal_file(path, _KINDS[suffix])

    return finish
