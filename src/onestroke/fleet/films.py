"""Paint a film in a worker: fetched to its disk, painted as infer.py paints it, and written whole."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from onestroke.errors import UserError, printable
from onestroke.fleet.job import Job
from onestroke.fleet.manifest import DONE, LEFT_OUT
from onestroke.imaging.left_out import PAINTING
from onestroke.inference.stylizer import Stylizer
from onestroke.packages import require
from onestroke.provenance.origin import Origin
from onestroke.stores import Store
from onestroke.video import encoding, pipeline
from onestroke.video.assembly import NO_MARK
from onestroke.video.marking import mark_of, painted_again
from onestroke.video.painting import ClipPainter, Look
from onestroke.video.parts import Parts
from onestroke.video.reading import Film

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


def paint_film(
    folder: str, name: str, place: str, job: Job, stylizer: Stylizer, origin: Origin | None
) -> tuple[str, str]:
    """Paint a film with its sound, and write it; a film that OneStroke painted is left out, as such pictures are.

    Args:
        folder: address of the folder that the film is in.
        name: of the film in it.
        place: of the painting in the job's output.
        job: what is painted, and how. Its form and quality are for pictures.
        stylizer: paints.
        origin: where the painting comes from, or None for no mark.

    Returns:
        The status of the film, and why, or what of it was lost.

    Raises:
        UserError: the film can't be fetched, read, painted or written.
    """
    require("av", "video")
    with tempfile.TemporaryDirectory(prefix="onestroke-film-") as made:
        # its own name is untrusted, and nothing depends on it
        path = Path(made) / f"film{PurePosixPath(name).suffix.lower()}"
        target = Path(made) / f"painting{PurePosixPath(place).suffix}"
        Store(folder).fetch(path, name)
        try:
            gpu = stylizer.device.type == "cuda"
            film = Film(path, max_side=job.max_side, gpu=gpu)
            if painted_again(film):
                return LEFT_OUT, PAINTING
            painter = ClipPainter(stylizer, film.clip, Look(color=job.color))
            settings = encoding.Settings(encoding.codec_for(target.suffix, None, film.clip), gpu=gpu)
            mark = NO_MARK if origin is None else mark_of(film, target, origin)
            clip = pipeline.Job(film, painter, target, settings, Parts(target, {}, False), mark)
            outcome = pipeline.paint_clip(clip)
        except UserError as error:
            raise UserError(str(error).replace(f"'{path}'", "it").replace(str(path), "it")) from error
        Store(job.output).put(place, target)
        lost = [str(film.damage), *(f"{target.suffix} can't hold {one}" for one in outcome.left_out)]
        return DONE, printable("; ".join(filter(None, lost)))
