"""What marks the clips that `onestroke infer` paints, by its options."""

from __future__ import annotations

from pathlib import Path

from onestroke.cli.infer_options import Options
from onestroke.inference.stylizer import Stylizer
from onestroke.provenance.credentials import Certificate
from onestroke.provenance.origin import origin_of
from onestroke.video import marking
from onestroke.video.assembly import NO_MARK, Mark
from onestroke.video.reading import Source


def mark_of(
    stylizer: Stylizer, options: Options, source: Source, target: Path, certificate: Certificate | None
) -> Mark:
    """What marks a painted clip; nothing for mark=none.

    Args:
        stylizer: paints.
        options: of the run.
        source: the clip.
        target: where it is painted.
        certificate: signs the painted clip, or None.

    Raises:
        UserError: the clip can't be signed in this way, or the mark has no room.
    """
    if options.mark == "none":
        return NO_MARK
    settings = {name: getattr(options, name) for name in ("color", "mask", "style_map", "steady")}
    over_time = {name: getattr(options, name) for name in ("style", "strength", "stroke")
                 if ":" in str(getattr(options, name))}  # fmt: skip
    origin = origin_of(stylizer.path, stylizer.metadata, {**settings, **over_time})
    painted = options.strengths is None or any(strength > 0 for _, strength in options.strengths.frames)
    return marking.mark_of(source, target, origin, painted, options.format or "png", certificate)
