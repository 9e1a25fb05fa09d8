"""The objective: each VGG pass once, then every term on its features (perceptual losses, Johnson et al., 2016).

Every term is relative, so that its size means the same for each painting and nothing is left to tune but one control:
`strength`, from 0 (the photo) to 1 (the painting).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.perception.style import Statistics, Style, StyleOfEach
from onestroke.perception.vgg import VGG, check_layers

# How much the style term counts against the content term with the control in the middle, the same for every style.
# Direct optimisation of three photos towards The Starry Night ends at a content error of 0.2 to 0.4 with 2, of 0.3 to
# 1.0 with 6 and of 0.5 to 2.0 with 16, where two unrelated pictures are about 2 apart.
MIDDLE = 5.0


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


def balance(strength: float) -> dict[str, float]:
    """The factors of both sides of the control.

    At 0.5 content counts 1 and style MIDDLE; at 0 style counts nothing, at 1 content counts nothing, each falling as
    a square on its half of the control: 0.25 and 0.75 are a factor of 4 away from the middle.

    Raises:
        UserError: outside of 0..1.
    """
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= 1:
        raise UserError(f"style.strength must be a number from 0 (the photo) to 1 (the painting), not {strength!r}")
    # each side fades on its own half of the control only, so that the loss stays O(1) at both ends
    content, style = min(1.0, 2 * (1 - strength)), min(1.0, 2 * strength)
    return {"content": content**2, "style": MIDDLE * style**2, "neither": 1.0}


class Objective(nn.Module):
    """Terms on the features of one VGG.

    Args:
        terms: the terms by the name that each is logged under.
        vgg: a frozen VGG, which knows at least the layers that the terms name.
        style: the statistics to be imitated, of one style or of several.
        strength: the control, 0 to 1.
    """

    def __init__(
        self, terms: Mapping[str, Term], vgg: VGG, style: Style | Sequence[Style], strength: float = 0.5
    ) -> None:
        super().__init__()
        self.terms = nn.ModuleDict(terms)
        self.vgg = vgg
        self.styles = nn.ModuleList([style] if isinstance(style, Style) else style)
        factors = balance(strength)
        self.factors = {name: term.weight * factors[term.side] for name, term in terms.items()}
        self.output_layers = {layer for term in terms.values() for layer in term.layers}
        self.content_layers = {layer for term in terms.values() if term.reads_content for layer in term.layers}

    @property
    def style(self) -> Style:
        """The style, or the first of several."""
        style = self.styles[0]
        assert isinstance(style, Style)
        return style

    def forward(
        self,
        output: Tensor,
        content: Tensor,
        which: Tensor | None = None,
        strength: Tensor | None = None,
        again: Again | None = None,
    ) -> dict[str, Tensor]:
        """The weighted terms by name, scalars; the loss is their sum.

        Args:
            output: the painted batch, (N, 3, H, W), about [0, 1].
            content: the photos it was painted from, the same shape, in [0, 1].
            which: the number of each one's style, (N,); None: all have the first.
            strength: another balance for each picture, (N,) on the CPU; None: this one's.
            again: what some of the photos are painted with once more, for terms that ask for it.
        """
        return self.weighted(self.views(output, content, which, again), strength)

    def views(self, output: Tensor, content: Tensor, which: Tensor | None = None, again: Again | None = None) -> Views:
        """What the terms are computed from; as for `forward`."""
        with torch.no_grad():
            content_features = self.vgg(content, self.content_layers)
        style = self.style if which is None else StyleOfEach(self.styles, which)
        return Views(self.vgg(output, self.output_layers), content_features, style, again)

    def weighted(self, views: Views, strength: Tensor | None = None) -> dict[str, Tensor]:
        """As `forward`, where the views are at hand."""
        terms = {name: term for name, term in self.terms.items() if views.again is not None or not _trains_only(term)}
        if strength is None:
            return {name: self.factors[name] * term(views).mean() for name, term in terms.items()}
        controls = [balance(float(s)) for s in strength]
        found = {}
        for name, term in terms.items():
            assert isinstance(term, Term)
            loss: Tensor = term(views)
            factors = torch.tensor([term.weight * control[term.side] for control in controls])
            found[name] = (factors.to(loss.device) * loss).mean()
        return found


def _trains_only(term: nn.Module) -> bool:
    """Whether a term is left out where finished paintings are judged."""
    return bool(getattr(term, "trains_only", False)) or next(term.parameters(), None) is not None


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
