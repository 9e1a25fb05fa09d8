"""The step's products against plain formulations of the same, in fp32, fp64 and bf16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from onestroke.losses.content import _Squares
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Views
from onestroke.losses.raw import RawGram
from onestroke.styles import Facts, Style, _Products, gram_matrix


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
    rows = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(_Products.apply, (rows,))
    squares = (torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=generator) for _ in range(2))
    output, content = (s.requires_grad_(wanted) for s, wanted in zip(squares, (True, False), strict=True))
    assert torch.autograd.gradcheck(lambda o: _Squares.apply(o, content)[0], (output,))
    assert torch.autograd.gradcheck(gram_matrix, (torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True),))


def test_a_gram_s_gradient_has_a_gradient() -> None:
    assert torch.autograd.gradgradcheck(
        _Products.apply, (torch.rand(1, 5, 3, dtype=torch.float64, requires_grad=True),)
    )


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
    assert apart(found.detach(), expected.detach()) < 1e-6
    assert apart(f.grad, exact.grad) < 1e-6


@pytest.mark.parametrize(
    ("shape", "bound"),
    [  # as in a picture of 256 x 256, and one whose sides have no divisors, which is multiplied in fp32
        ((2, 64, 256, 256), 3e-4),
        ((2, 128, 128, 128), 5e-4),
        ((2, 256, 64, 64), 1e-3),
        ((2, 512, 32, 32), 1.5e-3),
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
    assert float(found) == pytest.approx(float(exact), rel=0.01)
