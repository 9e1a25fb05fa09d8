"""What bench.py measures with: contestants timed in turn, counted multiply-adds, the machine's own rate, memory."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from onestroke.training.machine import Machine

MATRIX = 2048  # side of the matrices whose product is the machine's rate
LEAST = 0.2  # seconds that a timing lasts at least; what is faster is called several times
PAUSE = 0.05  # seconds before each timing, in which the threads of the one before come to rest
_MOST_CALLS = 200
_SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16"}


@dataclass
class Contestant:
    """What is timed.

    work: one run; what times itself (a data loader that has to warm up) returns its seconds. images, pixels: of a run.
    gmac: of a run, counted. dtype: whose rate it is compared with. notes: what else is to be said of so many last runs.
    peak: the most bytes that were held, where that isn't this process's.
    """

    name: str
    work: Callable[[], float | None]
    images: int = 1
    pixels: int = 0
    gmac: float = 0.0
    dtype: torch.dtype | None = None
    notes: Callable[[int], dict[str, float]] | None = None
    peak: Callable[[], int] | None = None


@dataclass
class Case:
    """Contestants that are compared, the first being the baseline; labels say at which size and so on."""

    labels: dict[str, str | int]
    contestants: list[Contestant]


@dataclass
class Timings:
    """Seconds of each run, and the most bytes that were held in any."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles around it, between values where they fall there."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        low, median, high = (float(v) for v in np.percentile(values, [25, 50, 75]))
        return cls(median, low, high)


def race(
    contestants: Sequence[Contestant], runs: int, warmup: int, device: torch.device, rest: bool = True
) -> dict[str, Timings]:
    """Time all in turn, A B A B ..., so that the machine's mood meets all alike.

    Args:
        contestants: of different names.
        runs: how often each is timed.
        warmup: rounds before, which don't count.
        rest: whether to pause between them, and to time what is fast by many calls.
    """
    found = {one.name: Timings() for one in contestants}
    calls = dict.fromkeys(found, 1)
    for turn in range(warmup + runs):
        for one in contestants:
            time.sleep(PAUSE if rest else 0)
            forget_peak(device)
            seconds, itself = _timed(one.work, calls[one.name], device)
            if turn >= warmup:
                found[one.name].seconds.append(seconds)
                found[one.name].peak = max(found[one.name].peak, one.peak() if one.peak else peak(device))
            elif rest and not itself:
                calls[one.name] = min(_MOST_CALLS, max(1, math.ceil(LEAST / max(seconds, 1e-9))))
    return found


def _timed(work: Callable[[], float | None], calls: int, device: torch.device) -> tuple[float, bool]:
    """Seconds of a call, and whether the work timed itself."""
    wait_for(device)
    started = time.perf_counter()
    own = None
    for _ in range(calls):
        own = work()
    wait_for(device)
    return ((time.perf_counter() - started) / calls, False) if own is None else (own, True)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def forget_peak(device: torch.device) -> None:
    """Start the peak anew. Where the system has no way to, the process's peak so far is what counts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak(device: torch.device) -> int:
    """Bytes: of the GPU where that computes, else of the whole process, with whatever the other contestants hold."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def gmac(module: nn.Module, height: int, width: int, batch: int = 1, **arguments: Any) -> float:
    """Multiply-adds of a forward pass, in billions, of convolutions and matrix products; nothing is computed.

    Args:
        module: called with (batch, 3, height, width).
        arguments: of the call.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(allow_non_fake_inputs=True), counter, torch.no_grad():
        module(torch.empty(batch, 3, height, width, device=device), **arguments)
    return counter.get_total_flops() / 2e9


def precisions(device: torch.device) -> list[torch.dtype]:
    """fp32, and bf16 where OneStroke trains in it."""
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    group = {"accelerator": accelerator, "devices": 1, "strategy": "auto", "precision": "auto"}
    group |= {"workers": "auto", "compile": "auto"}
    bf16 = Machine.of(group, 1).precision.startswith("bf16")
    return [torch.float32, torch.bfloat16] if bf16 else [torch.float32]


def short(dtype: torch.dtype) -> str:
    """fp32 or bf16."""
    return _SHORT[dtype]


def matrix_products(device: torch.device, dtypes: Sequence[torch.dtype]) -> list[Contestant]:
    """torch.mm, one for each dtype: what the machine can do at all."""

    def product(dtype: torch.dtype) -> Contestant:
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(MATRIX, MATRIX, generator=generator).to(device, dtype) for _ in range(2))
        out = torch.empty_like(a)

        def work() -> None:
            with _tf32(device):
                torch.mm(a, b, out=out)

        return Contestant(f"mm-{short(dtype)}", work, images=0, gmac=MATRIX**3 / 1e9, dtype=dtype)

    return [product(dtype) for dtype in dtypes]


@contextmanager
def _tf32(device: torch.device) -> Iterator[None]:
    """As cuDNN's convolutions have it by themselves, and products have not."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    yield
    if device.type == "cuda":
        torch.set_float32_matmul_precision(before)


def compare(
    case: Case, products: Sequence[Contestant], found: Mapping[str, Timings], baseline: str | None
) -> list[dict[str, Any]]:
    """A row for each contestant: times, how many times as fast as the baseline, share of the machine's rate."""
    rates = {one.dtype: one.gmac / Spread.of(found[one.name].seconds).median for one in products}
    base = None if baseline is None else Spread.of(found[baseline].seconds).median
    rows = []
    for one in case.contestants:
        times = Spread.of(found[one.name].seconds)
        rate = rates.get(one.dtype)
        rows.append(
            {
                **case.labels,
                "contestant": one.name,
                "seconds": times.median,
                "low": times.low,
                "high": times.high,
                "runs": found[one.name].seconds,
                "images_per_second": one.images / times.median,
                "ratio": None if base is None else base / times.median,
                "gmac": one.gmac or None,
                "fraction": one.gmac / times.median / rate if rate and one.gmac else None,
                "ms_per_megapixel": times.median * 1e9 / one.pixels if one.pixels else None,
                "peak_mib": found[one.name].peak / 2**20,
                **(one.notes(len(found[one.name].seconds)) if one.notes else {}),
            }
        )
    return rows
