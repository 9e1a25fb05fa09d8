"""What the tests of the fleet share: a style file, photos, and a job that is run without Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from onestroke import style_file
from onestroke.fleet.inputs import Portion, Source, divided
from onestroke.fleet.job import Job
from onestroke.fleet.ledger import Ledger
from onestroke.fleet.manifest import Manifest, Row
from onestroke.fleet.names import Places
from onestroke.fleet.painter import Painter
from onestroke.fleet.running import Workers, tables
from onestroke.fleet.shares import shares_of
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata

ARGS: dict[str, Any] = {"channels": [4, 4, 4], "blocks": 1, "ends": 3, "controls": ["strength", "stroke"]}


def style(path: Path) -> Path:
    """A style file whose network paints, called `tiny`."""
    torch.manual_seed(0)
    network = ResidualNetwork(**ARGS)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    document = Metadata(
        {"name": "ResidualNetwork", "args": ARGS}, {"name": "tiny", "size": 256, "styles": [{"name": "tiny"}]}
    )
    style_file.save(path, network, document)
    return path


def content(seed: int, form: str = "PNG", size: tuple[int, int] = (24, 18)) -> bytes:
    """A picture of noise as a file."""
    file = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def photos(folder: Path, count: int = 6) -> Path:
    """A folder with photos of two sizes, one of them in a folder of its own, and three files that are none."""
    (folder / "sub").mkdir(parents=True)
    for i in range(count):
        place = folder / ("sub" if i % 3 == 1 else "") / f"{i:03d}.png"
        place.write_bytes(content(i, size=(24, 18) if i % 2 else (17, 30)))
    (folder / "cut.jpg").write_bytes(content(0, "JPEG")[:200])
    (folder / "empty.png").write_bytes(b"")
    (folder / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    return folder


def here(
    portions: Sequence[Portion], job: Job, style: bytes, manifest: Manifest, workers: Workers,
    address: str | None = None, column: str | None = None, each: Callable[[list[Row]], object] = lambda rows: None,
) -> None:  # fmt: skip
    """`running.paint_all` in this process, without Ray."""
    painter, told = Painter(job, style, Ledger()), set[str]()
    for portion in (part for one in portions for part in in_sections(one)):
        for table in tables(portion, column, Places(job.style, job.form)):
            columns = table.to_pydict().values()
            rows = painter.paint([Source(*values) for values in zip(*columns, strict=True)])
            if portion.kind == "films":
                rows = [row for row in rows if row.name not in told]
                told.update(row.name for row in rows)
            manifest.add(rows)
            each(rows)


def in_sections(portion: Portion) -> list[Portion]:
    """A film in its sections, and any other portion as it is."""
    return divided(portion, shares_of(portion.address, portion.members[0][0])) if portion.kind == "films" else [portion]
