"""The layout of norm tables, and what a network is painted with under a condition of any origin."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.networks.attention import AttentionNetwork
from onestroke.networks.base import TransformNetwork
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.layers import InstanceNorm
from onestroke.networks.table_rows import rows_from
from onestroke.networks.tables import Condition, tables_of
from onestroke.networks.unet import UNetwork
from tests.test_controls import ARGS, BOTH, controlled
from tests.test_many_styles import photos

KINDS = list(ARGS)
# attention sees the whole picture in each part, and the other network pads what is no multiple of 8
IN_PARTS = [kind for kind in KINDS if kind not in (AttentionNetwork, UNetwork)]


def test_rows_are_ordered_by_style_then_strength_then_stroke() -> None:
    layout = Conditioning(2, ("stroke", "strength"))  # in whatever order a config names them
    places = list(itertools.product((0, 1), (0.0, 0.5, 1.0), (0.0, 1.0)))
    assert layout.rows == len(places) == 12
    assert layout.positions() == [{"strength": s, "stroke": t} for _, s, t in places[:6]]
    for row, (style, strength, stroke) in enumerate(places):
        mix = F.one_hot(torch.tensor([style]), 2).float()
        shares = layout.shares(1, mix, {"strength": strength, "stroke": stroke})
        assert shares is not None
        assert shares.tolist() == [[float(i == row) for i in range(12)]]


def test_shares_of_a_mix_between_anchors_sum_to_one_and_are_the_product_of_their_parts() -> None:
    layout, mix = Conditioning(2, ("strength", "stroke")), torch.tensor([[0.25, 0.75]])
    shares = layout.shares(1, mix, {"strength": 0.7, "stroke": 0.25})
    assert shares is not None
    expected = torch.einsum("s,k,t->skt", mix[0], torch.tensor([0, 0.6, 0.4]), torch.tensor([0.75, 0.25])).flatten()
    assert torch.allclose(shares[0], expected, atol=1e-6)
    assert float(shares.sum()) == pytest.approx(1)


def test_a_table_row_is_taken_from_the_same_position_of_the_other_table() -> None:
    ours, theirs = Conditioning(1, ("strength", "stroke")), Conditioning(2, ("strength",))
    taken = rows_from(ours, theirs, [1])
    # six rows here, three positions of style 1 there, each for both strokes
    assert taken.argmax(1).tolist() == [3, 3, 4, 4, 5, 5]
    assert taken.sum(1).tolist() == [1.0] * 6


@pytest.mark.parametrize("kind", KINDS)
def test_shares_and_fade_as_inputs_paint_as_the_settings_do(kind: type[TransformNetwork]) -> None:
    network, (photo, _) = controlled(kind, styles=2), photos(36)
    mix = torch.tensor([[0.5, 0.5]])
    settings: dict[str, Any] = {"strength": 0.2, "stroke": 0.25}
    shares = network.conditioning.shares(1, mix, settings)
    painted = network.paint_with(photo, Condition(shares, fade=torch.tensor([0.8])))
    assert torch.equal(painted, network(photo, mix, **settings))
    assert torch.equal(network.paint_with(photo, Condition(shares, fade=torch.zeros(1))), photo)


def statistics_of(network: TransformNetwork, photo: Tensor, **settings: Any) -> dict[Any, tuple[Tensor, Tensor]]:
    """Mean and variance of what each norm is given."""
    found: dict[Any, tuple[Tensor, Tensor]] = {}

    def keep(layer: Any, inputs: Any) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(2, 3), correction=0)
        found[layer] = mean, variance

    norms = [layer for layer in network.modules() if isinstance(layer, InstanceNorm)]
    handles = [layer.register_forward_pre_hook(keep) for layer in norms]
    network(photo, **settings)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("kind", IN_PARTS)
def test_given_statistics_take_the_place_of_the_pictures_own(kind: type[TransformNetwork]) -> None:
    network, (photo, other) = controlled(kind, controls=[]), photos(36)
    given = statistics_of(network, photo)
    assert torch.allclose(network.paint_with(photo, Condition(statistics=given)), network(photo), atol=1e-5)
    # with fixed statistics a part is painted as it is in the whole, away from its edges
    whole = network.paint_with(other, Condition(statistics=given))
    part = network.paint_with(other[..., :32], Condition(statistics=given))
    assert torch.allclose(part[..., :4], whole[..., :4], atol=1e-5)
    assert not torch.allclose(whole, network(other), atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_given_parameters_take_the_place_of_the_tables(kind: type[TransformNetwork]) -> None:
    network, (photo, _) = controlled(kind, controls=BOTH), photos(36)
    condition = network.conditioning.condition(photo, None, {"strength": 0.7, "stroke": 0.5})
    assert condition.shares is not None
    given: dict[nn.Module, Sequence[Tensor]] = {layer: layer.mixed(condition.shares) for layer in tables_of(network)}
    assert torch.allclose(
        network.paint_with(photo, Condition(parameters=given)), network(photo, strength=0.7, stroke=0.5), atol=1e-6
    )
    moved = {layer: [2 * part for part in parts] for layer, parts in given.items()}
    assert not torch.allclose(network.paint_with(photo, Condition(parameters=moved)), network(photo), atol=1e-2)


def test_several_rows_without_shares_are_refused() -> None:
    network = controlled(styles=2, controls=[])
    with pytest.raises(ValueError, match="2 styles needs their mix"):
        network(photos(36)[0])
