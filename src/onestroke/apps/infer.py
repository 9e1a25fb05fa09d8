"""`python infer.py`: paint photos with a style file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from onestroke import images
from onestroke.errors import UserError, near

if TYPE_CHECKING:
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
        UserError: for unknown or missing keys and values of the wrong type.
    """
    values: dict[str, str] = {}
    inputs: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key == "input":  # a bare name is one more photo, as a shell's pattern gives them
            inputs.append(value if equals else argument)
        elif key not in Options.__dataclass_fields__:
            raise UserError(f"there is no option '{key}': {near(key, Options.__dataclass_fields__)}")
        elif key in values:
            raise UserError(f"{key} is given twice")
        else:
            values[key] = value
    if "ckpt" not in values:
        raise UserError("ckpt is needed: ckpt=checkpoints/starry_night.safetensors")
    if not inputs:
        raise UserError("input is needed: input=photo.jpg")
    side = values.get("max_side")
    if side is not None and (not side.isascii() or not side.isdigit() or int(side) < 1):
        raise UserError(f"max_side must be a whole number of at least 1, not '{side}'")
    overwrite = values.get("overwrite", "false").lower()
    if overwrite not in ("true", "false"):
        raise UserError(f"overwrite must be true or false, not '{values['overwrite']}'")
    return Options(
        ckpt=values["ckpt"],
        input=inputs,
        output=values.get("output"),
        max_side=int(side) if side else None,
        device=values.get("device", "auto"),
        overwrite=overwrite == "true",
    )


def plan(photos: list[Path], output: str | None, style: str) -> list[tuple[Path, Path]]:
    """Where each photo's painting goes; no two go to one place, and none onto a photo.

    Raises:
        UserError: where `output` can't be what it would have to be.
    """
    target = None if output is None else Path(output)
    if target is not None and len(photos) == 1 and target.suffix and not target.is_dir() and output[-1:] not in "/\\":  # type: ignore[index]
        if target.suffix.lower() not in images.WRITABLE:
            raise UserError(f"output={output}: a painting is written as {', '.join(sorted(images.WRITABLE))}")
        pairs = [(photos[0], target)]
    else:
        if target is not None and target.exists() and not target.is_dir():
            raise UserError(f"output={output} is a file, but {len(photos)} photos need a folder")
        pairs, taken = [], set()
        for photo in photos:
            folder = photo.parent if target is None else target
            place, count = folder / f"{photo.stem}.{style}.png", 2
            while place in taken:  # photo.jpg and photo.png, or two folders' photo.jpg
                place, count = folder / f"{photo.stem}-{count}.{style}.png", count + 1
            taken.add(place)
            pairs.append((photo, place))
    sources = {photo.resolve() for photo in photos}
    for _, place in pairs:
        if place.resolve() in sources:
            raise UserError(f"{place} is one of the photos, which are never overwritten: choose another output")
    return pairs


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
    from onestroke.inference.stylizer import Stylizer  # torch takes a second, which a typing error need not wait for

    photos = images.find(options.input)
    stylizer = Stylizer(options.ckpt, options.device)
    # what an earlier call painted into the same folder is no photo, unless it is named outright
    named = {Path(name) for name in options.input}
    photos = [p for p in photos if p in named or not p.name.endswith(f".{stylizer.name}.png")]
    if not photos:
        raise UserError("there is no photo among the input, only paintings of this style")
    pairs = plan(photos, options.output, stylizer.name)
    skipped: list[str] = []
    failed = False
    done = 0
    console = Console(stderr=True)
    steps = track(pairs, "painting", console=console, transient=True, disable=len(pairs) == 1 or not console.is_terminal)
    for photo, place in steps:
        if place.exists() and not options.overwrite:
            if len(pairs) == 1:
                raise UserError(f"{place} is there already: choose another output, or add overwrite=true")
            skipped.append(f"{photo}: {place.name} is there already (overwrite=true replaces it)")
            continue
        try:
            paint(stylizer, photo, place, options.max_side)
        except UserError as error:
            if len(pairs) == 1:
                raise
            failed = True
            skipped.append(str(error))
            continue
        done += 1
        print(place)
    if skipped:
        print(f"painted {done} of {len(pairs)} photos; skipped:", file=sys.stderr)
        for line in skipped:
            print(f"  {line}", file=sys.stderr)
    return 2 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line: 2 and one sentence for a user's mistake, else 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or any(a in ("-h", "--help", "help") for a in arguments):
        print(USAGE, end="")
        return 0 if arguments else 2
    try:
        return run(parse(arguments))
    except UserError as error:
        print(f"onestroke: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
