"""Processes of the tests' own that start at once: forked from one that has imported what a training needs.

Importing torch and Lightning takes eight seconds of a core, many times what a command in a test takes itself. A forked
process has all else that a process has: an exit code, signals, standard streams, a folder and an environment of its
own, and a memory in which nothing but the imports has happened. It is forked from multiprocessing's fork server, and
that, in its turn, from the process that has collected the tests, before it runs the first one.
tests/test_packaging.py has the commands in processes that import everything themselves.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver, util
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[1]
# elsewhere, libraries of the system may not outlive a fork, and each process imports what it needs
METHOD = "forkserver" if sys.platform.startswith("linux") else "spawn"


def environment() -> dict[str, str]:
    """This process's, with one thread, so that sums are taken in one order, and this checkout's package."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}


def start_server() -> None:
    """Start the fork server as a fork of this process: a fresh one would import everything anew."""
    if METHOD == "forkserver":
        with (
            mock.patch.object(util, "spawnv_passfds", _forked),
            mock.patch.dict(os.environ, _with_tests(environment())),
        ):
            _run_server()


def _run_server() -> None:
    """Start the fork server unless it runs already, in the environment of this moment."""
    multiprocessing.get_context(METHOD).set_forkserver_preload(["tests.preloaded"])
    forkserver.ensure_running()


def _forked(path: object, arguments: Sequence[object], kept: Sequence[int]) -> int:
    """In place of starting Python on a command: a fork that runs the command, with its files and no other ones."""
    with warnings.catch_warnings():
        # pytest-xdist's thread waits for messages: it holds no lock that the fork would need
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process:
        return process
    try:
        first = 3
        for file in [*sorted(kept), os.sysconf("SC_OPEN_MAX")]:
            os.closerange(first, file)
            first = file + 1
        exec(str(arguments[-1]), {})
    finally:
        os._exit(1)


def _with_tests(variables: Mapping[str, str]) -> dict[str, str]:
    """An environment in which this folder's modules are found too."""
    return {**variables, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


class Started:
    """A function that runs in a process of its own, with its output in files.

    Args:
        target: of the top level of a module.
        arguments: of it.
        cwd: the process's working directory.
        variables: its environment.
    """

    def __init__(
        self, target: Callable[..., object], *arguments: Any, cwd: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        variables = dict(environment() if variables is None else variables)
        context: Any = multiprocessing.get_context(METHOD)
        self._folder = tempfile.TemporaryDirectory()
        self._out, self._err = (Path(self._folder.name) / name for name in ("out", "err"))
        with mock.patch.dict(os.environ, _with_tests(variables), clear=True):
            if METHOD == "forkserver":
                _run_server()
            self._process = context.Process(
                target=_become, args=(target, arguments, cwd, variables, self._out, self._err)
            )
            self._process.start()

    def done(self, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Wait for its end; it is killed after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        out, err = (path.read_text(encoding="utf-8") for path in (self._out, self._err))
        self._folder.cleanup()
        return subprocess.CompletedProcess([], self._process.exitcode, out, err)


def _become(
    target: Callable[..., object],
    arguments: tuple[Any, ...],
    cwd: Path,
    variables: dict[str, str],
    out: Path,
    err: Path,
) -> None:
    """In the process: give it its streams, environment and folder, and call the function."""
    for stream, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
        os.close(file)
    importlib.import_module("tests.preloaded")  # where the process was not forked from one that has
    multiprocessing.set_start_method(None, force=True)  # as in any other process
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    target(*arguments)


def as_script(path: Path, *arguments: str) -> None:
    """What `python path arguments` does."""
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")


def as_module(name: str, *arguments: str) -> None:
    """What `python -m name arguments` does."""
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
