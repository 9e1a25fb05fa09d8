"""What bench.py writes: a table on the terminal, JSON, and a section of BENCHMARKS.md."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from onestroke import __version__
from onestroke.errors import UserError
from onestroke.files import atomic

Row = Mapping[str, Any]
_WIDE = 160  # columns, where the output is no terminal


def _times(row: Row) -> str:
    return f"{row['low'] * 1e3:.4g} to {row['high'] * 1e3:.4g}"


# heading -> what stands there; a column is left out where no row has anything
_COLUMNS: dict[str, Callable[[Row], str | None]] = {
    "ms": lambda row: f"{row['seconds'] * 1e3:.4g}",
    "quartiles": _times,
    "images/s": lambda row: f"{row['images_per_second']:.4g}",
    "times as fast": lambda row: None if row["ratio"] is None else f"{row['ratio']:.2f}",
    "ms/megapixel": lambda row: None if row["ms_per_megapixel"] is None else f"{row['ms_per_megapixel']:.4g}",
    "GMAC": lambda row: None if row["gmac"] is None else f"{row['gmac']:.4g}",
    "of the rate": lambda row: None if row["fraction"] is None else f"{row['fraction']:.0%}",
    "waiting": lambda row: f"{row['wait_share']:.1%}" if "wait_share" in row else None,
    "peak MiB": lambda row: f"{row['peak_mib']:.0f}",
}


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were taken on."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": str(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "onestroke": __version__,
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor as it calls itself, or at least its kind."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cells(rows: Sequence[Row], labels: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines."""
    columns = [name for name, text in _COLUMNS.items() if any(text(row) is not None for row in rows)]
    lines = [
        [*(str(row[label]) for label in labels), row["contestant"], *(_COLUMNS[name](row) or "" for name in columns)]
        for row in rows
    ]
    return [*labels, "contestant", *columns], lines


def show(result: Mapping[str, Any]) -> None:
    """Print the table."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    headings, lines = cells(result["rows"], result["labels"])
    table = Table(title=f"bench.py {result['mode']}: {title(result)}")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i <= len(result["labels"]) else "right")
    last = len(result["labels"])
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        table.add_row(*line, end_section=following is not None and following[:last] != line[:last])
    console.print(table)
    console.print(explained(result))


def title(result: Mapping[str, Any]) -> str:
    """The machine in a few words."""
    facts = result["machine"]
    gpu = f"{facts['gpu']}, " if facts["gpu"] else ""
    return f"{gpu}{facts['cpu']}, {facts['cores']} cores, torch {facts['torch']}"


def explained(result: Mapping[str, Any]) -> str:
    """What the columns are."""
    text = f"Median and quartiles of {result['runs']} runs after {result['warmup']}, contestants in turn"
    rates = ", ".join(f"{rate:.0f} GFLOP/s in {name}" for name, rate in result["rates"].items())
    if rates:
        text += f"; the rate is that of torch.mm at {result['matrix']}^3 in the same process: {rates} (the last case's)"
    where = "of the GPU" if result["machine"]["gpu"] else "of the whole process, all its contestants loaded"
    return f"{text}; {result['machine']['threads']} threads; memory is the peak {where}."


def write(result: Mapping[str, Any], out: Path) -> None:
    """Write the JSON, whole or not at all.

    Raises:
        UserError: where it can't be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out}: can't make its folder: {error.strerror}") from error
    with atomic(out) as temporary:
        temporary.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def append(result: Mapping[str, Any], path: Path) -> None:
    """Add a section for this machine to BENCHMARKS.md.

    Raises:
        UserError: where it can't be written.
    """
    headings, lines = cells(result["rows"], result["labels"])
    kinds = ["---"] * (len(result["labels"]) + 1)
    kinds += ["---:"] * (len(headings) - len(kinds))
    table = "\n".join("| " + " | ".join(line) + " |" for line in (headings, kinds, *lines))
    section = (
        f"\n## {result['mode']}: {title(result)}\n\n"
        f"`{result['command']}`, {result['machine']['time'][:10]}. {explained(result)}\n\n{table}\n"
    )
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(section)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}") from error
