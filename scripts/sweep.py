#!/usr/bin/env python
"""Pick strength and stroke size by looking: short trainings over a grid, and one sheet of what each paints.

    python scripts/sweep.py style=great_wave [strength=0.3,0.5,0.7] [size=256,512] [photo=my.jpg] [out=sweep.jpg]
    python scripts/sweep.py style.image=my.jpg style.name=mine minutes=3 init=checkpoints/gallery.safetensors

strength and size are lists; photo= may be given several times. All else goes to train.py as it is: each training is one
job of `python train.py -m`, with experiment=quick and minutes=2 unless said otherwise.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from gallery import SIDE, photos, sheet
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from onestroke import Stylizer, UserError, images
from onestroke.data.datamodule import to_image
from onestroke.errors import told

ROOT = Path(__file__).resolve().parents[1]
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


def make(arguments: list[str]) -> None:
    """Train the grid and write the sheet."""
    own: dict[str, list[str]] = {"strength": [], "size": [], "photo": [], "out": []}
    passed = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in own and equals:
            own[key].append(value)
        else:
            passed.append(argument)
    strengths = numbers("strength", (own["strength"] or ["0.3,0.5,0.7"])[-1], float)
    sizes = numbers("size", (own["size"] or ["256"])[-1], int)
    originals = photos(own["photo"])
    folder = Path("runs") / "sweep" / time.strftime("%Y-%m-%d_%H-%M-%S")
    out = Path(own["out"][-1]) if own["out"] else folder / "sheet.jpg"
    if out.suffix.lower() not in images.WRITABLE:
        raise UserError(f"out={out}: a sheet is written as {', '.join(sorted(images.WRITABLE))}")
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
        row = sheet(originals, [Stylizer(file) for file in files])
        texts = ["photo", *(f"strength {strength}, size {size}" for strength in strengths)]
        cells = [label(words, SIDE + 6) for words in texts]
        rows += [torch.cat(cells, dim=3)[..., : row.shape[3]], row]
    out.parent.mkdir(parents=True, exist_ok=True)
    images.write(out, torch.cat(rows, dim=2))
    print(f"wrote {out}; the style files are in {folder}")


if __name__ == "__main__":
    if any(argument in ("-h", "--help", "help") for argument in sys.argv[1:]):
        print(__doc__)
        sys.exit(0)
    sys.exit(told(lambda: make(sys.argv[1:])))
