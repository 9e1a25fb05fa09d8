"""Which of what `onestroke infer` is to paint are clips, and where the painted clips go."""

from __future__ import annotations

import glob
import os
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from onestroke.cli.infer_options import CLIP_FORMATS, FORMATS, Options
from onestroke.errors import UserError
from onestroke.files import home
from onestroke.imaging import finding
from onestroke.imaging.left_out import LeftOut
from onestroke.provenance.clips import comment_of
from onestroke.provenance.packet import AGENT
from onestroke.video import animations, assembly, encoding
from onestroke.video import clip as clip_files
from onestroke.video.animations import Animation, FrameFolder
from onestroke.video.encoding import ANIMATIONS, FILMS, Settings
from onestroke.video.reading import Film, Source

_STILL_ONLY = frozenset(FORMATS) - {suffix.removeprefix(".") for suffix in ANIMATIONS}


@dataclass(frozen=True)
class Input:
    """A clip to paint: a file, or with `pictures` a folder of frames."""

    path: Path
    pictures: tuple[Path, ...] = ()


def split(options: Options) -> tuple[list[Input], list[str]]:
    """Divide what is to be painted into clips and the rest, photos and folders.

    A film or an animation is a clip where it is named itself or matched by a pattern, unless one picture is asked for.
    With fps=, each input is a clip whose frames are its pictures.
    """
    if options.fps is not None:
        return [_frames_of(given) for given in options.input], []
    wanted = options.format or (Path(options.output).suffix.lower().removeprefix(".") if options.output else "")
    clips: dict[Input, None] = {}
    others: list[str] = []
    for given in options.input:
        path = Path(given) if os.path.lexists(given) else Path(home(given))
        if os.path.isfile(path):
            found, more = [path] if _is_clip(path, wanted) else [], False
        elif not os.path.lexists(path) and glob.has_magic(given):
            matched = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            films = [match for match in matched if match.is_file() and finding.is_film(match)]
            more = len(films) < len(matched)
            found = [film for film in films if not _is_painting(film)]
        else:
            found, more = [], True
        clips.update((Input(file), None) for file in found)
        if more or not found:
            others.append(given)
    return list(clips), others


def _frames_of(given: str) -> Input:
    left_out = LeftOut()
    pictures = tuple(found.path for found in finding.search([given], left_out, paintings=True))
    if left_out.count:
        print(left_out, file=sys.stderr)
    return Input(Path(home(given)) if os.path.isdir(home(given)) else pictures[0].parent, pictures)


def _is_clip(path: Path, wanted: str) -> bool:
    if finding.is_film(path):
        return True
    return wanted not in _STILL_ONLY and animations.count(path) > 1


def _is_painting(path: Path) -> bool:
    """Whether the metadata of a clip say that OneStroke painted it."""
    try:
        with clip_files.opened(path) as container:
            return AGENT in comment_of(container.metadata)
    except UserError:
        return False


def check_photos(options: Options) -> None:
    """Raise a UserError for options that are for clips only."""
    changing = [name for name, numbers in (("strength", options.strengths), ("stroke", options.strokes))
                if numbers is not None and numbers.changes]  # fmt: skip
    if options.styles is not None:
        changing.append("style")
    if changing:
        raise UserError(f"{changing[0]} changes over time, which is for clips; give one value for photos")
    if options.format in CLIP_FORMATS:
        raise UserError(f"format={options.format} is for clips; photos are painted as {', '.join(FORMATS)}")
    for name in ("start", "end", "codec", "steady"):
        if getattr(options, name) is not None:
            raise UserError(f"{name}={getattr(options, name)} is for clips, and there is none among the input")


def check_clips(options: Options) -> None:
    """Raise a UserError for options that are for photos only."""
    if options.scaled:
        raise UserError(f"stroke_scale={options.stroke_scale} is for photos; leave it out for clips")


def source_of(given: Input, options: Options) -> Source:
    span = options.start, options.end, options.max_side
    if given.pictures:
        return FrameFolder(given.path, given.pictures, Fraction(options.fps or 25).limit_denominator(1001), *span)
    if finding.is_film(given.path):
        return Film(given.path, *span, gpu=options.device.startswith("cuda"))
    return Animation(given.path, *span)


def target_of(source: Source, options: Options, style: str, alone: bool) -> Path:
    """The file of the painted clip, or the folder of its frames.

    Raises:
        UserError: the name says no kind that is written, it is the clip itself, or it is there already.
    """
    path, output = source.clip.path, options.output
    suffix = f".{options.format}" if options.format else _suffix(source)
    if output is None:
        target = path.parent / f"{path.stem}.{style}{suffix}"
    elif os.path.isdir(output) or output.endswith(("/", os.sep)):
        folder = Path(output)
        target = folder if alone and options.format in (None, *_STILL_ONLY) else folder / f"{path.stem}.{style}{suffix}"
        if target == folder:
            return _frames_folder(folder, path, options)
    else:
        target = Path(output)
        if not alone:
            raise UserError(f"output={output} names a file, but several clips need a folder")
    if target.suffix.lower() not in (*FILMS, *ANIMATIONS):
        known = ", ".join(sorted({*FILMS, *ANIMATIONS}))
        raise UserError(f"'{target}': a clip is written as {known}; the name of a folder for its frames ends in /")
    if os.path.exists(target) and os.path.samefile(target, path):
        raise UserError(f"{target} is the clip itself, which is never overwritten: choose another output")
    if os.path.lexists(target) and not options.overwrite and not options.resume:
        raise UserError(f"{target} is there already: choose another output, or add overwrite=true")
    return target


def _frames_folder(folder: Path, clip: Path, options: Options) -> Path:
    if os.path.isdir(folder) and any(folder.iterdir()) and not options.overwrite and not options.resume:
        raise UserError(f"the folder {folder} is not empty: choose another output, or add overwrite=true")
    if folder.exists() and clip.is_dir() and os.path.samefile(folder, clip):
        raise UserError(f"{folder} holds the frames themselves, which are never overwritten: choose another output")
    return folder


def _suffix(source: Source) -> str:
    """The suffix of a painted clip where none is asked for: that of the clip, if it is written."""
    suffix = source.clip.path.suffix.lower()
    if isinstance(source, Film):
        return suffix if suffix in FILMS else assembly.fitting_container(source.path)
    if isinstance(source, Animation):
        return suffix if suffix in ANIMATIONS else ".gif"
    return ".mp4"


def settings_of(target: Path, source: Source, options: Options) -> Settings:
    suffix = target.suffix.lower()
    if suffix in FILMS:
        codec = encoding.codec_for(suffix, options.codec, source.clip)
        gpu = options.device.startswith("cuda")
        return Settings(codec, options.quality, options.preset, gpu)
    if options.codec is not None:
        raise UserError(f"codec={options.codec} is for films: {', '.join(FILMS)}")
    if options.quality is not None and suffix in (".gif", ".png", ".apng"):
        raise UserError(f"quality={options.quality} is not for {suffix}: leave it out, or write format=webp")
    return Settings(options.format or "png" if suffix not in ANIMATIONS else suffix, options.quality, options.preset)
