"""`python infer.py`: paint photos with a style file."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from onestroke.arguments import Values, command, home, keyed
from onestroke.errors import UserError
from onestroke.files import make_folder
from onestroke.imaging import images
from onestroke.imaging.finding import PAINTING, Found, LeftOut, search
from onestroke.inference import backends
from onestroke.inference.compositing import COLOURS
from onestroke.inference.controls import grey
from onestroke.inference.stylizer import Stylizer

USAGE = """\
usage: python infer.py ckpt=STYLE.safetensors input=PHOTO [input=...] [options]

  ckpt=FILE        the style file, such as checkpoints/starry_night.safetensors, or what export.py made of it as ONNX
  input=PHOTO      a file, a folder with those below it, or a pattern such as 'photos/*.jpg'; as often as you like
  output=PATH      a file, or a folder for many; default: beside each photo, as photo.starry_night.png
  format=KIND      of paintings in folders: png, jpg, webp, tiff or bmp; default: png
  quality=N        1 to 100, of JPEG and WebP; default: 95
  style=NAMES      of a file with several styles: one, or a mix such as starry_night:0.6,great_wave:0.4
  strength=0.5     0 the photo, 1 the painting
  stroke=0         0 fine strokes, 1 strokes of twice the size
  style_map=FILE   a grey picture: black paints in the first of style=, white in the last, grey in between
  color=KIND       style; photo, to take the painting's luminance alone; match, to give it the photo's palette
  mask=FILE        a grey picture: white paints, black keeps the photo, grey mixes; mask=alpha takes the photo's own
  feather=N        softens the mask's edges by N pixels
  max_side=N       shrink photos whose longer side has more than N pixels; the painting then has that size
  device=NAME      auto, cpu, cuda or mps
  backend=NAME     torch; onnx or openvino, which are faster on a CPU; auto: onnx on a CPU that has it, else torch
  compile=true     make code for this machine first: a minute or more, for many photos of one size; backend=torch
  batch=N          paint up to N neighbours of one size together, for a GPU and small photos; default: 1
  overwrite=true   replace paintings that are there already; a photo is never replaced
"""


FORMATS = tuple(suffix.removeprefix(".") for suffix in (".png", *sorted(images.WRITABLE)))
_NAMED = 10  # files that are named of many


@dataclass
class Options:
    """The command line."""

    ckpt: str
    input: list[str]
    output: str | None = None
    style: str | None = None
    strength: float | None = None
    stroke: float | None = None
    style_map: str | None = None
    color: str = "style"
    mask: str | None = None
    feather: int = 0
    max_side: int | None = None
    device: str = "auto"
    backend: str | None = None
    compile: bool = False
    batch: int = 1
    overwrite: bool = False
    format: str | None = None
    quality: int | None = None


def parse(arguments: list[str]) -> Options:
    """Read `key=value` arguments; any file name may follow the first `=`.

    Raises:
        UserError: for unknown, missing, repeated or empty keys and values of the wrong type.
    """
    values = Values(keyed(arguments, [field.name for field in fields(Options)], several=["input"], bare="input"))
    ckpt = values.needed("ckpt", "checkpoints/starry_night.safetensors")
    if "input" not in values.values:
        raise UserError("input is needed: input=photo.jpg")
    return Options(
        ckpt=ckpt,
        input=values.values["input"],
        output=values.path("output"),
        style=values.values.get("style", [None])[0],
        strength=values.share("strength"),
        stroke=values.share("stroke"),
        style_map=values.path("style_map"),
        color=values.choice("color", COLOURS),
        mask=values.path("mask"),
        feather=values.count("feather") or 0,
        max_side=values.count("max_side"),
        device=values.text("device", "auto"),
        backend=values.choice("backend", backends.NAMES) if "backend" in values.values else None,
        compile=values.flag("compile"),
        batch=values.count("batch") or 1,
        overwrite=values.flag("overwrite"),
        format=values.choice("format", FORMATS) if "format" in values.values else None,
        quality=values.whole("quality", 1, 100) if "quality" in values.values else None,
    )


def without_paintings(photos: list[Found], given: list[str], style: str, left_out: LeftOut) -> list[Found]:
    """Leave out what by its name was painted with this style, unless it is the one input that is named.

    Paintings that say what they are in their metadata were left out before; these have lost it, or never had it.

    Raises:
        UserError: where nothing is left.
    """
    only = Path(home(given[0])) if len(given) == 1 else None
    endings = tuple(f".{style}{suffix}" for suffix in images.WRITABLE)
    left = []
    for photo in photos:
        if photo.path != only and photo.path.name.endswith(endings):
            left_out.add(photo.path, PAINTING)
        else:
            left.append(photo)
    if not left:
        raise UserError("there is no photo among the input, only paintings of this style or another")
    return left


def plan(photos: list[Found], options: Options, style: str) -> list[tuple[Path, Path]]:
    """Where each photo's painting goes; no two go to one place, and none onto a photo.

    Raises:
        UserError: where `output`, `format` or `quality` can't be what it would have to be.
    """
    output, suffix = options.output, f".{options.format or 'png'}"
    if output is not None and _is_file_name(output, len(photos) == 1):
        pairs = [(photos[0].path, _file(output, options.format, len(photos)))]
        suffix = pairs[0][1].suffix.lower()
    else:
        pairs = _in_folders(photos, output, style, suffix)
    if options.quality is not None and images.WRITABLE[suffix] not in images.LOSSY:
        raise UserError(
            f"quality={options.quality} is for JPEG and WebP, not for {suffix}: leave it out, or write format=jpg"
        )
    sources = {_identity(photo.path) for photo in photos} - {None}
    for _, place in pairs:
        if _identity(place) in sources:
            raise UserError(f"{place} is one of the photos, which are never overwritten: choose another output")
    return pairs


def _file(output: str, form: str | None, count: int) -> Path:
    """`output` as the name of the one painting."""
    target = Path(output)
    if count > 1:
        raise UserError(f"output={output} names a file, but {count} photos need a folder")
    kind = images.WRITABLE.get(target.suffix.lower())
    if kind is None:
        raise UserError(
            f"output={output}: a painting is written as {', '.join(sorted(images.WRITABLE))}; "
            "the name of a new folder ends in /"
        )
    if form is not None and images.WRITABLE[f".{form}"] != kind:
        raise UserError(f"output={output} and format={form} name two kinds: leave out format, or name a folder")
    return target


def _in_folders(photos: list[Found], output: str | None, style: str, suffix: str) -> list[tuple[Path, Path]]:
    """Below `output` as the photos lie below what was named, or beside them."""
    pairs, taken = [], set()
    for photo in photos:
        folder = photo.path.parent if output is None else Path(output) / photo.below
        stem = photo.path.stem
        place, count = folder / f"{stem}.{style}{suffix}", 2
        # photo.jpg and photo.png, two folders' photo.jpg, or Photo.jpg where disks don't tell case
        while (key := str(place).casefold()) in taken:
            place, count = folder / f"{stem}-{count}.{style}{suffix}", count + 1
        taken.add(key)
        pairs.append((photo.path, place))
    return pairs


def _is_file_name(output: str, single: bool) -> bool:
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return False
    suffix = Path(output).suffix.lower()
    # for one photo any suffix tells a file, so that painted.gif is refused and makes no folder of that name
    return suffix in images.WRITABLE or (single and suffix != "") or os.path.exists(output)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells that two names are one file, through links and on disks that don't tell case."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@dataclass
class Photo:
    """A photo that waits to be painted."""

    path: Path
    place: Path
    picture: images.Picture


def read(path: Path, place: Path, options: Options) -> Photo:
    """Decode a photo, and shrink it where that is asked for.

    Raises:
        UserError: it can't be read, or what it would become is there already.
    """
    # a link that leads nowhere is there, too
    if os.path.lexists(place) and not options.overwrite:
        raise Kept(f"{place} is there already: choose another output, or add overwrite=true")
    # as a mask, alpha keeps what it hides as the photo has it
    return Photo(path, place, images.read(path, max_side=options.max_side, alpha_hides=options.mask != "alpha"))


class Kept(UserError):
    """Nothing is wrong: the painting is there."""


class Easel:
    """Paints photos one after the other, neighbours of one size together, and remembers what went wrong."""

    def __init__(self, stylizer: Stylizer, options: Options) -> None:
        self.stylizer = stylizer
        self.options = options
        self.waiting: list[Photo] = []
        self.problems: list[UserError] = []
        self.films: list[tuple[Path, int]] = []

    def add(self, path: Path, place: Path) -> None:
        """Take a photo, and paint those before it when no more fit with them."""
        try:
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
        """Paint all that wait."""
        waiting, self.waiting = self.waiting, []
        try:
            painted = self._painted(waiting) if waiting else ()
        except UserError as error:
            if len(waiting) == 1:
                self.problems.append(error)
                return
            for photo in waiting:  # one by one, so that one does not spoil the others
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
        # before the pixels become floats, of which one photo may be more than is free
        self.stylizer.check_memory(len(photos), *size, mapped=options.style_map is not None)
        alphas = [photo.picture.alpha for photo in photos]
        alpha = torch.cat([torch.ones(1, 1, *size) if own is None else own for own in alphas])
        mask = alpha if options.mask == "alpha" else None if options.mask is None else grey(options.mask, *size)
        return self.stylizer.paint(
            torch.cat([photo.picture.rgb for photo in photos]),
            style_map=None if options.style_map is None else grey(options.style_map, *size),
            color=options.color,
            mask=mask,
            feather=options.feather,
            alpha=None if options.mask == "alpha" else alpha,
        )

    def _write(self, photo: Photo, painting: Tensor) -> None:
        make_folder(photo.place.parent)
        # as a mask, the alpha channel told what to paint, and is used up
        alpha = None if self.options.mask == "alpha" else photo.picture.alpha
        images.write(photo.place, painting, alpha, self.options.quality, self.stylizer.name, photo.picture.exif)
        print(photo.place)
        if photo.picture.frames > 1:
            self.films.append((photo.path, photo.picture.frames))


def run(options: Options) -> int:
    """Paint all, and say what was left out; 2 where a photo could not be painted."""
    warnings.simplefilter("ignore", images.FramesWarning)  # as `first_frames` tells of all in the end
    left_out = LeftOut()
    photos = search(options.input, left_out)
    stylizer = Stylizer(
        options.ckpt,
        options.device,
        options.backend,
        options.compile,
        options.style,
        options.strength,
        options.stroke,
    )
    for extra in (options.style_map, options.mask):
        if extra not in (None, "alpha"):
            images.read(str(extra), max_side=16)  # so that a file that can't be read is told once, and first
    photos = without_paintings(photos, options.input, stylizer.name, left_out)
    places = plan(photos, options, stylizer.name)
    console = Console(stderr=True)
    hidden = len(places) == 1 or not console.is_terminal
    easel = Easel(stylizer, options)
    for photo, place in track(places, "painting", console=console, transient=True, disable=hidden):
        easel.add(photo, place)
    easel.finish()
    problems = easel.problems
    alone = len(places) == 1 and bool(problems)
    if problems and not alone:
        print(f"painted {len(places) - len(problems)} of {len(places)} photos; skipped:", file=sys.stderr)
        for problem in problems:
            print(f"  {problem}", file=sys.stderr)
    for line in (first_frames(easel.films), str(left_out)):
        if line:
            print(line, file=sys.stderr)
    if alone:
        raise problems[0]
    return 0 if all(isinstance(problem, Kept) for problem in problems) else 2


def first_frames(films: list[tuple[Path, int]]) -> str:
    """Says of which files the first of several frames or pages was painted; empty where there are none."""
    if not films:
        return ""
    named = ", ".join(f"{path} ({count})" for path, count in films[:_NAMED])
    more = f" and {len(films) - _NAMED} more" if len(films) > _NAMED else ""
    return f"only the first of several frames or pages was painted: {named}{more}"


def main(arguments: list[str] | None = None) -> int:
    """The command line: 2 and one sentence for a user's mistake, else 0."""
    return command(USAGE, lambda given: run(parse(given)), arguments)


if __name__ == "__main__":
    sys.exit(main())
