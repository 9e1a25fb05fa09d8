"""What the tests share for running the product as a user does."""

from __future__ import annotations

import logging
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import torch
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from onestroke.cli.train import _made
from onestroke.training.module import StyleTransfer
from tests.processes import ROOT, Started, as_script, environment

__all__ = ["ROOT", "TINY", "command", "environment", "process", "runs", "scalars", "signalled", "train"]

# A training that takes a second or two and still goes through everything; fp32, so that it is the same everywhere.
TINY = (
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.workers=0",
    "network.channels=[4,8,8]",
    "network.blocks=1",
    "network.ends=3",
    "crop=32",
    "batch_size=2",
    "data.validation=1",
    "measure=false",
)


def process(script: str, *arguments: str, cwd: Path, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run a script of the project's root in a process of its own."""
    return Started(as_script, ROOT / script, *arguments, cwd=cwd).done(timeout)


@contextmanager
def as_if_started(script: Path, arguments: Sequence[str], cwd: Path) -> Iterator[None]:
    """The arguments, folder, environment and one thread of a process of its own; all is as it was afterwards."""
    root, folder, threads = logging.getLogger(), Path.cwd(), torch.get_num_threads()
    handlers, hook = list(root.handlers), threading.excepthook
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    GlobalHydra.instance().clear()
    _made.cache_clear()  # what it remembers are the folders of another working directory
    # Hydra composes the config twice, the first time for hydra.mode alone, which only searches set
    searches = any(re.search(r"(^|[+~])hydra[./]|^hparams_search=|^experiment=|^-", each) for each in arguments)
    mode = Hydra.get_mode if searches else _no_mode
    try:
        os.chdir(cwd)
        torch.set_num_threads(1)
        with (
            mock.patch.object(sys, "argv", [str(script), *arguments]),
            mock.patch.object(sys, "path", [str(script.parent), *sys.path]),
            mock.patch.dict(os.environ, environment()),
            mock.patch.object(Hydra, "get_mode", mode),
        ):
            yield
    finally:
        os.chdir(folder)
        torch.set_num_threads(threads)
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers, threading.excepthook = handlers, hook
        for number, handler_before in signals.items():
            signal.signal(number, handler_before)


def _no_mode(*_: object, **__: object) -> None:
    """What Hydra finds where no config sets hydra.mode."""


def command(script: str, *arguments: str, cwd: Path, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a script of the project's root in a folder of the test's own, inside the test's process."""
    out, err, code = StringIO(), StringIO(), 0
    with as_if_started(root / script, arguments, cwd), redirect_stdout(out), redirect_stderr(err):
        try:
            runpy.run_path(str(root / script), run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=err)
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess([script, *arguments], code, out.getvalue(), err.getvalue())


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python train.py` on the tiny settings, inside the test's process; where it fails, so does the test."""
    done = command("train.py", *arguments[:1], *TINY, *arguments[1:], cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def signalled(number: int, step: int, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python train.py` on the tiny settings, which gets a signal after a step, and after its files where it is due.

    The step is counted in the training itself, so that it is the same one on a machine of any speed.
    """
    return Started(_signalled, number, step, *TINY, *arguments, cwd=cwd).done()


def _signalled(number: int, step: int, *arguments: str) -> None:
    def then_signal(module: StyleTransfer, *_: object) -> None:  # after the callbacks
        if module.step == step:
            os.kill(os.getpid(), number)

    with mock.patch.object(StyleTransfer, "on_train_batch_end", then_signal):
        as_script(ROOT / "train.py", *arguments)


def runs(cwd: Path) -> list[Path]:
    """The run folders of a folder's trainings, oldest first."""
    return sorted((path.parent for path in (cwd / "runs").rglob("last.ckpt")), key=lambda p: p.stat().st_mtime_ns)


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads from a run's events: tag -> (step, value)."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
