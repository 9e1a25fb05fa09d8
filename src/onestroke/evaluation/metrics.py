"""What a painting is worth, as numbers: errors as trained, and errors that no training saw.

Pictures are float32 RGB, (N, 3, H, W) in [0, 1], as they are looked at; of a batch, each number is the mean.

| function              | source                                    | range, and what is better                      |
|-----------------------|-------------------------------------------|------------------------------------------------|
| content_errors        | Johnson et al., 2016; relative as trained | from 0 (the photo); two photos: about 2. Less  |
| style_errors          | Gatys et al., 2016; relative as trained   | 0 (the painting) to 2. Less                    |
| style_errors_at_sizes | the same, enlarged                        | 0 to 2. Less                                   |
| e_statistic           | Yeh et al., WACV 2020                     | -6 (an empty picture) to MOST_E. More          |
| ssim                  | Wang et al., 2004                         | -1 to 1 (the photo). More is closer            |
| self_similarity       | Kolkin et al., CVPR 2019                  | 0 (the photo's structure) to 1. Less is closer |
| lpips                 | Zhang et al., CVPR 2018                   | from 0 (the photo) to about 1. Less is closer  |

The last three, of structure.py and lpips.py, tell how much of the photo is left. No painting is to keep all of it: they
are read beside the style's.
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
"""Layers that the default objective does not look at."""
HELD_OUT_SIZES = (384, 512)
"""Style sizes that a training at the default 256 does not look at."""

E_LAYERS = {"relu1_1": 32, "relu2_1": 48, "relu3_1": 128, "relu4_3": 256}
"""Layers of the E statistic, and the most components of each."""
LEAST_VARIANCE = 1e-3
"""Components with less than this share of the leading one's variance are left out: style cards are in fp16."""
MOST_E = 10.0


@torch.no_grad()
def content_errors(output: Tensor, photo: Tensor, vgg: VGG, layers: Sequence[str] = ("relu3_3",)) -> dict[str, float]:
    """What the objective's content term finds at each layer alone: `||F(output) - F(photo)||^2 / ||F(photo)||^2`.

    Of a batch both norms are over the whole batch, as in the objective.

    Raises:
        ValueError: the pictures are not alike in shape.
    """
    check_alike(output, photo)
    found, kept = vgg(output, layers), vgg(photo, layers)
    nothing = Style("none", {}, {}, Facts(), 0)  # the term looks at no style
    return {layer: float(Content([layer]).eval()(Views(found, kept, nothing)).mean()) for layer in layers}


@torch.no_grad()
def style_errors(output: Tensor, style: Style, vgg: VGG, layers: Sequence[str] = Gram().layers) -> dict[str, float]:
    """What the objective's Gram term finds at each layer alone; HELD_OUT_LAYERS are ones that no training saw."""
    found = vgg(output, layers)
    return {layer: float(Gram([layer]).eval()(Views(found, {}, style)).mean()) for layer in layers}


def style_errors_at_sizes(
    output: Tensor, size: int, styles: Sequence[Style], vgg: VGG, layers: Sequence[str] = Gram().layers
) -> dict[int, dict[str, float]]:
    """Style errors with the painted picture and the painting both seen enlarged (or shrunk) alike.

    A painter that was trained on a painting of `size` should also be met by that painting at twice the size, when
    what it painted is enlarged twice. One that has only learnt what VGG answers to at its own size is not. Enlarging
    adds no detail, so that the error is somewhat above that at `size` for the best of painters too.

    Args:
        output: painted pictures, whose strokes are those of the painting at `size`.
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
    """The base E statistics (Yeh et al., 2020): minus the logarithm of how far output and painting are, by layer.

    Features of a layer count as drawn from a Gaussian; the distance is `KL(output || painting)` after both were
    projected on the leading principal components. More is better, MOST_E at most: a photo has -3 to -5, direct
    optimisation for 60 iterations -2. The values of one painting are not comparable with those of another.

    What is ours: VGG16 has no relu4_1 and relu5_1 within the embedded layers, so relu4_3 stands for both. The paper's
    components are those of a set of photos; here they are the painting's own, so that they travel with a style card,
    and at most those of E_LAYERS (the paper's numbers), without the ones below LEAST_VARIANCE. The paper then weighs
    layers as fitted to what people preferred between two paintings; those weights are for VGG19's layers and are not
    published with its code.
    """
    features = vgg(output, E_LAYERS)
    found = {}
    for layer, most in E_LAYERS.items():
        mean, covariance = _gaussian(style.gram(layer), style.mean(layer))
        variances, vectors = torch.linalg.eigh(covariance)
        count = min(most, int((variances >= LEAST_VARIANCE * variances[-1]).sum()))
        basis = vectors[:, -count:]
        # what is flat in a picture has no variance at all, and the logarithm of none is not a number
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
    """The mean of `e_statistics` over layers, which here count alike: a stand-in for the paper's fitted weights."""
    found = e_statistics(output, style, vgg)
    return sum(found.values()) / len(found)


def gaussian_kl(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """`KL(N(mean, covariance) || N(other_mean, other_covariance))` in nats, from 0 on; (K,) and (K, K)."""
    gap = other_mean - mean
    inner = torch.linalg.solve(other_covariance, torch.cat([covariance, gap[:, None]], dim=1))
    determinants = torch.linalg.slogdet(other_covariance).logabsdet - torch.linalg.slogdet(covariance).logabsdet
    return max(0.0, float(inner[:, :-1].trace() + gap @ inner[:, -1] - len(gap) + determinants) / 2)


def _gaussian(gram: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a layer's features in float64, from `F F^T / (C H W)` and the channels' means."""
    gram, mean = gram.detach().cpu().double(), mean.detach().cpu().double()
    return mean, len(mean) * gram - torch.outer(mean, mean)
