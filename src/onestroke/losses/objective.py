"""The objective: VGG features are computed once, then every term uses them (perceptual losses, Johnson et al., 2016).

Every term is relative, so that its size means the same for each painting and one control is left to choose: `strength`,
from 0 (the photo) to 1 (the painting).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.losses.term import SecondPainting, Term, Views, layers_of
from onestroke.perception.style import Style
from onestroke.perception.style_of_each import StyleOfEach
from onestroke.perception.vgg import VGG

# Weight of the style terms relative to the content terms at strength 0.5, the same for every style.
# Direct optimisation of three photos towards The Starry Night ends at a content error of 0.2 to 0.4 for a weight of 2,
# 0.3 to 1.0 for 6 and 0.5 to 2.0 for 16; two unrelated pictures have about 2.
MIDDLE = 5.0


def balance(strength: float) -> dict[str, float]:
    """The factors of content and style terms at a strength.

    At 0.5 they are 1 and MIDDLE. Towards 0 the factor of style falls to 0, as a square. Towards 1 the factor of content
    falls to a sixteenth, as a power of two: without any content, paintings of strength 1 came out worse in both errors.

    Raises:
        UserError: outside of 0..1.
    """
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= 1:
        raise UserError(f"style.strength must be a number from 0 (the photo) to 1 (the painting), not {strength!r}")
    # each factor changes in one half of the range only, so that the loss stays O(1) at both ends
    content, style = min(1.0, 16.0 ** (1 - 2 * strength)), min(1.0, 2 * strength) ** 2
    return {"content": content, "style": MIDDLE * style, "neither": 1.0}


class Objective(nn.Module):
    """Terms on the features of one VGG.

    Args:
        terms: the terms by the name that each is logged under.
        vgg: a frozen VGG that has all layers that the terms name.
        style: the target statistics, of one style or of several.
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
        self.output_layers = layers_of(terms.values())
        self.content_layers = layers_of(term for term in terms.values() if term.reads_content)
        # when finished paintings are evaluated, terms that learn are left out too
        self._train_only = {name for name, term in terms.items() if term.trains_only or term.learns}

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
        second: SecondPainting | None = None,
    ) -> dict[str, Tensor]:
        """The weighted terms by name, scalars; the loss is their sum.

        Args:
            output: the painted batch, (N, 3, H, W), about [0, 1].
            content: the photos it was painted from, the same shape, in [0, 1].
            which: index of each picture's style, (N,); None: the first style for all.
            strength: strength of each picture, (N,) on the CPU, in place of the objective's own; None: that.
            second: paints some of the photos a second time, for terms that need it.
        """
        return self.weighted(self.views(output, content, which, second), strength)

    def views(
        self,
        output: Tensor,
        content: Tensor,
        which: Tensor | None = None,
        second: SecondPainting | None = None,
        step: int = 0,
    ) -> Views:
        """The inputs of the terms; arguments as for `forward`, and the number of the training step."""
        with torch.no_grad():
            content_features = self.vgg(content, self.content_layers)
        style = self.style if which is None else StyleOfEach(self.styles, which)
        return Views(self.vgg(output, self.output_layers), content_features, style, second, step)

    def weighted(self, views: Views, strength: Tensor | None = None) -> dict[str, Tensor]:
        """As `forward`, for views that are already computed."""
        left_out = self._train_only if views.second is None else ()
        terms = {name: term for name, term in self.terms.items() if name not in left_out}
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
