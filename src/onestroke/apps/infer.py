"""`python infer.py`: paint photos with a style file."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from onestroke import images
from onestroke.arguments import Values, command, keyed
from onestroke.errors import UserError
from onestroke.files import make_folder
from onestroke.inference import backends
from onestroke.inference.finishing import COLOURS
from onestroke.inference.mixing import grey
from onestroke.inference.stylizer import Stylizer

USAGE = """\
usage: python infer.py ckpt=STYLE.safetensors input=PHOTO [input=...] [options]

  ckpt=FILE        the style file, such as checkpoints/starry_night.safetensors, or what export.py made of it as ONNX
  input=PHOTO      a file, a folder or a pattern such as 'photos/*.jpg'; as often as you like
  output=PATH      a file, or a folder for many; default: beside each photo, as photo.starry_night.png
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
    )


def without_paintings(photos: list[Path], given: list[str], style: str) -> list[Path]:
    """Leave out what an earlier call painted with this style, unless it is the one input that is named.

    Raises:
        UserError: where nothing is left.
    """
    only = Path(os.path.expanduser(given[0])) if len(given) == 1 else None
    left = [photo for photo in photos if photo == only or not photo.name.endswith(f".{style}.png")]
    if not left:
        raise UserError("there is no photo among the input, only paintings of this style")
    return left


def plan(photos: list[Path], output: str | None, style: str) -> list[tuple[Path, Path]]:
    """Where each photo's painting goes; no two go to one place, and none onto a photo.

    Raises:
        UserError: where `output` can't be what it would have to be.
    """
    if output is not None and _is_file_name(output, len(photos) == 1):
        target = Path(output)
        if len(photos) > 1:
            raise UserError(f"output={output} names a file, but {len(photos)} photos need a folder")
        if target.suffix.lower() not in images.WRITABLE:
            raise UserError(
                f"output={output}: a painting is written as {', '.join(sorted(images.WRITABLE))}; "
                "the name of a new folder ends in /"
            )
        pairs = [(photos[0], target)]
    else:
        pairs, taken = [], set()
        for photo in photos:
            folder = photo.parent if output is None else Path(output)
            place, count = folder / f"{photo.stem}.{style}.png", 2
            # photo.jpg and photo.png, two folders' photo.jpg, or Photo.jpg where disks don't tell case
            while (key := str(place).casefold()) in taken:
                place, count = folder / f"{photo.stem}-{count}.{style}.png", count + 1
            taken.add(key)
            pairs.append((photo, place))
    sources = {_identity(photo) for photo in photos} - {None}
    for _, place in pairs:
        if _identity(place) in sources:
            raise UserError(f"{place} is one of the photos, which are never overwritten: choose another output")
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
    rgb: Tensor
    alpha: Tensor | None


def read(path: Path, place: Path, options: Options) -> Photo:
    """Decode a photo, and shrink it where that is asked for.

    Raises:
        UserError: it can't be read, or what it would become is there already.
    """
    # not Path.exists, which raises where a name is too long or a folder may not be searched
    if os.path.exists(place) and not options.overwrite:
        raise Kept(f"{place} is there already: choose another output, or add overwrite=true")
    picture = images.read(path)
    rgb, alpha = picture.rgb, picture.alpha
    if options.max_side is not None and max(picture.height, picture.width) > options.max_side:
        rgb = images.fit(rgb, max_side=options.max_side)
        alpha = None if alpha is None else images.fit(alpha, max_side=options.max_side)
    return Photo(path, place, rgb, alpha)


class Kept(UserError):
    """Nothing is wrong: the painting is there."""


class Easel:
    """Paints photos one after the other, neighbours of one size together, and remembers what went wrong."""

    def __init__(self, stylizer: Stylizer, options: Options) -> None:
        self.stylizer = stylizer
        self.options = options
        self.waiting: list[Photo] = []
        self.problems: list[UserError] = []

    def add(self, path: Path, place: Path) -> None:
        """Take a photo, and paint those before it when no more fit with them."""
        try:
            photo = read(path, place, self.options)
        except UserError as error:
            self.problems.append(error)
            return
        if self.waiting and self.waiting[0].rgb.shape != photo.rgb.shape:
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
        options, size = self.options, photos[0].rgb.shape[-2:]
        mask = None
        if options.mask == "alpha":
            mask = torch.cat([torch.ones(1, 1, *size) if p.alpha is None else p.alpha for p in photos])
        elif options.mask is not None:
            mask = grey(options.mask, *size)
        return self.stylizer.paint(
            torch.cat([photo.rgb for photo in photos]),
            style_map=None if options.style_map is None else grey(options.style_map, *size),
            color=options.color,
            mask=mask,
            feather=options.feather,
        )

    def _write(self, photo: Photo, painting: Tensor) -> None:
        make_folder(photo.place.parent)
        # as a mask, the alpha channel told what to paint, and is used up
        images.write(photo.place, painting, None if self.options.mask == "alpha" else photo.alpha)
        print(photo.place)


def run(options: Options) -> int:
    """Paint all, and say what was left out; 2 where a photo could not be painted."""
    photos = images.find(options.input)
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
            grey(str(extra), 16, 16)  # so that a file that can't be read is told once, and first
    photos = without_paintings(photos, options.input, stylizer.name)
    places = plan(photos, options.output, stylizer.name)
    console = Console(stderr=True)
    hidden = len(places) == 1 or not console.is_terminal
    easel = Easel(stylizer, options)
    for photo, place in track(places, "painting", console=console, transient=True, disable=hidden):
        easel.add(photo, place)
    easel.finish()
    problems = easel.problems
    if len(places) == 1 and problems:
        raise problems[0]
    if problems:
        print(f"painted {len(places) - len(problems)} of {len(places)} photos; skipped:", file=sys.stderr)
        for problem in problems:
            print(f"  {problem}", file=sys.stderr)
    return 0 if all(isinstance(problem, Kept) for problem in problems) else 2


def main(arguments: list[str] | None = None) -> int:
    """The command line: 2 and one sentence for a user's mistake, else 0."""
    return command(USAGE, lambda given: run(parse(given)), arguments)


if __name__ == "__main__":
    sys.exit(main())
