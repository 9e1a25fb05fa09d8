"""The options of `onestroke infer`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from onestroke.cli.marks import KEY, MARK, SIGN, check_mark
from onestroke.cli.options import CommandOptions, option
from onestroke.cli.style_options import STRENGTH, STROKE, STYLE
from onestroke.errors import UserError
from onestroke.imaging import images
from onestroke.inference import backends, working_size
from onestroke.inference.compositing import COLOURS
from onestroke.video import keyframes, steady
from onestroke.video.encoding import ANIMATIONS, CODECS, DEFAULT_QUALITY, FILMS, PRESETS

FORMATS = tuple(suffix.removeprefix(".") for suffix in sorted(images.WRITABLE))
CLIP_FORMATS = tuple(sorted({suffix.removeprefix(".") for suffix in (*FILMS, *ANIMATIONS)} - set(FORMATS)))
_OVER_TIME = "for a clip also at times in seconds, as"


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
        "a file, a folder with those below it, or a pattern such as 'photos/*.jpg'; as often as you like; a clip, such "
        "as an mp4 or an animated gif, is painted with its sound where it is named",
        placeholder="PHOTO",
        example="photo.jpg",
        bare=True,
    )  # not path=True: `finding.search` expands ~, as a file may have a name that begins with it
    output: str | None = option(
        "a file, or a folder for many; default: beside each photo, as photo.starry_night.png; for one clip, a folder "
        "takes its frames",
        None, placeholder="PATH", path=True,
    )  # fmt: skip
    format: str | None = option(
        f"of paintings in folders: {', '.join(FORMATS)}, or dzi, a pyramid of tiles with a page to view it; default: "
        f"png; of clips: {', '.join(CLIP_FORMATS)}; default: that of the clip",
        None, placeholder="KIND", choices=(*FORMATS, *CLIP_FORMATS, "dzi"),
    )  # fmt: skip
    quality: int | None = option(
        f"1 to 100, of JPEG and WebP; default: 95; of clips; default: {DEFAULT_QUALITY}, a file at most twice as large",
        None, placeholder="N", low=1, high=100,
    )  # fmt: skip
    style: str | None = option(**{**STYLE, "help": f"{STYLE['help']}; {_OVER_TIME} style=0:starry_night,10:great_wave"})
    strength: str | None = option(f"{STRENGTH['help']}; {_OVER_TIME} strength=0:0.2,5:0.8", None, placeholder="0.5")
    stroke: str | None = option(f"{STROKE['help']}; {_OVER_TIME} stroke=0:0,5:1", None, placeholder="0")
    style_map: str | None = option(
        "a grey picture: black paints in the first of style=, white in the last, grey in between",
        None, placeholder="FILE", path=True,
    )  # fmt: skip
    color: str = option(
        "style; photo, for the photo's colours with the painting's luminance; match, for the photo's palette",
        "style", choices=COLOURS,
    )  # fmt: skip
    stroke_scale: str = option(
        "1 to 8: paint a photo N times smaller and enlarge that, for strokes N times larger; auto: by its size",
        "1", placeholder="N",
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
    steady: float | None = option(
        "for clips: 0 paints each frame for itself, up to 1 keeps strokes from flickering; "
        f"default: {steady.DEFAULT:g}",
        None, placeholder="N", low=0, high=1,
    )  # fmt: skip
    codec: str | None = option(
        f"of clips: {', '.join(CODECS)}; default: h264, or what the file's suffix asks for",
        None, placeholder="NAME", choices=tuple(CODECS),
    )  # fmt: skip
    preset: str = option("of clips: fast, medium or slow encoding; slow gives smaller files", "medium", choices=PRESETS)
    start: float | None = option("of a clip: the second at which to begin", None, placeholder="S", low=0)
    end: float | None = option("of a clip: the second at which to end", None, placeholder="S", above=0)
    fps: float | None = option(
        "paint the pictures of a folder as the frames of a clip, N a second", None, placeholder="N", above=0, high=1000
    )
    resume: bool = option("go on with a clip, or a picture in tiles, whose painting was stopped", False)
    memory: str | None = option(
        "a picture that takes more to paint is painted in tiles, as 1G or 500M; default: what is free",
        None, placeholder="1G",
    )  # fmt: skip

    def check(self) -> None:
        """Raise a UserError for controls out of range, times that hold nothing, and marks that can't be made."""
        check_mark(self.mark, self.sign, self.key)
        _ = self.strengths, self.strokes, self.most_memory, self.working_size(1, 1)
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise UserError(f"end={self.end:g} is not after start={self.start:g}")

    @property
    def most_memory(self) -> float:
        """The bytes that painting a picture may take; infinite without the option."""
        if self.memory is None:
            return math.inf
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B?", self.memory.strip(), re.IGNORECASE)
        if found is None or not float(found[1]):
            raise UserError(f"memory is an amount such as 1G or 500M, not '{self.memory}'")
        return float(found[1]) * 2.0 ** (10 * (1 + "KMGT".index(found[2].upper())))

    @property
    def scaled(self) -> bool:
        """Whether photos may be painted at another size than their own."""
        return self.stroke_scale.lower() == "auto" or float(self.stroke_scale) != 1

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width at which a photo of this size is painted, see `working_size.scale_of`."""
        return working_size.working_size(self.stroke_scale, height, width)

    @property
    def strengths(self) -> keyframes.Numbers | None:
        """The strength over time; None for the style file's."""
        return None if self.strength is None else keyframes.numbers("strength", self.strength, 0, 1)

    @property
    def strokes(self) -> keyframes.Numbers | None:
        """The stroke over time; None for the style file's."""
        return None if self.stroke is None else keyframes.numbers("stroke", self.stroke, 0, 1)

    @property
    def styles(self) -> keyframes.Mixes | None:
        """The styles over time; None where `style` has no times."""
        return None if self.style is None else keyframes.mixes("style", self.style)
