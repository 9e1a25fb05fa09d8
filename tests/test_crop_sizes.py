"""A curriculum of sizes: `crop=[32,48]` trains at each size for an equal share of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor

from onestroke.data.datamodule import reduced
from onestroke.errors import UserError
from onestroke.training.schedule import Schedule
from onestroke.training.settings import Settings
from tests.running import BLOCKS, alike, composed, run, shallow
from tests.test_resume import Kill, Killed, same


class Sizes(Callback):
    """Writes down the size of the pictures that the network is given in each step."""

    def __init__(self) -> None:
        self.found: list[tuple[int, ...]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.network.register_forward_pre_hook(lambda m, given: self.found.append(tuple(given[0].shape)))


def config(**more: Any) -> dict[str, Any]:
    return shallow("loss=[content,gram]", "network.controls=[]", data=BLOCKS, save_every=2, **more)


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_size_is_trained_at_for_an_equal_share_and_decoded_at_the_largest(tmp_path: Path) -> None:
    sizes = Sizes()
    seen = run(config(steps=6, crop=[32, 64, 48]), tmp_path / "run", more=[sizes])
    assert sizes.found == [(2, 3, side, side) for side in (32, 32, 64, 64, 48, 48)]
    assert seen.batch().shape == (2, 64, 64, 3)
    assert seen.module.step == 6


def test_one_size_in_a_list_is_that_size(tmp_path: Path) -> None:
    one, other = (run(config(steps=3, crop=crop), tmp_path / "run").module.network for crop in (32, [32]))
    assert alike(one, other)


def test_killed_at_the_second_size_and_resumed_equals_unbroken_to_the_bit(tmp_path: Path) -> None:
    sizes = Sizes()
    own = config(steps=6, crop=[32, 48])
    run({**own, "out": "whole.safetensors"}, tmp_path / "whole")
    with pytest.raises(Killed):
        run({**own, "out": "broken.safetensors"}, tmp_path / "broken", more=[Kill(5)])
    again = {"resume": str(tmp_path / "broken" / "last.ckpt"), "out": "again.safetensors"}
    run({**own, **again}, tmp_path / "broken", more=[sizes])
    assert {shape[2] for shape in sizes.found} == {48}
    assert same(tmp_path / "whole", tmp_path / "broken")


def test_shares_are_of_the_time_where_that_is_the_limit() -> None:
    schedule = Schedule(steps=10**6, minutes=2)
    stages = []
    for seconds in (0, 59, 61, 119, 120, 500):
        schedule.elapsed = seconds
        stages.append((schedule.stage(2), schedule.stage(1), schedule.stage(3)))
    assert stages == [(0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 2), (1, 0, 2), (1, 0, 2)]


def test_pictures_are_reduced_without_aliasing_and_keep_their_layout() -> None:
    board = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float().expand(2, 3, 64, 64)
    photos = board.contiguous(memory_format=torch.channels_last)
    small = reduced(photos, 32)
    assert small.shape == (2, 3, 32, 32)
    assert small.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(small, torch.tensor(0.5), atol=0.07)
    slope: Tensor = (torch.arange(64.0) / 64).expand(1, 3, 64, 64)
    middle = reduced(slope, 32)[..., 2:-2]
    assert torch.allclose(middle, ((torch.arange(32.0) + 0.25) / 32)[2:-2].expand_as(middle), atol=1e-5)
    assert reduced(photos, 64) is photos


@pytest.mark.parametrize("crop", [[], [31], [64, 16], [64, "x"], [64, 64.0], [True], "64", 31, None])
def test_sizes_that_are_none_are_told(crop: Any) -> None:
    with pytest.raises(UserError, match=r"^crop must be a "):
        Settings.of({**composed(), "crop": crop})
