"""Pruning: a narrower network that keeps the channels that count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from onestroke.cli.checkpoints import prune
from onestroke.networks.layers import InstanceNorm
from onestroke.networks.pruning import pruned
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from onestroke.style_file import load, save
from tests.test_controls import BOTH, controlled, saved
from tests.test_many_styles import photos

ARGS: dict[str, Any] = {"channels": [4, 6, 8], "blocks": 2, "ends": 3, "styles": 2, "controls": BOTH}


def with_idle_channels() -> tuple[ResidualNetwork, list[str]]:
    """A network of which the odd channels of each layer are always zero."""
    torch.manual_seed(0)
    network = ResidualNetwork(**ARGS)
    norms = [module for module in network.modules() if isinstance(module, InstanceNorm)]
    for norm in norms:
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias, 0, 0.3)
        for table in (norm.weight, norm.bias):
            table.data[:, 1::2] = 0
    nn.init.normal_(network.paint.convolution.weight, 0, 0.05)
    return network.requires_grad_(False).eval(), list(network.state_dict())


def test_without_the_channels_that_bring_nothing_it_paints_the_same() -> None:
    (network, names), (photo, _) = with_idle_channels(), photos(36)
    smaller, channels = pruned(network, 0.5)
    assert channels == [2, 3, 4]
    alone = ResidualNetwork(**{**ARGS, "channels": channels})
    alone.load_state_dict(smaller.state_dict())
    assert list(smaller.state_dict()) == names
    mix = torch.tensor([[0.3, 0.7]])
    wanted = network(photo, mix, strength=0.7, stroke=0.4)
    assert torch.allclose(alone(photo, mix, strength=0.7, stroke=0.4), wanted, atol=1e-5)
    assert float((wanted - photo).abs().max()) > 0.1
    assert not torch.allclose(pruned(network, 0.75)[0](photo, mix), network(photo, mix), atol=1e-2)


@pytest.mark.parametrize(("share", "channels"), [(0.25, [3, 4, 6]), (0.5, [2, 3, 4]), (0.99, [1, 1, 1])])
def test_a_file_is_pruned_and_can_be_started_from(
    share: float, channels: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.safetensors"
    whole = saved(tmp_path / "whole.safetensors", controlled(styles=2), ["a", "b"], strength=0.6)
    assert prune([f"path={whole}", f"out={out}", f"share={share}"]) == 0
    network, document = load(out)
    assert isinstance(network, ResidualNetwork)
    assert document.network["args"]["channels"] == channels
    assert (network.styles, list(network.controls), document.styles) == (2, BOTH, ["a", "b"])
    assert document.style["strength"] == 0.6
    assert f"'network.channels=[{','.join(map(str, channels))}]'" in capsys.readouterr().out
    assert prune([f"path={whole}", f"out={out}"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_only_a_residual_network_is_pruned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = {"channels": [4, 6], "blocks": 1}
    path, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save(path, RealtimeNetwork([4, 6], 1), Metadata({"name": "RealtimeNetwork", "args": args}, {"name": "a"}))
    assert prune([f"path={path}", f"out={out}"]) == 2
    assert "holds a RealtimeNetwork, and only a ResidualNetwork is pruned" in capsys.readouterr().err
    assert prune([f"path={path}", f"out={out}", "share=1"]) == 2
    assert not out.exists()
