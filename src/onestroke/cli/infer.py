"""`onestroke infer`, `python infer.py`: paint photos and clips with a style file."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from onestroke.cli import infer_clips, infer_large
from onestroke.cli.clip_places import Input, check_photos, split
from onestroke.cli.infer_marks import marker_of
from onestroke.cli.infer_options import Options
from onestroke.cli.infer_places import plan, without_paintings
from onestroke.cli.marks import Marker
from onestroke.cli.options import command
from onestroke.errors import UserError, escaped
from onestroke.files import make_folder
from onestroke.imaging import images
from onestroke.imaging.finding import VIDEO, Found, search
from onestroke.imaging.left_out import LeftOut
from onestroke.imaging.pyramid import PYRAMID
from onestroke.inference import working_size
from onestroke.inference.controls import read_grey
from onestroke.inference.stylizer import Stylizer
from onestroke.video.cores import share_cores

USAGE = """\
python infer.py ckpt=STYLE.safetensors input=PHOTO [input=...] [options]
onestroke infer ... is the same, where OneStroke is installed"""

_NAMED = 10  # files that a message names


@dataclass
class Photo:
    """A decoded photo, its file, and the file for its painting."""

    path: Path
    place: Path
    picture: images.Picture


def read(path: Path, place: Path, options: Options) -> Photo:
    """Decode a photo, and shrink it to max_side; raises a UserError if it can't be read."""
    # with mask=alpha, transparent pixels keep the colours of the file
    return Photo(path, place, images.read(path, max_side=options.max_side, alpha_hides=options.mask != "alpha"))


class AlreadyPainted(UserError):
    """The painting exists and is kept; not counted as a failure."""


class BatchPainter:
    """Paints photos in order, consecutive photos of one size as a batch, and collects errors.

    problems: errors of photos that were not painted. animations: files with several frames or pages, and their number.
    """

    def __init__(self, stylizer: Stylizer, options: Options, marker: Marker) -> None:
        self.stylizer = stylizer
        self.options = options
        self.marker = marker
        self.waiting: list[Photo] = []
        self.problems: list[UserError] = []
        self.animations: list[tuple[Path, int]] = []

    def add(self, path: Path, place: Path) -> None:
        """Add a photo; paints the waiting batch if it is full, or if the photo has another size.

        Raises:
            infer_large.Stopped: the user asked to stop while it was painted in tiles.
        """
        try:
            # lexists, since a broken link counts as existing
            if os.path.lexists(place) and not self.options.overwrite:
                raise AlreadyPainted(f"{place} is there already: choose another output, or add overwrite=true")
            if place.suffix.lower() == PYRAMID or infer_large.needs_tiles(path, self.stylizer, self.options):
                self.finish()
                frames = infer_large.paint(path, place, self.stylizer, self.options, self.marker)
                if frames > 1:
                    self.animations.append((path, frames))
                return
            photo = read(path, place, self.options)
        except UserError as error:
            self.problems.append(error)
            return
        if self.waiting and self.waiting[0].picture.size != photo.picture.size:
            self.finish()
        self.waiting.append(photo)
        if len(self.waiting) == self.options.batch:
            self.finish()

    def finish(self) -> None:
        """Paint and write all waiting photos."""
        waiting, self.waiting = self.waiting, []
        try:
            painted = self._painted(waiting) if waiting else ()
        except UserError as error:
            if len(waiting) == 1:
                self.problems.append(error)
                return
            for photo in waiting:  # one by one, so that only the photos that fail are skipped
                self.waiting = [photo]
                self.finish()
            return
        for photo, painting in zip(waiting, painted, strict=True):
            try:
                self._write(photo, painting)
            except UserError as error:
                self.problems.append(error)

    def _painted(self, photos: list[Photo]) -> Tensor:
        options, size = self.options, photos[0].picture.size
        working = options.working_size(*size)
        # before the conversion to float, which alone may exceed the free memory
        working_size.check_memory(self.stylizer, len(photos), size, working, mapped=options.style_map is not None)
        alphas = [photo.picture.alpha for photo in photos]
        alpha = torch.cat([torch.ones(1, 1, *size) if own is None else own for own in alphas])
        mask = alpha if options.mask == "alpha" else None if options.mask is None else read_grey(options.mask, *size)
        return working_size.paint(
            self.stylizer,
            torch.cat([photo.picture.rgb for photo in photos]),
            working,
            style_map=None if options.style_map is None else read_grey(options.style_map, *working),
            color=options.color,
            mask=mask,
            feather=options.feather,
            alpha=None if options.mask == "alpha" else alpha,
        )

    def _write(self, photo: Photo, painting: Tensor) -> None:
        make_folder(photo.place.parent)
        # with mask=alpha, alpha was used as the mask and is not written
        alpha = None if self.options.mask == "alpha" else photo.picture.alpha
        marks = self.marker.marks(photo.path, photo.picture, photo.place, painting)
        exif, quality = photo.picture.exif, self.options.quality
        images.write(photo.place, painting, alpha, quality, self.stylizer.name, exif, **marks)
        print(escaped(str(photo.place)))
        if photo.picture.frames > 1:
            self.animations.append((photo.path, photo.picture.frames))


def run(options: Options) -> int:
    """Paint all clips and photos and report what was skipped; returns the exit code, 2 if one could not be painted."""
    warnings.simplefilter("ignore", images.FramesWarning)  # `first_frames` reports them all at the end
    clips, others = split(options)
    left_out = LeftOut()
    photos = _found(others, clips, options, left_out) if others else []
    if clips and not photos and options.steady != 0:
        share_cores()
    stylizer = opened(options)
    code = infer_clips.run(clips, stylizer, options) if clips else 0
    return max(code, _paint_photos(photos, stylizer, options, left_out)) if photos else code


def _found(given: list[str], clips: list[Input], options: Options, left_out: LeftOut) -> list[Found]:
    check_photos(options)
    photos = search(given, left_out)
    for clip in clips:  # which a pattern matched beside photos
        left_out.forget(clip.path, VIDEO)
    return photos


def opened(options: Options) -> Stylizer:
    """The Stylizer, with the controls and the style of the first keyframe."""
    styles, strengths, strokes = options.styles, options.strengths, options.strokes
    return Stylizer(
        options.ckpt,
        options.device,
        options.backend,
        options.compile,
        options.style if styles is None else styles.at(0),
        None if strengths is None else strengths.at(0),
        None if strokes is None else strokes.at(0),
    )


def _paint_photos(photos: list[Found], stylizer: Stylizer, options: Options, left_out: LeftOut) -> int:
    for extra in (options.style_map, options.mask):
        if extra not in (None, "alpha"):
            images.read(str(extra), max_side=16)  # so that a file that can't be read is reported once, before painting
    marker = marker_of(stylizer, options)
    photos = without_paintings(photos, options.input, stylizer.name, left_out)
    places = plan(photos, options, stylizer.name)
    console = Console(stderr=True)
    hidden = len(places) == 1 or not console.is_terminal
    painter = BatchPainter(stylizer, options, marker)
    try:
        for photo, place in track(places, "painting", console=console, transient=True, disable=hidden):
            painter.add(photo, place)
    except infer_large.Stopped:
        return 130
    painter.finish()
    problems = painter.problems
    alone = len(places) == 1 and bool(problems)
    if problems and not alone:
        print(f"painted {len(places) - len(problems)} of {len(places)} photos; skipped:", file=sys.stderr)
        for problem in problems:
            print(f"  {problem}", file=sys.stderr)
    for line in (*marker.remarks(), first_frames(painter.animations), str(left_out)):
        if line:
            print(line, file=sys.stderr)
    if alone:
        raise problems[0]
    return 0 if all(isinstance(problem, AlreadyPainted) for problem in problems) else 2


def first_frames(animations: list[tuple[Path, int]]) -> str:
    """A message about files of which only the first frame or page was painted; empty if there are none."""
    if not animations:
        return ""
    named = ", ".join(f"{escaped(str(path))} ({count})" for path, count in animations[:_NAMED])
    more = f" and {len(animations) - _NAMED} more" if len(animations) > _NAMED else ""
    return f"only the first of several frames or pages was painted: {named}{more}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after printing the user's mistake in one sentence."""
    return command(Options, USAGE, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
