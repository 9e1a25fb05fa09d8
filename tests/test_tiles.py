"""Pictures painted in tiles: equal to the bit at any size of tiles, and to the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.inference.controls import StyleControls, open_style, shares_of_map
from onestroke.inference.mapped_styles import MappedNetwork, PhotoWithMap
from onestroke.inference.norm_statistics import GivenNorms, Moments, Statistics
from onestroke.inference.tiles import Source, TilePainter
from onestroke.networks.attention import AttentionNetwork
from onestroke.networks.layers import InstanceNorm
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.networks.tables import Condition
from onestroke.networks.unet import UNetwork
from tests.test_interop import imported, trained

CPU = torch.device("cpu")
GALLERY = Path(__file__).parents[1] / "checkpoints" / "gallery.safetensors"


class Own(nn.Module):
    """A network of a user's own: zero padding, odd channels, PyTorch's norms, sizes that it mends itself."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 7, 5, 2, 2)
        self.norm = nn.InstanceNorm2d(7, affine=True)
        self.up = nn.ConvTranspose2d(7, 5, 4, 2, 1)
        self.late_norm = nn.InstanceNorm2d(5)
        self.last = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        deep = F.leaky_relu(self.norm(self.down(image)), 0.2)
        late = F.max_pool2d(self.late_norm(self.up(deep))[..., : image.shape[2], : image.shape[3]], 3, 1, 1)
        return torch.sigmoid(self.last(late))


class Pixels:
    """A source of an array."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def rows(self, top: int, bottom: int) -> np.ndarray:
        return self.pixels[top:bottom]


def photo(height: int = 150, width: int = 333) -> Pixels:
    """Noise over an uneven gradient, so that the parts of it have other statistics than the whole."""
    noise = np.random.default_rng(0).random((height, width, 3))
    slope = np.linspace(0, 1, width)[None, :, None] * np.linspace(0.2, 1, height)[:, None, None] ** 2
    return Pixels((255 * slope * (0.3 + 0.7 * noise)).astype(np.uint8))


def tensor(source: Pixels) -> Tensor:
    levels = torch.from_numpy(source.pixels).permute(2, 0, 1)[None]
    return (levels.float() / 255).contiguous(memory_format=torch.channels_last)


def lively(network: nn.Module) -> nn.Module:
    """Norms and a last convolution whose effect shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, InstanceNorm):
                module.weight.add_(0.3 * torch.randn(module.weight.shape, generator=generator))
                module.bias.add_(0.3 * torch.randn(module.bias.shape, generator=generator))
        if isinstance(paint := getattr(network, "paint", None), nn.Module):
            for parameter in paint.parameters():
                parameter.mul_(50)
    return network.eval()


def gallery_mix(folder: Path) -> nn.Module:
    return open_style(GALLERY, StyleControls("night_cafe:0.6,composition_vii:0.4", 0.8, 0.5))[0].eval()


def imported_network(folder: Path) -> nn.Module:
    return open_style(imported(trained("255", 0, widths=(6, 8, 10), blocks=2, ends=5).state_dict(), folder))[0].eval()


NETWORKS: dict[str, Callable[[Path], nn.Module]] = {
    "default": lambda _: lively(ResidualNetwork((16, 16, 32), 2, 9)),
    "realtime": lambda _: lively(RealtimeNetwork((16, 32), 2)),
    "classic": lambda _: lively(ResidualNetwork((32, 32, 64), 1, 9)),
    "low_pass": lambda _: lively(RealtimeNetwork((4, 6), 1, low_pass=8)),
    "recurrent": lambda _: lively(RecurrentNetwork((4, 6), 1)),
    "unet": lambda _: lively(UNetwork((4, 6, 6, 8), 1)),
    "gallery mix": gallery_mix,
    "imported": imported_network,
    "own": lambda _: Own().eval(),
}

SLOW = ("unet", "gallery mix", "classic")  # classic: the layers of default in other widths


def measured(painter: TilePainter, source: Source) -> list[Statistics]:
    statistics: list[Statistics] = []
    while len(statistics) < painter.passes - 1:
        statistics.append(painter.measure(source, statistics))
    return statistics


@pytest.mark.parametrize(
    "network",
    [
        RealtimeNetwork((4, 6), 1, styles=3),
        pytest.param(ResidualNetwork((4, 6, 8), 1, 9, styles=3), marks=pytest.mark.slow),
    ],
)
def test_a_style_map_is_painted_in_tiles_as_in_the_whole(network: nn.Module) -> None:
    mapped = MappedNetwork(lively(network), "c,a", ("a", "b", "c"))
    picture = photo(100, 270)
    y, x = np.mgrid[: picture.height, : picture.width]
    grey = (127.5 + 127.5 * np.sin(x / 23 + y / 31)).astype(np.uint8)[..., None]
    source = PhotoWithMap(picture, Pixels(grey))
    painter = TilePainter(mapped, CPU, inputs=MappedNetwork.INPUTS)
    found = []
    for painter.side in (64, 128, 256):
        statistics = measured(painter, source)
        found.append(np.concatenate(list(painter.paint(source, statistics))))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    shares = shares_of_map("c,a", ("a", "b", "c"), torch.from_numpy(grey).permute(2, 0, 1)[None] / 255)
    with torch.inference_mode(), GivenNorms(statistics):
        whole = network(tensor(picture), shares).clamp(0, 1)
    levels = (whole * 255 + 0.5).to(torch.uint8)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(levels, found[0])


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow if k in SLOW else ()) for k in NETWORKS])
def test_tiles_of_all_sizes_equal_the_whole_to_the_bit(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    painter, source = TilePainter(NETWORKS[kind](tmp_path), CPU), photo(100, 270)
    found = []
    for painter.side in (64, 128, 256):
        statistics = measured(painter, source)
        found.append((statistics, np.concatenate(list(painter.paint(source, statistics)))))
    for statistics, painted in found[1:]:
        assert np.array_equal(painted, found[0][1])
        for pair, first in zip(statistics, found[0][0], strict=True):
            assert torch.equal(pair[0], first[0]) and torch.equal(pair[1], first[1])
    with torch.inference_mode(), GivenNorms(found[0][0]):
        whole = painter.network(tensor(source)).clamp(0, 1)
    levels = (whole * 255 + 0.5).to(torch.uint8)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(levels, found[0][1])
    with torch.inference_mode():  # its own norms, in one piece: what is painted where the memory suffices
        usual = painter.network(tensor(source)).clamp(0, 1)
    assert float((usual - whole).abs().max()) < 0.1 / 255
    with torch.inference_mode(), GivenNorms([(m + 1, v) for m, v in found[0][0]]):
        other = painter.network(tensor(source)).clamp(0, 1)
    assert float((other - whole).abs().max()) > 5 / 255  # the statistics do count


class Padded(nn.Module):
    """Pads to multiples of 128 and takes the mean of what is around, so that it can't paint in tiles of 64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        padded = F.pad(image, [0, -width % 128, 0, -height % 128], mode="replicate")
        coarse = F.interpolate(F.avg_pool2d(padded, 128), scale_factor=128)
        return torch.sigmoid(self.layer(padded + coarse))[..., :height, :width]


def test_a_network_that_pads_beyond_tiles_is_refused() -> None:
    with pytest.raises(UserError, match="can't paint in tiles"):
        TilePainter(Padded().eval(), CPU)


def test_given_statistics_are_those_of_a_condition() -> None:
    torch.manual_seed(0)
    network = lively(RealtimeNetwork((8, 12), 1)).to(memory_format=torch.channels_last)
    assert isinstance(network, RealtimeNetwork)
    norms = [layer for layer in network.modules() if isinstance(layer, InstanceNorm)]
    statistics = measured(TilePainter(network, CPU, 64), photo())
    given: dict[nn.Module, Statistics] = dict(zip(norms, statistics, strict=True))
    with torch.inference_mode():
        by_layer = network.paint_with(tensor(photo()), Condition(statistics=given))
        with GivenNorms(statistics):
            by_order = network(tensor(photo()))
    assert torch.equal(by_layer, by_order)


def test_statistics_are_those_of_the_whole_features_in_double_precision() -> None:
    torch.manual_seed(0)
    network, source = lively(ResidualNetwork((4, 6, 8), 1, 9)), photo()
    statistics = measured(TilePainter(network, CPU, 64), source)
    inputs: list[Tensor] = []
    for layer in network.modules():
        if isinstance(layer, InstanceNorm):
            layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0].double()))
    with torch.inference_mode(), GivenNorms(statistics):
        network(tensor(source))
    for features, (mean, variance) in zip(inputs, statistics, strict=True):
        values = features[0].flatten(1).numpy()
        assert np.allclose(values.mean(1), mean[0], rtol=1e-6, atol=1e-7)
        assert np.allclose(values.var(1), variance[0], rtol=1e-6, atol=1e-7)


def test_moments_keep_their_precision_far_from_zero() -> None:
    values = 1e4 + torch.randn(2, 40, 60, generator=torch.Generator().manual_seed(0)).double()
    joined = Moments.of(values[:, :7]).joined(Moments.of(values[:, 7:]))
    assert joined.count == 2400
    assert torch.allclose(joined.squares / 2400, values.flatten(1).var(1, correction=0), rtol=1e-10)


def test_the_overlap_follows_the_network() -> None:
    reaches = [TilePainter(ResidualNetwork((4, 4, 4), blocks, 9).eval(), CPU).field.overlap for blocks in (1, 3)]
    assert reaches[1] - reaches[0] == 2 * 2 * 4  # two blocks of two 3x3 convolutions at a quarter of the size
    small = TilePainter(RealtimeNetwork((4, 4), 1).eval(), CPU).field
    assert small.overlap < reaches[0] and small.step == 4


class Stretched(nn.Module):
    """Its painting depends on the brightest pixel of the whole picture, which no norm tells."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        painted: Tensor = self.first(image)
        return painted / painted.amax((2, 3), keepdim=True)


class Placed(nn.Module):
    """Its painting depends on the place in the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        painted: Tensor = self.first(image)
        return painted + torch.linspace(0, 1, image.shape[3])


@pytest.mark.parametrize("network", [AttentionNetwork((4, 4, 4), 1), Stretched()])
def test_a_network_that_looks_everywhere_is_refused(network: nn.Module) -> None:
    with pytest.raises(UserError, match="looks at the whole picture at once, so it can't paint in tiles"):
        TilePainter(network.eval(), CPU)


def test_a_network_that_knows_places_is_refused() -> None:
    with pytest.raises(UserError, match="paints parts of a picture otherwise than the whole"):
        TilePainter(Placed().eval(), CPU)


def test_a_picture_smaller_than_a_tile_and_one_of_a_pixel() -> None:
    painter = TilePainter(lively(RealtimeNetwork((4, 6), 1)), CPU, 64)
    for source in (photo(5, 7), photo(1, 70)):
        statistics = measured(painter, source)
        painted = np.concatenate(list(painter.paint(source, statistics)))
        with torch.inference_mode():
            whole = (painter.network(tensor(source)).clamp(0, 1) * 255 + 0.5).to(torch.uint8)
        assert np.abs(painted.astype(int) - whole[0].permute(1, 2, 0).numpy()).max() <= 1


def test_painting_goes_on_at_a_row_of_tiles() -> None:
    painter, source = TilePainter(lively(RealtimeNetwork((4, 6), 1)), CPU, 64), photo()
    statistics = measured(painter, source)
    rows = list(painter.paint(source, statistics))
    later = list(painter.paint(source, statistics, begin=64))
    assert [len(band) for band in rows] == [64, 64, 22] and len(later) == 2
    assert all(np.array_equal(a, b) for a, b in zip(later, rows[1:], strict=True))
