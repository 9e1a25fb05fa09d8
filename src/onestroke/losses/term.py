"""What a term of the objective is, what it may look at, and which terms a config chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.perception.vgg import check_layers


class Statistics(Protocol):
    """What a term may ask of a style, or of the styles of a batch."""

    def gram(self, layer: str) -> Tensor:
        """The Gram matrix of a layer, fp32: (C, C), or (N, C, C), one for each."""
        ...

    def mean(self, layer: str) -> Tensor:
        """The mean of each channel of a layer, fp32: (C,), or (N, C)."""
        ...


@dataclass(frozen=True)
class Again:
    """A second painting of some photos of the batch, for terms that compare it with the first.

    repeated: whether each photo is painted again, (N,) of bool on the CPU. paint: paints pictures (M, 3, H, W), each in
    the style and with the controls of the photo whose number in the batch is given, (M,); with gradients.
    """

    repeated: Tensor
    paint: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Views:
    """What a term may look at.

    output and content: features of the painted batch and of the photos, by layer name, (N, C, H, W); `image` is the
    pixels, in [0, 1]. style: the statistics to be imitated, of one style for all or of one for each. again: while a
    network is trained, paints some of the photos once more; else None.
    """

    output: Mapping[str, Tensor]
    content: Mapping[str, Tensor]
    style: Statistics
    again: Again | None = None

    def detached(self) -> Views:
        """The same without gradients to the network, and with nothing painted again."""
        output = {layer: features.detach() for layer, features in self.output.items()}
        return Views(output, self.content, self.style)


class Term(nn.Module):
    """One part of the objective, with a weight and the layers it reads. Holds no images.

    `forward(views)` gives its loss for each picture, (N,), or one for the batch, a scalar.

    A term may own parameters, such as those of a discriminator: it then has `own_loss` and `optimizer` as well. After
    each step of the network, its parameters make a step of their own; they are kept in the resume file, and the term is
    left out of the held-out loss, as what it says changes while it learns.

    Args:
        layers: names of the layers it reads.
        weight: its factor, on top of what the control gives its side.

    Raises:
        UserError: for an unknown layer or a weight that is no number >= 0.
    """

    side: ClassVar[Literal["content", "style", "neither"]] = "neither"
    """Which end of the strength control it pulls towards; `neither` is left alone by the control."""
    reads_content: ClassVar[bool] = False
    """Whether it looks at the photo's features; the content pass is cut at the deepest such term."""
    trains_only: ClassVar[bool] = False
    """Whether it needs a network that is being trained, and is left out where finished paintings are judged."""

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
        """What the term's own parameters are trained by, a scalar.

        Args:
            views: as for `forward`, without gradients to the network.
        """
        raise NotImplementedError(f"{type(self).__name__} has parameters, and so needs an own_loss")

    def optimizer(self) -> torch.optim.Optimizer:
        """Moves the term's own parameters. It has a learning rate of its own, which the run's schedule leaves alone."""
        return torch.optim.Adam(self.parameters(), lr=1e-4, betas=(0.5, 0.99))

    def over_batch(self, mean: Tensor) -> Tensor:
        """A mean over this process's share of the batch, made one over the whole batch while training."""
        return batch_mean(mean) if self.training else mean.detach()

    def extra_repr(self) -> str:
        return f"layers={self.layers}, weight={self.weight}"


def make_terms(parts: Mapping[str, object], arch: str = "vgg16") -> dict[str, Term]:
    """Check what a config's `loss` group was built into.

    Raises:
        UserError: for entries that are not terms (by name, as an option for a term that wasn't chosen leaves one),
            for unknown layers, and where no term is left.
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
    """The mean of a scalar over all processes of a distributed run, without a gradient; the value itself elsewhere."""
    value = value.detach()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value)
        value /= torch.distributed.get_world_size()
    return value
