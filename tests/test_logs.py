"""Logs that can't be written cost neither the training nor its style file; places that can't are found before."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.summary.writer.record_writer import RecordWriter

from onestroke import style_file
from onestroke.errors import UserError
from onestroke.files import check_writable
from onestroke.training.callbacks.last_checkpoint import LastCheckpoint
from onestroke.training.loggers import RunLoggers
from onestroke.training.logs import survive_log_failures, write_config
from onestroke.training.run import train
from tests.commands import TINY, command, scalars
from tests.test_training import CONFIG


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def board(folder: Path) -> RunLoggers:
    return RunLoggers([TensorBoardLogger(str(folder), name="", version="")])


@pytest.fixture
def threads_failed(monkeypatch: pytest.MonkeyPatch) -> list[threading.ExceptHookArgs]:
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    return failed


@pytest.mark.parametrize("method", ["write", "flush", "close"])
def test_a_run_goes_on_where_its_events_cannot_be_written_and_says_so_once(
    method: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    threads_failed: list[threading.ExceptHookArgs],
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(RecordWriter, method, full)
    (tmp_path / "run").mkdir()
    path = train(CONFIG, tmp_path / "run")
    assert style_file.load(path)[1].training["steps"] == 4
    assert (tmp_path / "run" / "last.ckpt").is_file()
    assert caplog.text.count("TensorBoard's events can't be written (No space left on device)") == 1
    assert not threads_failed


def test_events_end_with_those_that_could_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads_failed: list[threading.ExceptHookArgs]
) -> None:
    events = board(tmp_path)
    events.loggers[0].log_metrics({"loss": 3.0}, 1)
    events.picture("picture", torch.rand(3, 8, 8), 1)
    events.config({})
    events.flush()
    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "write", full)
        for step in range(2, 50):
            events.loggers[0].log_metrics({"loss": 2.0}, step)
        events.flush()
    events.loggers[0].log_metrics({"loss": 1.0}, 50)
    events.close()
    assert scalars(tmp_path) == {"loss": [(1, 3.0)]}
    assert not threads_failed


def test_errors_of_other_threads_are_told_as_ever(
    tmp_path: Path, threads_failed: list[threading.ExceptHookArgs]
) -> None:
    usual = threading.excepthook
    events = board(tmp_path)
    thread = threading.Thread(target=full)
    thread.start()
    thread.join()
    assert [failed.exc_type for failed in threads_failed] == [OSError]
    events.close()
    assert threading.excepthook is usual


def test_no_events_where_their_folder_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    events = board(tmp_path / "file" / "run")
    events.loggers[0].log_metrics({"loss": 3.0}, 1)
    events.close()
    assert caplog.text.count("going on without") == 1


def test_a_config_that_cannot_be_kept_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_config(tmp_path / "gone" / "config.json", "{}")
    assert "config.json" in caplog.text
    write_config(tmp_path / "config.json", "{}")
    assert (tmp_path / "config.json").read_text() == "{}"


@pytest.fixture
def root_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before = list(root.handlers)
    yield root
    root.handlers = before


def test_a_log_on_a_full_disk_is_left_out_and_that_is_said_once(
    tmp_path: Path, root_log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.FileHandler(tmp_path / "train.log")
    other = logging.FileHandler(tmp_path / "other.log")
    stream: Any = handler.stream
    handler.stream = _Full(stream)  # type: ignore[assignment]
    root_log.handlers = [handler, other]
    survive_log_failures()
    for n in range(3):
        logging.getLogger("onestroke").warning("line %d", n)
    stream.close()
    other.close()
    assert handler not in root_log.handlers
    lines = (tmp_path / "other.log").read_text().splitlines()
    assert [line for line in lines if line.startswith("line")] == ["line 0", "line 1", "line 2"]
    assert sum("train.log can't be written (No space left on device)" in line for line in lines) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_line_that_is_wrong_is_told_as_ever(root_log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    root_log.handlers = [handler]
    survive_log_failures()
    logging.getLogger("onestroke").warning("%d", "no number")
    assert "Traceback" in capsys.readouterr().err
    assert handler in root_log.handlers


class _Full:
    """A stream on a full disk."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    write = flush = staticmethod(full)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def test_a_place_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "style.safetensors")
    assert not list(tmp_path.iterdir())
    there = tmp_path / "style.safetensors"
    there.write_bytes(b"mine")
    check_writable(there)
    assert there.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [there]


@pytest.mark.parametrize("name", ["file/style.safetensors", "file/a/style.safetensors", f"{'x' * 300}.safetensors"])
def test_a_place_that_cannot_be_written_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        check_writable(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("out", [None, "kept/style.safetensors"])
def test_where_the_style_file_goes_is_tried_before_training_with_all_else_that_is_wrong(
    out: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def read_only(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_CREAT and Path(path).parent.name in ("checkpoints", "kept"):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *rest, **more)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(UserError) as caught:
        train({**CONFIG, "out": out, "vgg": {"arch": "vgg99", "weights": None}}, tmp_path / "run")
    assert "Read-only file system" in str(caught.value)
    assert "vgg99" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_folder_that_cannot_be_written_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"):
        train(CONFIG, tmp_path / "file" / "run")


@pytest.mark.parametrize("runs", ["runs", "runs/starry_night"])
def test_a_run_folder_that_cannot_be_made_is_one_sentence(runs: str, tmp_path: Path) -> None:
    (tmp_path / runs).parent.mkdir(exist_ok=True)
    (tmp_path / runs).touch()
    done = command("train.py", *TINY, "steps=1", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("onestroke: the run's folder can't be used")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("kept", ["all", "some", "none"])
def test_a_style_file_that_cannot_be_written_at_the_end_says_how_to_go_on(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resume file stands at the last step, at an earlier one, or isn't there; in those the style goes elsewhere."""
    real = style_file.save
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    keep = LastCheckpoint.keep

    def save(path: Path, *rest: Any) -> None:
        if elsewhere not in path.parents:
            raise UserError(f"cannot write '{path}': No space left on device")
        real(path, *rest)

    def keeps(self: LastCheckpoint, trainer: Any, step: int) -> None:
        if kept == "all" or (kept == "some" and step < CONFIG["steps"]):
            keep(self, trainer, step)

    monkeypatch.setattr(style_file, "save", save)
    monkeypatch.setattr(LastCheckpoint, "keep", keeps)
    with pytest.raises(UserError, match="No space left") as caught:
        train(CONFIG, run)
    if kept == "all":
        assert f"resume={run}  exports it" in str(caught.value)
        assert not list(elsewhere.iterdir())
    else:
        (path,) = elsewhere.iterdir()
        assert f"the style file is {path} instead" in str(caught.value)
        assert style_file.load(path)[1].training["steps"] == CONFIG["steps"]
