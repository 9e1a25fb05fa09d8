"""What each kind of network is made of, how much work it does, and what it is not built from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onestroke.errors import UserError
from onestroke.graphs.rules.arguments import Arguments, Node, Unsound, Value
from onestroke.graphs.rules.layers import matmul, softmax
from onestroke.inference import memory
from onestroke.networks.attention import AttentionNetwork, LinearAttention
from onestroke.networks.base import LARGEST
from onestroke.networks.dense import DenseBlock
from onestroke.networks.layers import Conv
from onestroke.networks.mobile import InvertedResidual, MobileNetwork
from onestroke.networks.resnext import GroupedNetwork, GroupedResidual
from onestroke.networks.tables import Condition
from onestroke.networks.unet import UNetwork
from onestroke.training.muon import split
from tests.test_controls import ARGS, controlled

NETWORKS = Path(__file__).parents[1] / "configs" / "network"


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- work -----------------------------------------------------------------------------------------------


class Work(TorchFunctionMode):
    """Multiply-adds of all convolutions and products of matrices."""

    total: int = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (F.conv2d, torch.conv2d):
            self.total += args[1][0].numel() * result.numel()
        elif func is torch.bmm:
            self.total += args[0].shape[2] * result.numel()
        return result


def work(name: str) -> float:
    """Multiply-adds for each pixel."""
    network = instantiate(OmegaConf.load(NETWORKS / f"{name}.yaml"), _convert_="all").eval()
    with torch.no_grad(), Work() as counted:
        network(noise(1, 3, 64, 64))
    return float(counted.total) / 64**2


def test_the_realtime_network_does_a_twenty_eighth_of_the_classic_one_s_work() -> None:
    realtime = work("realtime")
    assert realtime - 9 == 8 * 8 * 3 * 32 / 16 + 6 * 9 * 32 * 32 / 16 + 9 * 32 * 16 / 4 + 9 * 16 * 12 / 4  # 9: colours
    assert 28 < work("classic") / realtime < 29


@pytest.mark.parametrize("name", ["unet", "dense", "resnext", "mobile", "attention"])
def test_a_network_does_the_work_that_its_yaml_says_which_is_about_that_of_the_other(name: str) -> None:
    first = (NETWORKS / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    found = re.search(r"about the work of the (\w+) network \(([\d,]+) multiply-adds for each pixel\)", first)
    assert found is not None
    done, said = work(name), float(found[2].replace(",", ""))
    assert done == pytest.approx(said, rel=0.015)
    assert done == pytest.approx(work(found[1]), rel=0.06)


# --- arguments ------------------------------------------------------------------------------------------

WRONG: Sequence[object] = (0, -1, 10**9, 2.0, True, "3", None, [2])


@pytest.mark.parametrize("kind", [kind for kind in ARGS if kind.__name__ not in ("ResidualNetwork", "RealtimeNetwork")])
def test_arguments_that_make_no_network_are_told(kind: type[Any]) -> None:
    plain = ARGS[kind]
    for name in plain.keys() - {"channels"}:
        for value in (*WRONG, LARGEST[name] + 1):
            with pytest.raises(UserError, match=f"^a {kind.__name__} takes channels=.*whole numbers") as raised:
                kind(**{**plain, name: value})
            assert f"{name}={value!r}" in str(raised.value)
    for channels in (
        *WRONG,
        [4],
        [*plain["channels"], 8],
        [*plain["channels"][:-1], 1025],
        [*plain["channels"][1:], 0],
    ):
        with pytest.raises(UserError, match=f"^a {kind.__name__} takes channels="):
            kind(**{**plain, "channels": channels})
    for more, says in (
        ({"styles": 0}, "styles of 1 to"), ({"controls": ["x"]}, "no 'x'"), ({"low_pass": 65}, "low_pass"),
        ({"upsampling": "cubic"}, "upsampling is bilinear or nearest"), ({"adds_photo": 1}, "adds_photo is true or"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            kind(**{**plain, **more})


def test_groups_divide_the_width() -> None:
    with pytest.raises(UserError, match="groups that divide its width, not 3 for 8 channels"):
        GroupedNetwork([4, 6, 8], 1, width=8, groups=3)


# --- blocks ---------------------------------------------------------------------------------------------


def rows(x: Tensor) -> Any:
    """(1, C, H, W) -> (places, C)."""
    return x[0].flatten(1).T.double().numpy()


def test_attention_gives_each_place_its_own_mixture_of_averages_over_the_picture() -> None:
    torch.manual_seed(0)
    block, features = LinearAttention(6, 3).requires_grad_(False), noise(1, 6, 8, 12)
    small = block.down(features)
    q, k, v = (rows(layer(small)) for layer in (block.query, block.key, block.value))
    over_places = np.exp(k) / np.exp(k).sum(0)
    over_keys = np.exp(q) / np.exp(q).sum(1, keepdims=True)
    averages = np.stack([(over_places[:, [i]] * v).sum(0) for i in range(3)])
    mixed = torch.from_numpy(over_keys @ averages).float().T.view(1, 6, 4, 6)
    assert torch.allclose(block(features), features + block.result(mixed), atol=1e-4)
    # what is far away counts, and where it is does not
    moved = features.clone()
    moved[..., -2:, -2:] += 3
    assert float((block(moved) - block(features))[..., :2, :2].abs().max()) > 1e-3


def test_the_memory_of_attention_grows_with_the_pixels() -> None:
    network = AttentionNetwork([8, 8, 8], 1).eval().requires_grad_(False)
    held = memory.peak_memory(network)
    assert held(1, 1024, 1024) == pytest.approx(64 * held(1, 128, 128), rel=0.01)


def test_a_dense_layer_sees_all_before_it() -> None:
    block, features = DenseBlock(4, 3, 2).requires_grad_(False), noise(1, 4, 6, 6)
    first = block.grow[0](features)
    second = block.grow[1](torch.cat([features, first], dim=1))
    assert torch.equal(block(features), block.transition(torch.cat([features, first, second], dim=1)))


def test_a_group_sees_its_own_channels_alone_and_a_depthwise_one_a_single_channel() -> None:
    for layer, seen in ((Conv(4, 4, 3, groups=2), {0, 1}), (Conv(4, 4, 3, groups=4), {0})):
        features = noise(1, 4, 6, 6).requires_grad_()
        layer.train()(features)[:, 0].sum().backward()
        assert features.grad is not None
        assert {i for i in range(4) if float(features.grad[0, i].abs().max()) > 0} == seen
    for block in (GroupedResidual(4, 8, 2), InvertedResidual(4, 3)):
        block.body[-1].weight.data.zero_()  # type: ignore[operator]
        assert torch.equal(block(features), features)


def test_what_mixes_no_channels_is_no_matrix_for_muon() -> None:
    network = MobileNetwork([4, 6], 2, 2)
    matrices, others = split(network)
    depthwise = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(depthwise) == 2
    assert all(any(p is weight for p in others) for weight in depthwise)
    assert len(matrices) == 1 + 2 * 2 + 1


def test_skips_bring_details_past_the_deep_layers() -> None:
    """Without what is at an eighth of the size, a change of one pixel is still seen near it alone."""
    network, photo = controlled(UNetwork, controls=[]), noise(1, 3, 32, 32)
    network.decoder[0].register_forward_hook(lambda m, i, out: torch.zeros_like(out))
    norms = [m for m in network.modules() if type(m).__name__ == "InstanceNorm"]
    fixed = {norm: (torch.zeros(1, norm.weight.shape[1]), torch.ones(1, norm.weight.shape[1])) for norm in norms}
    moved = photo.clone()
    moved[..., 5, 5] += 0.5
    change = [network.paint_with(image, Condition(statistics=fixed)) for image in (photo, moved)]
    far = (change[1] - change[0]).abs().amax(dim=(0, 1))
    assert float(far[5, 5]) > 1e-4
    assert float(far[28:, 28:].max()) == 0


# --- rules for what attention is exported as ------------------------------------------------------------


def floats(*shape: int, fixed: bool = False) -> Value:
    return Value(shape, "float32", fixed=fixed)


def test_products_and_softmax_are_read_only_as_they_are_written() -> None:
    def of(rule: Any, *given: Value, **attributes: Any) -> Value:
        result = rule(Arguments(Node("X", [], "y", attributes), given))
        assert isinstance(result, Value)
        return result

    assert of(matmul, floats(2, 3, 5), floats(2, 5, 7)).shape == (2, 3, 7)
    for fixed in (True, False):  # a change of colours may follow from live controls
        assert of(matmul, floats(3, 5, fixed=fixed), floats(2, 5, 7)).shape == (2, 3, 7)
    assert of(matmul, floats(1, 6), floats(6, 5, fixed=True)).shape == (1, 5)
    for a, b in (
        (floats(2, 3, 5), floats(2, 4, 7)), (floats(1, 3, 5), floats(2, 5, 7)), (floats(3, 4), floats(2, 5, 7)),
        (floats(1, 6), floats(6, 5)), (floats(1, 6), floats(5, 6, fixed=True)),
        (floats(2, 3, 5), floats(5, 7)), (floats(2, 3, 5), Value((2, 5, 7), "float16")),
        (floats(1, 2, 3, 5), floats(1, 2, 5, 7)),
    ):  # fmt: skip
        with pytest.raises(Unsound):
            of(matmul, a, b)
    assert of(softmax, floats(2, 3, 5), axis=2).shape == (2, 3, 5)
    for axis in (3, -4, 1.0):
        with pytest.raises(Unsound):
            of(softmax, floats(2, 3, 5), axis=axis)
    with pytest.raises(Unsound):
        of(softmax, floats(2, 3), axis=1, other=1)
