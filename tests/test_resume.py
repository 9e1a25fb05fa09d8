"""A run that was killed goes on as if it had not been, whatever it is; all that is saved is restored."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from safetensors.torch import load_file
from torch import Tensor

from onestroke.cli.train import config_folder
from onestroke.data.datamodule import PhotoBatches
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from onestroke.style_file import read_document, save
from onestroke.training.callbacks.last_checkpoint import LastCheckpoint
from onestroke.training.module import StyleTransfer
from onestroke.training.recipe import Recipe
from onestroke.training.resuming import resumed
from onestroke.training.schedule import Schedule
from tests.running import CONFIGS, composed, run, shallow
from tests.test_training import MACHINE, Broken, Noise, objective, tiny

BOTH = ["strength", "stroke"]


class Killed(BaseException):
    """As much as a SIGKILL leaves of a run."""


class Kill(Callback):
    """Ends a run at a step, before anything of it is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.step == self.step:
            raise Killed


class Signal(Kill):
    """Sends this process a signal at a step, once or more often."""

    def __init__(self, step: int, number: int, times: int = 1) -> None:
        super().__init__(step)
        self.number, self.times = number, times

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        for _ in range(self.times if pl_module.step == self.step else 0):
            os.kill(os.getpid(), self.number)


@pytest.fixture
def inside(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder of its own, with style files to start from and photos."""
    monkeypatch.chdir(tmp_path)
    for name, controls in (("plain", []), ("controls", BOTH)):
        torch.manual_seed(7)
        args: dict[str, Any] = {"channels": [4, 8, 8], "blocks": 1, "ends": 3, "controls": controls}
        metadata = Metadata({"name": "ResidualNetwork", "args": args}, {"name": name, "styles": [{"name": name}]})
        save(tmp_path / f"{name}.safetensors", ResidualNetwork(**args), metadata)
    (tmp_path / "photos").symlink_to(photo_folder)
    return tmp_path


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """All that is in a resume file, but for the clock, how often it had photos judged, and what each run is called."""
    if isinstance(node, Mapping):
        return {k: v for key, child in node.items() for k, v in flat(child, f"{prefix}.{key}").items()}
    if isinstance(node, list | tuple) and not all(isinstance(x, int | float) for x in node):
        return {k: v for i, child in enumerate(node) for k, v in flat(child, f"{prefix}.{i}").items()}
    if ".val_loop." in prefix:
        return {}
    return {} if prefix in (".onestroke.elapsed", ".onestroke.config", ".onestroke.owner") else {prefix: node}


def same(one: Path, other: Path) -> bool:
    """Whether two runs' resume files are the same to the bit."""
    first, second = (flat(torch.load(folder / "last.ckpt", weights_only=True)) for folder in (one, other))
    assert first.keys() == second.keys() and sum(isinstance(value, Tensor) for value in first.values()) > 20
    pairs = [(name, value, second[name]) for name, value in first.items()]
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for _, a, b in pairs)


def go_on(run_dir: Path, *overrides: str) -> Path:
    """`python train.py resume=...`; gives the style file."""
    given = [f"resume={run_dir}", *overrides]
    config, folder = resumed(composed(*given), given, CONFIGS)
    assert folder == run_dir
    return run(config, folder).path


PHOTOS = ["data=photos", "data.root=photos", "data.cache=null"]  # which cost less than scenes
KINDS: dict[str, list[str]] = {
    "controls from nothing": ["data=scenes"],
    "controls that came along": ["init=controls.safetensors"],
    "controls alone": ["init=controls.safetensors", "adapt=controls"],
    "norms alone": ["init=plain.safetensors", "adapt=norms", "network.controls=[]"],
    "warm start": ["init=plain.safetensors", "network.controls=[]"],
    "teacher": ["teacher=plain.safetensors", "network.controls=[]"],
    "photos with their cache": ["data.cache=decoded"],
    "Adam without the average": ["optimizer=adam", "ema=null", "schedule=constant", "clip=null"],
    "two styles": ["style=[starry_night,udnie]", "style.name=two", "network.controls=[]"],
}


def small(*overrides: str, **more: Any) -> dict[str, Any]:
    photos = [] if any(override.startswith("data=") for override in overrides) else PHOTOS
    return shallow("loss=[content,gram]", *photos, *overrides, **{"steps": 5, "save_every": 2, **more})


# the others differ from these in what is read at the start
QUICK = ("controls from nothing", "photos with their cache", "two styles")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow) for k in KINDS])
def test_killed_and_resumed_equals_unbroken_to_the_bit(kind: str, inside: Path) -> None:
    config = small(*KINDS[kind])
    whole = run({**config, "out": "whole.safetensors"}, inside / "whole")
    with pytest.raises(Killed):
        run({**config, "out": "broken.safetensors"}, inside / "broken", more=[Kill(3)])
    assert torch.load(inside / "broken" / "last.ckpt", weights_only=True)["onestroke"]["step"] == 2
    path = go_on(inside / "broken", "out=broken.safetensors")
    assert same(inside / "whole", inside / "broken")
    first, second = load_file(whole.path), load_file(path)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_polite_kill_ends_a_run_after_its_step_with_all_written_and_it_can_go_on(inside: Path) -> None:
    def before(number: int, frame: FrameType | None) -> None:
        raise AssertionError("a signal that the run did not take")

    config = small(save_every=100)
    run(config, inside / "whole")
    earlier = signal.signal(signal.SIGTERM, before)
    try:
        polite = Signal(3, signal.SIGTERM)
        stopped = run({**config, "out": "stopped.safetensors"}, inside / "stopped", more=[polite])
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert stopped.module.step == read_document(stopped.path).training["steps"] == 4
    go_on(inside / "stopped")
    assert same(inside / "whole", inside / "stopped")


def test_signals_are_as_they_were_after_a_run(inside: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    run(small(steps=1), inside / "run")
    assert [signal.getsignal(number) for number in numbers] == before


def test_an_option_that_is_younger_than_the_run_has_its_default(inside: Path) -> None:
    with pytest.raises(Killed):
        run(small(), inside / "run", more=[Kill(3)])
    path = inside / "run" / "last.ckpt"
    stored = torch.load(path, weights_only=True)
    config = json.loads(stored["onestroke"]["config"])
    del config["plateau"]
    torch.save({**stored, "onestroke": {**stored["onestroke"], "config": json.dumps(config)}}, path)
    given = [f"resume={path}"]
    now, _ = resumed(composed(*given), given, config_folder())
    assert now["plateau"] == composed()["plateau"]


def test_a_second_signal_ends_a_run_at_once(inside: Path) -> None:
    config = small()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(config, inside / "run", more=[Signal(1, signal.SIGINT, times=2)])
    assert not (inside / "run" / "last.ckpt").exists()


# --- what is saved ----------------------------------------------------------------------------------------


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 7
    if value is None or isinstance(value, float):
        return (value or 0.0) / 2 + 0.3
    if isinstance(value, str):
        return f"{value}x"
    raise TypeError(f"say here what else {value!r} could be")


def saved(module: StyleTransfer) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    found: dict[str, Any] = checkpoint["onestroke"]
    return found


def test_all_that_is_saved_is_restored() -> None:
    """For each field, also one that is added later: a value that is no default's comes back as it was."""
    module, again = (StyleTransfer(tiny(), objective(), objective()) for _ in range(2))
    module.config_json = '{"a": 1}'
    fields = saved(module)
    assert fields.pop("config") == '{"a": 1}'
    assert set(fields) >= {"step", "elapsed", "skipped_steps", "rollbacks", "lr_factor", "moving"}
    wanted = {name: value + i if isinstance(value := other(v), int) else value
              for i, (name, v) in enumerate(fields.items())}  # fmt: skip
    again.on_load_checkpoint({"onestroke": {**wanted, "config": "{}"}})
    assert {name: value for name, value in saved(again).items() if name != "config"} == wanted


def test_the_whole_config_is_saved_and_goes_on_but_for_what_may_change(inside: Path) -> None:
    config = small(steps=4, lr=7e-4, seed=3)
    with pytest.raises(Killed):
        run(config, inside / "run", more=[Kill(3)])
    stored = json.loads(torch.load(inside / "run" / "last.ckpt", weights_only=True)["onestroke"]["config"])
    assert stored == config
    given = [f"resume={inside / 'run'}", "steps=9", "minutes=3", "save_every=5", "trainer.workers=1"]
    now, _ = resumed(composed(*given), given, CONFIGS)
    unlike = {key for key in now if now[key] != config[key]}
    assert unlike == {"steps", "minutes", "save_every", "trainer", "resume"}
    assert (now["steps"], now["minutes"], now["save_every"], now["trainer"]["workers"]) == (9, 3, 5, 1)


# --- rollbacks --------------------------------------------------------------------------------------------


class Watch(Callback):
    """Writes down the weights, what the optimizer knows, and the rate of each step; may end the run like a kill."""

    def __init__(self, keep: Path | None = None, at: int = -1) -> None:
        self.keep, self.at = keep, at
        self.states: list[dict[str, Tensor]] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        known = flat(trainer.optimizers[0].state_dict()["state"], "optimizer")
        tensors = {name: value for name, value in known.items() if isinstance(value, Tensor)}
        self.states.append(copy.deepcopy({**pl_module.state_dict(), **tensors}))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        if pl_module.step == self.at:
            trainer.save_checkpoint(self.keep)
            trainer.should_stop = True


def fit(broken: range, folder: Path, *callbacks: Callback, ckpt: Path | None = None) -> StyleTransfer:
    module = StyleTransfer(
        tiny(), objective({"bad": Broken(broken)}), objective(), Recipe(schedule="constant"), schedule=Schedule(9)
    )
    data = PhotoBatches(Noise(), batch_size=2, crop=32, seed=5, workers=0)
    MACHINE.trainer(callbacks, folder).fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return module


def differ(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return any(not torch.equal(one[name], two[name]) for name in one)


def test_weights_are_rolled_back_to_the_latest_that_were_remembered(tmp_path: Path) -> None:
    watch = Watch()
    fit(range(5, 8), tmp_path, watch, LastCheckpoint(tmp_path / "last.ckpt", lambda module: tmp_path, every=4))
    states = watch.states
    assert differ(states[3], states[0]) and differ(states[4], states[3])
    assert not differ(states[6], states[4]), "what is not finite changes nothing"
    assert not differ(states[7], states[3]), "of the fourth step, as it was remembered"
    assert watch.rates[8] == watch.rates[4] / 2


def test_a_run_that_went_slower_goes_on_slower_and_as_if_it_had_not_been_broken(tmp_path: Path) -> None:
    whole, first, second = Watch(), Watch(tmp_path / "last.ckpt", at=6), Watch()
    fit(range(1, 4), tmp_path, whole)
    fit(range(1, 4), tmp_path, first)
    module = fit(range(0), tmp_path, second, ckpt=tmp_path / "last.ckpt")
    assert whole.rates == first.rates + second.rates
    assert module.guard.skipped_steps == 3
    assert not differ(whole.states[-1], second.states[-1])
