"""A crop of a single colour costs its batch nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from onestroke.data.datamodule import PhotoBatches, to_image
from onestroke.data.dithering import FLAT, LEVELS, dithered
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.losses.shift_consistency import ShiftConsistency
from onestroke.networks.base import TransformNetwork
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from onestroke.training.module import StyleTransfer
from tests.commands import command

Crop = npt.NDArray[np.uint8]
CROP = 32


def flat_crops() -> dict[str, Crop]:
    """Crops in which nothing or next to nothing varies."""
    found = {name: np.full((CROP, CROP, 3), colour, np.uint8) for name, colour in
             {"black": 0, "white": 255, "red": (180, 30, 40)}.items()}  # fmt: skip
    grey = np.full((CROP, CROP, 3), 100, np.uint8)
    found["faint line"], found["faint step"], found["faint pixel"] = grey.copy(), grey.copy(), grey.copy()
    found["faint line"][16] += 1
    found["faint step"][16:] += 4
    found["faint pixel"][16, 16] += 1
    found["faint ramp"] = grey + np.repeat(np.arange(CROP, dtype=np.uint8) // 11, CROP * 3).reshape(grey.shape)
    return found


def varied_crops() -> dict[str, Crop]:
    """Crops that look flat in most places, and are not."""
    black = np.zeros((CROP, CROP, 3), np.uint8)
    line, halves, frame = black.copy(), black.copy(), black.copy()
    line[16], halves[:, 16:] = 255, (220, 40, 20)
    frame[:, -3:] = np.random.default_rng(0).integers(0, 256, (CROP, 3, 3))
    return {"line": line, "halves": halves, "letterbox": frame, "photo": photo(0)}


def photo(n: int) -> Crop:
    blocks = np.random.default_rng(n).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((CROP // 8, CROP // 8, 1), np.uint8))


@pytest.mark.parametrize("name", flat_crops())
def test_a_flat_crop_is_dithered_by_its_number_alone(name: str) -> None:
    crop = flat_crops()[name]
    noisy = dithered(crop, 7)
    assert noisy.dtype == np.uint8
    assert 1 <= np.abs(noisy.astype(int) - crop).max() <= LEVELS
    assert noisy.std(axis=(0, 1)).min() > 1
    assert np.array_equal(noisy, dithered(crop, 7))
    assert not np.array_equal(noisy, dithered(crop, 8))


@pytest.mark.parametrize("name", varied_crops())
def test_any_other_crop_is_left_as_it_is(name: str) -> None:
    crop = varied_crops()[name]
    assert dithered(crop, 7) is crop


def test_where_flat_ends_is_the_deviation_over_all_pixels() -> None:
    """Also where the pixels that are looked at first say otherwise."""
    high, low = np.full((64, 64, 3), 100, np.uint8), np.full((64, 64, 3), 100, np.uint8)
    high[32:] += round(2 * FLAT) + 1
    low[32:] += round(2 * FLAT) - 1
    assert dithered(high, 0) is high
    assert dithered(low, 0) is not low
    between = np.full((64, 64, 3), 100, np.uint8)
    between[1::8] = 200
    assert dithered(between, 0) is between
    on_them = np.full((64, 64, 3), 100, np.uint8)
    on_them[::8, ::8] += 10
    assert dithered(on_them, 0) is not on_them


class Source:
    """Crops that are given."""

    def __init__(self, crops: list[Crop]) -> None:
        self.crops = crops

    def preflight(self) -> None:
        pass

    def sample(self, n: int, seed: int, crop: int) -> tuple[Crop, list[str]]:
        return self.crops[n % len(self.crops)], []

    def held_out(self, size: int) -> list[Crop]:
        return []

    def describe(self) -> str:
        return "crops"


@functools.cache
def objective(dtype: torch.dtype) -> Objective:
    """The losses of a training, as far as the VGG's second block."""
    layers = ["relu1_2", "relu2_2"]
    terms = {"content": Content(layers[1:]), "gram": Gram(layers), "shift_consistency": ShiftConsistency()}
    return Objective(terms, VGG(layers, dtype=dtype), from_card("udnie", 256, layers))


def gradient(network: nn.Module, crops: list[Crop], dtype: torch.dtype) -> Tensor:
    """Of one batch, as training sees it."""
    module = StyleTransfer(network, objective(dtype), objective(dtype))
    batch = next(iter(PhotoBatches(Source(crops), len(crops), CROP, 0, workers=0).train_dataloader()))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        losses, _ = module.compare(to_image(batch["photos"]), module.draw.of(batch["numbers"]))
    module.network.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    return torch.cat([p.grad.flatten().double() for p in network.parameters() if p.grad is not None])


NETWORKS: dict[str, Callable[[], TransformNetwork]] = {
    "classic": lambda: ResidualNetwork([8, 12, 16], blocks=2, ends=9),
    "controls": lambda: ResidualNetwork([8, 12, 16], blocks=2, ends=9, controls=["strength"]),
    "realtime": lambda: RealtimeNetwork([8, 12], blocks=3),
    "from nothing": lambda: ResidualNetwork([8, 12, 16], blocks=2, ends=9, adds_photo=False),
}


# controls: as classic, with more rows in its norm tables; bf16 takes seconds where the processor does not have it
CASES = [
    pytest.param(name, dtype, id=f"{name}-{short}", marks=() if quick else pytest.mark.slow)
    for name in NETWORKS
    for short, dtype, quick in (
        ("fp32", torch.float32, name != "controls"),
        ("bf16", torch.bfloat16, name == "from nothing"),
    )
]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_flat_crop_weighs_no_more_than_some_photos_in_the_gradient_of_its_batch(
    name: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    photos = [photo(n) for n in range(3)]
    others = 0.75 * gradient(network, photos, dtype)
    for kind, crop in flat_crops().items():
        all_four = gradient(network, [*photos, crop], dtype)
        assert all_four.isfinite().all(), kind
        assert (all_four - others).norm() < 2 * others.norm(), kind


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "controls" else ()) for name in NETWORKS]
)
def test_a_batch_of_flat_crops_alone_has_a_finite_gradient(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    for kind, crop in flat_crops().items():
        for count in (1, 2):
            assert gradient(network, [crop] * count, torch.float32).isfinite().all(), kind


def test_a_folder_of_photos_and_black_frames_is_trained_on_without_a_skipped_step(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(9):
        picture = np.zeros((96, 128, 3), np.uint8) if n % 3 == 0 else np.kron(photo(n), np.ones((3, 4, 1), np.uint8))
        Image.fromarray(picture).save(folder / f"{n}.png")
    done = command(
        "train.py", "data=photos", f"data.root={folder}", "data.validation=1", "data.cache=null", "steps=4", "crop=32",
        "batch_size=4", "trainer=cpu", "trainer.workers=0", "network=classic", "network.channels=[4,8,8]",
        "measure=false", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "done after 4 steps" in done.stdout
    assert "skipped" not in done.stdout + done.stderr
