"""Measure painted clips: how much they flicker, beside the style and content error of their frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from onestroke import style_file
from onestroke.cli.evaluate_options import Options
from onestroke.cli.evaluate_pictures import read_photos
from onestroke.errors import UserError
from onestroke.evaluation.exact_motion import GAPS, Clip, clips, warping_error
from onestroke.evaluation.measure import Measure, from_reference
from onestroke.evaluation.moving_report import COLUMNS, Moving, strip_of_time
from onestroke.evaluation.real_motion import RealMotion
from onestroke.inference.stylizer import Stylizer
from onestroke.packages import require
from onestroke.perception.style_card import CARD_LAYERS
from onestroke.perception.vgg import VGG
from onestroke.video.flow import Motion, motion
from onestroke.video.last_painting import LastPainting
from onestroke.video.reading import Film
from onestroke.video.steady import Steady

_SHOWN = 2  # frames of a clip whose style and content error is measured


@dataclass
class Shown:
    """A clip to paint. error: (pictures, gap in frames) -> warping error in [0, 1]."""

    name: str
    frames: list[np.ndarray]
    motions: list[Motion | None]
    error: Callable[[list[np.ndarray], int], float]


def measured(options: Options, progress: Callable[[str, int, int], None]) -> list[Moving]:
    """Paint and measure the clips with all style files and amounts of `steady`.

    Raises:
        UserError: a file, a clip or a style in the options can't be used.
    """
    shown = list(_exact(options) if options.motion else _real(options))
    vgg = VGG(CARD_LAYERS)
    painters = [(path, own) for path in options.ckpt for own in style_file.read_document(Path(path)).styles]
    total, done = len(painters) * len(options.amounts) * len(shown), 0
    found = []
    for path, own in painters:
        several = len(style_file.read_document(Path(path)).styles) > 1
        stylizer = Stylizer(path, options.device, mix=own if several else None)
        name = own if several else options.style or own
        measure = from_reference(name, 256, vgg, options.strength)
        for amount in options.amounts:
            rows = []
            for clip in shown:
                progress(f"{Path(path).stem}: {clip.name}, steady={amount:g}", done, total)
                rows.append(Moving(Path(path).stem, name, amount, clip.name, {}))
                rows[-1].numbers, rows[-1].strip = _numbers(painted(stylizer, clip, amount), clip, measure)
                done += 1
            found += rows
            if len(rows) > 1:
                found.append(Moving(Path(path).stem, name, amount, "all", _pooled(rows)))
    progress("done", total, total)
    return found


def painted(stylizer: Stylizer, clip: Shown, amount: float) -> list[np.ndarray]:
    """The paintings of a clip's frames, uint8 (H, W, 3)."""
    frames = stylizer.frames(*clip.frames[0].shape[:2])
    with_past = LastPainting(frames)
    now: list[Motion | None] = [None]
    steady = Steady((lambda rgb: with_past(rgb, now[0])) if frames.recurrent else frames, amount)
    pictures = []
    for frame, now[0] in zip(clip.frames, clip.motions, strict=True):
        pictures.append(steady(frame, now[0]).copy())
    return pictures


def _numbers(pictures: list[np.ndarray], clip: Shown, measure: Measure) -> tuple[dict[str, float], Tensor]:
    numbers = {}
    for name, gap in GAPS.items():
        own = clip.error(clip.frames, gap)
        numbers[name] = clip.error(pictures, gap) / own if own else math.nan
    places = np.linspace(len(pictures) / 2, len(pictures) - 1, _SHOWN).astype(int)
    errors = []
    with torch.no_grad():
        for place in places:
            errors.append(measure.objective(_image(pictures[place]), _image(clip.frames[place])))
    for name in ("gram", "content"):
        numbers[name] = sum(float(each[name]) for each in errors) / len(errors)
    return numbers, strip_of_time(pictures)


def _pooled(rows: list[Moving]) -> dict[str, float]:
    """Over clips: the root of the mean square of short and long, the mean of the others."""
    values = {name: [row.numbers[name] for row in rows] for name in COLUMNS}
    return {
        name: math.sqrt(sum(v * v for v in each) / len(each)) if name in GAPS else sum(each) / len(each)
        for name, each in values.items()
    }


def _exact(options: Options) -> Iterator[Shown]:
    for photo, image in read_photos(options).items():
        for clip in clips(image):
            frames = [_levels(frame) for frame in clip.frames]

            def error(pictures: list[np.ndarray], gap: int, clip: Clip = clip) -> float:
                return warping_error(torch.cat([_image(picture) for picture in pictures]), clip, gap)

            yield Shown(f"{photo}: {clip.name}", frames, _motions(frames), error)


def _real(options: Options) -> Iterator[Shown]:
    cv2 = require("cv2", "video")
    assert options.video is not None
    frames = []
    for frame in islice(Film(Path(options.video)).frames(), options.frames):
        scale = options.size / min(frame.rgb.shape[:2])
        size = [max(1, round(side * scale)) for side in frame.rgb.shape[1::-1]]
        frames.append(np.ascontiguousarray(cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)))
    if len(frames) <= max(GAPS.values()):
        raise UserError(f"{options.video} has {len(frames)} frames: {max(GAPS.values()) + 1} are needed to measure")
    known = {gap: RealMotion(frames, gap) for gap in GAPS.values()}
    name = Path(options.video).name
    yield Shown(name, frames, _motions(frames), lambda pictures, gap: known[gap].error(pictures))


def _motions(frames: list[np.ndarray]) -> list[Motion | None]:
    return [None, *(motion(before, now) for before, now in pairwise(frames))]


def _image(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def _levels(frame: Tensor) -> np.ndarray:
    return np.ascontiguousarray((frame.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
