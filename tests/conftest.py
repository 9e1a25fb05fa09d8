"""What several rooms' tests need.

torch is imported where it is needed: pytest-xdist reads this file in a process that runs no test, before it starts
those that do.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import sys
from collections.abc import Callable, Generator, Iterator
from functools import cache
from importlib.metadata import entry_points
from io import BytesIO
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from absl import logging as absl_logging
from PIL import Image

from tests.quick import HELD_OUT_SIDE, parsed_once

# TensorBoard's and OpenVINO's absl closes the stream that it was imported with when Hydra sets up logging anew; in a
# test, that would be pytest's capture.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__
# tests import it without the product, which sees to that
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Keep the garbage collector from the million objects of imported modules and tests, none of which is garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where tests are run and not handed out: now that all is imported, fork the process that theirs come from."""
    if session.items:
        from tests.processes import start_server

        start_server()


@pytest.fixture(scope="session", autouse=True)
def installed_callbacks() -> Iterator[None]:
    """Which installed packages add callbacks to every Trainer, looked up once: that reads a file of each package."""
    with mock.patch("lightning_fabric.utilities.registry.entry_points", cache(entry_points)):
        yield


@pytest.fixture(scope="session", autouse=True)
def parsed_configs() -> Iterator[None]:
    """Each text in YAML is parsed once."""
    from omegaconf import OmegaConf

    with mock.patch.object(OmegaConf, "load", staticmethod(parsed_once())):
        yield


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this user's caches would be, for the tests and what they start; nothing goes to the real one."""
    home = tmp_path_factory.mktemp("cache-home")
    os.environ["XDG_CACHE_HOME"] = str(home)
    return home


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Loggers as they were: a command line that runs inside a test sets levels for all that come after it."""
    loggers = [logging.getLogger(), logging.getLogger("onestroke"), logging.getLogger("pytorch_lightning")]
    before = [each.level for each in loggers]
    yield
    for each, level in zip(loggers, before, strict=True):
        each.setLevel(level)


@pytest.fixture(autouse=True)
def small_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small held-out pictures in trainings within the test's process, as tests/preloaded.py sees to in others."""
    monkeypatch.setattr("onestroke.data.datamodule._HELD_OUT_SIDE", HELD_OUT_SIDE)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder of the test's own, with one thread."""
    import torch

    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class _Bomb:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.marker), "w")


@pytest.fixture
def plant(tmp_path: Path) -> Callable[[Path], Path]:
    """Write a pickle that runs code when it is loaded; what it returns is the file that would then be there."""

    import torch

    def write(path: Path, zipped: bool = False) -> Path:
        marker = tmp_path / "executed"
        if zipped:
            torch.save({"features.0.weight": _Bomb(marker)}, path)
            torch.load(BytesIO(path.read_bytes()), weights_only=False)
        else:
            path.write_bytes(pickle.dumps(_Bomb(marker), protocol=2))
            pickle.loads(path.read_bytes())
        assert marker.exists(), "the bomb is a dud"
        marker.unlink()
        return marker

    return write


@pytest.fixture(scope="session")
def painting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture with edges, slopes and noise, 76 x 72, that no one owns."""
    y, x = np.mgrid[0:72, 0:76]
    waves = np.stack([np.sin(x / 3 + y / 9), np.cos(y / 4), np.sign(np.sin((x + y) / 11))], -1)
    noise = np.random.default_rng(3).normal(0, 20, waves.shape)
    path = tmp_path_factory.mktemp("painting") / "painting.png"
    Image.fromarray(np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven photos to train on, 96 x 80; they cost less than scenes, which are drawn one by one."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(7):
        pixels = np.random.default_rng(i).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 80)).save(folder / f"{i}.png")
    return folder
