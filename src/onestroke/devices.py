"""Which device computes."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from onestroke.errors import UserError

NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")
"""Words by which a RuntimeError tells that memory is short; only CUDA has an error of its own for this."""


def choose_device(name: str) -> torch.device:
    """The device of that name, `auto` being the fastest there is.

    Raises:
        UserError: for a name that is none, or a device that isn't there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # back again, which meta, a device without memory, refuses
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UserError(f"device={name} can't be used here; take device=auto or device=cpu") from error
    return device


# of glibc's malloc.h, with what its thresholds come to by themselves in a process that has freed large arrays
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_AS_EVER = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}


def keep_memory(kept: bool) -> bool:
    """Whether what tensors leave behind is kept for the next ones, or given back to the system as ever.

    GNU's C library gives arrays of more than 32 MiB back when they are freed, and gets new ones page by page, each
    filled with zeros: on a CPU that is a twelfth of a training step. The most memory that is held at a time stays about
    the same.

    Returns:
        Whether this C library could be told.
    """
    try:
        library = ctypes.CDLL(None)
        answers = [library.mallopt(what, value) for what, value in (_KEPT if kept else _AS_EVER).items()]
        if not kept:
            library.malloc_trim(0)
    except (OSError, TypeError, AttributeError):  # macOS, Windows, musl
        return False
    return 0 not in answers


@contextmanager
def memory_kept() -> Iterator[None]:
    """`keep_memory`, for as long as this lasts."""
    keep_memory(True)
    try:
        yield
    finally:
        keep_memory(False)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may still take: what is free or can be freed, within every limit on it.

    Limits are those of its control groups (versions 1 and 2, such as a container or a batch system sets) and the
    one on its address space (`ulimit -v`).

    Args:
        root: where /proc and /sys are found.

    Returns:
        The least of what is left under each; `sys.maxsize` where the system doesn't say.
    """
    return max(0, min(_meminfo(root), *_control_groups(root), _address_space(root)))


def _meminfo(root: Path) -> int:
    return _entries(root / "proc/meminfo").get("MemAvailable:", sys.maxsize // 1024) * 1024


def _control_groups(root: Path) -> Iterator[int]:
    """What is left in each group that this process is in, from its own up to the top."""
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
        for depth in range(len(parts) + 1):  # inside of a container the path may be that of the host: the top counts
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
    """Names and numbers of a file that has one of each in a line."""
    found = (line.split() for line in _text(path).splitlines())
    return {words[0]: int(words[1]) for words in found if len(words) > 1 and words[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
