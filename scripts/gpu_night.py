#!/usr/bin/env python
"""What a GPU is good for, in one call of ten minutes; run it by scripts/gpu_night.sh, which says what it needs.

    ./scripts/gpu_night.sh pack photos=FOLDER to=FOLDER [side=512] [quality=80] [total=64]
    ./scripts/gpu_night.sh [out=FOLDER] [seconds=540] [photos=FOLDER] [resume=FOLDER] [calls=1]
    ./scripts/gpu_night.sh device=cpu tiny=true

1. checks: a training step and a painting in bf16 against fp32, torch.compile, peak memory;
2. bench.py train and infer, in short;
3. the gallery of all styles, from checkpoints/gallery.safetensors, until `seconds` are over.
A stage that fails is recorded, and the others go on. The exit code is 0 where all checks held and all stages ended
well, else 1. In out= are numbers.json, report.md (its tables fit into BENCHMARKS.md), night.log, gallery.safetensors,
last.ckpt, config.json, metrics.csv and sheet.jpg; all that is finished is there after SIGTERM, too.

resume=FOLDER, the out= of an earlier call: what held then is not repeated, and the gallery is trained on from its
last.ckpt. calls=3: the learning rate falls over three calls of this length, of which this is the first (give calls=2
and calls=1 to the next ones). pack writes photos as small JPEGs, as many as repository and photos may have together.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_photos import PackOptions, pack
from gpu_report import held_out_curve, write_report
from gpu_stages import Clock, Record, Stopped, raise_on_signals, read_json, run

from onestroke.cli.options import CommandOptions, guarded, option, parse
from onestroke.errors import UserError
from onestroke.files import make_folder

ROOT = Path(__file__).resolve().parents[1]
# each check and mode of bench.py, with the share of the time that it may take at most
CHECKS = {"step": 0.15, "painting": 0.12, "compile": 0.25, "memory": 0.15}
BENCH = {"train": 0.2, "infer": 0.12}
_TRAINS_LEAST = 20.0  # seconds; a shorter training is not worth its start
_START = 30.0  # seconds from the start of a training to its first step, and from its last to its end
_SHEET = 20.0  # seconds that are kept for the sheet, at the end
_ENDLESS = 10**7  # steps: time ends the training


@dataclass
class NightOptions(CommandOptions):
    """What a call does, and for how long."""

    out: str = option("folder for all results", "runs/gpu_night", path=True)
    seconds: int = option("how long it takes in all", 540, low=60)
    photos: str | None = option("folder of photos to train on; default: made-up scenes", None, path=True)
    resume: str | None = option("folder of an earlier call, to go on with", None, path=True)
    calls: int = option("of this length until the training ends, this one included", 1, low=1)
    batch: int = option("pictures a step", 16, low=1)
    device: str = option("auto, cpu or cuda", "auto", choices=("auto", "cpu", "cuda"))
    tiny: bool = option("a rehearsal: small networks and pictures, few steps", False)
    train: list[str] = option("more options of train.py, such as train=lr=1e-3", [], placeholder="NAME=VALUE")

    def check(self) -> None:
        """Raise a UserError for folders that are not there, or hold results that would be lost."""
        out = Path(self.out)
        if self.photos is not None and not Path(self.photos).is_dir():
            raise UserError(f"photos={self.photos} is no folder")
        if self.resume is None:
            if (out / "numbers.json").exists() or (out / "last.ckpt").exists():
                raise UserError(f"out={out} holds an earlier call: add resume={out} to go on, or choose another folder")
            return
        if not (Path(self.resume) / "numbers.json").is_file():
            raise UserError(f"resume={self.resume} is no folder of an earlier call: it has no numbers.json")
        if (self.photos is not None or self.train) and (Path(self.resume) / "last.ckpt").is_file():
            raise UserError("a resumed training keeps its photos and its options: leave out photos= and train=")


class Night:
    """One call.

    Args:
        options: of the command line.
        device: cpu or cuda.
    """

    def __init__(self, options: NightOptions, device: str) -> None:
        self.options, self.device, self.clock = options, device, Clock(options.seconds - 5)
        self.out = Path(options.out)
        make_folder(self.out)
        before: dict[str, Any] = {}
        if options.resume is not None:
            before = _taken_over(Path(options.resume), self.out)
        self.record = Record(self.out / "numbers.json", {**before, "stages": []})
        self.log = self.out / "night.log"

    def run(self) -> int:
        """All stages; returns the exit code."""
        raise_on_signals()
        code = 0
        try:
            for name in CHECKS:
                self.check(name)
            for mode in BENCH:
                self.bench(mode)
            self.train()
            self.sheet()
        except Stopped as stopped:
            self.record.stage("all", f"stopped by {stopped}", self.options.seconds - self.clock.left)
            code = 128 + stopped.number
        self.collect()
        write_report(self.record.found, self.out / "report.md")
        held = self.record.held
        print(f"{'all checks held' if held else 'not all went well'}: {self.out / 'report.md'}")
        return code or (0 if held else 1)

    def check(self, name: str) -> None:
        """Do a check, unless it held in an earlier call."""
        if self.record.found["checks"].get(name, {}).get("held"):
            return
        result, state = self.stage(
            f"check {name}", "gpu_checks.py", [name, *self._common(), f"batch={self._batch}"], CHECKS[name]
        )
        if not result:
            result = {"held": False, "error": state}
        self.record.set("checks", name, result)

    def bench(self, mode: str) -> None:
        """Do a mode of bench.py, unless an earlier call has."""
        if mode in self.record.found["bench"]:
            return
        small = {"train": ["size=32", "batch=2"], "infer": ["size=64", "networks=realtime"]}
        usual = {
            "train": ["size=256", f"batch=4,{self._batch}"],
            "infer": ["size=512,1280x720", "networks=default,realtime"],
        }
        own = (small if self.options.tiny else usual)[mode]
        own = [*own, f"runs={1 if self.options.tiny else 3}", "warmup=1", f"device={self.device}"]
        own += ["trainer.compile=false"] if mode == "train" else ["backends=torch"]
        result, _ = self.stage(f"bench {mode}", "bench.py", [mode, *own], BENCH[mode])
        if result:
            self.record.set("bench", mode, result)

    def stage(self, name: str, script: str, arguments: list[str], share: float) -> tuple[dict[str, Any], str]:
        """Run a script that writes JSON; returns that and how it ended."""
        # in a rehearsal, starting takes as long as ever and nothing else does
        share *= 2 if self.options.tiny else 1
        seconds = min(share * self.options.seconds, self.clock.left)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "result.json"
            state = run([str(ROOT / "scripts" / script), *arguments, f"out={result}"], seconds, self.log)
            found = read_json(result)
        # a check that did not hold says so in its result
        self.record.stage(name, state if "held" not in found else _verdict(found), time.monotonic() - started)
        return found, state

    def train(self) -> None:
        """Train the gallery for as long as is left."""
        compiles = self._compiles()
        # code for the largest pictures is made before the training's time begins, that for the others within it
        start = _START + (1.5 * self._numbers()["seconds_to_compile"] if compiles else 0)
        left = self.clock.left - _SHEET - start
        if left < _TRAINS_LEAST:
            self.record.stage("gallery", f"left out: {max(0, self.clock.left):.0f} s are too few", 0)
            return
        earlier = float(self.record.found["gallery"].get("seconds", 0))
        minutes = (earlier + self.options.calls * left) / 60
        accelerator = "gpu" if self.device == "cuda" else self.device
        arguments = [
            f"minutes={minutes:.3f}",
            f"steps={_ENDLESS}",
            "save_every=200",
            f"out={self.out / 'gallery.safetensors'}",
            "overwrite=true",
            f"trainer.accelerator={accelerator}",
            f"trainer.compile={str(compiles).lower()}",
            "logger=[csv]",
            "hydra.job_logging.root.handlers=[console]",  # the log is ours
        ]
        arguments += self._resumed() if (self.out / "last.ckpt").is_file() else self._new()
        started = time.monotonic()
        # with calls=2 and more, and where starting took longer than it should, the time is over before the schedule
        state = run([str(ROOT / "train.py"), *arguments], self.clock.left - _SHEET - 5, self.log, gently=True)
        self.record.stage("gallery", state, time.monotonic() - started)

    def _resumed(self) -> list[str]:
        return [f"resume={self.out}"]

    def _new(self) -> list[str]:
        from gpu_checks import recipe

        tiny, photos = self.options.tiny, self.options.photos
        gallery = os.path.relpath(ROOT / "checkpoints" / "gallery.safetensors")  # the same in another place
        return [
            *recipe(tiny, self._batch),
            f"init={'null' if tiny else gallery}",
            f"crop=[{'32,48' if tiny else '256,384,512'}]",
            "vary=0.9",
            "lr=1.5e-3",
            "plateau=null",
            "measure=false",
            f"hydra.run.dir={self.out}",
            *(["data.validation=1"] if tiny else []),
            *([] if photos is None else ["data=photos", f"data.root={photos}"]),
            *self.options.train,
        ]

    def sheet(self) -> None:
        """Paint held-out pictures with what was trained."""
        style = self.out / "gallery.safetensors"
        if not style.is_file():
            return
        photos = self.record.found["gallery"].get("photos") or self.options.photos
        arguments = ["sheet", *self._common(), f"ckpt={style}", f"out={self.out / 'sheet.jpg'}"]
        arguments += [] if photos is None else [f"photos={photos}"]
        started = time.monotonic()
        state = run([str(ROOT / "scripts" / "gpu_checks.py"), *arguments], self.clock.left, self.log)
        self.record.stage("sheet", state, time.monotonic() - started)

    def collect(self) -> None:
        """Take what is known of the training from its files, which are there after a kill, too."""
        path, log = self.out / "gallery.safetensors", self.out / "train.log"
        if log.is_file() and not log.stat().st_size:
            log.unlink()  # Hydra's, which night.log stands for
        if not path.is_file():
            return
        from onestroke.style_file import read_document

        try:
            document = read_document(path)
        except UserError as error:
            self.record.stage("gallery's file", f"failed: {error}", 0)
            return
        training, config = document.training, document.training["config"]
        curve = held_out_curve(self.out)
        self.record.found["gallery"] = {
            **{name: training[name] for name in ("steps", "images", "seconds", "dataset", "device")},
            "photos": config["data"].get("root"),
            "held_out": document.metrics,
            "curve": [*self.record.found["gallery"].get("curve", []), *curve],
        }
        self.record.write()

    @property
    def _batch(self) -> int:
        return 4 if self.options.tiny else self.options.batch

    def _common(self) -> list[str]:
        return [f"device={self.device}", f"tiny={str(self.options.tiny).lower()}"]

    def _numbers(self) -> dict[str, float]:
        check = self.record.found["checks"].get("compile", {})
        return dict(check.get("numbers", {})) if check.get("held") and self.device == "cuda" else {}

    def _compiles(self) -> bool:
        """Whether torch.compile gains more steps in the time that is left than it costs."""
        numbers = self._numbers()
        if not numbers:
            return False
        left = self.clock.left - _START - _SHEET
        # code is made for each size of the pictures, at worst
        compiled = (left - 3 * numbers["seconds_to_compile"]) / numbers["compiled_ms"]
        return compiled > left / numbers["eager_ms"]


def _verdict(found: dict[str, Any]) -> str:
    return "done" if found["held"] else f"did not hold: {found.get('error', found.get('numbers'))}"


def _taken_over(earlier: Path, out: Path) -> dict[str, Any]:
    """Copy what a training goes on with, and return the numbers of an earlier call."""
    if earlier.resolve() != out.resolve():
        for name in ("last.ckpt", "gallery.safetensors"):
            if (earlier / name).is_file():
                shutil.copyfile(earlier / name, out / name)  # not its permissions, which may be read-only
    return read_json(earlier / "numbers.json")


def night(arguments: list[str]) -> int:
    """Read the options, and run a call or pack photos."""
    if arguments[0] == "pack":
        return pack(parse(PackOptions, arguments[1:]))
    options = parse(NightOptions, arguments)
    from onestroke.devices import choose_device

    device = choose_device(options.device).type
    if device != "cuda" and options.device == "auto":
        raise UserError("there is no GPU that torch can use here; device=cpu tiny=true rehearses it on the CPU")
    return Night(options, device).run()


if __name__ == "__main__":
    sys.exit(guarded((__doc__ or "") + "\n", night, sys.argv[1:] or ["out=runs/gpu_night"]))
