"""Muon: orthogonal steps for what mixes features, Adam for the rest, and a state that can be resumed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.training.muon import Muon, orthogonal, split


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 24, 24)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    matrices = normal(*shape)
    found = orthogonal(matrices)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    # along the old singular vectors what is left is diagonal
    diagonal = left.mT @ found @ right.mT
    off = diagonal - torch.diag_embed(torch.diagonal(diagonal, dim1=-2, dim2=-1))
    assert float(off.abs().max()) < 1e-4
    assert torch.allclose(orthogonal(1000 * matrices), found, atol=1e-4)
    assert torch.isfinite(orthogonal(torch.zeros(1, 4, 5))).all()


def test_a_step_is_the_orthogonal_momentum_at_ten_times_the_rate() -> None:
    weight = nn.Parameter(normal(8, 2, 3, 3))
    tall = nn.Parameter(normal(24, 3, 1, 1, seed=1))
    before = weight.detach().clone(), tall.detach().clone()
    optimizer = Muon([weight, tall], [], lr=0.01)
    gradients = [(normal(8, 2, 3, 3, seed=s), normal(24, 3, 1, 1, seed=s + 10)) for s in (2, 3)]
    momentum = [torch.zeros_like(weight), torch.zeros_like(tall)]
    expected = [before[0].clone(), before[1].clone()]
    for pair in gradients:
        for i, (p, g) in enumerate(zip((weight, tall), pair, strict=True)):
            p.grad = g.clone()
            momentum[i] = 0.95 * momentum[i] + 0.05 * g
            ahead = (0.05 * g + 0.95 * momentum[i]).flatten(1)
            scale = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
            expected[i] -= 0.01 * 10 * scale * orthogonal(ahead[None])[0].view_as(g)
        optimizer.step()
    assert torch.allclose(weight, expected[0], atol=1e-5)
    assert torch.allclose(tall, expected[1], atol=1e-5)


def test_the_rest_moves_as_torch_s_adam_moves_it() -> None:
    ours, theirs = (nn.Parameter(normal(7)) for _ in range(2))
    optimizer = Muon([], [ours], lr=0.03, betas=(0.9, 0.99))
    adam = torch.optim.Adam([theirs], lr=0.03, betas=(0.9, 0.99))
    for step in range(5):
        for group in (*optimizer.param_groups, *adam.param_groups):
            group["lr"] = 0.03 / (step + 1)
        ours.grad, theirs.grad = normal(7, seed=step), normal(7, seed=step)
        optimizer.step()
        adam.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_what_mixes_features_is_told_from_the_rest() -> None:
    network = ResidualNetwork([4, 8, 16], blocks=2, ends=3)
    matrices, others = split(network)
    assert len(matrices) == 3 + 2 * 2 + 2
    assert all(p.ndim == 4 for p in matrices)
    assert {id(p) for p in (*matrices, *others)} == {id(p) for p in network.parameters()}
    assert any(p is network.paint.convolution.weight for p in others)
    network.encoder.requires_grad_(False)
    assert len(split(network)[0]) == 2 * 2 + 2


def test_a_state_that_was_saved_goes_on_as_if_it_had_not_been() -> None:
    network = ResidualNetwork([4, 4, 8], blocks=1, ends=3)
    optimizer = Muon(*split(network), lr=0.01)

    def step(model: nn.Module, rule: Muon, seed: int) -> None:
        for i, p in enumerate(model.parameters()):
            p.grad = normal(*p.shape, seed=seed + i)
        rule.step()

    step(network, optimizer, 0)
    twin = copy.deepcopy(network)
    again = Muon(*split(twin), lr=0.5)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for model, rule in ((network, optimizer), (twin, again)):
        step(model, rule, 100)
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_lays_out_pixels_is_moved_by_adam() -> None:
    network = RealtimeNetwork([4, 6], 1)
    matrices, others = split(network)
    kernels = {id(m.weight) for m in network.modules() if isinstance(m, nn.Conv2d)}
    assert {id(p) for p in matrices} == kernels - {id(network.paint.convolution.weight)}
    assert {id(p) for p in matrices} | {id(p) for p in others} == {id(p) for p in network.parameters()}
