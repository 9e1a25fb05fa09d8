"""The stages of a call of gpu_night.py: each a process with a time limit, its output in a log, its end in a record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from onestroke.files import atomic

GRACE = 25.0  # seconds to end in after SIGTERM: a training writes its files


class Stopped(Exception):
    """SIGTERM or SIGINT came."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def raise_on_signals() -> None:
    """Have SIGTERM and SIGINT raise Stopped, the first time; later ones are ignored, as files are being written."""

    def stop(number: int, frame: FrameType | None) -> None:
        for later in (signal.SIGTERM, signal.SIGINT):
            signal.signal(later, signal.SIG_IGN)
        raise Stopped(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


@dataclass
class Clock:
    """What is left of a call's time. now: a monotonic clock in seconds."""

    seconds: float
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._started = self.now()

    @property
    def left(self) -> float:
        """Seconds."""
        return self.seconds - (self.now() - self._started)


class Record:
    """numbers.json: all that is known so far, written whole after each stage.

    Args:
        path: the file.
        found: what it begins with.
    """

    def __init__(self, path: Path, found: Mapping[str, Any]) -> None:
        self.path, self.found = path, {"checks": {}, "bench": {}, "gallery": {}, "stages": [], **found}

    def set(self, group: str, name: str, value: Any) -> None:
        """Keep a value of a group and write the file."""
        self.found[group][name] = value
        self.write()

    def stage(self, name: str, state: str, seconds: float) -> None:
        """Keep how a stage ended, write the file, and say it."""
        self.found["stages"].append({"name": name, "state": state, "seconds": round(seconds, 1)})
        self.write()
        print(f"{name}: {state} ({seconds:.0f} s)")

    def write(self) -> None:
        """Write the file, whole or not at all."""
        with atomic(self.path) as temporary:
            temporary.write_text(json.dumps(self.found, indent=2) + "\n", encoding="utf-8")

    @property
    def held(self) -> bool:
        """Whether every check held and every stage of this call ended well."""
        checks = all(check.get("held") for check in self.found["checks"].values())
        return checks and all(stage["state"] in ("done", "stopped in time") for stage in self.found["stages"])


def read_json(path: Path) -> dict[str, Any]:
    """A JSON document; empty where there is none or it can't be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def run(command: Sequence[str], seconds: float, log: Path, gently: bool = False) -> str:
    """Run a Python script with a time limit.

    Args:
        command: the script and its arguments.
        seconds: after which it is ended.
        log: its output is added there.
        gently: whether it ends cleanly at SIGTERM, within GRACE seconds, so that a limit is no failure.

    Returns:
        `done`, `stopped in time` (gently), `took too long`, or `failed: ` with the last line of its output.

    Raises:
        Stopped: passed on once the script has ended, to which it was told.
    """
    with log.open("ab") as file:
        file.write(f"\n$ python {' '.join(command)}\n".encode(errors="surrogateescape"))
        file.flush()
        # a session of its own, so that its workers can be ended with it
        process = subprocess.Popen([sys.executable, *command], stdout=file, stderr=file, start_new_session=True)
        try:
            code = process.wait(max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            ended = gently and _ended(process)
            _kill(process)
            return "stopped in time" if ended else "took too long"
        except Stopped:
            if gently:
                _ended(process)
            _kill(process)
            raise
        _kill(process)
    return "done" if code == 0 else f"failed: {_last_line(log) or f'exit code {code}'}"


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ends cleanly when it is told to."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(GRACE) == 0
    except subprocess.TimeoutExpired:
        return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process and of those that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip()[:200] if lines and not lines[-1].startswith("$ ") else ""
