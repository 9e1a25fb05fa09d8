"""Choose the device, and measure and control memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from onestroke.errors import UserError

NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")
"""Parts of a RuntimeError's message that mean out of memory; only CUDA has an exception class of its own for it."""


def choose_device(name: str) -> torch.device:
    """Return the torch device for a name.

    Args:
        name: a torch device such as cpu, cuda, cuda:1 or mps; auto takes CUDA, else MPS, else the CPU.

    Raises:
        UserError: the name is not a device, or the device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # copied back, which fails on `meta`, a device without data
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UserError(f"device={name} can't be used here; take device=auto or device=cpu") from error
    return device


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 natively; elsewhere torch would emulate it, at a loss."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


# Parameters of mallopt from glibc's malloc.h. _DEFAULT has the values that glibc's dynamic thresholds reach in a
# process that has freed large arrays.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_DEFAULT = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}


def keep_memory(kept: bool) -> bool:
    """Tell the C library whether to keep freed memory for later allocations.

    By default, glibc returns freed arrays of more than 32 MiB to the system, and a new array's pages are zeroed one by
    one on first use: on a CPU that is a twelfth of a training step. The peak memory stays about the same.

    Args:
        kept: True keeps freed memory in the process, False returns it to the system, as is the default.

    Returns:
        Whether the setting was applied; False where the C library is not glibc.
    """
    try:
        library = ctypes.CDLL(None)
        answers = [library.mallopt(parameter, value) for parameter, value in (_KEEP if kept else _DEFAULT).items()]
        if not kept:
            library.malloc_trim(0)
    except (OSError, TypeError, AttributeError):  # macOS, Windows, musl
        return False
    return 0 not in answers


@contextmanager
def memory_kept() -> Iterator[None]:
    """Context manager: `keep_memory(True)` on entry, `keep_memory(False)` on exit."""
    keep_memory(True)
    try:
        yield
    finally:
        keep_memory(False)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process can still allocate.

    The minimum of the system's available memory, what is left in the process's control groups (versions 1 and 2, as a
    container or a batch system sets them) and what is left of its address space (`ulimit -v`).

    Args:
        root: the folder that contains /proc and /sys.

    Returns:
        Bytes, at least 0; `sys.maxsize` where the system reports no limit.
    """
    return max(0, min(_meminfo(root), *_control_groups(root), _address_space(root)))


def used_memory(root: Path = Path("/")) -> int:
    """Bytes of main memory that this process takes; 0 where the system doesn't tell."""
    return _entries(root / "proc/self/status").get("VmRSS:", 0) * 1024


def _meminfo(root: Path) -> int:
    return _entries(root / "proc/meminfo").get("MemAvailable:", sys.maxsize // 1024) * 1024


def _control_groups(root: Path) -> Iterator[int]:
    """Bytes left in each control group of this process, from its own group up to the root."""
    yield sys.maxsize
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            top, limit, used, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
            used, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):  # in a container the path may be the host's; then only the root exists
            folder = top.joinpath(*parts[:depth])
            most, now = _text(folder / limit).strip(), _text(folder / used).strip()
            if most.isdigit() and now.isdigit():
                yield int(most) - int(now) + _entries(folder / "memory.stat").get(cache, 0)


def _address_space(root: Path) -> int:
    try:
        import resource  # not on Windows

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most == resource.RLIM_INFINITY:
            return sys.maxsize
        pages = _text(root / "proc/self/statm").split()
        return most - (int(pages[0]) * resource.getpagesize() if pages else 0)
    except (ImportError, OSError, ValueError):
        return sys.maxsize


def _entries(path: Path) -> dict[str, int]:
    """Parse a file of `name number` lines; other lines are skipped."""
    found = (line.split() for line in _text(path).splitlines())
    return {words[0]: int(words[1]) for words in found if len(words) > 1 and words[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
