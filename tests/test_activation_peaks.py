"""Peaks of activations: measured in a network's norms, and made smaller by training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from onestroke.errors import UserError
from onestroke.losses.activation_peaks import ActivationPeaks
from onestroke.losses.term import Views
from onestroke.networks.base import TransformNetwork
from onestroke.networks.layers import InstanceNorm
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style import Facts, Style
from onestroke.training.norm_peaks import NormPeaks
from tests.running import BLOCKS, run, shallow

NO_STYLE = Style("none", {}, {}, Facts(), 64)


def network() -> TransformNetwork:
    torch.manual_seed(0)
    return ResidualNetwork([4, 4, 8], blocks=1, ends=3)


def loss(term: ActivationPeaks, peaks: Tensor) -> list[float]:
    found: list[float] = term(Views({}, {}, NO_STYLE, peaks=peaks)).tolist()
    return found


def test_peaks_are_deviations_from_the_mean_of_each_norm_s_inputs() -> None:
    painter = network()
    seen: list[np.ndarray] = []
    for module in painter.modules():
        if isinstance(module, InstanceNorm):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().double().numpy()))
    peaks = NormPeaks(painter)
    painter(torch.rand(1, 3, 64, 64))  # a pass whose peaks are not those of the latest
    seen.clear()
    photo = torch.rand(2, 3, 48, 32)
    photo[0, :, 10, 10] = 40.0
    painter(photo)
    expected = []
    for features in seen:
        flat = features.reshape(*features.shape[:2], -1)
        away = np.abs(flat - flat.mean(axis=2, keepdims=True)).max(axis=2)
        expected.append(away / np.sqrt(flat.var(axis=2) + 1e-5))
    assert peaks.found().detach().numpy() == pytest.approx(np.concatenate(expected, axis=1), rel=1e-4)
    assert peaks.found()[0].max() > 20 > peaks.found()[1].max()


def test_the_loss_is_the_mean_square_beyond_the_limit() -> None:
    peaks = torch.tensor([[2.0, 10.0, 5.0, 20.0], [1.0, 4.9, 0.0, 5.0]])
    assert loss(ActivationPeaks(limit=5.0), peaks) == pytest.approx([(1 + 9) / 4, 0])


@pytest.mark.slow
def test_training_makes_peaks_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    largest = []
    for name, weight in (("off", 0), ("on", 10)):
        peaks = (f"loss.activation_peaks.weight={weight}", "loss.activation_peaks.limit=1", "lr=1e-2")
        config = shallow("loss=[content,activation_peaks]", *peaks, "network.controls=[]", steps=40, data=BLOCKS)
        trained = run(config, tmp_path / name).module.network
        seen = NormPeaks(trained)
        trained(photos)
        largest.append(float(seen.found().detach().mean()))
    assert largest[1] < 0.9 * largest[0]


@pytest.mark.parametrize("limit", [0, -1, float("inf"), float("nan"), True, "3"])
def test_a_limit_that_is_none_is_one_sentence(limit: object) -> None:
    with pytest.raises(UserError, match="limit must be a number above 0"):
        ActivationPeaks(limit=limit)  # type: ignore[arg-type]


def test_a_network_without_norms_has_no_peaks_to_look_at() -> None:
    with pytest.raises(UserError, match="this network has none: leave it out"):
        NormPeaks(torch.nn.Conv2d(3, 3, 1))
