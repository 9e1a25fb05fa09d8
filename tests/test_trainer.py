"""Lightning's Trainer takes its own arguments as they are typed; those that a run has an option for name it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, Timer
from pytorch_lightning.profilers import AdvancedProfiler

from onestroke.errors import UserError
from onestroke.style_file import read_document
from onestroke.training.machine import ARGUMENTS, REFUSED, Machine
from tests.commands import TINY, command
from tests.running import BLOCKS, Seen, composed, run, shallow

SHORT = ("steps=2", "style.size=256", "network.controls=[]", "loss=[tv]", "init=null")


def watched(tmp_path: Path, steps: bool = False, **arguments: Any) -> Seen:
    config = shallow("network.controls=[]", steps=3, data=BLOCKS, loss=composed("loss=[tv]")["loss"])
    return run({**config, "trainer": {**config["trainer"], **arguments}}, tmp_path / "run", steps)


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_argument_of_the_trainer_is_taken_or_says_what_to_use() -> None:
    everything = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    assert set(ARGUMENTS) | set(REFUSED) == everything
    assert not set(ARGUMENTS) & set(REFUSED)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deterministic", True), ("benchmark", False), ("detect_anomaly", True), ("profiler", "simple"),
        ("fast_dev_run", 2), ("num_nodes", 2), ("val_check_interval", 2), ("limit_val_batches", 1),
        ("inference_mode", False),
        ("num_sanity_val_steps", 1), ("log_every_n_steps", 3), ("sync_batchnorm", True),
    ],
)  # fmt: skip
def test_an_argument_reaches_the_trainer(name: str, value: Any, tmp_path: Path) -> None:
    assert watched(tmp_path, **{name: value}).arguments[name] == value


def test_an_argument_may_be_an_object_of_its_own(tmp_path: Path) -> None:
    profiler = {"_target_": "pytorch_lightning.profilers.AdvancedProfiler", "line_count_restriction": 0.5}
    environment = {"_target_": "pytorch_lightning.plugins.environments.SLURMEnvironment", "auto_requeue": False}
    made = watched(tmp_path, profiler=profiler, plugins=[environment]).arguments
    assert isinstance(made["profiler"], AdvancedProfiler)
    assert made["profiler"].line_count_restriction == 0.5
    assert isinstance(made["plugins"][0], SLURMEnvironment)
    assert not made["plugins"][0].auto_requeue


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_argument_names_its_option(name: str) -> None:
    with pytest.raises(UserError) as caught:
        Machine.of({**composed(*TINY)["trainer"], name: 2}, 2)
    assert str(caught.value) == f"trainer.{name} can't be used here: {REFUSED[name]}"


@pytest.mark.parametrize(
    ("argument", "word"),
    [
        ("trainer.profilr=simple", "profiler"),
        ("trainer.worker=0", "workers"),
        ("trainer.profiler=no_such", "simple"),
        ("trainer.max_epochs=3", "steps="),
        ("+trainer.max_steps=3", "steps="),
        ("trainer.gradient_clip_val=1", "clip="),
        ("trainer.num_nodes=0", "at least 1"),
        ("trainer.num_nodes=3", "batch_size=2"),
        ("trainer.log_every_n_steps=0", "at least 1"),
        ("trainer.max_time=soon", "soon"),
        ("trainer.fast_dev_run=-1", "fast_dev_run"),
        ("trainer._target_=os.system", "pytorch_lightning.Trainer"),
        ("trainer.profiler._target_=no.such", "no.such"),
    ],
)
def test_mistakes_of_the_trainer_get_one_sentence(argument: str, word: str, tmp_path: Path) -> None:
    done = command("train.py", *TINY, *SHORT, argument, cwd=tmp_path)
    error = done.stderr
    assert done.returncode == 2
    assert error.startswith("onestroke: ")
    assert error.count("\n") == 1
    assert word in error
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_fast_dev_run_takes_a_step_and_keeps_nothing(tmp_path: Path) -> None:
    done = command("train.py", *TINY, *SHORT, "trainer.fast_dev_run=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "checkpoints").exists()
    (style,) = tmp_path.rglob("*.safetensors")
    assert style.name == "fast_dev_run.safetensors"
    assert style.parent.parent.parent == tmp_path / "runs"


def test_a_profile_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched(tmp_path, steps=True, profiler="simple")
    assert "run_training_batch" in caplog.text


def test_a_run_that_max_time_ends_keeps_its_last_step(tmp_path: Path) -> None:
    seen = watched(tmp_path, steps=True, max_time="00:00:00:00")
    assert isinstance(seen.arguments["callbacks"][0], Timer)
    assert seen.module.step < 3
    seen = watched(tmp_path / "days", steps=True, max_time={"days": 1})
    assert seen.module.step == 3
    kept = torch.load(tmp_path / "days" / "run" / "last.ckpt", weights_only=True)
    assert "Timer" in kept["callbacks"]


class Validations(pl.Callback):
    """Writes down at which steps held-out photos are judged, and how many."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.photos = 0

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.photos += not trainer.sanity_checking

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.steps.append(pl_module.step)


@pytest.mark.parametrize(
    ("arguments", "steps", "photos"),
    [
        ({}, [3], 6),
        ({"val_check_interval": 2}, [2, 3], 12),
        ({"limit_val_batches": 2}, [3], 2),
        ({"limit_val_batches": 0}, [], 0),
        ({"num_sanity_val_steps": 1}, [3], 6),
    ],
)
def test_held_out_photos_are_judged_when_the_trainer_says_and_at_the_end(
    arguments: dict[str, Any], steps: list[int], photos: int, tmp_path: Path
) -> None:
    config = shallow(
        "network.controls=[]", steps=3, data={**BLOCKS, "validation": 6}, loss=composed("loss=[tv]")["loss"]
    )
    validations = Validations()
    seen = run({**config, "trainer": {**config["trainer"], **arguments}}, tmp_path / "run", more=[validations])
    assert (validations.steps, validations.photos) == (steps, photos)
    assert ("total" in read_document(seen.path).metrics) == bool(steps)


def test_lightning_s_own_callbacks_see_the_held_out_loss(tmp_path: Path) -> None:
    config = shallow("network.controls=[]", steps=40, data=BLOCKS, loss=composed("loss=[tv]")["loss"])
    config["trainer"] = {**config["trainer"], "val_check_interval": 2}
    best = ModelCheckpoint(tmp_path / "best", "{step}", monitor="held_out/total", save_on_train_epoch_end=False)
    stops = EarlyStopping("held_out/total", patience=1, mode="max")  # it falls, so that the second look ends the run
    seen = run(config, tmp_path / "run", more=[stops, best])
    assert seen.module.step == 4
    assert float(best.best_model_score or 0) == pytest.approx(read_document(seen.path).metrics["total"])
    kept = torch.load(best.best_model_path, weights_only=True)
    assert kept["onestroke"]["step"] == 4
