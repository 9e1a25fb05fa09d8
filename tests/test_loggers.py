"""Loggers and callbacks of Lightning, and a user's own, by one yaml each."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback
from pytorch_lightning.loggers import CSVLogger

from onestroke.errors import UserError
from onestroke.style_file import read_document
from onestroke.training import targets
from onestroke.training.resuming import resumed
from tests.commands import TINY, command, runs, scalars
from tests.running import CONFIGS, composed

SHORT = ("steps=3", "network.controls=[]", "loss=[tv]", "init=null", "save_every=2")


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python train.py`, in a few steps."""
    return command("train.py", *TINY, *SHORT, *arguments, cwd=Path.cwd())


def rows(run: Path) -> dict[str, list[float]]:
    """What a CSV logger has written, by column."""
    (path,) = run.rglob("metrics.csv")
    with path.open(newline="") as file:
        found: dict[str, list[float]] = {}
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value:
                    found.setdefault(name, []).append(float(value))
    return found


def test_several_loggers_get_the_same_scalars(tmp_path: Path) -> None:
    assert typed("logger=[tensorboard,csv]", "trainer.log_every_n_steps=1").returncode == 0
    (run,) = runs(tmp_path)
    board, table = scalars(run), rows(run)
    assert {"train/tv", "train/total", "held_out/total", "speed/images_per_second"} <= board.keys()
    assert board.keys() == table.keys() - {"step", "epoch"}
    for tag, points in board.items():
        assert [value for _, value in points] == pytest.approx(table[tag], rel=1e-5)
    assert sorted(p.name.split(".")[0] for p in run.iterdir()) == ["config", "csv", "events", "last", "train"]


def test_no_logger_writes_nothing(tmp_path: Path) -> None:
    assert typed("logger=[]").returncode == 0
    (run,) = runs(tmp_path)
    assert sorted(p.name for p in run.iterdir()) == ["config.json", "last.ckpt", "train.log"]


@pytest.mark.slow
def test_mlflow_keeps_files_in_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    assert typed("logger=mlflow").returncode == 0
    (run,) = runs(tmp_path)
    (points,) = (run / "mlruns").rglob("metrics/train/tv")
    assert [line.split()[2] for line in points.read_text().splitlines()] == ["3"]  # the last step
    assert not (tmp_path / "mlruns").exists()


class Failing(CSVLogger):
    """Fails at the second point."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if step != 1:
            raise RuntimeError("no connection")
        super().log_metrics(metrics, step)


def test_a_logger_that_raises_ends_no_training_and_is_said_once(tmp_path: Path) -> None:
    chosen = ("logger=[tensorboard,csv]", f"logger.csv._target_={__name__}.Failing", "trainer.log_every_n_steps=1")
    assert typed(*chosen).returncode == 0
    (run,) = runs(tmp_path)
    assert (run / "train.log").read_text().count(
        "Failing's entries can't be written (no connection); going on without"
    ) == 1
    assert len(scalars(run)["train/tv"]) == 3
    assert read_document(tmp_path / "checkpoints" / "starry_night.safetensors").training["steps"] == 3


def test_a_callback_of_lightning_and_one_of_a_user(tmp_path: Path) -> None:
    own = f"++callbacks.mine._target_={__name__}.Ending"
    chosen = ("callbacks=[learning_rate_monitor]", own, "callbacks.mine.step=2", "trainer.log_every_n_steps=1")
    assert typed(*chosen).returncode == 0
    (run,) = runs(tmp_path)
    assert any(tag.startswith("lr-") for tag in scalars(run))
    assert read_document(tmp_path / "checkpoints" / "starry_night.safetensors").training["steps"] == 2


class Ending(Callback):
    """Ends the run after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        trainer.should_stop = pl_module.step >= self.step


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["logger=[cvs]"], "'csv'"),
        (["callbacks=[learning_rate]"], "learning_rate_monitor"),
        (["logger.cvs.name=x"], "logger.cvs"),
        (["logger=[csv]", "logger.csv.names=x"], "logger.csv"),
        (["callbacks.mine._target_=builtins.dict"], "callbacks.mine is a dict"),
        (["logger=[]", "callbacks=[learning_rate_monitor]"], "LearningRateMonitor"),
        (["+logger.wandb._target_=pytorch_lightning.loggers.NeptuneLogger_"], "logger.wandb"),
    ],
)
def test_mistakes_get_one_sentence(arguments: list[str], word: str) -> None:
    done = typed(*arguments)
    error = done.stderr
    assert done.returncode == 2
    assert error.startswith("onestroke: ")
    assert word in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "part",
    [
        {"_target_": "pytorch_lightning.loggers.CSVLogger", "name": "csv", "save_dir": "/elsewhere"},
        {"_target_": "pytorch_lightning.loggers.CSVLogger"},
        {"_target_": "os.system", "command": "true"},
        "csv",
    ],
)
@pytest.mark.parametrize("group", targets.LISTED)
def test_a_resume_file_chooses_loggers_and_says_nothing_of_them(group: str, part: Any) -> None:
    named = composed(*TINY)
    targets.check({**named, "logger": composed("logger=[csv]")["logger"]}, named, CONFIGS)
    for stored in ({"csv": part}, part, [part]):
        with pytest.raises(UserError, match=f"resume: {group}"):
            targets.check({**named, group: stored}, named, CONFIGS)


def test_a_resumed_run_has_its_loggers_unless_the_command_line_chooses_others(tmp_path: Path) -> None:
    assert typed("logger=[csv]").returncode == 0
    (run,) = runs(tmp_path)
    assert list(json.loads((run / "config.json").read_text())["logger"]) == ["csv"]
    again = composed(f"resume={run}")
    assert list(resumed(again, [f"resume={run}"], CONFIGS)[0]["logger"]) == ["csv"]
    other = composed(f"resume={run}", "logger=[tensorboard]")
    config, _ = resumed(other, [f"resume={run}", "logger=[tensorboard]"], CONFIGS)
    assert list(config["logger"]) == ["tensorboard"]
