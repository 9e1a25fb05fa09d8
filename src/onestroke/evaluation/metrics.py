"""Metrics of a painting: errors of the objective, and errors at layers and sizes that training doesn't use.

Pictures are float32 RGB, (N, 3, H, W) in [0, 1], clamped as they are saved; of a batch, each metric is the mean.

| function              | source                                    | range, and which is better                     |
|-----------------------|-------------------------------------------|------------------------------------------------|
| content_errors        | Johnson et al., 2016; relative as trained | from 0 (the photo); two photos: about 2. Less  |
| style_errors          | Gatys et al., 2016; relative as trained   | 0 (the painting) to 2. Less                    |
| style_errors_at_sizes | the same, enlarged                        | 0 to 2. Less                                   |
| e_statistic           | Yeh et al., WACV 2020                     | -6 (an empty picture) to MOST_E. More          |
| ssim                  | Wang et al., 2004                         | -1 to 1 (the photo). More is closer            |
| self_similarity       | Kolkin et al., CVPR 2019                  | 0 (the photo's structure) to 1. Less is closer |
| lpips                 | Zhang et al., CVPR 2018                   | from 0 (the photo) to about 1. Less is closer  |

The last three, in structure.py and lpips.py, measure how much of the photo is kept. As a painting should not keep all
of it, read them together with the style errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from onestroke.evaluation.structure import check_alike
from onestroke.imaging import images
from onestroke.kernels.gram import gram_matrix
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.term import Views
from onestroke.perception.style import Facts, Style
from onestroke.perception.vgg import VGG

HELD_OUT_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
"""Layers that the default objective does not use."""
HELD_OUT_SIZES = (384, 512)
"""Style sizes in pixels that training at the default, 256, does not use."""

E_LAYERS = {"relu1_1": 32, "relu2_1": 48, "relu3_1": 128, "relu4_3": 256}
"""Layers of the E statistic, and the largest number of principal components of each."""
LEAST_VARIANCE = 1e-3
"""Components with less than this share of the leading one's variance are left out: style cards are in fp16."""
MOST_E = 10.0


@torch.no_grad()
def content_errors(output: Tensor, photo: Tensor, vgg: VGG, layers: Sequence[str] = ("relu3_3",)) -> dict[str, float]:
    """The objective's content term for each layer alone: `||F(output) - F(photo)||^2 / ||F(photo)||^2`.

    For a batch, both norms are over the whole batch, as in the objective.

    Raises:
        ValueError: the shapes differ.
    """
    check_alike(output, photo)
    found, kept = vgg(output, layers), vgg(photo, layers)
    nothing = Style("none", {}, {}, Facts(), 0)  # the term does not use it
    return {layer: float(Content([layer]).eval()(Views(found, kept, nothing)).mean()) for layer in layers}


@torch.no_grad()
def style_errors(output: Tensor, style: Style, vgg: VGG, layers: Sequence[str] = Gram().layers) -> dict[str, float]:
    """The objective's Gram term for each layer alone; training doesn't use HELD_OUT_LAYERS."""
    found = vgg(output, layers)
    return {layer: float(Gram([layer]).eval()(Views(found, {}, style)).mean()) for layer in layers}


def style_errors_at_sizes(
    output: Tensor, size: int, styles: Sequence[Style], vgg: VGG, layers: Sequence[str] = Gram().layers
) -> dict[int, dict[str, float]]:
    """Style errors with the painted picture and the painting enlarged (or shrunk) by the same factor.

    A network that was trained with a painting at `size` should also match that painting at twice the size, when its
    output is enlarged by 2. A network that has overfitted to VGG's responses at its own size does not. Enlarging adds
    no detail, so even for the best network the error is somewhat larger than at `size`.

    Args:
        output: painted pictures, with strokes of the size of the painting at `size`.
        size: shorter side at which the painting was measured for the training.
        styles: the same painting, measured at other sizes.

    Returns:
        {size: {layer: error}}.
    """
    found = {}
    for style in styles:
        height, width = (max(1, round(side * style.size / size)) for side in output.shape[-2:])
        found[style.size] = style_errors(images.resize(output, height, width), style, vgg, layers)
    return found


@torch.no_grad()
def e_statistics(output: Tensor, style: Style, vgg: VGG) -> dict[str, float]:
    """The base E statistics (Yeh et al., 2020) by layer: minus the logarithm of the distance of output and painting.

    Features of a layer are modelled as Gaussian; the distance is `KL(output || painting)` after projection onto the
    leading principal components. More is better, at most MOST_E: a photo has -3 to -5, direct optimisation for 60
    iterations -2. Values for different paintings are not comparable.

    Differences from the paper: the embedded VGG16 ends before relu5_1, so relu4_3 replaces relu4_1 and relu5_1. The
    paper takes the components of a set of photos; here they are those of the painting, which a style card provides, at
    most as many as E_LAYERS says (the paper's numbers), without those below LEAST_VARIANCE. The paper weights layers by
    a fit to human preferences; its weights are for VGG19 and are not published with its code.
    """
    features = vgg(output, E_LAYERS)
    found = {}
    for layer, most in E_LAYERS.items():
        mean, covariance = _gaussian(style.gram(layer), style.mean(layer))
        variances, vectors = torch.linalg.eigh(covariance)
        count = min(most, int((variances >= LEAST_VARIANCE * variances[-1]).sum()))
        basis = vectors[:, -count:]
        # flat parts have no variance, whose logarithm would be infinite
        ridge = 1e-3 * LEAST_VARIANCE * variances[-1] * torch.eye(count, dtype=basis.dtype)
        target = mean @ basis, basis.T @ covariance @ basis + ridge
        values = []
        for gram, one in zip(gram_matrix(features[layer]), features[layer].float().mean(dim=(2, 3)), strict=True):
            own_mean, own = _gaussian(gram, one)
            distance = gaussian_kl(own_mean @ basis, basis.T @ own @ basis + ridge, *target)
            values.append(-math.log(max(distance, math.exp(-MOST_E))))
        found[layer] = sum(values) / len(values)
    return found


def e_statistic(output: Tensor, style: Style, vgg: VGG) -> float:
    """The mean of `e_statistics` over layers, with equal weights in place of the paper's fitted ones."""
    found = e_statistics(output, style, vgg)
    return sum(found.values()) / len(found)


def gaussian_kl(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """`KL(N(mean, covariance) || N(other_mean, other_covariance))` in nats, at least 0; shapes (K,) and (K, K)."""
    gap = other_mean - mean
    inner = torch.linalg.solve(other_covariance, torch.cat([covariance, gap[:, None]], dim=1))
    determinants = torch.linalg.slogdet(other_covariance).logabsdet - torch.linalg.slogdet(covariance).logabsdet
    return max(0.0, float(inner[:, :-1].trace() + gap @ inner[:, -1] - len(gap) + determinants) / 2)


def _gaussian(gram: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a layer's features in float64, from `F F^T / (C H W)` and the channels' means."""
    gram, mean = gram.detach().cpu().double(), mean.detach().cpu().double()
    return mean, len(mean) * gram - torch.outer(mean, mean)
