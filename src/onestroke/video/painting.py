"""Paint the frames of a clip: style and controls over time, steadiness, colours and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onestroke.errors import UserError
from onestroke.imaging.levels import levels_of
from onestroke.inference.compositing import COLOURS, Palette, feathered, palette, recoloured, repainted
from onestroke.inference.controls import read_grey
from onestroke.inference.frames import image_of
from onestroke.inference.stylizer import Stylizer
from onestroke.video import steady
from onestroke.video.averaging import Averaged
from onestroke.video.clip import Clip
from onestroke.video.flow import Motion
from onestroke.video.keyframes import Mixes, Numbers
from onestroke.video.last_painting import LastPainting
from onestroke.video.reading import Frame

_PALETTE_SHARE = 0.1
"""Share of each frame in the running palettes of color=match, so that colours do not flicker."""


@dataclass(frozen=True)
class Look:
    """How a clip is painted.

    strength, stroke, style: over time, None for those of the Stylizer. steady: see `steady.Steady`. color, style_map,
    mask, feather: as for pictures; maps and masks lie over all frames.
    """

    strength: Numbers | None = None
    stroke: Numbers | None = None
    style: Mixes | None = None
    steady: float = steady.DEFAULT
    color: str = "style"
    style_map: str | None = None
    mask: str | None = None
    feather: float = 0.0


@dataclass(frozen=True)
class Prepared:
    """A frame, the motion from the one before, and its average with those before."""

    frame: Frame
    motion: Motion | None
    averaged: Averaged


@dataclass(frozen=True)
class Painted:
    """What the network made of a frame, uint8 (H, W, 3), and the state of a recurrent style after it."""

    prepared: Prepared
    painting: np.ndarray
    past: dict[str, np.ndarray]


class ClipPainter:
    """Paints the frames of one clip in their order.

    Args:
        stylizer: the style.
        clip: gives the size of its frames.
        look: how they are painted.

    Raises:
        UserError: a map or mask can't be read or has another aspect, a frame is too large for the memory, or the
            style file lacks a style of a later keyframe.
    """

    def __init__(self, stylizer: Stylizer, clip: Clip, look: Look) -> None:
        if look.color not in COLOURS:
            raise UserError(f"color={look.color}: known are {', '.join(COLOURS)}")
        self.stylizer, self.clip, self.look = stylizer, clip, look
        size = clip.height, clip.width
        self.frames = stylizer.frames(*size)
        self.style_map = None if look.style_map is None else read_grey(look.style_map, *size)
        self.mask = None
        if look.mask not in (None, "alpha"):
            self.mask = feathered(read_grey(str(look.mask), *size), look.feather).clamp(0, 1)
        self.steady = steady.Steady(self.frames, look.steady)
        self.with_past = LastPainting(self.frames)
        self.past: dict[str, np.ndarray] = {}  # of a recurrent style, after the last frame that is finished
        self.palettes: tuple[Palette, Palette] | None = None
        self.controls: tuple[str | None, float | None, float | None] = None, None, None  # that were set last
        for _, mix in () if look.style is None else look.style.frames:
            stylizer.set(mix)  # so that a mistake is told before an hour of painting

    @property
    def needs_motion(self) -> bool:
        """Whether the motion between frames is used."""
        return self.look.steady > 0 or self.frames.recurrent or self.look.color == "match"

    @property
    def at_once(self) -> int:
        """How many frames `paint` may paint at once: two, where none depends on another and the memory suffices.

        A network has half of the cores where strokes are moved too (`share_cores`), and that takes less than half.
        """
        look = self.look
        over_time = look.style is not None or look.strength is not None or look.stroke is not None
        if look.steady == 0 or over_time or self.frames.recurrent or self.style_map is not None:
            return 1
        try:
            self.stylizer.check_memory(2, self.clip.height, self.clip.width)
        except UserError:
            return 1
        return 2

    def __call__(self, frame: Frame, motion: Motion | None) -> np.ndarray:
        """Paint the next frame.

        Args:
            frame: as decoded.
            motion: from the frame before; None for the first, or where it is not needed.

        Returns:
            uint8 (H, W, 3), RGB.

        Raises:
            UserError: as `Stylizer.paint`.
        """
        return self.finish(self.paint(self.prepare(frame, motion)))

    def prepare(self, frame: Frame, motion: Motion | None) -> Prepared:
        """Average the next frame with those before; arguments as for a call.

        This, `paint` and `finish` may each run in a thread of its own, for frame after frame.
        """
        return Prepared(frame, motion, self.steady.averaged(frame.rgb, motion))

    def paint(self, prepared: Prepared) -> Painted:
        """Run the network on a frame."""
        self._set(float(prepared.frame.pts * self.clip.time_base))
        painting = self._paint(prepared.averaged.clean, prepared.motion)
        return Painted(prepared, painting, self.with_past.state())

    def finish(self, fresh: Painted) -> np.ndarray:
        """The painting of a frame, uint8 (H, W, 3): steady, in its colours, and behind the mask."""
        frame, motion, self.past = fresh.prepared.frame, fresh.prepared.motion, fresh.past
        painted = self.steady.steadied(fresh.prepared.averaged, fresh.painting)
        if self.look.color == "style" and self.look.mask is None:
            return painted
        photo, painting = image_of(frame.rgb), image_of(painted)
        if self.look.color == "match":
            painting = self._matched(painting, photo, frame.alpha, motion is None or motion.cut)
        else:
            painting = recoloured(painting, photo, self.look.color)
        mask = self.mask
        if self.look.mask == "alpha" and frame.alpha is not None:
            mask = feathered(torch.from_numpy(frame.alpha)[None, None] / 255, self.look.feather).clamp(0, 1)
        return levels_of((painting if mask is None else torch.lerp(photo, painting, mask))[0])

    def state(self, last: Frame) -> dict[str, np.ndarray]:
        """All that the next frame depends on, after `last` was finished; see `restore`."""
        if not self.needs_motion:
            return {}
        state = {"before": last.rgb, **{f"steady.{name}": value for name, value in self.steady.state().items()}}
        state |= {f"past.{name}": value for name, value in self.past.items()}
        for name, each in zip(("painted", "photo"), self.palettes or (), strict=False):
            state[f"palette.{name}"] = torch.cat((each.mean, each.covariance), dim=1).numpy()
        return state

    def restore(self, state: dict[str, np.ndarray]) -> np.ndarray | None:
        """Go on where `state` was taken; returns the frame before, None where there is none or it is not needed."""
        if not state:
            return None
        self.steady.restore({k.removeprefix("steady."): v for k, v in state.items() if k.startswith("steady.")})
        self.past = {k.removeprefix("past."): v for k, v in state.items() if k.startswith("past.")}
        self.with_past.restore(self.past)
        if "palette.photo" in state:
            tables = [torch.from_numpy(state[f"palette.{name}"]) for name in ("painted", "photo")]
            self.palettes = (Palette(tables[0][:, :1], tables[0][:, 1:]), Palette(tables[1][:, :1], tables[1][:, 1:]))
        return state["before"]

    def _set(self, seconds: float) -> None:
        """Set style and controls for a time, where they change over time."""
        look = self.look
        controls = (
            None if look.style is None else look.style.at(seconds),
            None if look.strength is None else look.strength.at(seconds),
            None if look.stroke is None else look.stroke.at(seconds),
        )
        if controls != self.controls:
            self.stylizer.set(*controls)
            self.controls = controls

    def _paint(self, rgb: np.ndarray, motion: Motion | None) -> np.ndarray:
        if self.style_map is None and self.frames.recurrent:
            return self.with_past(rgb, motion)
        if self.style_map is None:
            return self.frames(rgb)
        return levels_of(self.stylizer.paint(image_of(rgb), style_map=self.style_map)[0])

    def _matched(self, painting: Tensor, photo: Tensor, alpha: np.ndarray | None, afresh: bool) -> Tensor:
        """The painting in the photo's palette; both palettes are means over the last frames since a cut."""
        weight = None if alpha is None else torch.from_numpy(alpha)[None, None] / 255
        now = palette(painting, weight), palette(photo, weight)
        if self.palettes is None or afresh:
            self.palettes = now
        else:
            self.palettes = (
                self.palettes[0].moved(now[0], _PALETTE_SHARE),
                self.palettes[1].moved(now[1], _PALETTE_SHARE),
            )
        return repainted(painting, *self.palettes)
