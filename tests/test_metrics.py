"""Metrics against the same mathematics in float64 by numpy, and on cases with a known answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.evaluation import lpips as lpips_module
from onestroke.evaluation import metrics
from onestroke.evaluation.lpips import lpips
from onestroke.evaluation.structure import self_similarity, ssim
from onestroke.imaging import images
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.perception.style import Facts, Style
from onestroke.perception.style_card import CARD_LAYERS, CARD_SIZES
from onestroke.perception.style_from_pictures import measure
from onestroke.perception.vgg import VGG

Array = npt.NDArray[np.float64]


def noise(seed: int, *shape: int) -> Tensor:
    """White noise, enlarged fourfold, so that it has edges."""
    n, height, width = shape
    coarse = torch.rand(n, 3, -(-height // 4), -(-width // 4), generator=torch.Generator().manual_seed(seed))
    return images.resize(coarse, height, width)


@pytest.fixture(scope="module")
def eye() -> VGG:
    return VGG(CARD_LAYERS)


@pytest.fixture(scope="module")
def painting() -> Tensor:
    return noise(7, 1, 64, 80)


@pytest.fixture(scope="module")
def style(eye: VGG, painting: Tensor) -> Style:
    return Style("made up", *measure([painting], eye, 64, CARD_LAYERS), Facts(), 64)


# --- content and style errors ---------------------------------------------------------------------------


def test_errors_are_those_of_float64(eye: VGG, style: Style) -> None:
    output, photo = noise(0, 2, 48, 40), noise(1, 2, 48, 40)
    seen, kept = ({k: f.double().numpy() for k, f in eye(image).items()} for image in (output, photo))
    content = metrics.content_errors(output, photo, eye, CARD_LAYERS)
    found = metrics.style_errors(output, style, eye, CARD_LAYERS)
    assert list(content) == list(found) == list(CARD_LAYERS)
    for layer in CARD_LAYERS:
        o, c, target = seen[layer], kept[layer], style.gram(layer).double().numpy()
        assert content[layer] == pytest.approx(((o - c) ** 2).sum() / (c**2).sum(), rel=1e-6)
        grams = np.einsum("nchw,ndhw->ncd", o, o) / o[0].size
        relative = [2 * ((g - target) ** 2).sum() / ((g**2).sum() + (target**2).sum()) for g in grams]
        assert found[layer] == pytest.approx(np.mean(relative), rel=1e-6)


def test_errors_are_what_the_objective_makes_its_loss_of(eye: VGG, style: Style) -> None:
    output, photo = noise(0, 1, 48, 40), noise(1, 1, 48, 40)
    terms = {"content": Content(), "gram": Gram()}
    parts = Objective(terms, eye, style, 0.5).eval()(output, photo)
    (content,) = metrics.content_errors(output, photo, eye).values()
    gram = metrics.style_errors(output, style, eye)
    assert float(parts["content"]) == pytest.approx(content, rel=5e-7)
    assert float(parts["gram"]) == pytest.approx(5 * sum(gram.values()) / 4, rel=5e-7)


def test_errors_are_nothing_where_nothing_is_left_to_do(eye: VGG, style: Style, painting: Tensor) -> None:
    assert set(metrics.content_errors(painting, painting, eye, CARD_LAYERS).values()) == {0.0}
    assert max(metrics.style_errors(painting, style, eye, CARD_LAYERS).values()) < 1e-12
    with pytest.raises(ValueError, match="the same shape"):
        metrics.content_errors(painting, painting[:, :, 1:], eye)


def test_the_painting_enlarged_is_the_painting_measured_larger(eye: VGG, painting: Tensor) -> None:
    larger = [Style("made up", *measure([painting], eye, size, CARD_LAYERS), Facts(), size) for size in (96, 128)]
    found = metrics.style_errors_at_sizes(painting, 64, larger, eye, metrics.HELD_OUT_LAYERS)
    assert list(found) == [96, 128]
    assert all(list(errors) == list(metrics.HELD_OUT_LAYERS) for errors in found.values())
    assert max(max(errors.values()) for errors in found.values()) < 1e-12
    other = metrics.style_errors_at_sizes(noise(3, 1, 40, 60), 64, larger, eye, metrics.HELD_OUT_LAYERS)
    assert min(min(errors.values()) for errors in other.values()) > 1e-3


def test_what_is_held_out_is_held_out_and_on_every_card() -> None:
    assert not set(metrics.HELD_OUT_LAYERS) & {*Gram().layers, *Content().layers}
    assert {*metrics.HELD_OUT_LAYERS, *metrics.E_LAYERS} <= set(CARD_LAYERS)
    assert set(metrics.HELD_OUT_SIZES) < set(CARD_SIZES)


# --- E statistic ----------------------------------------------------------------------------------------


def test_the_divergence_of_gaussians_is_the_closed_form_s() -> None:
    one = torch.ones(1, dtype=torch.float64)
    # of one dimension: log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2
    found = metrics.gaussian_kl(2 * one, 9 * one[None], 5 * one, 16 * one[None])
    assert found == pytest.approx(np.log(4 / 3) + (9 + 9) / 32 - 0.5)
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    mean, covariance = torch.randn(6, generator=generator, dtype=torch.float64), root @ root.T + torch.eye(6)
    assert metrics.gaussian_kl(mean, covariance, mean, covariance) == pytest.approx(0, abs=1e-12)
    other = torch.distributions.MultivariateNormal(mean - 1, torch.diag(torch.arange(1.0, 7).double()))
    exact = torch.distributions.kl_divergence(torch.distributions.MultivariateNormal(mean, covariance), other)
    found = metrics.gaussian_kl(mean, covariance, other.mean, other.covariance_matrix)
    assert found == pytest.approx(float(exact))
    # and it is not its own mirror image
    assert found != pytest.approx(metrics.gaussian_kl(other.mean, other.covariance_matrix, mean, covariance))


def test_the_e_statistic_is_that_of_features_one_by_one(eye: VGG) -> None:
    output, painting = noise(5, 1, 128, 112), noise(6, 1, 120, 144)
    style = Style("made up", *measure([painting], eye, 120, CARD_LAYERS), Facts(), 120)
    found = metrics.e_statistics(output, style, eye)
    for layer, most in metrics.E_LAYERS.items():
        own, target = (eye(image, [layer])[layer][0].flatten(1).double().numpy() for image in (output, painting))
        values, vectors = np.linalg.eigh(np.cov(target, bias=True))
        keep = np.argsort(values)[::-1][:most]
        keep = keep[values[keep] >= metrics.LEAST_VARIANCE * values.max()]
        own, target = vectors[:, keep].T @ own, vectors[:, keep].T @ target
        gaussians = [
            torch.distributions.MultivariateNormal(torch.from_numpy(x.mean(1)), torch.from_numpy(np.cov(x, bias=True)))
            for x in (own, target)
        ]
        exact = -np.log(float(torch.distributions.kl_divergence(*gaussians)))
        assert found[layer] == pytest.approx(exact, abs=5e-3), (layer, len(keep))  # cards round what E is of
    assert metrics.e_statistic(output, style, eye) == pytest.approx(sum(found.values()) / 4)


def test_more_of_the_painting_is_a_larger_e(eye: VGG, style: Style, painting: Tensor) -> None:
    other = (0.3 * noise(5, 1, 64, 80)).square()
    mixed = []
    for column in (0, 30, 60, 80):
        output = torch.cat([painting[..., :column], other[..., column:]], dim=-1)
        mixed.append(metrics.e_statistic(output, style, eye))
    assert mixed == sorted(mixed), mixed
    assert mixed[-1] > 5
    both = metrics.e_statistic(torch.cat([other, painting]), style, eye)
    assert both == pytest.approx((mixed[0] + mixed[-1]) / 2, rel=1e-6)


def test_a_flat_picture_has_an_e_too(eye: VGG, style: Style) -> None:
    found = metrics.e_statistics(torch.full((1, 3, 64, 64), 0.5), style, eye)
    assert all(-25 < value < 0 for value in found.values()), found
    assert metrics.e_statistic(torch.full((1, 3, 16, 16), 0.5), style, eye) < 0  # fewer places than components


# --- structure ------------------------------------------------------------------------------------------


def luma(image: Tensor) -> Array:
    return np.tensordot(np.array([0.299, 0.587, 0.114]), image[0].double().numpy(), 1)


def test_ssim_is_scikit_image_s() -> None:
    skimage = pytest.importorskip("skimage.metrics")
    photo = noise(0, 1, 53, 70)
    for output in (noise(1, 1, 53, 70), 0.7 * photo + 0.3 * noise(2, 1, 53, 70), 0.5 * photo):
        exact = skimage.structural_similarity(
            luma(output), luma(photo), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1
        )
        assert ssim(output, photo) == pytest.approx(exact, abs=1e-12)


def test_ssim_of_known_pictures() -> None:
    photo = noise(0, 2, 40, 30)
    assert ssim(photo, photo) == 1
    dark, bright = torch.full((1, 3, 11, 11), 0.2), torch.full((1, 3, 11, 11), 0.6)
    # two flat pictures differ in light alone
    assert ssim(dark, bright) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), rel=1e-7)
    board = (torch.arange(40)[:, None] + torch.arange(40)).remainder(2).expand(1, 3, 40, 40).float()
    assert ssim(board, 1 - board) < -0.95
    with pytest.raises(UserError, match="at least 11 x 11 pixels, and the picture is 40 x 10"):
        ssim(board[:, :, :10], board[:, :, :10])
    with pytest.raises(ValueError, match="the same shape"):
        ssim(board, board[:, :, 1:])


def test_self_similarity_is_that_of_the_definition(eye: VGG) -> None:
    output, photo = noise(0, 1, 48, 40), noise(1, 1, 48, 40)

    def distances(image: Tensor) -> Array:
        f = eye(image, ["relu3_3"])["relu3_3"][0].flatten(1).T.double().numpy()
        f = f / np.linalg.norm(f, axis=1, keepdims=True)
        d = 1 - f @ f.T
        shares: Array = d / d.sum(axis=0, keepdims=True)
        return shares

    exact = np.abs(distances(output) - distances(photo)).sum(axis=0).mean() / 2
    assert self_similarity(output, photo, eye) == pytest.approx(exact, rel=1e-6)


def test_self_similarity_of_known_pictures(eye: VGG) -> None:
    photo = noise(0, 2, 48, 40)
    assert self_similarity(photo, photo, eye) == 0
    other = self_similarity(noise(1, 2, 48, 40), photo, eye)
    near = self_similarity((photo + 0.03 * noise(1, 2, 48, 40)).clamp(0, 1), photo, eye)
    assert 0 < near < 0.5 * other < 0.5
    with pytest.raises(ValueError, match="the same shape"):
        self_similarity(photo, photo[:1], eye)


class Halves(nn.Module):
    """An eye that sees the left and the right half of a picture as things of two kinds, or all as of one kind."""

    def forward(self, image: Tensor, layers: object) -> dict[str, Tensor]:
        left = (image[:, :1] > 0.5).float()
        return {"relu3_3": torch.cat([left, 1 - left], dim=1)}


def test_self_similarity_does_not_ask_what_things_look_like() -> None:
    photo = torch.zeros(1, 3, 8, 8)
    photo[..., :4] = 1
    eye: Any = Halves()
    assert self_similarity(1 - photo, photo, eye) == 0  # both halves painted as the other was
    assert self_similarity(photo.transpose(2, 3), photo, eye) == pytest.approx(0.5)
    large = torch.zeros(1, 3, 128, 128)
    large[..., :64] = 1
    assert self_similarity(large.transpose(2, 3), large, eye) == pytest.approx(0.5)  # from averages
    assert self_similarity(0 * photo, 0 * photo, eye) == 0


# --- LPIPS ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    lpips_module._lpips_network.cache_clear()
    yield
    lpips_module._lpips_network.cache_clear()


def fake(make: Callable[..., object]) -> ModuleType:
    module = ModuleType("fake")
    module.LPIPS = module.LearnedPerceptualImagePatchSimilarity = make  # type: ignore[attr-defined]
    return module


class Distance(nn.Module):
    """Sees only how far apart two pictures are, if it is told that they are in [0, 1]."""

    def __init__(self, net: str = "alex", normalize: bool = True, verbose: bool = False) -> None:
        super().__init__()
        assert (net, normalize, verbose) == ("alex", True, False)

    def forward(self, output: Tensor, photo: Tensor, normalize: bool = True) -> Tensor:
        assert normalize and 0 <= float(output.min()) and float(output.max()) <= 1
        return (output - photo).abs().mean(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize("package", ["torchmetrics.image.lpip", "lpips"])
def test_lpips_comes_from_either_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchmetrics.image.lpip", "lpips"):
        monkeypatch.setitem(sys.modules, name, fake(Distance) if name == package else None)
    photo = noise(0, 2, 16, 16)
    assert lpips(photo, photo) == 0
    assert lpips(torch.full_like(photo, 1.7), 0 * photo) == pytest.approx(1)
    with pytest.raises(ValueError, match="the same shape"):
        lpips(photo, photo[:1])


def test_lpips_is_left_out_where_it_can_t_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def offline(*_: object, **__: object) -> None:
        asked.append(1)
        raise URLError("no network")

    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", fake(offline))
    monkeypatch.setitem(sys.modules, "lpips", None)
    photo = noise(0, 1, 16, 16)
    assert lpips(photo, photo) is None
    assert lpips(photo, photo) is None
    assert len(asked) == 1
    assert capsys.readouterr() == ("", "")


def test_lpips_is_left_out_where_the_picture_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(Distance):
        def forward(self, *_: object, **__: object) -> Tensor:
            raise RuntimeError("Kernel size can't be greater than actual input size")

    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", fake(Small))
    assert lpips(noise(0, 1, 8, 8), noise(0, 1, 8, 8)) is None
