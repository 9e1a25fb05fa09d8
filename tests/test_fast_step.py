"""The step's products against plain formulations of the same, in fp32, fp64 and bf16."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.kernels.gram import _Products, gram_matrix
from onestroke.kernels.pooling import max_pool_2x2
from onestroke.losses.content import Content, _Squares
from onestroke.losses.gram import Gram
from onestroke.losses.objective import MIDDLE, Objective
from onestroke.losses.raw import RawGram
from onestroke.losses.term import Views
from onestroke.networks.layers import Conv
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style import Facts, Style
from onestroke.perception.style_from_pictures import measure
from onestroke.perception.vgg import VGG

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


def apart(found: Tensor, expected: Tensor) -> float:
    """Distance relative to the norm of what is expected, in fp64."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def features(seed: int, *shape: int, channels_last: bool = True) -> Tensor:
    """As a VGG's: none negative, in the hundreds, channels that differ."""
    generator = torch.Generator().manual_seed(seed)
    scale = 300 * torch.rand(1, shape[1], 1, 1, generator=generator)
    found = scale * torch.randn(*shape, generator=generator).relu()
    return found.to(memory_format=torch.channels_last) if channels_last else found


def plain_gram(f: Tensor) -> Tensor:
    rows = f.flatten(2)
    return torch.einsum("ncp,ndp->ncd", rows, rows) / rows[0].numel()


# --- the two gradients of our own -------------------------------------------------------------------------------


def test_the_gradients_of_our_own_are_those_of_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    f, target = (torch.randn(2, 3, 2, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    f.requires_grad_()
    assert torch.autograd.gradcheck(_Products.apply, (f,))
    assert torch.autograd.gradcheck(_Products.apply, (f.detach().mT.requires_grad_(),))
    assert torch.autograd.gradcheck(lambda one: _Squares.apply(one, target)[0], (f,))
    assert torch.autograd.gradcheck(gram_matrix, (torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
def test_grams_of_fp32_stay_in_fp32(mixed: bool, channels_last: bool) -> None:
    f = features(0, 2, 16, 32, 24, channels_last=channels_last).requires_grad_()
    exact = f.detach().double().requires_grad_()
    pull = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):  # as around the whole step, backward too
        found = gram_matrix(f, mixed)
        found.backward(pull)
    expected = plain_gram(exact)
    expected.backward(pull.double())
    assert found.dtype == torch.float32
    assert f.grad is not None and exact.grad is not None
    assert apart(found.detach(), expected.detach()) < 5e-7
    assert apart(f.grad, exact.grad) < 5e-7


@pytest.mark.parametrize(
    ("shape", "bound"),
    [  # as in a picture of 256 x 256, and sides without divisors; the last two are multiplied in fp32
        ((2, 64, 256, 256), 3e-4),
        ((2, 128, 128, 128), 5e-4),
        ((2, 256, 64, 64), 1e-3),
        ((2, 512, 32, 32), 1e-6),
        ((2, 64, 31, 37), 1e-6),
    ],
)
def test_grams_of_bf16_are_near_those_of_fp32(shape: tuple[int, ...], bound: float) -> None:
    f = features(0, *shape).bfloat16().requires_grad_()
    exact = f.detach().float().requires_grad_()
    found, expected = gram_matrix(f, mixed=True), plain_gram(exact)
    assert found.dtype == torch.float32
    assert apart(found.detach(), expected.detach()) < bound
    assert apart(gram_matrix(f.detach()), expected.detach()) < 1e-6
    pull = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    found.backward(pull)
    expected.backward(pull)
    assert f.grad is not None and exact.grad is not None
    assert f.grad.dtype == torch.bfloat16
    assert f.grad.is_contiguous(memory_format=torch.channels_last)
    assert apart(f.grad, exact.grad) < 4e-3  # as of any product of bf16, whose numbers have 8 bits


@pytest.mark.parametrize("kind", [Gram, RawGram])
def test_gram_terms_of_bf16_are_near_those_of_fp32(kind: type[Gram] | type[RawGram]) -> None:
    f = {"relu1_2": features(0, 3, 64, 64, 64), "relu4_3": features(1, 3, 96, 32, 16)}
    rough = {layer: one.bfloat16() for layer, one in f.items()}
    same = {layer: one.float() for layer, one in rough.items()}
    grams = {layer: plain_gram(one)[0] for layer, one in f.items()}  # near: the others differ by chance alone
    style = Style("made up", grams, {}, Facts(), 256)
    term = kind(list(f))
    found, exact = (term(Views(features, {}, style)).mean() for features in (rough, same))
    assert float(found) == pytest.approx(float(exact), rel=5e-5)


# --- layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "outputs", "kernel", "stride"), [(16, 3, 9, 1), (3, 2, 3, 1), (4, 8, 3, 2)])
@pytest.mark.parametrize("sides", [(16, 24), (15, 24)])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_convolution_that_trains_is_the_plain_one(
    inputs: int, outputs: int, kernel: int, stride: int, sides: tuple[int, int], mixed: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    conv = Conv(inputs, outputs, kernel, stride).to(memory_format=torch.channels_last).train()
    image = torch.randn(2, inputs, *sides, generator=generator).to(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        found = conv(image)
    exact, twin = image.detach().double().requires_grad_(), copy.deepcopy(conv.convolution).double()
    expected = F.conv2d(F.pad(exact, [kernel // 2] * 4, mode="reflect"), twin.weight, twin.bias, stride)
    assert found.is_contiguous(memory_format=torch.channels_last)
    pull = torch.randn(expected.shape, generator=generator)
    found.backward(pull.to(found.dtype))
    expected.backward(pull.double())
    pairs = [(found, expected), (image.grad, exact.grad)]
    pairs += [(getattr(conv.convolution, n).grad, getattr(twin, n).grad) for n in ("weight", "bias")]
    for one, other in pairs:
        assert one is not None and other is not None
        assert apart(one.detach(), other.detach()) < (1e-2 if mixed else 1e-6)


@pytest.mark.parametrize("sides", [(8, 6), (9, 7), (2, 3)])
def testhalved_features_are_the_largest_of_four(sides: tuple[int, int]) -> None:
    f = features(0, 2, 5, *sides)
    assert torch.equal(max_pool_2x2(f), F.max_pool2d(f, 2))
    assert torch.equal(max_pool_2x2(f), max_pool_2x2(f.clone().requires_grad_()))


# --- the step -----------------------------------------------------------------------------------------------------


def plain_norm(x: Tensor, layer: nn.Module) -> Tensor:
    return F.instance_norm(x, weight=layer.weight[0], bias=layer.bias[0])  # type: ignore[index]


def plain_conv(x: Tensor, layer: Conv) -> Tensor:
    c = layer.convolution
    return F.conv2d(F.pad(x, [layer.pad] * 4, mode="reflect"), c.weight, c.bias, c.stride)


def plain_unit(x: Tensor, unit: nn.Module) -> Tensor:
    return plain_norm(plain_conv(x, unit[0]), unit[1]).relu()  # type: ignore[index]


def plain_network(network: ResidualNetwork, photos: Tensor) -> Tensor:
    """What the network paints, with torch's own layers alone."""
    x = (photos - 0.5) * 2
    for layer in network.encoder:
        x = plain_unit(x, layer)
    for block in network.middle:
        first, second, last = block.body  # type: ignore[misc]
        x = x + plain_norm(plain_conv(plain_unit(x, first), second), last)
    for up in network.decoder:
        larger = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = plain_unit(larger, up[1])  # type: ignore[index]
    assert network.colour is not None
    recoloured = F.conv2d(photos - 0.5, network.colour.weight[0, :, :, None, None], network.colour.bias[0])
    return 0.5 + plain_conv(x, network.paint) + 16 * recoloured


def plain_features(vgg: VGG, image: Tensor) -> dict[str, Tensor]:
    """The VGG's features by layer, with torch's own layers alone."""
    x, seen = (image * 255 - vgg.mean) / vgg.std, {}
    for name, c in vgg.convolutions.items():
        if name.endswith("_1") and name != "relu1_1":
            x = F.max_pool2d(x, 2)
        x = F.conv2d(x, c.weight, c.bias, padding=1).relu()  # type: ignore[arg-type]
        seen[name] = x
    return seen


def plain_loss(network: ResidualNetwork, vgg: VGG, photos: Tensor, style: Style) -> Tensor:
    """Network, VGG and losses with torch's own layers alone, in the precision of what it is given."""
    painted, kept = plain_features(vgg, plain_network(network, photos)), plain_features(vgg, photos)
    loss = F.mse_loss(painted["relu3_3"], kept["relu3_3"]) / kept["relu3_3"].square().mean()
    for name in STYLE_LAYERS:
        found, target = plain_gram(painted[name]), style.gram(name).to(photos.dtype)
        both = found.square().sum((1, 2)) + target.square().sum()
        loss = loss + MIDDLE / len(STYLE_LAYERS) * (2 * (found - target).square().sum((1, 2)) / both).mean()
    return loss


@pytest.mark.parametrize(
    ("mixed", "of_loss", "of_gradient"), [(False, 3e-7, 3e-6), pytest.param(True, 0.005, 0.01, marks=pytest.mark.slow)]
)
def test_a_step_s_loss_and_gradients_are_the_plain_one_s(mixed: bool, of_loss: float, of_gradient: float) -> None:
    torch.manual_seed(0)
    exact_vgg = VGG(STYLE_LAYERS)
    pictures = F.interpolate(torch.rand(3, 3, 12, 12), size=(96, 96), mode="bicubic").clamp(0, 1)
    style = Style("made up", *measure([pictures[2:]], exact_vgg, 96, STYLE_LAYERS), Facts(), 96)
    photos = pictures[:2].contiguous(memory_format=torch.channels_last)
    network = ResidualNetwork([8, 16, 24], blocks=2).to(memory_format=torch.channels_last)
    with torch.no_grad():  # so that what is painted counts too
        network.paint.convolution.weight.mul_(10)
    vgg = VGG(STYLE_LAYERS, dtype=torch.bfloat16 if mixed else torch.float32)
    objective = Objective({"content": Content(), "gram": Gram(STYLE_LAYERS)}, vgg, style)
    twin = copy.deepcopy(network).double()
    expected = plain_loss(twin, exact_vgg.double(), photos.double(), style)
    expected.backward()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss = torch.stack(list(objective(network(photos).float(), photos).values())).sum()
        loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=of_loss)
    found, exact = (
        torch.cat([p.grad.flatten() for p in n.parameters() if p.grad is not None]) for n in (network, twin)
    )
    assert len(found) == sum(p.numel() for p in network.parameters())
    assert apart(found, exact) < of_gradient
