#!/usr/bin/env python
"""How fast OneStroke trains and paints, beside the classic recipe as the most-used example of the field has it.

    python scripts/bench.py train [size=256] [batch=4]                      # images/s of a training step
    python scripts/bench.py vgg   [size=256] [batch=4]                      # the VGG passes of a step
    python scripts/bench.py infer [size=512] [batch=1]                      # one photo, on every backend there is
    python scripts/bench.py frames [size=512] [networks=realtime]           # frame after frame, controls changing
    python scripts/bench.py clips [size=512] [networks=realtime]            # a clip from file to file
    python scripts/bench.py page  [size=512] [networks=realtime]            # the exported page in Chromium
    python scripts/bench.py data  [crop=128,256] [workers=0,1,2] [data.root=/path/to/photos]

Everything is timed in one process (but for the baseline of `train`, whose allocator is left as it is), the
contestants in turn (A B A B ...), so that the machine's mood meets all alike. Beside median and quartiles of the
times stand how many times as fast as the baseline that is (of medians), the multiply-adds, counted at every
convolution, and what share of the machine's own rate they make: that of torch.mm at 2048^3, timed in the same turns.
A training step counts 3 x network + 2 x VGG(output) + VGG(content to its layer), a run of all others what it
computes. What is fast is called several times for a timing, which is then the mean.

train: the baseline is the example's step: eager, NCHW, fp32, nn.InstanceNorm2d, both VGG passes to relu4_3, Adam. Ours:
`classic` has the same losses (experiment=classic), `default` is what train.py does, each in fp32 and where the
machine has it in bf16. Options with a dot go to train.py, and loss=[...]: loss.gram.weight=2.
vgg: content is forward to relu3_3, output forward and backward to relu4_3; the baseline goes to relu4_3 in both.
infer: the baseline is the classic network in eager torch, NCHW. Sizes may be width x height: size=512,1280x720.
Ours are networks=classic,default,... (all of configs/network) on backends=torch,onnx,openvino (all that are installed),
with compile=true torch.compile too; each as Stylizer has it, from float pixels to float pixels on the CPU.
frames: the baseline is ONNX Runtime with the exported graph alone (controls=live), with bytes in and out; ours are a
Stylizer's frames and the Stylizer itself, with ONNX Runtime and torch, whose strength changes before each frame.
clips: the baseline is the network alone on decoded frames (a Stylizer's frames with ONNX Runtime); ours is infer.py's
whole work on a clip of 24 frames, decoding and encoding H.264, without steadiness and with the default, then parts of
it: motion alone, decoding alone.
page: the baseline is ONNX Runtime on one thread with the page's own graph; beside it all threads, and the page's engine
(WASM) in Chromium on one thread and on all. scripts/setup_browser.sh sets up what it needs.
data: the time a batch takes from scenes, and from data.root's photos or the shards of data.urls (data.NAME=... as for
train.py), with as many worker processes, cache=off,on: photos decoded each time, and from the cache of data.cache,
which the warmup fills; consumer=none,2000,step is what takes the batches: nothing, 2,000 images/s, or a real training
step, and the share of time that it waits for them. source=photos leaves the scenes out. batch=4 and
batches=8 (of a timing).

For all: runs=7 warmup=2 (data: 3 and 1) threads=auto device=auto, out=bench.json for all numbers as JSON, append=true
to add the table to BENCHMARKS.md, only=baseline,default-bf16 for some contestants (one alone has the memory to itself).
size, batch, crop, workers and consumer take lists, every combination of which is a case.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_measure
import torch
from bench_clips import clips_cases
from bench_data import chosen_sources, data_cases, sources
from bench_frames import frames_cases
from bench_measure import Case, Spread, compare, matrix_products, precisions, race, short
from bench_modes import Size, chosen, infer_cases, network_names, roads_on, train_cases, vgg_cases
from bench_page import page_cases
from bench_report import append, machine, show, write

from onestroke.cli.home import home_in_override
from onestroke.cli.options import CommandOptions, guarded, option, parse
from onestroke.devices import choose_device
from onestroke.errors import UserError, near

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Options(CommandOptions):
    """What every mode takes; its own options are lists with commas, every combination of which is a case."""

    batch: str = option("pictures at once", "4")
    runs: int = option("timings of each contestant", 7, low=1)
    warmup: int = option("timings before these", 2, low=1)
    threads: str = option("a number, or auto", "auto")
    device: str = option("auto, cpu, cuda or mps", "auto")
    out: str | None = option("a file for all numbers as JSON", None, path=True)
    append: bool = option("add the table to BENCHMARKS.md", False)
    only: str | None = option("some of the contestants", None)

    def check(self) -> None:
        """Raise a UserError for threads that are no number."""
        if self.threads != "auto" and not (re.fullmatch("[0-9]{1,6}", self.threads) and int(self.threads)):
            raise UserError(f"threads must be a whole number of at least 1, not '{self.threads}'")


@dataclass
class SizedOptions(Options):
    """Of the modes train and vgg."""

    size: str = option("sides of the pictures in pixels", "256")


@dataclass
class InferOptions(Options):
    """Of the mode infer."""

    batch: str = option("pictures at once", "1")
    size: str = option("sides of the photo in pixels", "512")
    networks: str | None = option("of configs/network; default: all", None)
    backends: str | None = option("torch, onnx, openvino; default: all that are installed", None)
    compile: bool = option("torch.compile too", False)


@dataclass
class FramesOptions(Options):
    """Of the modes frames, clips and page."""

    batch: str = option("one frame at a time", "1")
    size: str = option("sides of the frames in pixels", "512")
    networks: str = option("of configs/network", "realtime")


@dataclass
class DataOptions(Options):
    """Of the mode data."""

    runs: int = option("timings of each contestant", 3, low=1)
    warmup: int = option("timings before these", 1, low=1)
    source: str | None = option("scenes, photos; default: all that are there", None)
    crop: str = option("sides in pixels", "128,256")
    workers: str = option("processes", "0,1,2")
    cache: str = option("off, on", "off,on")
    consumer: str = option("what takes the batches: none, a number of images a second, or step", "none,2000,step")
    batches: int = option("of a timing", 8, low=1)


OPTIONS: dict[str, type[Options]] = {
    "train": SizedOptions,
    "vgg": SizedOptions,
    "infer": InferOptions,
    "frames": FramesOptions,
    "clips": FramesOptions,
    "page": FramesOptions,
    "data": DataOptions,
}


def listed(key: str, value: str) -> list[str]:
    """The parts of a list with commas.

    Raises:
        UserError: for one that is empty or comes twice.
    """
    parts = [part.strip() for part in value.split(",")]
    if not all(parts) or len(set(parts)) < len(parts):
        raise UserError(f"{key}={','.join(parts)}: write different values with commas between")
    return parts


def some(key: str, value: str | None) -> list[str] | None:
    """As `listed`, of an option that need not be given."""
    return None if value is None else listed(key, value)


def whole(key: str, value: str, least: int = 1) -> list[int]:
    """A list of whole numbers.

    Raises:
        UserError: for what is none.
    """
    parts = listed(key, value)
    if not all(re.fullmatch("[0-9]{1,6}", part) and int(part) >= least for part in parts):
        raise UserError(f"{key}={','.join(parts)}: write whole numbers of at least {least} with commas between")
    return [int(part) for part in parts]


def sizes(value: str) -> list[Size]:
    """A list of 512 or 1280x720, each as height and width; sides are multiples of 4, as the baseline needs them.

    Raises:
        UserError: for what is none.
    """
    found = []
    for part in listed("size", value):
        match = re.fullmatch("([0-9]{1,5})(?:x([0-9]{1,5}))?", part)
        width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if min(width, height) < 32 or width % 4 or height % 4:
            raise UserError(f"size={part}: write multiples of 4 of at least 32, such as size=512 or size=1280x720")
        found.append((height, width))
    return found


def cases(mode: str, options: Options, overrides: list[str], device: torch.device) -> Iterable[Case]:
    """What is to be compared.

    Raises:
        UserError: for options that can't be.
    """
    batches = whole("batch", options.batch)
    if isinstance(options, SizedOptions):
        if mode == "train":
            return train_cases(sizes(options.size), batches, device, overrides)
        return vgg_cases(sizes(options.size), batches, device)
    if isinstance(options, InferOptions):
        networks = chosen("networks", some("networks", options.networks), network_names())
        roads = chosen("backends", some("backends", options.backends), roads_on(device))
        return infer_cases(sizes(options.size), batches, device, networks, roads, options.compile)
    if isinstance(options, FramesOptions):
        if batches != [1] or device.type != "cpu":
            raise UserError(f"the mode {mode} times one frame at a time, on the CPU")
        networks = chosen("networks", listed("networks", options.networks), network_names())
        make = {"clips": clips_cases, "frames": frames_cases, "page": page_cases}[mode]
        return make(sizes(options.size), networks)
    assert isinstance(options, DataOptions)
    if len(batches) > 1:
        raise UserError("batch takes one number in the mode data")
    crops, workers = whole("crop", options.crop, 32), whole("workers", options.workers, 0)
    takers, given = listed("consumer", options.consumer), listed("cache", options.cache)
    if not set(given) <= {"off", "on"}:
        raise UserError(f"cache={','.join(given)}: write off, on, or both with a comma between")
    caches = [part == "on" for part in given]
    found = chosen_sources(sources(overrides), some("source", options.source))
    return data_cases(found, crops, workers, caches, takers, batches[0], options.batches, device)


def select(case: Case, names: list[str] | None) -> str | None:
    """Keep the contestants named; the baseline's name, where it is still there.

    Raises:
        UserError: for a name that none has.
    """
    known = [one.name for one in case.contestants]
    for name in names or ():
        if name not in known:
            raise UserError(f"only: there is no contestant '{name}': {near(name, known)}")
    if names is not None:
        case.contestants = [one for one in case.contestants if one.name in names]
    return known[0] if known[0] == case.contestants[0].name else None


def bench(arguments: list[str]) -> int:
    """Read the options, race, and say what came out."""
    mode, *rest = arguments
    if mode not in OPTIONS:
        raise UserError(f"there is no mode '{mode}': {near(mode, OPTIONS)}")
    dotted = [a for a in rest if "." in (key := a.partition("=")[0]) or (mode == "train" and key == "loss")]
    if dotted and (mode not in ("train", "data") or any(mode == "data" and not a.startswith("data.") for a in dotted)):
        raise UserError(f"the mode {mode} takes no {dotted[0].partition('=')[0]}; run  bench.py --help")
    options = parse(OPTIONS[mode], [a for a in rest if a not in dotted])
    dotted = [home_in_override(argument) for argument in dotted]
    device = choose_device(options.device)
    if options.threads != "auto":
        torch.set_num_threads(int(options.threads))
    runs, warmup, only = options.runs, options.warmup, some("only", options.only)
    products = matrix_products(device, precisions(device)) if mode != "data" else []
    result: dict[str, Any] = {
        "mode": mode,
        "command": shown(arguments),
        "machine": machine(device),
        "runs": runs,
        "warmup": warmup,
        "matrix": bench_measure.MATRIX,
        "rates": {},
        "labels": [],
        "rows": [],
    }
    for case in cases(mode, options, dotted, device):
        baseline = select(case, only)
        found = race([*case.contestants, *products], runs, warmup, device)
        rates = {short(p.dtype): 2 * p.gmac / Spread.of(found[p.name].seconds).median for p in products if p.dtype}
        rows = compare(case, products, found, baseline)
        result.update(labels=list(case.labels), rates=rates, rows=[*result["rows"], *rows])
        if options.out is not None:
            write(result, Path(options.out))  # what is there is kept, whatever comes of the next case
    show(result)
    if options.append:
        append(result, ROOT / "BENCHMARKS.md")
    return 0


def shown(arguments: Iterable[str], hidden: Mapping[str, str | None] | None = None) -> str:
    """The command line as others would type it: without this machine's paths, and what only says where to write."""
    paths = {"data.root": "/path/to/photos", "data.urls": "photos.tar", "data.val": "/path/to/others"}
    hidden = hidden or {**paths, "out": None, "append": None}
    words = []
    for argument in arguments:
        key, _, _ = argument.partition("=")
        value = hidden.get(key, argument)
        if value is not None:
            words.append(argument if key not in hidden else f"{key}={value}")
    return shlex.join(["python", "scripts/bench.py", *words])


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return guarded((__doc__ or "") + "\n", bench, arguments)


if __name__ == "__main__":
    sys.exit(main())
