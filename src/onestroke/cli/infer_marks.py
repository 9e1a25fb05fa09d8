"""What marks the paintings of `onestroke infer`, by its options."""

from __future__ import annotations

from pathlib import Path

from onestroke.cli.infer_options import Options
from onestroke.cli.marks import Marker, certificate_of
from onestroke.inference.stylizer import Stylizer
from onestroke.inference.working_size import scale_of
from onestroke.provenance.credentials import Certificate
from onestroke.provenance.origin import Origin, origin_of, recorded
from onestroke.video import marking, steady
from onestroke.video.assembly import NO_MARK, Mark
from onestroke.video.marking import Said
from onestroke.video.reading import Source


def origin_of_run(stylizer: Stylizer, options: Options, **more: object) -> Origin | None:
    """What is said of all paintings of a run; None for mark=none.

    Args:
        stylizer: as it was opened, before style and controls change over time.
        options: of the run.
        more: settings of photos or of clips, which hold no path.

    Raises:
        UserError: the style file can't be read.
    """
    if options.mark == "none":
        return None
    settings = recorded(options.color, options.mask, options.style_map, options.feather, **more)
    return origin_of(stylizer.path, stylizer.metadata, settings)


def marker_of(stylizer: Stylizer, options: Options) -> Marker:
    """What marks painted photos.

    Raises:
        UserError: the certificate can't be used, or the style file can't be read.
    """

    def scaled(height: int, width: int) -> dict[str, object]:
        scale = scale_of(options.stroke_scale, height, width)
        return {"stroke_scale": scale if scale > 1 else None}

    return Marker(origin_of_run(stylizer, options), certificate_of(options.sign, options.key), scaled)


def clips_origin(stylizer: Stylizer, options: Options) -> Origin | None:
    """What is said of painted clips; arguments and errors as for `origin_of_run`."""
    numbers = {"strength": options.strengths, "stroke": options.strokes}
    over_time = {name: str(value) for name, value in numbers.items() if value is not None and value.changes}
    return origin_of_run(stylizer, options, steady=steady_of(options), style=options.styles, **over_time)


def steady_of(options: Options) -> float:
    """How steadily clips are painted, from 0 to 1."""
    return steady.DEFAULT if options.steady is None else options.steady


def clip_mark(
    origin: Origin | None, options: Options, source: Source, said: Said, target: Path, certificate: Certificate | None
) -> Mark:
    """What marks a painted clip; nothing for mark=none.

    Args:
        origin: what is said of the run's clips.
        options: of the run.
        source: the clip.
        said: what it says of itself.
        target: where it is painted.
        certificate: signs the painted clip, or None.

    Raises:
        UserError: the clip can't be signed in this way, or the mark has no room.
    """
    if origin is None:
        return NO_MARK
    painted = options.strengths is None or any(strength > 0 for _, strength in options.strengths.frames)
    return marking.mark_of(source, said, target, origin, painted, options.format or "png", certificate)
