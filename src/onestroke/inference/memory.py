"""Measure how much memory a network takes to paint, by painting small pictures, and check that it is free."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from onestroke.devices import NO_MEMORY, free_memory
from onestroke.errors import UserError

_SMALL, _LARGE = 64, 128  # sides of the pictures in pixels; no known network pads to more than the second
_FASTER = 1.2  # memory per pixel that grows by more than this ratio depends on the size of the picture


class _Live(TorchDispatchMode):
    """Counts the bytes of all live tensors that were returned by operations; `most` is the peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._seen:
            self._seen.add(key)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._let_go, key, storage.nbytes())

    def _let_go(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def peak_memory(paint: Callable[[Tensor], object]) -> Callable[[int, int, int], float]:
    """A function that estimates the peak memory of painting, not counting the weights.

    Measured at two small sizes: the memory of convolutions is proportional to the number of pixels, that of attention
    to its square. The estimate is 0.83 to 1.02 times the memory measured on a CPU, for networks that are widest at
    full, half or quarter size.

    Args:
        paint: moves a picture (1, 3, H, W) to the device of the network, and paints it.

    Returns:
        (number of pictures, height, width) -> bytes.
    """
    each: list[float] = []
    for side in (_SMALL, _LARGE):
        with torch.no_grad(), _Live() as live:
            paint(torch.rand(1, 3, side, side))
        each.append(live.most / side**2)
    small, large = each
    growth = (large - small) / (_LARGE**2 - _SMALL**2) if large > _FASTER * small else 0.0

    def held(count: int, height: int, width: int) -> float:
        pixels = height * width
        return float(count * pixels * (large + growth * max(0, pixels - _LARGE**2)))

    return held


def free_on(device: torch.device) -> int:
    """Bytes that can still be allocated: on a CUDA device, including torch's cache, else in main memory."""
    if device.type != "cuda":
        return free_memory()
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def check_free(needed: Callable[[int, int], float], device: torch.device, height: int, width: int) -> None:
    """Check before painting that enough memory is free.

    Args:
        needed: (height, width) -> bytes that painting takes.
        device: the device to paint on.
        height, width: of the picture, in pixels.

    Raises:
        UserError: painting takes more memory than is free; the message suggests a smaller max_side.
    """
    with memory_errors_for_users(height, width):
        most, free = needed(height, width), free_on(device)
        if most <= free:
            return
        longer = max(height, width)
        side = max(1, int((free / most) ** 0.5 * longer))
        # networks pad, so a smaller picture may take a little more than its share of pixels
        while side > 1 and needed(-(-height * side // longer), -(-width * side // longer)) > free:
            side = side * 49 // 50
    raise UserError(
        f"{width} x {height} needs about {most / 2**30:.1f} GiB to paint and "
        f"{free / 2**30:.1f} GiB are free; shrink it with max_side={side}"
    )


@contextmanager
def memory_errors_for_users(height: int, width: int) -> Iterator[None]:
    """Context manager: turn exceptions for lack of memory into a UserError about a picture of this size.

    Raises:
        UserError: in place of such a RuntimeError or MemoryError.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # Only CUDA has an exception class for this; for the CPU and MPS the message is searched.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        raise UserError(f"{width} x {height} is too large for the memory; use a smaller max_side") from error
