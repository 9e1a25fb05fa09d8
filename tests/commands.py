"""What the tests share for running the product as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[1]

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


def environment() -> dict[str, str]:
    """This process's, with one thread, so that sums are taken in one order, and this checkout's package."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}


def command(
    script: str, *arguments: str, cwd: Path, root: Path = ROOT, timeout: float = 900
) -> subprocess.CompletedProcess[str]:
    """Run a script of the project's root in a folder of the test's own."""
    return subprocess.run(
        [sys.executable, str(root / script), *arguments],
        cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python train.py` on the tiny settings; fails the test with what it printed where it fails."""
    done = command("train.py", *arguments[:1], *TINY, *arguments[1:], cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


SIGNALLED = """
import os, runpy, sys
from onestroke.training.module import StyleTransfer

number, step, *sys.argv = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]

def then_signal(module, *rest):  # after the callbacks
    if module.step == step:
        os.kill(os.getpid(), number)

StyleTransfer.on_train_batch_end = then_signal
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def signalled(number: int, step: int, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python train.py` on the tiny settings, which gets a signal after a step, and after its files where it is due.

    The step is counted in the training itself, so that it is the same one on a machine of any speed.
    """
    return subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(int(number)), str(step), str(ROOT / "train.py"), *TINY, *arguments],
        cwd=cwd, env=environment(), capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def runs(cwd: Path) -> list[Path]:
    """The run folders of a folder's trainings, oldest first."""
    return sorted((path.parent for path in (cwd / "runs").rglob("last.ckpt")), key=lambda p: p.stat().st_mtime_ns)


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads from a run's events: tag -> (step, value)."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
