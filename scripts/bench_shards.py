"""Measure how fast training crops come out of shards: by single photos, as data=webdataset reads them, or whole shards.

    python scripts/bench_shards.py photos=1000 delay=0.03 runs=3

The photos are made up, 640 x 480 pixels, in JPEG, in shards of 250; on a disk, and on a web server of this machine that
waits `delay` seconds before each answer, as an object store does. One process loads batches of 16 crops of 256 pixels.

one at a time, sixteen at once: data=webdataset without and with asking for the photos of a batch at once.
webdataset: that package's own pipeline, shards in turn through a buffer of 500 photos that shuffles them.
"""

from __future__ import annotations

import http.server
import multiprocessing
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from shard_photos import Options as Packing
from shard_photos import pack
from torch import Tensor

from onestroke.cli.options import CommandOptions, command, option
from onestroke.data.datamodule import PhotoBatches
from onestroke.data.resized import MAX_ZOOM, cut, read_resized
from onestroke.data.shards import Shards
from onestroke.files import holding
from onestroke.packages import require

_BATCH, _CROP, _EACH, _BUFFER = 16, 256, 250, 500


@dataclass
class Options(CommandOptions):
    """The options of this script."""

    photos: int = option("how many, in shards of 250", 1000, low=_EACH)
    delay: float = option("seconds that the web server waits before each answer", 0.03, low=0, high=10)
    runs: int = option("of each way; the median counts", 3, low=1)


def made_up(folder: Path, count: int) -> None:
    """Photos of noise on blurred noise, of about 100 kB in JPEG."""
    for i in range(count):
        random = np.random.default_rng(i)
        coarse = Image.fromarray(random.integers(0, 256, (31, 41, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(smooth + random.integers(-12, 13, (480, 640, 1), dtype=np.int16), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{i:06d}.jpg", quality=85)


def serve(folder: str, delay: float, port: Any) -> None:
    """Answer range requests for the files of a folder, each after a while; tells its port through a pipe."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay)
            path = Path(folder) / Path(self.path).name
            if not path.is_file():
                self.send_error(404)
                return
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            size = path.stat().st_size
            start, end = (int(found[1]), min(int(found[2]) + 1, size)) if found else (0, size)
            self.send_response(206 if found else 200)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            with path.open("rb") as file:
                file.seek(start)
                while start < end:
                    self.wfile.write(block := file.read(min(2**18, end - start)))
                    start += len(block)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Handler) as server:
        port.send(server.server_port)
        server.serve_forever()


def by_photos(urls: str, at_once: bool) -> Iterator[Tensor]:
    """Batches of data=webdataset."""
    source = Shards(urls, validation=0)
    if not at_once:
        source.expect = None  # type: ignore[method-assign,assignment]
    return (batch["photos"] for batch in PhotoBatches(source, _BATCH, _CROP, 0, 0).train_dataloader())


def by_shards(urls: str) -> Iterator[Tensor]:
    """Batches of webdataset's own pipeline, cut as ours are."""
    library = require("webdataset", "test")

    def crop(sample: dict[str, bytes]) -> Tensor:
        with holding(sample["jpg"]) as path:
            photo, _ = read_resized(str(path), _CROP, 64)
        places = (random.random(), random.random(), random.random() < 0.5)
        return torch.from_numpy(cut(photo, _CROP, random.uniform(1, MAX_ZOOM), *places))

    return iter(library.WebDataset(urls, shardshuffle=100).shuffle(_BUFFER).map(crop).repeat().batched(_BATCH))


def rate(make: Callable[[], Iterator[Tensor]], photos: int) -> float:
    """Photos a second over so many, after the first batch."""
    batches = make()
    next(batches)
    started = time.perf_counter()
    for _ in range(photos // _BATCH):
        next(batches)
    return photos // _BATCH * _BATCH / (time.perf_counter() - started)


def measure(options: Options) -> None:
    """Print a table of rates."""
    with tempfile.TemporaryDirectory() as made:
        folder, shards = Path(made) / "in", Path(made) / "shards"
        folder.mkdir()
        made_up(folder, options.photos)
        pack(Packing(str(folder), str(shards), photos=_EACH))
        receive, send = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(str(shards), options.delay, send), daemon=True)
        server.start()
        names = f"photos-{{000..{-(-options.photos // _EACH) - 1:03d}}}.tar"
        places = {"disk": f"{shards}/{names}", "web": f"http://127.0.0.1:{receive.recv()}/{names}"}
        ways: dict[str, Callable[[str], Iterator[Tensor]]] = {
            "one at a time": lambda urls: by_photos(urls, False),
            "sixteen at once": lambda urls: by_photos(urls, True),
            "webdataset": by_shards,
        }
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(options.runs):
            for place, urls in places.items():
                for way, make in ways.items():
                    several = found.setdefault((place, way), [])
                    several.append(rate(lambda make=make, urls=urls: make(urls), options.photos // 2))  # type: ignore[misc]
        server.terminate()
    print("| shards | read | photos a second | lowest to highest |\n|---|---|---:|---:|")
    for (place, way), several in found.items():
        print(f"| {place} | {way} | {statistics.median(several):.0f} | {min(several):.0f} to {max(several):.0f} |")


if __name__ == "__main__":
    sys.exit(command(Options, "python scripts/bench_shards.py [options]", measure, sys.argv[1:]))
