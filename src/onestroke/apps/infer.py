"""`python infer.py`: paint photos with a style file."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from dataclasses import dataclass, fields
from pathlib import Path

from rich.console import Console
from rich.progress import track

from onestroke import images
from onestroke.errors import UserError, near
from onestroke.inference.stylizer import Stylizer

USAGE = """\
usage: python infer.py ckpt=STYLE.safetensors input=PHOTO [input=...] [options]

  ckpt=FILE        the style file, such as checkpoints/starry_night.safetensors
  input=PHOTO      a file, a folder or a pattern such as 'photos/*.jpg'; as often as you like
  output=PATH      a file, or a folder for many; default: beside each photo, as photo.starry_night.png
  max_side=N       shrink photos whose longer side has more than N pixels; the painting then has that size
  device=NAME      auto, cpu, cuda or mps
  overwrite=true   replace paintings that are there already; a photo is never replaced
"""


@dataclass
class Options:
    """The command line."""

    ckpt: str
    input: list[str]
    output: str | None = None
    max_side: int | None = None
    device: str = "auto"
    overwrite: bool = False


def parse(arguments: list[str]) -> Options:
    """Read `key=value` arguments; any file name may follow the first `=`.

    Raises:
        UserError: for unknown, missing, repeated or empty keys and values of the wrong type.
    """
    known = [field.name for field in fields(Options)]
    values: dict[str, str] = {}
    inputs: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key == "input" and equals:
            inputs.append(value)
        elif key not in known and (not equals or os.path.lexists(argument)):
            inputs.append(argument)  # a bare name is one more photo, as a shell's pattern gives them
        elif key not in known:
            raise UserError(f"there is no option '{key}': {near(key, known)}")
        elif not value:
            raise UserError(f"{key} has no value: write {key}=...")
        elif key in values:
            raise UserError(f"{key} is given twice")
        else:
            values[key] = value
    if "ckpt" not in values:
        raise UserError("ckpt is needed: ckpt=checkpoints/starry_night.safetensors")
    if not inputs:
        raise UserError("input is needed: input=photo.jpg")
    side = values.get("max_side")
    if side is not None and not re.fullmatch("0*[1-9][0-9]{0,8}", side):
        raise UserError(f"max_side must be a whole number of at least 1, not '{side}'")
    overwrite = values.get("overwrite", "false").lower()
    if overwrite not in ("true", "false"):
        raise UserError(f"overwrite must be true or false, not '{values['overwrite']}'")
    return Options(
        # no shell expands the ~ behind a =
        ckpt=os.path.expanduser(values["ckpt"]),
        input=inputs,
        output=os.path.expanduser(values["output"]) if "output" in values else None,
        max_side=int(side) if side else None,
        device=values.get("device", "auto"),
        overwrite=overwrite == "true",
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


def paint(stylizer: Stylizer, photo: Path, place: Path, max_side: int | None) -> None:
    """Paint one photo into one file.

    Raises:
        UserError: where one can't be read or the other can't be written.
    """
    picture = images.read(photo)
    rgb, alpha = picture.rgb, picture.alpha
    if max_side is not None and max(picture.height, picture.width) > max_side:
        rgb = images.fit(rgb, max_side=max_side)
        alpha = None if alpha is None else images.fit(alpha, max_side=max_side)
    painted = stylizer.paint(rgb)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't make the folder {place.parent}: {error.strerror}") from error
    images.write(place, painted, alpha)


def run(options: Options) -> int:
    """Paint all, and say what was left out; 2 where a photo could not be painted."""
    photos = images.find(options.input)
    stylizer = Stylizer(options.ckpt, options.device)
    photos = without_paintings(photos, options.input, stylizer.name)
    pairs = plan(photos, options.output, stylizer.name)
    single = len(pairs) == 1
    skipped: list[str] = []
    failed = False
    console = Console(stderr=True)
    hidden = single or not console.is_terminal
    for photo, place in track(pairs, "painting", console=console, transient=True, disable=hidden):
        try:
            # not Path.exists, which raises where a name is too long or a folder may not be searched
            if os.path.exists(place) and not options.overwrite:
                if single:
                    raise UserError(f"{place} is there already: choose another output, or add overwrite=true")
                skipped.append(f"{photo}: {place.name} is there already (overwrite=true replaces it)")
                continue
            paint(stylizer, photo, place, options.max_side)
        except UserError as error:
            if single:
                raise
            failed = True
            skipped.append(str(error))
        else:
            print(place)
    if skipped:
        print(f"painted {len(pairs) - len(skipped)} of {len(pairs)} photos; skipped:", file=sys.stderr)
        for line in skipped:
            print(f"  {line}", file=sys.stderr)
    return 2 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line: 2 and one sentence for a user's mistake, else 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or any(a in ("-h", "--help", "help") for a in arguments):
        print(USAGE, end="")
        return 0 if arguments else 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a file name may hold bytes that are no text, and printing it must not fail
        sys.stdout.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _show
        try:
            return run(parse(arguments))
        except UserError as error:
            print(f"onestroke: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130


def _show(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as a sentence, without the line of our code that gave it."""
    print(f"onestroke: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
