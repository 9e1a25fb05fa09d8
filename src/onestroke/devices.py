"""Which device computes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

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
