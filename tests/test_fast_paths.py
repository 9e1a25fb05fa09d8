"""That the fast ways are taken where they should be, seen by the operations that torch runs, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from onestroke.losses.gram import Gram
from onestroke.losses.term import Views
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style import Facts, Style
from onestroke.perception.vgg import VGG

aten = torch.ops.aten


class Ran(TorchDispatchMode):
    """Writes down which operations run, and on tensors of which shape and kind."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)  # which has no types
        self.calls: list[tuple[Any, list[Tensor], tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append((func.overloadpacket, [arg for arg in args if isinstance(arg, Tensor)], args))
        return func(*args, **(kwargs or {}))

    def of(self, *operations: Any) -> list[tuple[list[Tensor], tuple[Any, ...]]]:
        return [(tensors, args) for name, tensors, args in self.calls if name in operations]


def ran(what: Callable[[], Any]) -> Ran:
    found = Ran()
    with found:
        what()
    return found


def network() -> ResidualNetwork:
    torch.manual_seed(0)
    return ResidualNetwork([8, 8, 8], blocks=1, ends=9).to(memory_format=torch.channels_last)


def picture() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 32, 32, generator=generator).to(memory_format=torch.channels_last)


def convolutions(found: Ran) -> set[tuple[int, int, int]]:
    """Outputs, kernel and stride of each."""
    return {(tensors[1].shape[0], tensors[1].shape[-1], args[3][0]) for tensors, args in found.of(aten.convolution)}


def test_what_is_painted_comes_four_pixels_at_once_in_training_alone() -> None:
    painter, plain, fast = network(), (3, 9, 1), (12, 10, 2)

    def used() -> set[tuple[int, int, int]]:
        return convolutions(ran(lambda: painter(picture()))) & {plain, fast}

    assert used() == {fast}
    with torch.no_grad():
        assert used() == {plain}
    painter.eval()
    assert used() == {plain}


def test_the_gradient_by_a_picture_comes_four_pixels_at_once() -> None:
    vgg, image = VGG(["relu1_1"], random=True), picture().requires_grad_()
    features = vgg(image)["relu1_1"]
    found = ran(lambda: features.sum().backward())
    assert convolutions(found) == {(12, 4, 2)}
    assert not found.of(aten.convolution_backward)


def test_pools_without_a_gradient_remember_no_places() -> None:
    vgg, image = VGG(["relu2_1"], random=True), picture()
    with torch.no_grad():
        found = ran(lambda: vgg(image))
    assert len(found.of(aten.maximum)) == 2 and not found.of(aten.max_pool2d_with_indices)
    found = ran(lambda: vgg(image.requires_grad_()))
    assert len(found.of(aten.max_pool2d_with_indices)) == 1


def style(channels: int, layer: str) -> Style:
    return Style("made up", {layer: torch.eye(channels)}, {layer: torch.ones(channels)}, Facts(), 256)


@pytest.mark.parametrize(("centred", "parts"), [(False, True), (True, False)])
def test_products_of_bf16_are_taken_as_they_are_in_parts_of_256_pixels(centred: bool, parts: bool) -> None:
    features = torch.rand(2, 16, 64, 64).bfloat16().to(memory_format=torch.channels_last)
    term = Gram(["relu1_2"], centred=centred)
    found = ran(lambda: term(Views({"relu1_2": features}, {}, style(16, "relu1_2"))))
    products = [tensors for tensors, _ in found.of(aten.bmm) if tensors[0].shape[-2] == 16]
    assert [(t[0].dtype, t[0].shape[-1]) for t in products] == [
        (torch.bfloat16, 256) if parts else (torch.float32, 64 * 64)
    ]
