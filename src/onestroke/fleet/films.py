"""Paint films in a worker: fetched to its disk, painted as infer.py paints them, and written whole; or sections."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from onestroke.errors import UserError, printable
from onestroke.fleet.job import Job
from onestroke.fleet.manifest import DONE, LEFT_OUT
from onestroke.fleet.shares import PaintedSections, Share, folder_of
from onestroke.imaging.left_out import PAINTING
from onestroke.inference.stylizer import Stylizer
from onestroke.packages import require
from onestroke.provenance.origin import Origin
from onestroke.stores import Store, join
from onestroke.video import encoding, pipeline
from onestroke.video.assembly import NO_MARK
from onestroke.video.marking import Said, mark_of, said_by
from onestroke.video.painting import ClipPainter, Look
from onestroke.video.parts import Parts
from onestroke.video.reading import Damage, Film
from onestroke.video.selection import SeekError

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts"),
    *(".wmv", ".3gp", ".flv", ".ogv"),
)
"""Suffixes of files that are painted as films."""
_OTHER = ".mkv"  # the container of a film whose own is only read, since it holds sound of any kind


def is_film(name: str) -> bool:
    """Whether a file is a film, by its name."""
    return name.lower().endswith(SUFFIXES)


def form_of(name: str) -> str:
    """The suffix of the painting of a film, without a dot: that of the film, where such films are written."""
    suffix = PurePosixPath(name).suffix.lower()
    return (suffix if suffix in encoding.FILMS else _OTHER).removeprefix(".")


class FilmPainter:
    """Paints films, or sections of them, with their sound, and writes them.

    Args:
        job: what is painted, and how. Its form and quality are for pictures.
        stylizer: paints.
        origin: where paintings come from, or None for no mark.
    """

    def __init__(self, job: Job, stylizer: Stylizer, origin: Origin | None) -> None:
        self.job, self.stylizer, self.origin = job, stylizer, origin
        self.output = Store(job.output)
        self.copies = tempfile.TemporaryDirectory(prefix="onestroke-films-")
        self.copied: tuple[str, ...] = ()

    def __call__(self, folder: str, name: str, place: str, share: Share | None = None) -> tuple[str, str] | None:
        """Paint a film, or a section of it; a film that OneStroke painted is left out, as such pictures are.

        Args:
            folder: address of the folder that the film is in.
            name: of the film in it.
            place: of the painting in the job's output.
            share: the section; the worker that finds all sections painted joins them. None for the whole film.

        Returns:
            The status of the film, and why, or what of it was lost; None if another worker will tell.

        Raises:
            UserError: the film can't be fetched, read, painted or written.
        """
        require("av", "video")
        path = self._copy(folder, name, share)
        try:
            film = self._film(path)
            said = said_by(film)
            if said.painting:
                return LEFT_OUT, PAINTING
            found = self._whole(film, said, place) if share is None else self._shared(film, said, place, share)
        except UserError as error:
            if share is not None and self._written(place):  # by another worker, which then removed what was painted
                return None
            raise UserError(str(error).replace(f"'{path}'", "it").replace(str(path), "it")) from error
        if found is None:
            return None
        path.unlink()
        return DONE, printable("; ".join(filter(None, found)))

    def clean(self, place: str) -> None:
        """Remove the painted sections of a film that is joined.

        Raises:
            UserError: they can't be removed.
        """
        Store(join(self.job.output, folder_of(place))).remove()

    def _copy(self, folder: str, name: str, share: Share | None) -> Path:
        """The film on this machine, which stays there for other sections of it."""
        # its own name is untrusted, and nothing depends on it
        path = Path(self.copies.name) / f"film{PurePosixPath(name).suffix.lower()}"
        wanted = folder, name, "" if share is None else share.version
        if share is None or wanted != self.copied or not path.exists():
            self.copied = ()
            for old in Path(self.copies.name).iterdir():
                old.unlink()
            Store(folder).fetch(path, name)
            self.copied = wanted
        return path

    def _film(self, path: Path, since: int | None = None) -> Film:
        gpu = self.stylizer.device.type == "cuda"
        return Film(path, max_side=self.job.max_side, gpu=gpu, since=since)

    @contextmanager
    def _clip(self, film: Film, said: Said, place: str) -> Iterator[pipeline.Job]:
        """Context manager: how a film is painted to a file of this machine, which is there as long."""
        with tempfile.TemporaryDirectory(prefix="onestroke-film-") as made:
            target = Path(made) / f"painting{PurePosixPath(place).suffix}"
            look = Look(color=self.job.color)
            painter = ClipPainter(self.stylizer, film.clip, look)
            settings = encoding.Settings(encoding.codec_for(target.suffix, None, film.clip), gpu=film.gpu)
            mark = NO_MARK
            if self.origin is not None:
                mark = mark_of(film, said, target, self.origin.with_settings({"steady": look.steady}))
            yield pipeline.Job(film, painter, target, settings, Parts(target, {}, False), mark)

    def _whole(self, film: Film, said: Said, place: str) -> list[str]:
        """Paint and write a film; returns what of it was lost."""
        with self._clip(film, said, place) as clip:
            outcome = pipeline.paint_clip(clip)
            self.output.put(place, clip.target)
        self.clean(place)
        return [str(film.damage), *_left_out(clip.target, outcome.left_out)]

    def _shared(self, film: Film, said: Said, place: str, share: Share) -> list[str] | None:
        """Paint a section of a film, and join all where this was the last."""
        sections = PaintedSections(self.job.output, place, share)
        whole = sections.painted_whole()
        if whole not in (None, share.number):
            return None
        try:
            if whole is not None:
                raise SeekError
            if not sections.there():
                self._section(film, said, place, share, sections)
            return self._joined(film, said, place, sections)
        except SeekError:
            sections.paint_whole()
            return self._whole(film, said, place)

    def _section(self, film: Film, said: Said, place: str, share: Share, sections: PaintedSections) -> None:
        """Paint and store a section.

        Raises:
            SeekError: it can't be painted for itself, since the film is damaged, for instance.
        """
        section = share.section
        part = self._film(film.path, section.begin)
        with self._clip(part, said, place) as clip:
            segments, frames = pipeline.paint_section(clip, section)
            if part.damage.packets or part.damage.frames:
                raise SeekError
            sections.add(section, segments, frames, part.damage.short > 0)

    def _joined(self, film: Film, said: Said, place: str, sections: PaintedSections) -> list[str] | None:
        """Join the sections and write the film, if all are there; returns what of it was lost.

        Two workers may find that all are there: both then write the same, or one can't, as the other is ready.
        """
        if not sections.complete():
            if self._written(place):
                self.clean(place)
            return None
        with self._clip(film, said, place) as clip:
            fetched = sections.fetch(clip.parts.folder)
            if fetched is None:
                raise SeekError
            segments, frames, short = fetched
            left_out = pipeline.join(clip, segments)
            self.output.put(place, clip.target)
        self.clean(place)
        damage = Damage(short=max(0, film.clip.frames - frames) if short else 0)
        return [str(damage), *_left_out(clip.target, left_out)]

    def _written(self, place: str) -> bool:
        return bool(self.output.present([place]))


def _left_out(target: Path, kinds: Sequence[str]) -> list[str]:
    return [f"{target.suffix} can't hold {one}" for one in kinds]
