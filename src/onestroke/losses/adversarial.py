"""Style: a discriminator that tells patches of the output from patches of the painting (Goodfellow et al., 2014)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from onestroke.errors import UserError
from onestroke.losses.distributions import check_count
from onestroke.losses.term import Term, Views


class Adversarial(Term):
    """The score that a patch discriminator gives the output: the network must paint what it takes for the painting.

    Each score sees 38 x 38 pixels (PatchGAN, Isola et al., 2017), the hinge loss trains it, and spectral norm keeps it
    stable (Miyato et al., 2018). The patches are cut anew in each step, of all pictures of the style, each at the style
    size that belongs to the controls of its photo. One discriminator sees them all.

    Args:
        weight: see `Term`.
        channels: of its first convolution; the others have twice and four times as many.
        lr: learning rate of its own optimizer, Adam.

    Raises:
        UserError: for arguments that are none, and as `Term`.
    """

    side = "style"
    reads_pictures = True

    def __init__(self, weight: float = 0.2, channels: int = 32, lr: float = 2e-4) -> None:
        super().__init__(["image"], weight)
        if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 <= lr < float("inf"):
            raise UserError(f"Adversarial: lr must be a number of at least 0, not {lr!r}")
        self.lr = lr
        sides = [3, *(check_count(self, "channels", channels, 1024) * factor for factor in (1, 2, 4))]
        halving = [
            part
            for inputs, outputs in pairwise(sides)
            for part in (spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2))
        ]
        self.scores = nn.Sequential(*halving, spectral_norm(nn.Conv2d(sides[-1], 1, 3)))

    def forward(self, views: Views) -> Tensor:
        scores: Tensor = self.scores(2 * views.output["image"] - 1)
        return -scores.float().mean(dim=(1, 2, 3))

    def own_loss(self, views: Views) -> Tensor:
        """Hinge loss: scores of the painting's patches are to be above 1, and those of the output below -1."""
        output = views.output["image"]
        side = min(*output.shape[2:], views.style.size)
        patches = views.style.patches(len(output), side, views.generator())
        real, painted = (self.scores(2 * pictures - 1).float() for pictures in (patches, output))
        return F.relu(1 - real).mean() + F.relu(1 + painted).mean()

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam with a short memory, as is usual for discriminators."""
        return torch.optim.Adam(self.parameters(), lr=self.lr, betas=(0.5, 0.99))
