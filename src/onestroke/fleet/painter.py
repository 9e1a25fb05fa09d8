"""A worker: holds a style, and paints what it is given."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from onestroke.errors import UserError, printable
from onestroke.files import holding
from onestroke.fleet.films import FilmPainter
from onestroke.fleet.inputs import Source
from onestroke.fleet.job import Job
from onestroke.fleet.ledger import MOST, Ledgers
from onestroke.fleet.manifest import DONE, LEFT_OUT, SKIPPED, Row
from onestroke.fleet.shares import Share
from onestroke.imaging import images
from onestroke.imaging.finding import rejection_of
from onestroke.inference.stylizer import Stylizer
from onestroke.provenance import packet
from onestroke.provenance.marking import is_painted
from onestroke.provenance.origin import Origin, origin_of, recorded
from onestroke.stores import Store

ALREADY = "it was written before its worker died"
_THREADS = 4  # that decode, encode and write, while the network waits for none of them


@dataclass(frozen=True)
class _Photo:
    source: Source
    picture: images.Picture


class Painter:
    """Paints pictures, writes the paintings, and says of each what became of it.

    Args:
        job: what is painted, and how.
        content: of the style file, of which the worker makes a copy of its own.
        ledger: which pictures are being painted.
        threads: of torch, on a CPU; 0 leaves them as they are.
    """

    def __init__(self, job: Job, content: bytes, ledger: Ledgers, threads: int = 0) -> None:
        self.job, self.ledger, self.output = job, ledger, Store(job.output)
        self.folder = tempfile.TemporaryDirectory(prefix="onestroke-fleet-")
        path = Path(self.folder.name) / job.style_file
        path.write_bytes(content)
        if threads:
            torch.set_num_threads(threads)
        controls = job.controls
        self.stylizer = Stylizer(path, job.device, job.backend, False, controls.mix, controls.strength, controls.stroke)
        self.origin: Origin | None = None
        if job.mark != "none":
            self.origin = origin_of(path, self.stylizer.metadata, recorded(job.color))
        self.films = FilmPainter(job, self.stylizer, self.origin)
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self.pool = ThreadPoolExecutor(_THREADS)

    def paint(self, sources: Sequence[Source]) -> list[Row]:
        """Paint pictures; a row for each, in any order. A film in sections has one from the worker that joins them, or
        one from each that finds it written or can't paint it.

        Raises:
            UserError: the output can't be asked or written to at all, which no picture is to blame for.
        """
        rows = [self._skipped(one, one.problem) for one in sources if one.problem]
        left = [one for one in sources if not one.problem]
        # a painting that is there was written by a worker that died before it could say so
        there = self.output.present([one.place for one in left])
        rows += [Row(one.name, one.place, DONE, ALREADY, self.worker) for one in left if one.place in there]
        for one in left:
            if one.film and one.place in there:
                self.films.clean(one.place)
        left = [one for one in left if one.place not in there]
        if not left:
            return rows
        if any(self.ledger.counts([one.key for one in left])):
            # a worker died over these: one by one, so that the one that kills is found
            for one in left:
                rows += self._alone(one)
        else:
            self.ledger.begin([one.key for one in left])
            rows += self._together(left)
        self.ledger.finish([one.key for one in sources])
        return rows

    def _alone(self, source: Source) -> list[Row]:
        if self.ledger.counts([source.key])[0] >= MOST:
            return [self._skipped(source, f"its worker died {MOST} times over it")]
        self.ledger.begin([source.key])
        rows = self._together([source])
        self.ledger.finish([source.key])
        return rows

    def _together(self, sources: Sequence[Source]) -> list[Row]:
        rows = [row for one in sources if one.film for row in self._film(one)]
        sources = [one for one in sources if not one.film]
        groups: dict[tuple[int, int], list[_Photo]] = {}
        kinds = {one.name: rejection_of(BytesIO(one.content), one.name) for one in sources}
        rows += [Row(one.name, "", LEFT_OUT, kinds[one.name], self.worker) for one in sources if kinds[one.name]]
        sources = [one for one in sources if not kinds[one.name]]
        for source, found in zip(sources, self.pool.map(self._decoded, sources), strict=True):
            if isinstance(found, str):
                rows.append(self._skipped(source, found))
            else:
                groups.setdefault(found.picture.size, []).append(found)
        writing = [
            (photo.source, self.pool.submit(self._write, photo, painting))
            for group in groups.values()
            for i in range(0, len(group), self.job.batch)
            for photo, painting in self._painted(group[i : i + self.job.batch])
        ]
        for source, future in writing:
            problem = future.result()
            done = Row(source.name, source.place, DONE, "", self.worker)
            rows.append(self._skipped(source, problem) if problem else done)
        return rows

    def _film(self, source: Source) -> list[Row]:
        """Paint a film or a section; no row if another worker will tell what became of the film."""
        share = Share.decoded(source.share) if source.share else None
        try:
            found = self.films(source.folder, source.film, source.place, share)
        except UserError as error:
            return [self._skipped(source, str(error).replace(f"'{source.film}'", "it"))]
        except Exception as error:  # as for pictures
            return [self._skipped(source, f"{type(error).__name__}: {printable(error)}")]
        if found is None:
            return []
        status, reason = found
        return [Row(source.name, source.place if status == DONE else "", status, reason, self.worker)]

    def _decoded(self, source: Source) -> _Photo | str:
        """The picture, or why there is none."""
        path = None
        try:
            with holding(source.content) as path:
                return _Photo(source, images.read(path, max_side=self.job.max_side))
        except UserError as error:
            return str(error).replace(f"'{path}'", "it")
        except Exception as error:  # whatever a picture may cause, it costs itself alone
            return f"{type(error).__name__}: {printable(error)}".replace(str(path), "it")

    def _painted(self, photos: list[_Photo]) -> Iterator[tuple[_Photo, Tensor | str]]:
        """Each photo with its painting (3, H, W), or with why there is none."""
        try:
            painted = self._paint([photo.picture for photo in photos])
        except UserError as error:
            if len(photos) == 1:
                yield photos[0], str(error)
                return
            for photo in photos:
                yield from self._painted([photo])
            return
        yield from zip(photos, painted, strict=True)

    def _paint(self, pictures: list[images.Picture]) -> Tensor:
        size = pictures[0].size
        self.stylizer.check_memory(len(pictures), *size)
        ones = torch.ones(1, 1, *size)
        alpha = torch.cat([ones if one.alpha is None else one.alpha for one in pictures])
        return self.stylizer.paint(torch.cat([one.rgb for one in pictures]), color=self.job.color, alpha=alpha)

    def _write(self, photo: _Photo, painting: Tensor | str) -> str:
        """Write a painting; what is wrong, or nothing."""
        if isinstance(painting, str):
            return painting
        place, picture = Path(photo.source.place), photo.picture
        try:
            own = None
            if self.origin is not None and (room := images.xmp_room(place.suffix)):
                own = packet.of_painting(picture.xmp, self.origin, is_painted(picture.rgb, painting, self.origin), room)
            content = images.encoded(
                place, painting, picture.alpha, self.job.quality, self.stylizer.name, picture.exif, own
            )
            self.output.write(photo.source.place, content)
        except UserError as error:
            return str(error).replace(f"'{photo.source.place}'", "its painting")
        except Exception as error:  # as for decoding
            return f"{type(error).__name__}: {printable(error)}"
        return ""

    def _skipped(self, source: Source, reason: str) -> Row:
        return Row(source.name, "", SKIPPED, reason, self.worker)
