"""How much memory a network takes to paint, and whether it is free: found by painting a small picture and counting."""

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

_SMALL, _LARGE = 64, 128  # sides of the pictures; no network is known that pads to more than the second
_FASTER = 1.2  # what is held for a pixel grows by more than this where it goes by the picture's size


class _Live(TorchDispatchMode):
    """Counts the bytes of all tensors that operations give and that are not yet let go."""

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


def held_by(paint: Callable[[Tensor], object]) -> Callable[[int, int, int], float]:
    """What painting holds at most at a time, but for the weights.

    Measured at two small sizes: for convolutions it goes by the number of pixels; what compares each place with each
    other goes by its square, and shows. Within a tenth of what a CPU was seen to take (0.83 to 1.02 of it), for
    networks that are widest at full, half or quarter size.

    Args:
        paint: takes a picture (1, 3, H, W) to where it paints, and paints it.

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
    """Bytes that may still be taken there: of main memory, or of a CUDA device, with what this process keeps of it."""
    if device.type != "cuda":
        return free_memory()
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def check_free(needed: Callable[[int, int], float], device: torch.device, height: int, width: int) -> None:
    """Refuse what the system would have to kill us for, before anything is taken.

    Args:
        needed: bytes that painting takes, by height and width.
        device: where.
        height, width: of what is to be painted.

    Raises:
        UserError: that is more than is free.
    """
    with shortage_told(height, width):
        most, free = needed(height, width), free_on(device)
        if most <= free:
            return
        longer = max(height, width)
        side = max(1, int((free / most) ** 0.5 * longer))
        # networks pad, so that what is shrunk may take a little more than its share
        while side > 1 and needed(-(-height * side // longer), -(-width * side // longer)) > free:
            side = side * 49 // 50
    raise UserError(
        f"{width} x {height} needs about {most / 2**30:.1f} GiB to paint and "
        f"{free / 2**30:.1f} GiB are free; shrink it with max_side={side}"
    )


@contextmanager
def shortage_told(height: int, width: int) -> Iterator[None]:
    """Memory that is short is told in one sentence.

    Raises:
        UserError: in place of what a runtime raises then.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # Only CUDA has an error of its own for this; the CPU and MPS say it in words.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        raise UserError(f"{width} x {height} is too large for the memory; use a smaller max_side") from error
