"""Trains a recurrent network on chains of frames: each is painted with the painting of the frame before it.

A chain is a photo seen from a camera that moves on, so that the motion from frame to frame is known exactly; or a part
of a clip, whose motion is estimated. The network is given the last painting as it is when a clip is painted: rounded to
levels, moved along a flow that is slightly wrong, not known in some places, and in some others wrong without a word, as
where something was hidden before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.data.chains import Chains
from onestroke.data.datamodule import Clips, Source
from onestroke.losses.motions import Motions, inside, pixels_of, sampled
from onestroke.losses.temporal import lit
from onestroke.losses.term import Before
from onestroke.networks.assignment import Assignment, Draw
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.training.settings import Settings

FLOW_ERROR = 0.4  # standard deviation of the flow's error in pixels, of the worst frames
HIDDEN = 0.15  # largest share of a frame that is not known, or is wrong
_ERROR_CELLS, _HIDDEN_CELLS = 6, 10  # of a frame's side: how smooth errors are, and how large what is hidden


class Motion(Protocol):
    """The motion from a frame to a later one.

    back: float32 (H, W, 2), for each pixel of the later frame its offset to where it was, x and y in pixels. trust:
    float32 (H, W) in [0, 1]. cut: whether the two show different scenes.
    """

    @property
    def back(self) -> np.ndarray: ...
    @property
    def trust(self) -> np.ndarray: ...
    @property
    def cut(self) -> bool: ...


Flow = Callable[[np.ndarray, np.ndarray], Motion]
"""Estimates the motion between two frames, uint8 (H, W, 3)."""


def pasts_of(
    network: nn.Module, source: Source, settings: Settings, styles: int, flow: Flow | None = None
) -> Pasts | None:
    """The pool of pasts for a recurrent network; None for any other.

    Args:
        network: of the run, which has so many `styles`.
        source: of its pictures. Those of clips are painted in their order if `flow` is given; else a chain is made from
            each picture.
        settings: of the run.
        styles: number of styles.
        flow: for clips.
    """
    if not isinstance(network, RecurrentNetwork):
        return None
    flow = flow if isinstance(source, Clips) else None
    chains = Chains.of(settings.batch_size, styles, settings.seed, flow is not None)
    return Pasts(chains, max(settings.crops), flow)


class Pasts(nn.Module):
    """A pool of paintings, two of each chain, which is part of the resume file: the last one, and the first one.

    Paintings that agree with the last one alone drift: what changes a little with each frame is another stroke soon.

    Args:
        chains: which frames follow one another.
        side: largest side of the square training pictures in pixels.
        flow: estimates the motion between the frames of clips, if the chains are of clips.
    """

    paintings: Tensor
    films: Tensor
    numbers: Tensor
    sides: Tensor

    def __init__(self, chains: Chains, side: int, flow: Flow | None = None) -> None:
        super().__init__()
        self.chains, self.flow = chains, flow
        blank = torch.zeros(2, chains.slots, 3, side, side, dtype=torch.uint8)
        self.register_buffer("paintings", blank)
        self.register_buffer("films", torch.zeros_like(blank) if flow else blank[:, :0].clone())  # what was painted
        self.register_buffer("numbers", torch.full((2, chains.slots), -1))  # of the pictures that were painted
        self.register_buffer("sides", torch.zeros(2, chains.slots, dtype=torch.long))  # of those, in pixels

    @torch.no_grad()
    def frames(self, photos: Tensor, numbers: Sequence[int], draw: Draw) -> tuple[Tensor, Assignment]:
        """The frames of a batch.

        Args:
            photos: the frames of clips, or the first picture of each frame's chain, (N, 3, H, H) in [0, 1].
            numbers: of the frames in the run.
            draw: of style and controls, which a chain keeps.

        Returns:
            The frames, (N, 3, H, H) in [0, 1], and their assignment: with the past of each, and with the paintings that
            it is to agree with, its last one and its chain's first one.
        """
        links, device = [self.chains.link(n) for n in numbers], photos.device
        # one for each frame, so that several processes draw what one would
        generators = [torch.Generator().manual_seed(self.chains.seed * 2**32 + n) for n in numbers]
        ages = torch.tensor([link.age for link in links], device=device)
        motions, pixels = Motions.draw([(self.chains.seed, link.first) for link in links], device), pixels_of(photos)
        seen = photos
        if self.flow is None:  # the first frame is the photo itself
            moved = sampled(photos, motions.places(pixels, ages))
            seen = torch.where((ages > 0).view(-1, 1, 1, 1), moved, photos)
        seen = torch.cat([lit(frame, own) for frame, own in zip(seen.split(1), generators, strict=True)])
        seen = seen.contiguous(memory_format=torch.channels_last)
        earlier: list[Before] = []
        there: list[Tensor] = []
        for which, since in enumerate((ages - 1, torch.zeros_like(ages))):
            slots, kept = self._kept(which, numbers, ages - since, photos.shape[-1])
            kept = kept & (ages > 0)
            if self.flow is None:
                there.append(motions.before(pixels, ages, since))
                visible = inside(there[-1])
            else:
                back, visible = _estimated(self.flow, self.films[which, slots], seen, kept)
                there.append(pixels + back)
            painted = self.paintings[which, slots, :, : seen.shape[-1], : seen.shape[-1]].float() / 255
            earlier.append(Before(painted, visible * kept.float().view(-1, 1, 1, 1)))
        given, right = _as_given(earlier[0], there[0], generators)
        exact = [sampled(each.painting, places) for each, places in zip(earlier, there, strict=True)]
        before = [Before(moved, each.known * right) for moved, each in zip(exact, earlier, strict=True)]
        chosen = draw.of([link.first for link in links])
        assert chosen.repeated is not None
        # a second painting has no past: only that of a first frame can be compared with the first one
        repeated = chosen.repeated & torch.tensor([link.age == 0 for link in links])
        return seen, replace(chosen, repeated=repeated, past=given, before=before)

    @torch.no_grad()
    def keep(self, painting: Tensor, frames: Tensor, numbers: Sequence[int]) -> None:
        """Keep the paintings of a batch and its frames for the frames after it, in all processes.

        Args:
            painting, frames: (N, 3, H, H), about [0, 1].
            numbers: of the frames in the run.
        """
        levels, filmed = _levels(painting), _levels(frames)
        ids = torch.tensor(numbers, device=levels.device)
        ages = torch.tensor([self.chains.link(n).age for n in numbers], device=levels.device)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            levels, filmed, ids, ages = (_gathered(mine) for mine in (levels, filmed, ids, ages))
        slots, side = ids % self.chains.slots, levels.shape[-1]
        pools = [(self.paintings, levels)] + ([] if self.flow is None else [(self.films, filmed)])
        for which, now in enumerate((ages >= 0, ages == 0)):
            for kept, new in ((self.numbers, ids), (self.sides, torch.full_like(ids, side))):
                kept[which, slots] = torch.where(now, new, kept[which, slots])
            for pool, pictures in pools:
                before = pool[which, slots, :, :side, :side]
                pool[which, slots, :, :side, :side] = torch.where(now.view(-1, 1, 1, 1), pictures, before)

    def _kept(self, which: int, numbers: Sequence[int], back: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """The slots of a batch, (N,), and whether each has the painting of so many frames before, bool (N,)."""
        ids = torch.tensor(numbers, device=back.device)
        slots = ids % self.chains.slots
        there = (self.numbers[which, slots] == ids - back * self.chains.slots) & (self.sides[which, slots] == side)
        return slots, there


def _estimated(flow: Flow, before: Tensor, now: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The offsets of pixels to where they were, (N, H, W, 2), and how far that is trusted, (N, 1, H, W).

    Args:
        flow: estimates them.
        before: uint8 (N, 3, S, S), frames in the upper left corner.
        now: (N, 3, H, W), in [0, 1].
        kept: whether there is a frame before, bool (N,).
    """
    height, width = now.shape[-2:]
    back, trust = torch.zeros(len(now), height, width, 2), torch.zeros(len(now), 1, height, width)
    pair = (before[..., :height, :width], _levels(now))
    frames = [part.permute(0, 2, 3, 1).contiguous().cpu().numpy() for part in pair]
    for i in kept.nonzero()[:, 0].tolist():
        motion = flow(frames[0][i], frames[1][i])
        if not motion.cut:
            back[i], trust[i, 0] = torch.from_numpy(motion.back), torch.from_numpy(motion.trust)
    return back.to(now.device), trust.to(now.device)


def _levels(pictures: Tensor) -> Tensor:
    """(N, 3, H, W), about [0, 1] -> uint8."""
    return (pictures.detach().float().nan_to_num().clamp(0, 1) * 255 + 0.5).to(torch.uint8).contiguous()


def _as_given(last: Before, there: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """What the network gets of the last paintings, (N, 4, H, W), and where that is right, (N, 1, H, W), 0 or 1."""
    side = last.painting.shape[-1]
    drawn = [_mistakes(side, generator) for generator in generators]
    error, unknown, wrong = (torch.cat(part).to(there) for part in zip(*drawn, strict=True))
    moved = sampled(last.painting, there + error.permute(0, 2, 3, 1)).clamp(0, 1)
    moved = torch.lerp(moved, last.painting.roll((side // 3, side // 2), dims=(2, 3)), wrong)
    return torch.cat([moved, last.known * (1 - unknown)], dim=1), (1 - unknown) * (1 - wrong)


def _mistakes(side: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Of one frame: the flow's error in pixels, (1, 2, side, side), what is unknown and what is wrong, (1, 1, ...)."""
    spread, unknown, wrong = torch.rand(3, generator=generator).tolist()
    error = FLOW_ERROR * spread * _smooth(2, _ERROR_CELLS, side, generator)
    hidden = [_blobs(share, side, generator) for share in (HIDDEN * unknown, HIDDEN * max(0.0, 2 * wrong - 1))]
    return error, hidden[0], hidden[1]


def _smooth(channels: int, cells: int, side: int, generator: torch.Generator) -> Tensor:
    """Smooth noise, (1, channels, side, side)."""
    coarse = torch.randn(1, channels, cells, cells, generator=generator)
    return F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)


def _blobs(share: float, side: int, generator: torch.Generator) -> Tensor:
    """Smooth shapes, (1, 1, side, side), 0 or 1, which cover about this share of a picture."""
    field = _smooth(1, _HIDDEN_CELLS, side, generator)
    if share == 0:
        return torch.zeros_like(field)
    some = field[:, :, ::4, ::4].flatten().sort(descending=True).values
    return (field > some[int(share * len(some))]).float()


def _gathered(mine: Tensor) -> Tensor:
    """The tensors of all processes, one after the other."""
    parts = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, mine)
    return torch.cat(parts)
