"""torch.compile in training: the same step, or a line why not."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn

from onestroke.errors import UserError
from onestroke.training.callbacks.warm_up import WarmUp, compile_parts
from onestroke.training.machine import Machine
from onestroke.training.module import StyleTransfer
from tests.test_controls import controlled
from tests.test_many_styles import objective
from tests.test_training import CONFIG

GROUP = CONFIG["trainer"]


def eagerly(module: nn.Module) -> None:
    """Traced as for Inductor, but without a C++ compiler."""
    module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")


@pytest.mark.slow
def test_a_compiled_step_learns_what_a_plain_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "compile", eagerly)
    judge = objective(["udnie"])
    network = controlled(controls=["strength"]).train().requires_grad_(True)
    gradients = []
    for compiles in (False, True):
        module = StyleTransfer(copy.deepcopy(network), judge, judge)
        warm_up = WarmUp(2, 48, torch.float32, compiles, tells=False)
        assert warm_up.prepare(module, 2) > 0
        assert warm_up.compiles == compiles
        assert (module.network._compiled_call_impl is not None) == compiles
        assert all(p.grad is None for p in module.network.parameters())
        photos = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
        torch.stack(list(module.compare(photos, module.draw.of([0, 1]))[0].values())).sum().backward()
        gradients.append([p.grad for p in module.network.parameters()])
        assert list(module.network.state_dict()) == list(network.state_dict())
    for plain, compiled in zip(*gradients, strict=True):
        assert torch.allclose(plain, compiled, rtol=1e-4, atol=1e-6)


def test_where_nothing_can_be_compiled_training_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class NoCompiler(Exception):
        pass

    NoCompiler.__module__ = "torch._inductor.exc"

    def broken(module: nn.Module) -> None:
        def call(*_: object) -> None:
            raise NoCompiler("there is no C++ compiler\nand much more")

        module._compiled_call_impl = call

    monkeypatch.setattr(nn.Module, "compile", broken)
    layer = nn.Linear(3, 2)
    with caplog.at_level(logging.INFO):
        assert not compile_parts([layer], lambda: layer(torch.zeros(1, 3)))
    assert layer(torch.zeros(1, 3)).shape == (1, 2)
    assert [r.message for r in caplog.records][-1] == (
        "this machine can't compile, so training goes on without: there is no C++ compiler"
    )

    def wrong() -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        compile_parts([layer], wrong)


def test_a_cpu_compiles_only_when_it_is_told_to() -> None:
    assert [Machine.of({**GROUP, "compile": c}, 4).compiles for c in ("auto", True, False)] == [False, True, False]
    with pytest.raises(UserError, match=r"trainer\.compile must be auto, true or false"):
        Machine.of({**GROUP, "compile": "maybe"}, 4)
