"""Every network in configs/network, and the blocks that they are built from."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.networks.base import TransformNetwork
from onestroke.networks.layers import Conv, InstanceNorm, LowPass, Residual, SubpixelConv, Upsample
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.networks.tables import Condition

NAMES = sorted(path.stem for path in (Path(__file__).parents[1] / "configs" / "network").glob("*.yaml"))
SIZES = [(1, 1), (1, 7), (2, 3), (5, 5), (16, 16), (17, 31), (64, 48), (129, 65)]
LAST = torch.channels_last


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=NAMES)
def network(request: pytest.FixtureRequest) -> nn.Module:
    config = OmegaConf.load(Path(__file__).parents[1] / "configs" / "network" / f"{request.param}.yaml")
    torch.manual_seed(0)
    built = instantiate(config, _convert_="all")
    assert isinstance(built, nn.Module)
    return built


@pytest.fixture
def painter(network: nn.Module) -> nn.Module:
    """Trained for a moment, so that it paints something: bright where the photo is dark."""
    network.to(memory_format=LAST)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    photo = noise(2, 3, 24, 24, seed=5)
    for _ in range(8):
        optimizer.zero_grad()
        (network(photo) - (1 - photo)).square().mean().backward()
        optimizer.step()
    return network.requires_grad_(False).eval()


# --- networks -------------------------------------------------------------------------------------------


def test_the_networks_that_ship_are_tested() -> None:
    assert {"default", "classic", "realtime"} <= set(NAMES)


def test_gives_any_size_back_and_starts_near_what_it_adds_of_the_photo(network: TransformNetwork) -> None:
    with torch.no_grad():
        for height, width in SIZES:
            image = noise(2, 3, height, width)
            output = network(image)
            assert output.shape == image.shape
            assert output.dtype == torch.float32
            rounding = 0 if network.low_pass is None else 1e-6
            # a norm takes all out of what is flat, and an untrained network puts nothing in its place
            assert torch.allclose(output, image, atol=rounding, rtol=0) == (height * width == 1)
            if network.low_pass is not None and (height % 4 or width % 4):
                continue  # it is the padded photo that is blurred
            added = image if network.low_pass is None else 0.5 + network.low_pass(image - 0.5)
            # measured over several seeds: 0.022 at most
            assert float((output - added).abs().max()) < 0.05, (height, width)


@pytest.mark.parametrize(("name", "millions"), [("default", 0.43), ("classic", 1.68)])
def test_has_as_many_weights_as_it_says(name: str, millions: float) -> None:
    config: Any = OmegaConf.load(Path(__file__).parents[1] / "configs" / "network" / f"{name}.yaml")
    count = sum(p.numel() for p in instantiate(config, _convert_="all").parameters())
    assert round(count / 1e6, 2) == millions
    a, b, c = config.channels  # kernel, inputs, outputs of each convolution; all but the last have a norm of 2 each
    convolutions = [(9, 3, a), (3, a, b), (3, b, c), *[(3, c, c)] * 10, (3, c, b), (3, b, a), (9, a, 3)]
    colour = 3 * 3 + 3
    norms = 2 * sum(o for *_, o in convolutions[:-1])
    rows = 6 if config.controls else 1  # three places of strength by two of stroke
    assert count == sum(k * k * i * o + o for k, i, o in convolutions) + rows * (norms + colour)


def test_gradients_reach_every_weight_and_the_photo(network: nn.Module) -> None:
    image = noise(2, 3, 20, 28).requires_grad_()
    past = {}
    if isinstance(network, RecurrentNetwork):  # which begins with zeros where it sees its past
        past["past"] = noise(2, 4, 20, 28, seed=2)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.startswith(network.added):
                    parameter.add_(0.1)
    (network(image, **past) * noise(2, 3, 20, 28, seed=1)).sum().backward()
    assert image.grad is not None
    assert bool((image.grad != 0).any(1).all())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # most biases are taken out again by the norm behind them
        assert name.endswith("bias") or float(parameter.grad.abs().max()) > 1e-6, name


def test_pictures_of_a_batch_do_not_see_each_other(painter: nn.Module) -> None:
    image = noise(3, 3, 21, 34)
    together = painter(image)
    for i in range(3):
        assert torch.allclose(painter(image[i : i + 1])[0], together[i], atol=1e-5)


def test_paints_the_same_in_either_memory_layout_and_keeps_channels_last(painter: nn.Module) -> None:
    """No block converts: what leaves each of them lies as what came in."""
    image = noise(2, 3, 32, 48)
    strides: dict[str, tuple[bool, bool]] = {}
    for name, module in painter.named_modules():
        if name.split(".")[0] in ("encoder", "middle", "decoder") and not isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda m, i, out, name=name: strides.update(
                    {name: (out.is_contiguous(memory_format=LAST), out.is_contiguous())}
                )
            )
    last = painter(image.contiguous(memory_format=LAST))
    assert len(strides) > 20
    assert {name: lies for name, lies in strides.items() if lies != (True, False)} == {}
    assert last.is_contiguous(memory_format=LAST)
    painter.to(memory_format=torch.contiguous_format)
    assert float((painter(image) - last).abs().max()) < 1e-4


def test_weights_rounded_to_fp16_paint_nearly_the_same(painter: nn.Module) -> None:
    rounded = copy.deepcopy(painter)
    rounded.load_state_dict({name: t.half().float() for name, t in painter.state_dict().items()})
    image = noise(1, 3, 48, 40)
    with torch.no_grad():
        full, half = painter(image).clamp(0, 1), rounded(image).clamp(0, 1)
    assert float((full - image).abs().mean()) > 0.1  # it does paint
    assert 0 < float((full - half).abs().max()) < 2 / 255


def test_a_flat_photo_stays_flat(painter: nn.Module) -> None:
    """Reflection leaves no frame: the border is painted as the middle is."""
    output = painter(torch.full((1, 3, 40, 40), 0.4))
    assert float((output.amax((2, 3)) - output.amin((2, 3))).max()) < 1e-4


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": [16, 32]},
        {"channels": [16, 32, 64, 128]},
        {"channels": 16},
        {"channels": "abc"},
        {"channels": None},
        {"channels": [16, 32, 0]},
        {"channels": [16, 32, 64.0]},
        {"channels": [16, 32, 1025]},
        {"channels": [16, True, 64]},
        {"blocks": 0},
        {"blocks": "5"},
        {"blocks": 10**9},
        {"ends": 8},
        {"ends": -1},
        {"ends": 3.0},
    ],
)
def test_arguments_that_make_no_network_are_told(arguments: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="a ResidualNetwork takes channels=") as raised:
        ResidualNetwork(**arguments)
    (name, value), *_ = arguments.items()
    assert f"{name}={value!r}" in str(raised.value)


# --- instance norm --------------------------------------------------------------------------------------


class Elsewhere(Tensor):
    """A tensor that says it is on a GPU, so that the lines for other devices than the CPU run here."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")


def norm(channels: int) -> InstanceNorm:
    layer = InstanceNorm(channels)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(2))
    return layer


def expected_norm(layer: InstanceNorm, features: Tensor) -> Tensor:
    return F.instance_norm(
        features.double(), weight=layer.weight[0].double(), bias=layer.bias[0].double(), eps=layer.eps
    )


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("shape", [(1, 5, 4, 6), (3, 8, 1, 2), (2, 16, 17, 9)])
def test_instance_norm_and_its_gradients_are_torch_s(shape: tuple[int, ...], elsewhere: bool) -> None:
    layer = norm(shape[1])
    features = (3 + 2 * noise(*shape)).requires_grad_()
    weights = noise(*shape, seed=3)
    output = layer(features.as_subclass(Elsewhere) if elsewhere else features).as_subclass(Tensor)
    (output * weights).sum().backward()
    found = [leaf.grad for leaf in (features, layer.weight, layer.bias)]
    for leaf in (features, layer.weight, layer.bias):
        leaf.grad = None
    exact = expected_norm(layer, features)
    (exact * weights).sum().backward()
    assert float((output - exact).detach().abs().max()) < 1e-5
    for one, two in zip(found, (leaf.grad for leaf in (features, layer.weight, layer.bias)), strict=True):
        assert one is not None
        assert two is not None
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-4)


def test_instance_norm_in_float64_is_torch_s_and_passes_gradcheck() -> None:
    layer = norm(3).double()
    features = (10 * noise(2, 3, 4, 5)).double().requires_grad_()
    assert float((layer(features) - expected_norm(layer, features)).detach().abs().max()) < 1e-12

    def run(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (features,))
        return output

    weight, bias = (p.detach().clone().requires_grad_() for p in (layer.weight, layer.bias))
    assert torch.autograd.gradcheck(run, (features, weight, bias))


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_instance_norm_keeps_layout_and_dtype_and_takes_statistics_in_fp32(dtype: torch.dtype, elsewhere: bool) -> None:
    layer = norm(8)
    # far from zero, where the statistics of bf16 would be lost
    features = (100 + 4 * noise(3, 8, 24, 32)).to(dtype)
    for layout in (torch.contiguous_format, LAST):
        given = features.contiguous(memory_format=layout)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = layer(given.as_subclass(Elsewhere) if elsewhere else given).as_subclass(Tensor)
        assert output.dtype == dtype
        assert output.stride() == given.stride()
        tolerance = 0.01 if dtype == torch.bfloat16 else 1e-4
        assert torch.allclose(output.double(), expected_norm(layer, given), rtol=tolerance, atol=tolerance)


# --- several styles -----------------------------------------------------------------------------------


def many(styles: int = 3) -> ResidualNetwork:
    """A network whose styles differ."""
    torch.manual_seed(0)
    network = ResidualNetwork([4, 8, 8], blocks=1, ends=3, styles=styles)
    for module in network.modules():
        if isinstance(module, InstanceNorm):
            nn.init.normal_(module.weight, 1, 0.5)
            nn.init.normal_(module.bias, 0, 0.5)
    nn.init.normal_(network.paint.convolution.weight, 0, 0.1)
    return network.requires_grad_(False).eval()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_each_picture_of_a_batch_gets_the_norm_of_its_own_style(elsewhere: bool) -> None:
    layer = InstanceNorm(5, rows=3)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    features = noise(2, 5, 6, 7)
    mix = torch.tensor([[0.0, 0.0, 1.0], [0.25, 0.75, 0.0]])
    output = layer(features.as_subclass(Elsewhere) if elsewhere else features, Condition(mix)).as_subclass(Tensor)
    for i, (weight, bias) in enumerate(
        [
            (layer.weight[2], layer.bias[2]),
            (0.25 * layer.weight[0] + 0.75 * layer.weight[1], 0.25 * layer.bias[0] + 0.75 * layer.bias[1]),
        ]
    ):
        expected = F.instance_norm(features[i : i + 1], weight=weight, bias=bias)
        assert torch.allclose(output[i : i + 1], expected, atol=1e-5)
    with pytest.raises(ValueError, match="3 styles needs their mix"):
        layer(features)


def test_a_mix_keeps_its_weights_in_fp32_under_autocast() -> None:
    layer = InstanceNorm(4, rows=2)
    nn.init.normal_(layer.weight)
    features, mix = noise(1, 4, 8, 8), torch.tensor([[0.3, 0.7]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(features, Condition(mix))
    assert torch.equal(output, layer(features, Condition(mix)))


def test_a_blended_network_paints_as_the_mix_does() -> None:
    network, photo = many(), noise(1, 3, 20, 27)
    mix = torch.tensor([0.5, 0.2, 0.3])
    one = network.blended(mix)
    assert torch.allclose(one(photo), network(photo, mix[None]), atol=1e-5)
    assert float((one(photo) - network(photo, torch.eye(3)[:1])).abs().max()) > 0.01
    alone = ResidualNetwork([4, 8, 8], blocks=1, ends=3)
    assert {k: v.shape for k, v in one.state_dict().items()} == {k: v.shape for k, v in alone.state_dict().items()}


def test_a_mix_over_the_picture_is_the_mix_where_it_is_even_and_changes_where_it_does() -> None:
    network, photo = many(2), noise(1, 3, 33, 64)
    even = torch.tensor([0.4, 0.6])[None, :, None, None].expand(1, 2, 33, 64)
    assert torch.allclose(network(photo, even), network(photo, even[:, :, 0, 0]), atol=1e-4)
    layer, features = InstanceNorm(5, rows=2), noise(1, 5, 16, 32)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    halves = torch.zeros(1, 2, 64, 128)  # four times as large as the features, as a picture is
    halves[:, 0, :, :64] = halves[:, 1, :, 64:] = 1
    both, first, second = (layer(features, Condition(mix)) for mix in (halves, torch.eye(2)[:1], torch.eye(2)[1:]))
    assert torch.allclose(both[..., :14], first[..., :14], atol=1e-5)
    assert torch.allclose(both[..., 18:], second[..., 18:], atol=1e-5)
    assert float((first - second).abs().mean()) > 0.1


# --- other blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (9, 1)])
def test_a_convolution_reflects_at_the_border(kernel: int, stride: int) -> None:
    layer = Conv(2, 3, kernel, stride)
    features = noise(1, 2, 10, 13)
    output = layer(features)
    assert output.shape == (1, 3, -(-10 // stride), -(-13 // stride))
    side = kernel // 2
    rows = [abs(y) if y < 10 else 18 - y for y in range(-side, side + 1)]  # around pixel (0, 0)
    columns = [abs(x) for x in range(-side, side + 1)]
    window = features[0][:, rows][:, :, columns]
    corner = (layer.convolution.weight * window).sum((1, 2, 3)) + layer.convolution.get_parameter("bias")
    assert torch.allclose(output[0, :, 0, 0], corner, atol=1e-5)


def test_a_residual_block_adds_to_what_came_in() -> None:
    block, features = Residual(4), noise(1, 4, 6, 6)
    nn.init.zeros_(block.body[-1].weight)  # type: ignore[arg-type]
    assert torch.equal(block(features), features)


def test_upsampling_to_the_nearest_doubles_each_pixel() -> None:
    block, features = Upsample(2, 2, mode="nearest"), noise(1, 2, 4, 5)
    doubled = block[0](features)
    assert torch.equal(doubled, features.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert block(features).shape == (1, 2, 8, 10)


def test_bilinear_upsampling_lets_no_convolution_tell_one_pixel_of_a_slope_from_the_next() -> None:
    slope = (torch.arange(12.0)[:, None] + 3 * torch.arange(9.0)).view(1, 1, 12, 9)
    upsampled = Upsample(1, 2)[0](slope)[..., 1:-1, 1:-1]  # beyond the border there is nothing to go on with
    steps = upsampled.diff(dim=2), upsampled.diff(dim=3)
    assert torch.allclose(steps[0], torch.full_like(steps[0], 0.5), atol=1e-5)
    assert torch.allclose(steps[1], torch.full_like(steps[1], 1.5), atol=1e-5)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_a_low_pass_takes_small_details_away_and_keeps_large_forms(size: int) -> None:
    layer, places = LowPass(size), torch.arange(256).float()
    left = {}
    for period in (size // 2, size, 8 * size):
        wave = torch.sin(2 * torch.pi * places / period).expand(1, 3, 256, 256)
        left[period] = float(layer(wave)[..., 64:192, 64:192].std() / wave[..., 64:192, 64:192].std())
        # the frequency response of a Gaussian whose standard deviation is half of the size
        gaussian = math.exp(-2 * (math.pi * size / 2 / period) ** 2)
        assert left[period] == pytest.approx(gaussian, abs=0.08)
    assert left[size] < 0.06 and left[8 * size] > 0.85
    assert torch.allclose(layer(torch.full((1, 3, 16, 20), 0.7)), torch.tensor(0.7), atol=1e-6)


def test_with_a_low_pass_only_large_forms_of_the_photo_are_in_the_sum() -> None:
    network = ResidualNetwork((4, 4, 8), 1, 3, low_pass=16).eval()
    photo = noise(1, 3, 64, 64)
    with torch.no_grad():
        network.paint.convolution.weight.zero_()  # nothing is painted, so that only the sum's other side is left
        assert torch.allclose(network(photo), 0.5 + LowPass(16)(photo - 0.5), atol=1e-6)


def test_subpixels_of_what_is_flat_are_alike_and_of_an_edge_are_not() -> None:
    block = SubpixelConv(5, 3, 3, factor=4)
    nn.init.normal_(block.convolution.weight)  # as training might leave it
    nn.init.normal_(block.convolution.get_parameter("bias"))
    flat = noise(1, 5, 1, 1).expand(1, 5, 6, 7)
    painted = block(flat)
    assert painted.shape == (1, 3, 24, 28)
    assert float((painted.amax((2, 3)) - painted.amin((2, 3))).max()) < 1e-5
    edge = torch.cat([flat, -flat], dim=3)
    assert float(block(edge)[0, :, 8, 24:28].detach().var(dim=1).min()) > 0.1  # within one block


def test_subpixels_start_without_a_grid() -> None:
    features = noise(1, 5, 6, 7)
    block = SubpixelConv(5, 2, 3, factor=4)
    painted = block(features)
    blocks = painted.view(1, 2, 6, 4, 7, 4)
    assert torch.allclose(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks), atol=1e-6)
    # and are then what the one kernel makes of the features
    weight, bias = block.convolution.weight[::16], block.convolution.get_parameter("bias")[::16]
    expected = F.conv2d(F.pad(features, [1] * 4, mode="reflect"), weight, bias)
    assert torch.allclose(blocks[:, :, :, 0, :, 0], expected, atol=1e-5)
