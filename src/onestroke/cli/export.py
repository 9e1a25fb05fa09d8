"""`onestroke export`, `python export.py`: write a style as ONNX, as torch.export or as a web page."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onestroke.cli.options import CommandOptions, command, option
from onestroke.cli.style_options import STRENGTH, STROKE, STYLE
from onestroke.data.heldout import centre
from onestroke.errors import UserError
from onestroke.export.exporting import LIMITS, SIDE, SIZES, Exported, export
from onestroke.export.live_export import export_live
from onestroke.export.site_folder import check_site, write_site
from onestroke.export.web_export import export_web
from onestroke.export.web_runtime import runtime_folder
from onestroke.files import atomic, make_folder
from onestroke.graphs.onnx_graph import OPSET, PIXELS
from onestroke.imaging.finding import search
from onestroke.imaging.left_out import LeftOut
from onestroke.inference.controls import StyleControls

USAGE = """\
python export.py ckpt=STYLE.safetensors [options]
onestroke export ... is the same, where OneStroke is installed"""

EPILOGUE = "The exported file takes pictures of any size and any batch size. format=torch supports variant=fp32 only."

FORMATS = {"onnx": ".onnx", "torch": ".pt2", "web": ".site"}
_PHOTOS, _SIDE = 16, 256  # number of photos for calibration, and their side in pixels


@dataclass
class Options(CommandOptions):
    """The options of `onestroke export`."""

    ckpt: str = option(
        "the style file, such as checkpoints/starry_night.safetensors",
        path=True, placeholder="FILE", example="checkpoints/starry_night.safetensors",
    )  # fmt: skip
    style: str | None = option(**STYLE)
    strength: float | None = option(**STRENGTH)
    stroke: float | None = option(**STROKE)
    controls: str = option(
        "baked: style, strength and stroke are built in; live: they are inputs of the graph, for each picture anew",
        "baked", choices=("baked", "live"),
    )  # fmt: skip
    format: str = option(
        "onnx; torch for torch.export; or web: a folder with a page that paints photos and the camera in the\n"
        "visitor's browser, in all styles of the file, for any web server",
        "onnx", choices=FORMATS,
    )  # fmt: skip
    out: str | None = option(
        "default: beside the style file, as starry_night.onnx, starry_night.fp16.onnx, starry_night.pt2 or\n"
        "starry_night.site",
        None, placeholder="FILE", path=True,
    )  # fmt: skip
    variant: str = option(
        "precision; the file is written only if it differs from torch by less than\n"
        "fp32    1 of 255 levels at most, 0.1 on average\n"
        "fp16    4 at most, 0.5 on average; half the size, for GPUs and browsers\n"
        "frozen  32 on average: norms with fixed statistics, so that tiles fit together; similar, but not the same\n"
        "int8    8 on average: convolutions of 8 bits, for CPUs",
        "fp32", choices=LIMITS,
    )  # fmt: skip
    pixels: str = option(
        "uint8 for (N, H, W, 3) in and out, or float for (N, 3, H, W) in [0, 1]", "uint8", choices=PIXELS
    )
    photos: str | None = option(
        "a folder or pattern of typical photos, to calibrate frozen and int8; default: rendered scenes",
        None, placeholder="PATH", path=True,
    )  # fmt: skip
    overwrite: bool = option("replace a file, or a site, that is there already", False)

    def check(self) -> None:
        """Raise a UserError for options that can't be combined."""
        fixed = [f"{name}=" for name in ("style", "strength", "stroke") if getattr(self, name) is not None]
        fixed += ["format=torch"] * (self.format == "torch") + ["variant="] * (self.variant != "fp32")
        if self.controls == "live" and fixed:
            raise UserError(f"controls=live leaves the choice open, in ONNX and in fp32: leave {fixed[0]} out")
        if self.format == "web" and (fixed or self.pixels != "uint8"):
            raise UserError(f"format=web leaves the choice to the visitor: leave {(*fixed, 'pixels=')[0]} out")
        if self.format == "torch" and self.variant != "fp32":
            raise UserError(f"variant={self.variant} is for format=onnx; format=torch has fp32 alone")
        if self.photos is not None and self.variant not in ("frozen", "int8"):
            raise UserError(f"photos is for variant=frozen and variant=int8, not for {self.variant}")


def place(options: Options) -> Path:
    """The path of the exported file.

    Raises:
        UserError: its suffix is that of another format, or it exists and overwrite=false.
    """
    suffix = FORMATS[options.format]
    if options.out is None:
        # not with_suffix, which would remove .2 from v1.2
        stem = options.ckpt.removesuffix(".safetensors")
        out = Path(stem + ("" if options.variant == "fp32" else f".{options.variant}") + suffix)
    else:
        out = Path(options.out)
        if options.format != "web" and out.suffix.lower() != suffix:
            raise UserError(f"out={options.out}: a file of format={options.format} ends in {suffix}")
    if options.format == "web":
        check_site(out, options.overwrite)
        return out
    if os.path.lexists(out) and not options.overwrite:
        raise UserError(f"{out} is there already: choose another out, or add overwrite=true")
    return out


def photos(given: str) -> list[np.ndarray]:
    """The centre squares of up to 16 photos, evenly spaced over all that were found, each uint8 (256, 256, 3).

    Raises:
        UserError: there is no photo, or one can't be read.
    """
    left_out = LeftOut()
    found = search([given], left_out)
    count = min(_PHOTOS, len(found))
    squares = [centre(str(found[i * len(found) // count].path), _SIDE) for i in range(count)]
    if left_out.count:
        print(left_out, file=sys.stderr)
    return squares


def run(options: Options) -> None:
    """Export, and print the path and the measurements."""
    out = place(options)
    if options.format == "web":
        write_page(options, out)
        return
    measured = None if options.photos is None else photos(options.photos)
    if options.controls == "live":
        exported = export_live(Path(options.ckpt), options.pixels)
    else:
        controls = StyleControls(options.style, options.strength, options.stroke)
        exported = export(Path(options.ckpt), options.format, options.variant, options.pixels, measured, controls)
    make_folder(out.parent)
    with atomic(out) as temporary:
        temporary.write_bytes(exported.content)
    print(out)
    print(summary(options, exported))


def write_page(options: Options, out: Path) -> None:
    """Write the folder of a page, and print its path, the measurements of its graph, and how to look at it."""
    site = export_web(Path(options.ckpt), runtime_folder())
    write_site(out, site.files)
    print(out)
    print(summary(options, site.model))
    print(f"  to look at it: python -m http.server -d {shlex.quote(str(out))}, then http://localhost:8000")


def summary(options: Options, exported: Exported) -> str:
    """Format, difference from torch and time of an exported file, in three lines."""
    kind = "torch.export" if options.format == "torch" else f"ONNX, opset {OPSET}"
    shape = "uint8 (N, H, W, 3)" if options.pixels == "uint8" else "float (N, 3, H, W) in [0, 1]"
    sizes = ", ".join(f"{height} x {width}" for height, width in SIZES)
    threads = torch.get_num_threads()
    return (
        f"  {kind}, {options.variant}, {len(exported.content) / 2**20:.2f} MB: {shape} in and out, of any size\n"
        f"  differs from torch by {exported.difference} of 255 levels, at {sizes}\n"
        f"  {exported.milliseconds:.0f} ms for {SIDE} x {SIDE} with {threads} thread{'s' * (threads > 1)}, "
        f"{exported.baseline} {exported.baseline_milliseconds:.0f} ms"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after printing the user's mistake in one sentence."""
    return command(Options, USAGE, run, arguments, EPILOGUE)


if __name__ == "__main__":
    sys.exit(main())
