"""The training step against a plain loop, the schedule, and what guards a run."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import math
import os
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from onestroke.data.datamodule import PhotoBatches, to_image
from onestroke.errors import UserError
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.losses.term import Term, Views
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from onestroke.style_file import load
from onestroke.training.averaging import ema_decay
from onestroke.training.finite_guard import PATIENCE, RECOVERED, ROLLBACKS
from onestroke.training.machine import Machine
from onestroke.training.module import StyleTransfer
from onestroke.training.recipe import Recipe
from onestroke.training.run import train
from onestroke.training.schedule import Schedule, learning_rate
from onestroke.training.times import duration
from tests.commands import scalars
from tests.running import judged

LAYERS = {"relu1_2", "relu2_2"}
MACHINE = Machine("cpu", 1, "auto", "32-true", 0, False, "a test")


class Noise:
    """A source of colourful blocks."""

    def preflight(self) -> None:
        pass

    def sample(self, n: int, seed: int, crop: int) -> tuple[np.ndarray, list[str]]:
        rng = np.random.default_rng([seed, n])
        blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        return np.kron(blocks, np.ones((crop // 4, crop // 4, 1), np.uint8)), []

    def held_out(self, size: int) -> list[np.ndarray]:
        return [self.sample(n, 1, size)[0] for n in range(2)]

    def describe(self) -> str:
        return "blocks"


class Broken(Term):
    """Not a number in the calls that it is told; else nothing."""

    def __init__(self, calls: Container[int]) -> None:
        super().__init__(["relu1_2"])
        self.calls, self.count = calls, 0

    def forward(self, views: Views) -> Tensor:
        self.count += 1
        value = views.output["relu1_2"].square().mean() * 0
        return value * math.nan if self.count - 1 in self.calls else value


def tiny(seed: int = 0) -> ResidualNetwork:
    torch.manual_seed(seed)
    return ResidualNetwork([4, 4, 8], blocks=1, ends=3)


def objective(extra: Mapping[str, Term] | None = None) -> Objective:
    terms: dict[str, Term] = {"content": Content(["relu2_2"]), "gram": Gram(sorted(LAYERS)), **(extra or {})}
    style = from_card("starry_night", 256, LAYERS)
    return Objective(terms, VGG(LAYERS), style)


def fit(module: StyleTransfer, tmp_path: Path, callbacks: list[Any] | None = None) -> None:
    data = PhotoBatches(Noise(), batch_size=2, crop=32, seed=5, workers=0)
    MACHINE.trainer(callbacks or [], tmp_path).fit(module, datamodule=data)


def test_training_equals_a_plain_loop(tmp_path: Path) -> None:
    module = StyleTransfer(tiny(), objective(), objective(), Recipe(1e-3, "adam"), schedule=Schedule(4))
    fit(module, tmp_path)

    network, average, judge = tiny(), tiny(), objective()
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
    for step in range(4):
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * step / 4)) / 2
        optimizer.param_groups[0]["lr"] = 1e-3 * (step + 1) / 20 * cosine
        pictures = np.stack([Noise().sample(2 * step + i, 5, 32)[0] for i in range(2)])
        photos = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous() / 255.0
        losses = judge(network(photos), photos)
        optimizer.zero_grad()
        (losses["content"] + losses["gram"]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        decay = max(0.0, 1 - 1 / (0.05 * (step + 1)))
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
                mean.copy_(decay * mean + (1 - decay) * weight)
    for trained, plain in ((module.network, network), (module.ema, average)):
        for (name, a), (_, b) in zip(trained.named_parameters(), plain.named_parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-6, msg=name)


def test_training_lowers_the_held_out_loss(tmp_path: Path) -> None:
    module = StyleTransfer(tiny(), objective(), objective(), Recipe(5e-3), schedule=Schedule(40))
    photos = [to_image(torch.from_numpy(p)[None]) for p in Noise().held_out(64)]
    before, _ = judged(module, photos)
    fit(module, tmp_path)
    after, paintings = judged(module, photos)
    assert after["total"] < 0.8 * before["total"]
    assert after["total"] == pytest.approx(after["content"] + after["gram"], rel=1e-6)
    assert all(0 <= float(p.min()) and float(p.max()) <= 1 for (p,) in paintings)


def test_the_schedule_warms_up_and_ends_low() -> None:
    rates = [learning_rate(step / 1000, step, 0.5) for step in range(1000)]
    assert rates[0] == pytest.approx(0.5 / 20)
    assert int(np.argmax(rates)) == 19
    assert rates[500] == pytest.approx(0.5 * (0.01 + 0.99 / 2))
    assert learning_rate(1.7, 5000, 0.5) == pytest.approx(0.005)


def test_the_average_spans_the_same_share_of_short_and_long_runs() -> None:
    for steps in (400, 4000):
        weight, age = 1.0, 0.0
        for step in reversed(range(steps)):  # how much each step's weights count in the end
            share = weight * (1 - ema_decay(step, 0.05))
            age += share * (steps - 1 - step)
            weight -= share
        assert weight == pytest.approx(0, abs=1e-9)
        assert age / steps == pytest.approx(0.05, rel=0.1)


def test_a_step_that_is_not_finite_changes_nothing_and_names_the_term(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = StyleTransfer(tiny(), objective({"bad": Broken(range(0))}), objective(), schedule=Schedule(3))
    fit(whole, tmp_path)
    caplog.set_level(logging.WARNING)
    module = StyleTransfer(tiny(), objective({"bad": Broken(range(3, 4))}), objective(), schedule=Schedule(4))
    states: list[dict[str, Tensor]] = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            states.append(copy.deepcopy(pl_module.state_dict()))

    fit(module, tmp_path, [Watch()])
    assert module.guard.skipped_steps == 1
    assert "step 3: the term 'bad' is not finite" in caplog.text
    assert all(torch.equal(states[3][name], tensor) for name, tensor in states[2].items())
    assert any(not torch.equal(states[1][name], tensor) for name, tensor in states[2].items())


class Waits(TorchDispatchMode):
    """Counts how often the host asks for a number that a device holds."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)  # which has no types
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_the_host_waits_for_a_device_at_looks_alone_and_what_is_learned_is_the_same(
    tmp_path: Path, optimizer: Literal["muon", "adam"], caplog: pytest.LogCaptureFixture
) -> None:
    class Run(Callback):
        def __init__(self, every: int) -> None:
            self.every = every
            self.waits: list[int] = []

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            pl_module.guard.every = self.every
            step = pl_module.training_step

            def watched(batch: Any, batch_idx: int) -> None:
                with Waits() as waits:
                    step(batch, batch_idx)
                self.waits.append(waits.count)

            pl_module.training_step = watched

    caplog.set_level(logging.WARNING)
    ends, runs = [], [Run(1), Run(4)]
    for run in runs:
        recipe = Recipe(optimizer=optimizer)
        broken = objective({"bad": Broken(range(0, 6, 5))})  # the very first step, and one between two looks
        module = StyleTransfer(tiny(), broken, objective(), recipe, schedule=Schedule(10))
        fit(module, tmp_path, [run])
        assert module.guard.skipped_steps == 2
        ends.append(module.state_dict())
    assert caplog.text.count("step 0: the term 'bad'") == caplog.text.count("step 5: the term 'bad'") == 2
    assert all(torch.equal(ends[1][name], tensor) for name, tensor in ends[0].items())
    # the reason for a step that did not count is sought in that very step, or in the first look after it
    assert [i for i, count in enumerate(runs[0].waits) if count] == [0, 5]
    assert [i for i, count in enumerate(runs[1].waits) if count] == [3, 7]


def test_weights_are_rolled_back_then_the_run_gives_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    module = StyleTransfer(tiny(), objective({"bad": Broken(range(2, 10**6))}), objective(), schedule=Schedule(1000))
    start = copy.deepcopy(module.state_dict())
    with pytest.raises(UserError, match="the term 'bad' stays not finite"):
        fit(module, tmp_path)
    assert module.guard.skipped_steps == PATIENCE * (ROLLBACKS + 1)
    assert caplog.text.count("half the learning rate") == ROLLBACKS
    # the state to go back to was the one at the start
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in start.items())


def test_rollbacks_are_forgotten_once_training_goes_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    recovered = 5
    monkeypatch.setattr("onestroke.training.finite_guard.RECOVERED", recovered)
    # as many as end a run, each after enough finite steps
    every = PATIENCE + recovered
    bad = {step for n in range(ROLLBACKS + 1) for step in range(n * every, n * every + PATIENCE)}
    module = StyleTransfer(
        tiny(), objective({"bad": Broken(bad)}), objective(), schedule=Schedule((ROLLBACKS + 1) * every)
    )
    fit(module, tmp_path)
    assert caplog.text.count("half the learning rate") == ROLLBACKS + 1
    # one finite step fewer is not enough
    bad = {step for n in range(ROLLBACKS + 1) for step in range(n * (every - 1), n * (every - 1) + PATIENCE)}
    module = StyleTransfer(
        tiny(), objective({"bad": Broken(bad)}), objective(), schedule=Schedule((ROLLBACKS + 1) * every)
    )
    with pytest.raises(UserError, match=f"after {ROLLBACKS} fresh starts"):
        fit(module, tmp_path)


def test_what_counts_towards_giving_up_is_kept_in_the_resume_file() -> None:
    module = StyleTransfer(tiny(), objective(), objective())
    module.guard.good, module.guard.rollbacks, module.guard.lr_factor = RECOVERED - 1, 2, 0.25
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    other = StyleTransfer(tiny(), objective(), objective())
    other.on_load_checkpoint(checkpoint)
    assert (other.guard.good, other.guard.rollbacks, other.guard.lr_factor) == (RECOVERED - 1, 2, 0.25)
    del checkpoint["onestroke"]["good_steps"]  # as in older files
    other.on_load_checkpoint(checkpoint)
    assert other.guard.good == 0


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_advice_of_a_run_that_gives_up_names_an_option_that_there_is(precision: str, tmp_path: Path) -> None:
    module = StyleTransfer(tiny(), objective({"bad": Broken(range(10**6))}), objective(), schedule=Schedule(1000))
    data = PhotoBatches(Noise(), batch_size=2, crop=32, seed=5, workers=0)
    machine = replace(MACHINE, precision=precision)
    with pytest.raises(UserError, match="try a smaller lr") as caught:
        machine.trainer([], tmp_path).fit(module, datamodule=data)
    assert ("trainer.precision=32-true" in str(caught.value)) == (precision != "32-true")


def test_bf16_judges_as_fp32_does() -> None:
    style = from_card("starry_night", 256, LAYERS)
    photos = to_image(torch.from_numpy(np.stack([Noise().sample(n, 0, 64)[0] for n in range(2)])))
    output = (photos * 0.7 + 0.1).clone()
    found: list[dict[str, Tensor]] = []
    for dtype in (torch.float32, torch.bfloat16):
        judge = Objective(
            {"content": Content(["relu2_2"]), "gram": Gram(sorted(LAYERS))}, VGG(LAYERS, dtype=dtype), style
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            found.append(judge(output, photos))
    for name, expected in found[0].items():
        assert found[1][name].dtype == torch.float32
        assert float(found[1][name]) == pytest.approx(float(expected), rel=0.01), name


CONFIG: dict[str, Any] = {
    "style": {"name": "starry_night", "image": None, "size": 256, "strength": 0.5, "cards": {"starry_night": None}},
    "network": {
        "_target_": "onestroke.networks.residual.ResidualNetwork", "channels": [4, 4, 8], "blocks": 1, "ends": 3,
    },
    "loss": {"gram": {"_target_": "onestroke.losses.gram.Gram", "layers": ["relu1_2"]},
             "shift_consistency": {"_target_": "onestroke.losses.shift_consistency.ShiftConsistency"}},
    "vgg": {"arch": "vgg16", "weights": None},
    "data": {"_target_": "onestroke.data.scenes.Scenes", "validation": 1},
    "trainer": {"accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": "32-true", "workers": 0,
                "compile": "auto"},
    "logger": {"tensorboard": {"_target_": "pytorch_lightning.loggers.TensorBoardLogger", "name": "", "version": ""}},
    "callbacks": {},
    "steps": 4, "minutes": None, "batch_size": 1, "crop": 32, "lr": 1e-3,
    "optimizer": "muon", "schedule": "cosine", "betas": [0.9, 0.99], "ema": 0.05, "clip": 1.0, "plateau": None,
    "seed": 0, "init": None, "adapt": "all", "vary": "auto", "teacher": None, "out": None,
    "overwrite": False, "resume": None, "save_every": 2, "measure": False,
}  # fmt: skip


def test_init_starts_from_another_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    first = train(CONFIG, tmp_path / "a")
    (tmp_path / "b").mkdir()
    # one step at next to no rate: what comes out is what went in
    second = train({**CONFIG, "init": str(first), "steps": 1, "lr": 1e-12, "seed": 9}, tmp_path / "b")
    assert second != first
    for a, b in zip(load(first)[0].parameters(), load(second)[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    other = {**CONFIG, "init": str(first), "network": {**CONFIG["network"], "blocks": 2}}
    with pytest.raises(UserError, match="holds another network"):
        train(other, tmp_path / "b")


def test_a_full_disk_costs_a_copy_but_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk is full when the copy of step 2 is due, and free again at the end."""
    import errno

    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.WARNING)
    sync = os.fsync
    failures = [OSError(errno.ENOSPC, "No space left on device")] * 2

    def full(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "run").mkdir()
    path = train(CONFIG, tmp_path / "run")
    assert "No space left on device" in caplog.text
    assert load(path)[1].training["steps"] == 4
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_a_disk_that_stays_full_ends_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onestroke import style_file

    def full(*_: object) -> None:
        raise UserError("cannot write: No space left on device; free some space or write elsewhere")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    real = style_file.save
    monkeypatch.setattr(style_file, "save", full)
    with pytest.raises(UserError, match="No space left") as caught:
        train(CONFIG, tmp_path / "run")
    assert f"resume={tmp_path / 'run'}" in str(caught.value)
    # and so it does
    monkeypatch.setattr(style_file, "save", real)
    assert (
        load(train({**CONFIG, "resume": str(tmp_path / "run" / "last.ckpt")}, tmp_path / "run"))[1].training["steps"]
        == 4
    )


def test_weights_that_are_not_finite_are_never_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()

    def spoil(ema: nn.Module, *_: object) -> None:
        with torch.no_grad():
            next(ema.parameters()).fill_(math.nan)

    monkeypatch.setattr("onestroke.training.module.average", spoil)
    with pytest.raises(UserError, match="not finite"):
        train(CONFIG, tmp_path / "run")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_time_budget_ends_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a tenth of a second whenever it is looked at, and so the same on any machine."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    config = {**CONFIG, "steps": 10**6, "minutes": 0.4, "trainer": {**CONFIG["trainer"], "log_every_n_steps": 1}}
    path = train(config, tmp_path / "run", itertools.count(3.0, 0.1).__next__)
    training = load(path)[1].training
    assert training["seconds"] == pytest.approx(24, abs=0.5)
    assert 25 < training["steps"] < 100
    rates = [rate for _, rate in scalars(tmp_path / "run")["schedule/learning_rate"]]
    assert max(rates) > 5 * rates[0]  # it has warmed up
    assert rates[-1] < 0.1 * max(rates)
    looks = [step for step, _ in scalars(tmp_path / "run")["held_out/total"]]
    assert len(looks) == 3 and looks[-1] == training["steps"]  # at 5 s, 15 s later, and at the end


def test_config_is_kept_beside_the_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    train({**CONFIG, "steps": 1}, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == {**CONFIG, "steps": 1}


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (0, 59.4, 59.6, 125, 3600, 7384)] == [
        "0 s", "59 s", "1 min 00 s", "2 min 05 s", "1 h 00 min", "2 h 03 min",
    ]  # fmt: skip


def test_batches_follow_from_the_step_alone() -> None:
    def batches(start: int) -> list[Tensor]:
        data = PhotoBatches(Noise(), batch_size=3, crop=32, seed=7, workers=0)
        data.load_state_dict({"step": start})
        loader = iter(data.train_dataloader())
        return [next(loader)["photos"] for _ in range(2)]

    assert torch.equal(batches(0)[1], batches(1)[0])
    assert not torch.equal(batches(0)[0], batches(0)[1])
    assert torch.equal(batches(4)[0][2], torch.from_numpy(Noise().sample(14, 7, 32)[0]))
