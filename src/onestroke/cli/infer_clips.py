"""The clips among what `onestroke infer` is to paint: which they are, where they go, and painting them."""

from __future__ import annotations

import glob
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from onestroke.cli.infer_options import CLIP_FORMATS, FORMATS, Options
from onestroke.cli.stopping import Stop, stopping
from onestroke.errors import UserError, escaped
from onestroke.files import home
from onestroke.imaging import finding
from onestroke.imaging.left_out import LeftOut
from onestroke.inference.stylizer import Stylizer
from onestroke.version import __version__
from onestroke.video import animations, assembly, encoding, steady
from onestroke.video.animations import Animation, FrameFolder
from onestroke.video.encoding import ANIMATIONS, FILMS, Settings
from onestroke.video.painting import ClipPainter, Look
from onestroke.video.parts import Parts
from onestroke.video.pipeline import Job, Outcome, paint_clip
from onestroke.video.reading import Film, Source

_REPORT_EVERY = 30.0
"""Seconds between two lines about the progress, where there is no terminal."""
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
            found = [film for film in films if not assembly.is_painting(film)]
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


def run(clips: list[Input], options: Options) -> int:
    """Paint clips one after the other; returns the exit code, 2 if one could not be painted."""
    stylizer = opened(options)
    problems: list[UserError] = []
    with stopping() as stop:
        for clip in clips:
            try:
                _paint(clip, stylizer, options, len(clips) == 1, stop)
            except UserError as error:
                if len(clips) == 1:
                    raise
                problems.append(error)
            if stop.asked:
                return 130
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    return 2 if problems else 0


def _paint(given: Input, stylizer: Stylizer, options: Options, alone: bool, stop: Stop) -> None:
    source = _source(given, options)
    target = _target(source, options, stylizer.name, alone)
    settings = _settings(target, source, options)
    painter = ClipPainter(stylizer, source.clip, _look(options, source))
    parts = Parts(target, _fingerprint(given, options, settings), options.resume)
    if parts.frames:
        print(f"going on after {parts.frames} frames", file=sys.stderr)
    for sentence in _said(source, settings, target):
        print(sentence, file=sys.stderr)
    with _progress(source, parts.frames) as done:
        outcome = paint_clip(Job(source, painter, target, settings, parts, _mark(stylizer), lambda: stop.asked, done))
    _report(outcome, source, target, options)


def _source(given: Input, options: Options) -> Source:
    span = options.start, options.end, options.max_side
    if given.pictures:
        return FrameFolder(given.path, given.pictures, Fraction(options.fps or 25).limit_denominator(1001), *span)
    return Film(given.path, *span) if finding.is_film(given.path) else Animation(given.path, *span)


def _look(options: Options, source: Source) -> Look:
    if options.mask == "alpha" and not source.clip.alpha:
        raise UserError(f"mask=alpha, and '{source.clip.path}' has no alpha")
    amount = steady.DEFAULT if options.steady is None else options.steady
    return Look(
        options.strengths if options.strengths is not None and options.strengths.changes else None,
        options.strokes if options.strokes is not None and options.strokes.changes else None,
        options.styles, amount, options.color, options.style_map, options.mask, options.feather,
    )  # fmt: skip


def _target(source: Source, options: Options, style: str, alone: bool) -> Path:
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


def _settings(target: Path, source: Source, options: Options) -> Settings:
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


def _said(source: Source, settings: Settings, target: Path) -> Iterator[str]:
    """What the user should know before painting."""
    clip = source.clip
    if clip.colours.hdr:
        yield "the clip is HDR and is painted in standard range (BT.709): highlights above white are compressed"
    codec = encoding.CODECS.get(settings.codec)
    if clip.alpha and isinstance(source, Film) and codec is not None and not codec.alpha:
        yield f"the clip's alpha can't be kept in {settings.codec}: use .webm, or .mov with codec=prores"
    if codec is not None and codec.odd == "yuv444p" and (clip.width % 2 or clip.height % 2):
        yield f"{clip.width} x {clip.height} is odd, so colours are stored at full size, which some players don't read"


def _mark(stylizer: Stylizer) -> dict[str, str]:
    return {"comment": f"{assembly.MARK} {__version__} in the style {stylizer.name}"}


def _fingerprint(given: Input, options: Options, settings: Settings) -> dict[str, object]:
    """What decides how a clip is painted, for a run that is gone on with."""
    names = ("style", "strength", "stroke", "style_map", "color", "mask", "feather", "max_side", "steady", "start",
             "end", "fps", "backend", "preset", "quality", "format")  # fmt: skip
    files = given.pictures or (given.path,)
    digest = sha256()
    for file in files:
        found = file.stat()
        digest.update(f"{file.name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return {
        **{name: getattr(options, name) for name in names},
        "codec": settings.codec,
        "clip": digest.hexdigest(),
        "ckpt": sha256(Path(options.ckpt).read_bytes()).hexdigest(),
        "version": __version__,
    }


@contextmanager
def _progress(source: Source, begun: int) -> Iterator[object]:
    """Show frames a second and the time that is left: a bar in a terminal, else a line now and then."""
    console = Console(stderr=True)
    clip = source.clip
    total = clip.frames or round(clip.seconds * float(clip.rate)) or None
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[speed]} frames/s"), TimeRemainingColumn(),
    )  # fmt: skip
    started = reported = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(escaped(clip.path.name), total=total, completed=begun, speed="...")

        def done(number: int) -> None:
            nonlocal reported
            now = time.monotonic()
            speed = (number - begun) / max(now - started, 1e-6)
            bars.update(task, completed=number, speed=f"{speed:.1f}")
            if not console.is_terminal and now - reported > _REPORT_EVERY:
                left = f", {max(0, total - number) / speed:.0f} s left" if total and speed else ""
                print(f"{number} of {total or '?'} frames, {speed:.1f} a second{left}", file=sys.stderr)
                reported = now

        yield done


def _report(outcome: Outcome, source: Source, target: Path, options: Options) -> None:
    print(escaped(str(target)))
    if damage := str(source.damage):
        print(f"{escaped(str(source.clip.path))}: {damage}", file=sys.stderr)
    if outcome.left_out:
        print(f"{target.suffix} can't hold, and so lacks: {', '.join(outcome.left_out)}", file=sys.stderr)
    if outcome.stopped:
        print(f"stopped after {outcome.frames} frames; add resume=true to go on", file=sys.stderr)
