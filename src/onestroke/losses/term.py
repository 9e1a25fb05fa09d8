"""Terms of the objective: their base class, their inputs, and the check of a config's terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.perception.style import FROM_PICTURES
from onestroke.perception.vgg import check_layers


class Statistics(Protocol):
    """The statistics of a style, or of the styles of a batch."""

    def gram(self, layer: str) -> Tensor:
        """The Gram matrix of a layer, fp32: (C, C), or (N, C, C), one for each."""
        ...

    def mean(self, layer: str) -> Tensor:
        """The mean of each channel of a layer, fp32: (C,), or (N, C)."""
        ...

    def deviations(self) -> Tensor:
        """Standard deviation of L*, and of a* and b* together: (2,), or (N, 2)."""
        ...

    def samples(self, layer: str) -> Tensor:
        """Features of a layer at many places of the painting, fp32: (C, places), or (N, C, places)."""
        ...

    def patches(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """Random patches of the painting, (count, 3, side, side); of the styles of a batch, one for each picture."""
        ...

    @property
    def size(self) -> int:
        """The shorter side in pixels at which it was measured; of several styles, the smallest."""
        ...


@dataclass(frozen=True)
class SecondPainting:
    """A second painting of some photos of the batch, for terms that compare it with the first.

    repeated: whether each photo is to be painted again for the term `shift_consistency`, bool (N,) on the CPU. paint:
    `paint(pictures, indices)` paints pictures (M, 3, H, W), each with the style and the controls of the photo of that
    index in the batch, (M,), with gradients. moved: as `repeated`, for the term `temporal`.
    """

    repeated: Tensor
    paint: Callable[[Tensor, Tensor], Tensor]
    moved: Tensor


@dataclass(frozen=True)
class Before:
    """Paintings of earlier frames of a batch of frames, moved exactly to where their content is now.

    painting: (N, 3, H, W) in [0, 1]. known: (N, 1, H, W), 1 where the content of a pixel was seen before, else 0.
    """

    painting: Tensor
    known: Tensor


@dataclass(frozen=True)
class Views:
    """The inputs of a term.

    output and content: features of the painted batch and of the photos, by layer name, (N, C, H, W); `image` is the
    pixels, in [0, 1]. style: the target statistics, of one style for all pictures or of one for each. second: paints
    some of the photos a second time while a network is trained; else None. step: number of the training step, 0 where
    finished paintings are evaluated. peaks: where a term reads them, the largest activation of each channel of the
    network's norms, (N, channels), in standard deviations from the channel's mean; else None. before: where a
    recurrent network paints frames, paintings of earlier ones; else empty.
    """

    output: Mapping[str, Tensor]
    content: Mapping[str, Tensor]
    style: Statistics
    second: SecondPainting | None = None
    step: int = 0
    peaks: Tensor | None = None
    before: Sequence[Before] = ()

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU that follow from the step, so that a resumed run draws the same."""
        return torch.Generator().manual_seed(self.step)

    def detached(self) -> Views:
        """The same without gradients to the network and without a second painting."""
        output = {layer: features.detach() for layer, features in self.output.items()}
        return Views(output, self.content, self.style, step=self.step)


class Term(nn.Module):
    """One part of the objective, with a weight and the layers it reads. Holds no images.

    `forward(views)` returns the loss of each picture, (N,), or one for the batch, a scalar.

    A term may own parameters, such as those of a discriminator: it then defines `own_loss`, and may override
    `optimizer`. After each step of the network, its parameters make a step of their own. They are part of the resume
    file, and the term is left out of the held-out loss, which would otherwise change as the term learns.

    Args:
        layers: names of the layers it reads.
        weight: its factor, multiplied by that of its side, see `objective.balance`.

    Raises:
        UserError: for an unknown layer or a weight that is no number >= 0.
    """

    side: ClassVar[Literal["content", "style", "neither"]] = "neither"
    """The end of the strength control that it belongs to; terms of `neither` don't depend on the control."""
    reads_content: ClassVar[bool] = False
    """Whether it reads the photo's features; they are computed up to the deepest layer of such terms."""
    reads_pictures: ClassVar[bool] = False
    """Whether it reads samples of its layers, or patches, of the painting: such a run needs the picture itself."""
    reads_peaks: ClassVar[bool] = False
    """Whether it reads `Views.peaks`, of a network that is being trained."""
    trains_only: ClassVar[bool] = False
    """Whether it needs a network that is being trained; it is left out when finished paintings are evaluated."""

    def __init__(self, layers: Sequence[str], weight: float = 1.0) -> None:
        super().__init__()
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise UserError(f"{type(self).__name__}: weight must be a number of at least 0, not {weight!r}")
        named = isinstance(layers, Sequence) and not isinstance(layers, str) and all(isinstance(x, str) for x in layers)
        if not named or not layers:
            raise UserError(f"{type(self).__name__}: layers must be a list of layer names, not {layers!r}")
        self.layers = tuple(layers)
        self.weight = float(weight)

    def forward(self, views: Views) -> Tensor:
        raise NotImplementedError

    def own_loss(self, views: Views) -> Tensor:
        """The loss of the term's own parameters, a scalar.

        Args:
            views: as for `forward`, without gradients to the network.
        """
        raise NotImplementedError(f"{type(self).__name__} has parameters, and so needs an own_loss")

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the term's own parameters; the run's schedule does not change its learning rate."""
        return torch.optim.Adam(self.parameters(), lr=1e-4, betas=(0.5, 0.99))

    @property
    def learns(self) -> bool:
        """Whether it owns parameters that are trained."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def over_batch(self, mean: Tensor) -> Tensor:
        """Turn a mean over this process's part of the batch into one over the whole batch; while training only."""
        return batch_mean(mean) if self.training else mean.detach()

    def extra_repr(self) -> str:
        return f"layers={self.layers}, weight={self.weight}"


def layers_of(terms: Iterable[Term]) -> set[str]:
    """The names of all layers that terms read."""
    return {layer for term in terms for layer in term.layers}


def sampled_layers(terms: Mapping[str, Term], has_pictures: bool) -> set[str]:
    """The layers of which terms read samples of the painting; `image` if one reads its pixels or patches.

    Raises:
        UserError: if there are any, and the run has style cards in place of pictures.
    """
    found = {name: term for name, term in terms.items() if term.reads_pictures}
    if found and not has_pictures:
        raise UserError(f"loss.{next(iter(found))} compares with the painting itself: {FROM_PICTURES}")
    return layers_of(found.values())


def make_terms(parts: Mapping[str, object], arch: str = "vgg16") -> dict[str, Term]:
    """Check the terms that were built from a config's `loss` group.

    Raises:
        UserError: for entries that are not terms (an option of a term that wasn't chosen leaves such an entry), for
            unknown layers, and for no term at all.
    """
    terms: dict[str, Term] = {}
    for name, part in parts.items():
        if not isinstance(part, Term):
            raise UserError(
                f"loss.{name} is no term of this run's objective ({', '.join(parts)}): "
                f"choose it with 'loss=[...,{name}]' or leave its options out"
            )
        check_layers(part.layers, arch)
        terms[name] = part
    if not terms:
        raise UserError("loss is empty: choose terms, such as 'loss=[content,gram,checkerboard]'")
    return terms


def batch_mean(value: Tensor) -> Tensor:
    """Mean of a scalar over all processes of a distributed run, without a gradient; else the value itself."""
    value = value.detach()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value)
        value /= torch.distributed.get_world_size()
    return value
