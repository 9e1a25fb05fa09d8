"""Paint the clips among what `onestroke infer` is to paint."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from onestroke.cli.clip_places import Input, check_clips, settings_of, source_of, target_of
from onestroke.cli.fingerprints import of_file, of_run
from onestroke.cli.infer_marks import clip_mark, clips_origin, steady_of
from onestroke.cli.infer_options import Options
from onestroke.cli.marks import certificate_of
from onestroke.cli.stopping import Stop, stopping
from onestroke.errors import UserError, escaped
from onestroke.inference.stylizer import Stylizer
from onestroke.provenance.credentials import Certificate
from onestroke.provenance.origin import Origin
from onestroke.video import encoding
from onestroke.video.animations import FrameFolder
from onestroke.video.encoding import Settings
from onestroke.video.marking import Said, said_by
from onestroke.video.painting import ClipPainter, Look
from onestroke.video.parts import Parts
from onestroke.video.pipeline import Job, Outcome, paint_clip
from onestroke.video.reading import Film, Source

_REPORT_EVERY = 30.0
"""Seconds between two lines about the progress, where there is no terminal."""


@dataclass(frozen=True)
class _Run:
    """What the clips of a run share.

    style: name of the style at the beginning. origin: what is said of the clips; None for mark=none. certificate: signs
    them, or None. stop: whether the user asked to stop.
    """

    stylizer: Stylizer
    options: Options
    style: str
    origin: Origin | None
    certificate: Certificate | None
    stop: Stop


def run(clips: list[Input], stylizer: Stylizer, options: Options) -> int:
    """Paint clips one after the other; returns the exit code, 2 if one could not be painted."""
    check_clips(options)
    problems: list[UserError] = []
    certificate = certificate_of(options.sign, options.key)
    origin = clips_origin(stylizer, options)
    with stopping() as stop:
        whole = _Run(stylizer, options, stylizer.name, origin, certificate, stop)
        for clip in clips:
            try:
                _paint(clip, whole, len(clips) == 1)
            except UserError as error:
                if len(clips) == 1:
                    raise
                problems.append(error)
            if stop.asked:
                return 130
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    return 2 if problems else 0


def _paint(given: Input, run: _Run, alone: bool) -> None:
    options = run.options
    source = source_of(given, options)
    target = target_of(source, options, run.style, alone)
    settings = settings_of(target, source, options)
    said = said_by(source)
    mark = clip_mark(run.origin, options, source, said, target, run.certificate)
    painter = ClipPainter(run.stylizer, source.clip, _look(options, source))
    parts = Parts(target, _fingerprint(given, options, settings), options.resume)
    if parts.frames:
        print(f"going on after {parts.frames} frames", file=sys.stderr)
    for sentence in _told(source, said, settings, target):
        print(sentence, file=sys.stderr)
    with _progress(source, parts.frames) as done:
        outcome = paint_clip(Job(source, painter, target, settings, parts, mark, lambda: run.stop.asked, done))
    _report(outcome, source, target, options)


def _look(options: Options, source: Source) -> Look:
    if options.mask == "alpha" and not source.clip.alpha:
        raise UserError(f"mask=alpha, and '{source.clip.path}' has no alpha")
    return Look(
        options.strengths if options.strengths is not None and options.strengths.changes else None,
        options.strokes if options.strokes is not None and options.strokes.changes else None,
        options.styles, steady_of(options), options.color, options.style_map, options.mask, options.feather,
    )  # fmt: skip


def _told(source: Source, said: Said, settings: Settings, target: Path) -> Iterator[str]:
    """What the user should know before painting."""
    clip = source.clip
    if said.painting:
        yield "painted again, as this clip is a painting of OneStroke already"
    if clip.colours.hdr:
        yield "the clip is HDR and is painted in standard range (BT.709): highlights above white are compressed"
    codec = encoding.CODECS.get(settings.codec)
    if clip.alpha and isinstance(source, Film) and codec is not None and not codec.alpha:
        yield f"the clip's alpha can't be kept in {settings.codec}: use .webm, or .mov with codec=prores"
    if codec is not None and codec.odd == "yuv444p" and (clip.width % 2 or clip.height % 2):
        yield f"{clip.width} x {clip.height} is odd, so colours are stored at full size, which some players don't read"


def _fingerprint(given: Input, options: Options, settings: Settings) -> dict[str, object]:
    """What decides how a clip is painted, for a run that is gone on with."""
    names = ("style", "strength", "stroke", "style_map", "color", "mask", "feather", "max_side", "steady", "start",
             "end", "fps", "backend", "preset", "quality", "format")  # fmt: skip
    clip = sha256("".join(f"{of_file(file)}\n" for file in given.pictures or (given.path,)).encode()).hexdigest()
    return of_run(options, names, codec=settings.codec, clip=clip)


def _expected(source: Source) -> int | None:
    """The number of frames to paint, as far as the file says."""
    clip, start, end = source.clip, source.start, source.end
    count = clip.frames or round(clip.seconds * float(clip.rate))
    if not count or (start is None and end is None) or isinstance(source, FrameFolder):
        return count or None
    seconds = clip.seconds or count / float(clip.rate)
    return max(1, round(count * (min(end or seconds, seconds) - (start or 0)) / seconds))


@contextmanager
def _progress(source: Source, begun: int) -> Iterator[Callable[[int], None]]:
    """Show frames a second and the time that is left: a bar in a terminal, else a line now and then."""
    console = Console(stderr=True)
    clip = source.clip
    total = _expected(source)
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
