"""The memory that painting takes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment

needs_peak = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak there")
_PROGRAM = """
import sys
from pathlib import Path
from onestroke.cli import infer
code = infer.main(sys.argv[1:])
# not ru_maxrss, which also counts the process that this one was started from
print("peak", Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
sys.exit(code)
"""


def peak_of(*arguments: str) -> int:
    """Bytes that infer.py takes at most with these arguments."""
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout
    return 1024 * int(said.split("peak")[1])
