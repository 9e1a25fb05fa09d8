"""Which memory is kept, by the system's own account of the process."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_arrays_stay_for_the_next_ones_and_are_given_back_in_the_end() -> None:
    told = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True).stdout
    before, during, behind, after = map(int, told.split())
    assert during > 200
    assert max(before, behind, after) < 50


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: object) -> object:
        raise TypeError("there is no such library")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not devices.keep_memory(True)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not devices.keep_memory(False)


GIB = 2**30


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8388608 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_free_memory_is_what_the_tightest_limit_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_address_space", lambda root: sys.maxsize)
    assert devices.free_memory(machine(tmp_path / "free", {})) == 8 * GIB
    second = {
        "proc/self/cgroup": "0::/job/step\n",
        "sys/fs/cgroup/job/memory.max": f"{3 * GIB}\n",
        "sys/fs/cgroup/job/memory.current": f"{2 * GIB}\n",
        "sys/fs/cgroup/job/memory.stat": f"anon 5\ninactive_file {GIB // 2}\n",
        "sys/fs/cgroup/job/step/memory.max": "max\n",
        "sys/fs/cgroup/job/step/memory.current": f"{2 * GIB}\n",
    }
    assert devices.free_memory(machine(tmp_path / "second", second)) == GIB + GIB // 2
    first = {
        "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/a:b\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}",
        "sys/fs/cgroup/memory/a:b/memory.limit_in_bytes": f"{GIB}",
        "sys/fs/cgroup/memory/a:b/memory.usage_in_bytes": f"{2 * GIB}",
    }
    assert devices.free_memory(machine(tmp_path / "first", first)) == 0
    assert devices.free_memory(tmp_path / "nothing is told") > 2**62


def test_free_memory_heeds_the_limit_on_the_address_space() -> None:
    resource = pytest.importorskip("resource")
    code = (
        "import resource; from onestroke.devices import free_memory; most = int(open('/proc/self/statm').read()"
        f".split()[0]) * resource.getpagesize() + {GIB}; resource.setrlimit(resource.RLIMIT_AS, (most, most));"
        "print(free_memory())"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert resource and GIB // 2 < int(told.stdout) <= GIB
