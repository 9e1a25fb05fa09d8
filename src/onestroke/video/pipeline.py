"""Paint a clip: decoding, motion, painting and encoding overlap, part by part, and the parts are joined at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from onestroke.files import make_folder
from onestroke.video import assembly, encoding
from onestroke.video.animation_writing import join_animation
from onestroke.video.assembly import NO_MARK, Mark, Segment, Sound
from onestroke.video.encoding import CODECS, LOSSLESS, FrameWriter, PartWriter, Settings
from onestroke.video.flow import Motion, motion
from onestroke.video.overlap import ahead, side_by_side
from onestroke.video.painting import ClipPainter
from onestroke.video.parts import FRAMES, Parts
from onestroke.video.reading import Film, Frame, Source
from onestroke.video.sections import Section, Starts

_QUEUE, _HEAVY = 4, 2
"""Frames that may wait between two stages; those with their motion and average take ten times the memory."""
_STARTED = "started"  # `Starts.last`, in the state after a part


@dataclass
class Outcome:
    """What became of a clip. frames: painted in all. stopped: whether it was stopped before its end. left_out: what the
    container could not hold."""

    frames: int = 0
    stopped: bool = False
    left_out: list[str] = field(default_factory=list)


@dataclass
class Job:
    """A clip to paint.

    source: the clip. painter: paints its frames. target: the file to write. settings: of the encoding. parts: where it
    is painted part by part. mark: what says that it is painted. stop: asked after each frame; True ends the run
    with what is painted. done: called after each frame with their number so far.
    """

    source: Source
    painter: ClipPainter
    target: Path
    settings: Settings
    parts: Parts
    mark: Mark = NO_MARK
    stop: Callable[[], bool] = lambda: False
    done: Callable[[int], None] = lambda number: None

    @property
    def in_folder(self) -> bool:
        """Whether the frames are written as pictures."""
        return self.target.suffix.lower() not in (*encoding.FILMS, *encoding.ANIMATIONS)


def paint_clip(job: Job) -> Outcome:
    """Paint a clip, and write it with its sound.

    Returns:
        The outcome. The parts are removed where the clip was painted to its end.

    Raises:
        UserError: a frame can't be painted or written, or the clip has no frame.
    """
    make_folder(job.target.parent)
    run = _Run(job)
    run.paint()
    outcome = Outcome(run.frames, run.stopped)
    if run.segments and not job.in_folder:
        cut = run.stopped or job.source.end is not None
        outcome.left_out = join(job, run.segments, Fraction(run.end) * job.source.clip.time_base if cut else None)
    if not run.stopped:
        job.parts.remove()
    return outcome


def paint_section(job: Job, section: Section) -> tuple[list[Segment], int]:
    """Paint a section of a clip. Its parts, which lie where those of the job do, are those of the whole clip.

    Args:
        job: of the whole clip, or with a source that gives its frames `since` the section's begin.
        section: what is painted. Whoever asked for it finds in it where it really begins and ends.

    Returns:
        The parts, and the number of frames in them.

    Raises:
        SeekError: the section can't be painted for itself.
        UserError: as `paint_clip`.
    """
    run = _Run(job, section)
    run.paint()
    return run.segments, run.frames


class _Run:
    """The state of painting one clip, or a section of it."""

    def __init__(self, job: Job, section: Section | None = None) -> None:
        self.job, self.section = job, section
        self.segments = [Segment(job.parts.folder / part.file, part.begin, part.last) for part in job.parts.parts]
        self.frames = job.parts.frames
        self.stopped = False
        self.end = 0  # the time at which the last frame ends, in ticks
        self.writer: PartWriter | FrameWriter | None = None
        self.begin = 0
        self.in_part = 0
        self.starts = Starts(job.source.clip.time_base)
        self.encoding: deque[Future[None]] = deque()

    def paint(self) -> None:
        """Paint all frames that are not in whole parts."""
        with ThreadPoolExecutor(max_workers=1) as encoder:
            try:
                self._paint(encoder)
            except BaseException:
                self._abandon()
                raise

    def _paint(self, encoder: ThreadPoolExecutor) -> None:
        job = self.job
        state = job.parts.state()
        before = job.painter.restore(state)
        self.starts.last = int(state[_STARTED]) if _STARTED in state else None
        moved = with_motion(ahead(self._remaining(), _QUEUE), job.painter.needs_motion, before)
        if self.section is not None:
            moved = self.section.frames(moved, job.source.clip.time_base)
        prepared = ahead((job.painter.prepare(frame, movement) for frame, movement in moved), _HEAVY)
        painted = ahead(side_by_side(job.painter.paint, prepared, job.painter.at_once), _HEAVY)
        last: Frame | None = None
        try:
            for each in painted:
                frame, movement = each.prepared.frame, each.prepared.motion
                begins = job.painter.needs_motion and self.starts(frame, movement)
                if begins and last is not None and self.writer is not None:
                    self._end_part(last)
                last = frame
                self._encode(encoder, frame, job.painter.finish(each))
                job.done(self.frames)
                if self.in_part == FRAMES:
                    self._end_part(frame)
                if job.stop():
                    self.stopped = True
                    break
        finally:
            painted.close()
            prepared.close()
        if last is not None and self.writer is not None:
            self._end_part(last, whole=not self.stopped)

    def _remaining(self) -> Iterator[Frame]:
        skipped = self.frames
        for frame in self.job.source.frames():
            if frame.index >= skipped:
                yield frame

    def _encode(self, encoder: ThreadPoolExecutor, frame: Frame, painted: np.ndarray) -> None:
        if self.writer is None:
            self.writer = self._part()
            self.begin = frame.pts
        while len(self.encoding) >= _QUEUE:
            self.encoding.popleft().result()
        alpha = None if self.job.painter.look.mask == "alpha" else frame.alpha
        self.encoding.append(encoder.submit(self.writer.add, painted, alpha, frame.pts, frame.duration))
        self.end = frame.pts + frame.duration
        self.frames += 1
        self.in_part += 1

    def _part(self) -> PartWriter | FrameWriter:
        if self.job.in_folder:
            style = self.job.painter.stylizer.name
            settings = self.job.settings
            return FrameWriter(self.job.target, settings.codec, self.frames, settings, style, self.job.mark.xmp)
        codec = CODECS.get(self.job.settings.codec, LOSSLESS)
        container, suffix = encoding.part_format(codec, self.job.source.clip)
        path = self.job.parts.path(suffix)
        return PartWriter(path, container, codec, self.job.source.clip, self.job.settings)

    def _end_part(self, last: Frame, whole: bool = True) -> None:
        """Close the part that is being written, and record it if it is whole."""
        assert self.writer is not None
        while self.encoding:
            self.encoding.popleft().result()
        self.writer.close()
        self.segments.append(Segment(self.writer.path, self.begin, last.duration))
        if whole:
            state = self.job.painter.state(last)
            if state and self.starts.last is not None:
                state[_STARTED] = np.array(self.starts.last)
            self.job.parts.add(self.writer.path, self.begin, last.duration, self.in_part, state)
        self.writer, self.in_part = None, 0

    def _abandon(self) -> None:
        """Close the file of a part that is not whole."""
        if self.writer is not None:
            self.writer.abandon()


def with_motion(
    frames: Iterator[Frame], wanted: bool, before: np.ndarray | None
) -> Iterator[tuple[Frame, Motion | None]]:
    """Each frame with the motion from the one before; None for the first, or where it is not wanted."""
    for frame in frames:
        movement = motion(before, frame.rgb) if wanted and before is not None else None
        before = frame.rgb
        yield frame, movement


def join(job: Job, segments: list[Segment], until: Fraction | None = None) -> list[str]:
    """Write a painted clip from its parts.

    Args:
        job: of the clip.
        segments: the parts in order.
        until: time in seconds at which sound, subtitles and chapters end, None for their own ends.

    Returns:
        What of the clip the container can't hold.

    Raises:
        UserError: it can't be written.
    """
    clip, target = job.source.clip, job.target
    suffix = target.suffix.lower()
    if suffix in encoding.ANIMATIONS:
        join_animation(segments, clip, target, job.settings.quality, job.mark)
        return []
    sound = Sound(job.source.path, job.source.shift, until) if isinstance(job.source, Film) else None
    return assembly.join_film(segments, clip, target, encoding.FILMS[suffix][0], sound, job.mark)
