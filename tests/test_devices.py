"""Which memory is kept, by the system's own account of the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from onestroke import devices

MEASURED = """
import os, torch
from onestroke.devices import keep_memory, memory_kept

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def after_an_array():
    torch.ones(64, 2**20)  # 256 MiB
    return round(resident() - start)

torch.ones(64, 2**20)
start = resident()
before = after_an_array()
with memory_kept():
    during = after_an_array()
print(before, during, round(resident() - start), after_an_array())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_arrays_stay_for_the_next_ones_and_are_given_back_in_the_end() -> None:
    told = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True).stdout
    before, during, behind, after = map(int, told.split())
    assert during > 200
    assert max(before, behind, after) < 50


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: object) -> object:
        raise TypeError("there is no such library")

    monkeypatch.setattr(devices.ctypes, "CDLL", refuse)
    assert not devices.keep_memory(True)
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: object())
    assert not devices.keep_memory(False)
