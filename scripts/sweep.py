#!/usr/bin/env python
"""Pick strength and stroke size by looking: one sheet of what a style paints over a grid of both.

    python scripts/sweep.py ckpt=checkpoints/gallery.safetensors style=great_wave [strength=0.25,0.5,0.75] [stroke=0,1]
    python scripts/sweep.py style=great_wave [strength=0.3,0.5,0.7] [size=256,512] [photo=my.jpg] [out=sweep.jpg]
    python scripts/sweep.py style.image=my.jpg style.name=mine minutes=3 init=checkpoints/gallery.safetensors

With ckpt= a style file paints with its controls set so, in seconds. Without, each place of the grid is a short
training: one job of `python train.py -m`, with experiment=quick and minutes=2 unless said otherwise. All else goes to
train.py as it is. strength, stroke and size are lists; photo= may be given several times.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from gallery import photos, sheet
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from onestroke import Stylizer, UserError
from onestroke.data.datamodule import to_image
from onestroke.errors import exit_code
from onestroke.files import home
from onestroke.imaging import images

ROOT = Path(__file__).resolve().parents[1]
SIDE = 256  # of a picture on the sheet, in pixels
LABEL = 28  # height of a line of text on the sheet, in pixels


def numbers(name: str, value: str, kind: type[int] | type[float]) -> list[str]:
    """The values of a list such as 0.3,0.5.

    Raises:
        UserError: for what is no list of numbers.
    """
    parts = [part.strip() for part in value.split(",")]
    try:
        for part in parts:
            kind(part)
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise UserError(f"{name}={value}: write {what} with commas between, such as {name}=256,512") from error
    return parts


def label(words: str, width: int) -> Tensor:
    """A line of text in black on white, (1, 3, LABEL, width) in [0, 1]."""
    line = Image.new("RGB", (width, LABEL), "white")
    ImageDraw.Draw(line).text((6, 4), words, fill="black", font=ImageFont.load_default(size=18))
    return to_image(torch.from_numpy(np.array(line))[None])


def labelled(originals: list[Tensor], stylizers: list[Stylizer], words: list[str]) -> list[Tensor]:
    """A line of texts over a sheet, each (1, 3, H, W) in [0, 1]."""
    below = sheet(originals, stylizers, len(stylizers))
    return [torch.cat([label(w, SIDE + 6) for w in ["photo", *words]], dim=3)[..., : below.shape[3]], below]


def controlled(own: dict[str, list[str]], passed: list[str]) -> None:
    """Write the sheet of a style file's controls."""
    style = [argument.removeprefix("style=") for argument in passed if argument.startswith("style=")]
    other = next((argument for argument in passed if not argument.startswith("style=")), None)
    if other is not None:
        raise UserError(f"with ckpt= nothing is trained, so leave out {other}")
    path, mix = Path(own["ckpt"][-1]), style[-1] if style else None
    strengths = numbers("strength", (own["strength"] or ["0.25,0.5,0.75"])[-1], float)
    strokes = numbers("stroke", (own["stroke"] or ["0,1"])[-1], float)
    out = Path(own["out"][-1]) if own["out"] else Path(f"{path.stem if mix is None else mix}.sweep.jpg")
    check_out(out)
    originals = photos(own["photo"], SIDE)
    rows = []
    for stroke in strokes:
        looks = [Stylizer(path, mix=mix, strength=float(strength), stroke=float(stroke)) for strength in strengths]
        rows += labelled(originals, looks, [f"strength {strength}, stroke {stroke}" for strength in strengths])
    out.parent.mkdir(parents=True, exist_ok=True)
    images.write(out, torch.cat(rows, dim=2))
    print(f"wrote {out}")


def check_out(out: Path) -> None:
    """Raise a UserError for what is no name of a picture."""
    if out.suffix.lower() not in images.WRITABLE:
        raise UserError(f"out={out}: a sheet is written as {', '.join(sorted(images.WRITABLE))}")


def make(arguments: list[str]) -> None:
    """Train the grid, or take a style file's controls, and write the sheet."""
    own: dict[str, list[str]] = {"strength": [], "size": [], "photo": [], "out": [], "ckpt": [], "stroke": []}
    passed = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in own and equals:
            own[key].append(home(value))
        else:
            passed.append(argument)
    if own["ckpt"]:
        return controlled(own, passed)
    if own["stroke"]:
        raise UserError("stroke is a control of a style file: add ckpt=, or take size=256,512 for a training of each")
    strengths = numbers("strength", (own["strength"] or ["0.3,0.5,0.7"])[-1], float)
    sizes = numbers("size", (own["size"] or ["256"])[-1], int)
    originals = photos(own["photo"], SIDE)
    folder = Path("runs") / "sweep" / time.strftime("%Y-%m-%d_%H-%M-%S")
    out = Path(own["out"][-1]) if own["out"] else folder / "sheet.jpg"
    check_out(out)
    named = {argument.lstrip("+").partition("=")[0] for argument in passed}
    defaults = [] if named & {"steps", "minutes", "experiment"} else ["experiment=quick", "minutes=2"]
    where = folder.as_posix() + "/strength_${style.strength}_size_${style.size}.safetensors"
    grid = [f"style.strength={','.join(strengths)}", f"style.size={','.join(sizes)}", f'out="{where}"']
    command = [sys.executable, str(ROOT / "train.py"), "-m", *defaults, *passed, *grid]
    if subprocess.run(command, check=False).returncode:
        raise UserError("a training of the sweep did not end well; what it said is above")
    rows = []
    for size in sizes:
        files = [folder / f"strength_{strength}_size_{size}.safetensors" for strength in strengths]
        texts = [f"strength {strength}, size {size}" for strength in strengths]
        rows += labelled(originals, [Stylizer(file) for file in files], texts)
    out.parent.mkdir(parents=True, exist_ok=True)
    images.write(out, torch.cat(rows, dim=2))
    print(f"wrote {out}; the style files are in {folder}")


if __name__ == "__main__":
    if any(argument in ("-h", "--help", "help") for argument in sys.argv[1:]):
        print(__doc__)
        sys.exit(0)
    sys.exit(exit_code(lambda: make(sys.argv[1:])))
