"""The options of `onestroke infer`."""

from __future__ import annotations

from dataclasses import dataclass

from onestroke.cli.marks import KEY, MARK, SIGN, check_mark
from onestroke.cli.options import CommandOptions, option
from onestroke.cli.style_options import STRENGTH, STROKE, STYLE
from onestroke.imaging import images
from onestroke.inference import backends
from onestroke.inference.compositing import COLOURS

FORMATS = tuple(suffix.removeprefix(".") for suffix in sorted(images.WRITABLE))


@dataclass
class Options(CommandOptions):
    """The options of `onestroke infer`."""

    ckpt: str = option(
        "the style file, such as checkpoints/starry_night.safetensors, or an ONNX file that export.py wrote",
        path=True,
        placeholder="FILE",
        example="checkpoints/starry_night.safetensors",
    )
    input: list[str] = option(
        "a file, a folder with those below it, or a pattern such as 'photos/*.jpg'; as often as you like",
        placeholder="PHOTO",
        example="photo.jpg",
        bare=True,
    )  # not path=True: `finding.search` expands ~, as a file may have a name that begins with it
    output: str | None = option(
        "a file, or a folder for many; default: beside each photo, as photo.starry_night.png",
        None, placeholder="PATH", path=True,
    )  # fmt: skip
    format: str | None = option(
        f"of paintings in folders: {', '.join(FORMATS)}; default: png", None, placeholder="KIND", choices=FORMATS
    )
    quality: int | None = option("1 to 100, of JPEG and WebP; default: 95", None, placeholder="N", low=1, high=100)
    style: str | None = option(**STYLE)
    strength: float | None = option(**STRENGTH)
    stroke: float | None = option(**STROKE)
    style_map: str | None = option(
        "a grey picture: black paints in the first of style=, white in the last, grey in between",
        None, placeholder="FILE", path=True,
    )  # fmt: skip
    color: str = option(
        "style; photo, for the photo's colours with the painting's luminance; match, for the photo's palette",
        "style", choices=COLOURS,
    )  # fmt: skip
    mask: str | None = option(
        "a grey picture: white paints, black keeps the photo, grey mixes; mask=alpha takes the photo's alpha",
        None, placeholder="FILE", path=True,
    )  # fmt: skip
    feather: int = option("soften the mask's edges by N pixels", 0, placeholder="N", low=1)
    max_side: int | None = option(
        "shrink photos whose longer side has more than N pixels; the painting then has that size",
        None, placeholder="N", low=1,
    )  # fmt: skip
    device: str = option("auto, cpu, cuda or mps", "auto")
    backend: str | None = option(
        "torch; onnx or openvino, which are faster on a CPU; auto: onnx on a CPU that has it, else torch",
        None, placeholder="NAME", choices=backends.NAMES,
    )  # fmt: skip
    compile: bool = option(
        "use torch.compile: a minute or more at first, then faster, for many photos of one size; backend=torch", False
    )
    batch: int = option(
        "paint up to N consecutive photos of one size together, for a GPU and small photos", 1, placeholder="N", low=1
    )
    overwrite: bool = option("replace paintings that are there already; a photo is never replaced", False)
    mark: str = option(**MARK)
    sign: str | None = option(**SIGN)
    key: str | None = option(**KEY)

    def check(self) -> None:
        """Raise a UserError for options that can't be combined."""
        check_mark(self.mark, self.sign, self.key)
