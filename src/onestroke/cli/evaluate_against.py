"""`evaluate.py against=FOLDER`: a style file and other tools' pictures of the same photos, at equal content error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from onestroke import style_file
from onestroke.cli.evaluate_options import Options
from onestroke.cli.evaluate_pictures import fitting, photo_names
from onestroke.devices import cpu_has_bf16
from onestroke.errors import UserError, escaped, near
from onestroke.evaluation.comparison import BEST, STRENGTHS, STROKES, Errors, Pair, lines, ratios
from onestroke.evaluation.comparison_report import Comparison, Shown
from onestroke.evaluation.measure import from_reference
from onestroke.evaluation.paired_errors import PairedErrors
from onestroke.imaging import images
from onestroke.imaging.finding import search
from onestroke.imaging.left_out import LeftOut
from onestroke.inference.controls import same_aspect
from onestroke.inference.stylizer import Stylizer
from onestroke.perception.style import Style
from onestroke.perception.style_card import CARD_LAYERS, CARD_SIZES
from onestroke.perception.vgg import VGG

OWN_SIZE = "own size"
_NO_CONTROL = "fixed"  # the key of the curve of a file without a stroke control


@dataclass
class _Painter:
    """A style of a style file at all its controls' positions. stylizers: by stroke, along strength."""

    name: str
    style: str
    styles: list[Style]
    stylizers: dict[str, list[Stylizer]]


def compare(options: Options, progress: Callable[[str, int, int], None]) -> list[Comparison]:
    """Compare each style file with each folder of `against`.

    Args:
        options: the command line.
        progress: called with the current task, the number of finished tasks and the number of all tasks.

    Raises:
        UserError: a file, a folder, a picture or a style in the options can't be used.
    """
    photos, pictures = _pictures(options)
    # the errors of both sides are rounded alike: with bf16 they change by a few thousandths
    vgg = VGG(CARD_LAYERS, dtype=torch.bfloat16 if cpu_has_bf16() else torch.float32)
    painters = [_painter(path, options, vgg) for path in options.ckpt]
    total, done, found = len(painters) * len(photos), 0, []
    for painter in painters:
        own = [Comparison(painter.name, painter.style, folder, STRENGTHS) for folder in pictures]
        for name, path in photos.items():
            progress(f"{painter.name}: {name}", done, total)
            beside = {folder: found[name] for folder, found in pictures.items() if name in found}
            _photo(name, path, beside, painter, options.size, vgg, {one.peer: one for one in own})
            done += 1
        found += own
    progress("done", total, total)
    return found


def _pictures(options: Options) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    """The photos that have a picture in a folder, by name, and the pictures of each folder by their photo's name.

    Raises:
        UserError: a folder has no picture of any photo, or several of one.
    """
    assert options.photos is not None
    left_out = LeftOut()
    originals = search([options.photos], left_out)
    if left_out.count:
        print(left_out, file=sys.stderr)
    paths = dict(zip(photo_names(originals), (photo.path for photo in originals), strict=True))
    pictures = {folder: fitting(folder, paths, f"against={folder}") for folder in dict.fromkeys(options.against)}
    for folder, found in pictures.items():
        if not found:
            raise UserError(f"against={folder} has no picture of any photo in {options.photos}: name them alike")
        if len(found) < len(paths):
            said = f"{folder} has pictures of {len(found)} of {len(paths)} photos; the others are left out"
            print(escaped(said), file=sys.stderr)
    photos = [name for name in paths if any(name in found for found in pictures.values())][: options.count]
    for folder, found in pictures.items():
        if not found.keys() & photos:
            raise UserError(f"against={folder} has no picture of the first {len(photos)} photos: take a larger count")
    return {name: paths[name] for name in photos}, pictures


def _painter(path: str, options: Options, vgg: VGG) -> _Painter:
    """Open a style file at all positions of its controls.

    Raises:
        UserError: the file can't be used, or its style is neither one that ships nor a picture.
    """
    metadata = style_file.read_document(Path(path))
    several = len(metadata.styles) > 1
    if several and options.style not in metadata.styles:
        given = "" if options.style is None else f", and no '{options.style}'"
        raise UserError(
            f"{path} holds {len(metadata.styles)} styles{given}: choose one with style=: "
            f"{near(options.style or '', metadata.styles)}"
        )
    name = options.style or metadata.styles[0]
    try:
        measure = from_reference(name, CARD_SIZES[0], vgg)
    except UserError as error:
        if name == options.style:
            raise
        raise UserError(f"{path} imitates '{name}', which is no style that ships: add style=picture") from error
    controls = metadata.network["args"].get("controls", ())
    strengths = STRENGTHS if "strength" in controls else (None,)
    strokes = STROKES if "stroke" in controls else (None,)
    mix = name if several else None
    stylizers = {
        _NO_CONTROL if stroke is None else f"{stroke:g}": [
            Stylizer(path, options.device, mix=mix, strength=strength, stroke=stroke) for strength in strengths
        ]
        for stroke in strokes
    }
    return _Painter(Path(path).stem, name, [measure.style, *measure.others], stylizers)


def _photo(
    name: str,
    path: Path,
    pictures: dict[str, Path],
    painter: _Painter,
    size: int,
    vgg: VGG,
    comparisons: dict[str, Comparison],
) -> None:
    """Measure one photo's pictures and paintings, and add them to the comparison of each folder.

    Raises:
        UserError: a picture can't be read or has another aspect than its photo.
    """
    photo = images.read(path)
    measured: dict[tuple[int, int], tuple[PairedErrors, dict[str, list[Errors]]]] = {}
    for folder, picture_path in pictures.items():
        picture = images.read(picture_path)
        if not same_aspect(picture.size, photo.size):
            raise UserError(
                f"'{picture_path}' is {picture.width} x {picture.height} and its photo {photo.width} x {photo.height}: "
                "a comparison needs the same aspect"
            )
        comparison = comparisons[folder]
        for side, sized in ((f"{size} px", picture.fit(short_side=size)), (OWN_SIZE, picture)):
            if sized.size not in measured:
                measured[sized.size] = _curves(photo.resized(*sized.size).rgb, painter, vgg)
            errors, curves = measured[sized.size]
            comparison.pairs.append(Pair(name, side, errors(sized.rgb), curves))
        comparison.shown.append(_shown(comparison.pairs[-1], errors.photo, sized.rgb, painter))


def _curves(photo: Tensor, painter: _Painter, vgg: VGG) -> tuple[PairedErrors, dict[str, list[Errors]]]:
    errors = PairedErrors(photo, painter.styles, vgg)
    curves = {stroke: [errors(one.paint(photo)) for one in along] for stroke, along in painter.stylizers.items()}
    return errors, curves


def _shown(pair: Pair, photo: Tensor, picture: Tensor, painter: _Painter) -> Shown:
    """The pictures for the sheet: the painting is that of the best stroke, at the nearest strength."""
    (line,) = (line for line in lines([pair]) if line.headline)
    best = ratios(pair, line.style_size).get(BEST)
    stroke, index = (best.stroke, best.nearest) if best else (next(iter(painter.stylizers)), 0)
    along = painter.stylizers[stroke]
    setting = [] if len(along) == 1 else [f"strength {STRENGTHS[index]:g}"]
    setting += [] if stroke == _NO_CONTROL else [f"stroke {stroke}"]
    return Shown(pair.photo, photo, along[index].paint(photo), ", ".join(setting), picture)
