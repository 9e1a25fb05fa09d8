"""Checks of a device, each in a process of its own: python scripts/gpu_checks.py NAME out=FILE [device=...] [tiny=true]

step: a training step in bf16 against fp32. painting: a photo in bf16 against fp32, and on the device against the CPU.
compile: torch.compile of the training step, or on a CPU of the network. memory: the peaks of training and painting.
sheet is no check: it paints the held-out pictures with a style file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_measure import forget_peak, peak, wait_for
from bench_report import write
from bench_step import Step, composed, prepared
from gallery import sheet, stylizers
from torch import Tensor, nn

from onestroke.cli.options import CommandOptions, guarded, option, parse
from onestroke.data.datamodule import to_image
from onestroke.data.scenes import Scenes
from onestroke.devices import NO_MEMORY, choose_device
from onestroke.errors import UserError, near
from onestroke.imaging import images
from onestroke.inference import backends
from onestroke.inference.backend import Backend
from onestroke.training.parts import instantiate_part

ROOT = Path(__file__).resolve().parents[1]
STYLE = ROOT / "checkpoints" / "starry_night.safetensors"

# Limits of the checks. bf16 has 8 bits: on CPUs that have it, a step's gradient has a cosine of 0.998 with that of
# fp32, its loss differs by 0.1 %, the loss after six steps by 0.3 %, and a painting by 0.4 levels of 255 on average and
# by 6 at most. The convolutions of cuDNN are in TF32, with 3 bits more than bf16.
LIMITS = {
    "gradient_cosine": 0.98,  # at least; all others at most
    "loss_difference": 0.01,
    "loss_difference_after_steps": 0.05,
    "bf16_mean_levels": 1.0,
    "bf16_most_levels": 24.0,
    "device_mean_levels": 0.25,
    "device_most_levels": 4.0,
    "compiled_difference": 0.02,
    "memory_share": 0.9,
}


@dataclass
class CheckOptions(CommandOptions):
    """What every check takes."""

    out: str = option("file for the numbers as JSON, or the sheet", path=True, example="check.json")
    device: str = option("auto, cpu, cuda or mps", "auto")
    tiny: bool = option("a rehearsal: small networks and pictures, few steps", False)
    batch: int = option("pictures a step", 16, low=1)
    ckpt: str | None = option("style file of the sheet", None, path=True)
    photos: str | None = option("folder that the training's photos are from; default: scenes", None, path=True)


@dataclass(frozen=True)
class Setup:
    """Where and how large the checks are."""

    device: torch.device
    tiny: bool
    batch: int

    @property
    def crops(self) -> tuple[int, ...]:
        return (32, 48) if self.tiny else (256, 384, 512)

    def photos(self, crop: int) -> Tensor:
        """Scenes as a loader gives them: uint8 (N, H, W, 3), on the CPU."""
        scenes = Scenes()
        return torch.stack([torch.from_numpy(scenes.sample(n, 0, crop)[0]) for n in range(self.batch)])

    def step(self, crop: int, precision: str, compiled: bool = False) -> Step:
        """The gallery's training step, from random weights."""
        own = [f"crop={crop}", f"trainer.precision={precision}", f"trainer.compile={str(compiled).lower()}"]
        return prepared([*recipe(self.tiny, self.batch), "init=null", *own], self.device)


def recipe(tiny: bool, batch: int) -> list[str]:
    """The gallery's network and losses as overrides of train.py."""
    small = ["network.channels=[4,8,8]", "network.blocks=1", "network.ends=3"] if tiny else []
    return [
        "experiment=many",
        "network.low_pass=16",
        "loss=[content,gram,contrast,checkerboard]",
        f"batch_size={batch}",
        *small,
    ]


def judged(numbers: dict[str, float], **more: Any) -> dict[str, Any]:
    """A check's result: its numbers, the limits of those that have one, and whether all of these held."""
    limits = {name: LIMITS[name] for name in numbers if name in LIMITS}
    held = all(
        numbers[name] >= limit if name == "gradient_cosine" else numbers[name] <= limit
        for name, limit in limits.items()
    )
    return {"held": held, "numbers": numbers, "limits": limits, **more}


def check_step(setup: Setup) -> dict[str, Any]:
    """Loss and gradient of a step, and the loss after some more, in bf16 against fp32."""
    crop, count = setup.crops[0], 3 if setup.tiny else 20
    photos = setup.photos(crop)
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        step = setup.step(crop, precision)
        first, gradient = _loss_and_gradient(step, photos)
        for _ in range(count):
            step(photos)
        found[precision] = first, gradient, _loss_and_gradient(step, photos)[0]
    (exact, gradient, after), (rough, other, after_rough) = found.values()
    return judged(
        {
            "loss_fp32": exact,
            "loss_bf16": rough,
            "loss_difference": abs(rough / exact - 1),
            "gradient_cosine": float(nn.functional.cosine_similarity(gradient, other, dim=0)),
            "steps": count,
            "loss_fp32_after_steps": after,
            "loss_bf16_after_steps": after_rough,
            "loss_difference_after_steps": abs(after_rough / after - 1),
        }
    )


def _loss_and_gradient(step: Step, photos: Tensor) -> tuple[float, Tensor]:
    """Of a batch, in the step's precision; no weight changes."""
    ready = to_image(photos.to(step.device))
    mixed = step.objective.vgg.compute_dtype == torch.bfloat16
    with torch.autocast(step.device.type, torch.bfloat16, enabled=mixed):
        losses, _ = step.compare(ready, step.draw.of(range(len(photos))))
    total = torch.stack(list(losses.values())).sum()
    torch.autograd.backward(total)
    gradients = [p.grad.detach().flatten() for p in step.network.parameters() if p.grad is not None]
    gradient = torch.cat(gradients).float().cpu()
    step.zero_grad(set_to_none=True)
    return float(total.detach()), gradient


def check_painting(setup: Setup) -> dict[str, Any]:
    """A shipped style on a scene: bf16 against fp32 on the device, and the device against the CPU, in levels of 255."""
    scene = to_image(torch.from_numpy(Scenes().sample(0, 0, 64 if setup.tiny else 512)[0])[None])
    on_device = backends.load(STYLE, str(setup.device), "torch")[0]
    exact = on_device.paint(scene)
    with torch.autocast(setup.device.type, torch.bfloat16):
        rough = on_device.paint(scene)
    apart = 255 * (rough - exact).abs()
    other = 255 * (backends.load(STYLE, "cpu", "torch")[0].paint(scene) - exact).abs()
    return judged(
        {
            "bf16_mean_levels": float(apart.mean()),
            "bf16_most_levels": float(apart.max()),
            "device_mean_levels": float(other.mean()),
            "device_most_levels": float(other.max()),
        }
    )


def check_compile(setup: Setup) -> dict[str, Any]:
    """Whether torch.compile makes code that computes the same, how long it takes, and what it gains."""
    return _compiled_step(setup) if setup.device.type == "cuda" else _compiled_network(setup)


def _compiled_step(setup: Setup) -> dict[str, Any]:
    crop = setup.crops[0]
    photos = setup.photos(crop)
    eager = setup.step(crop, "bf16-mixed")
    plain, _ = _loss_and_gradient(eager, photos)
    eager_seconds = _seconds(lambda: eager(photos), setup.device)
    started = time.perf_counter()
    compiled = setup.step(crop, "bf16-mixed", compiled=True)
    made, _ = _loss_and_gradient(compiled, photos)
    seconds = time.perf_counter() - started
    numbers = {
        "compiled_difference": abs(made / plain - 1),
        "seconds_to_compile": seconds,
        "eager_ms": 1e3 * eager_seconds,
        "compiled_ms": 1e3 * _seconds(lambda: compiled(photos), setup.device),
    }
    return _if_compiled(judged(numbers), compiled.network._compiled_call_impl is not None)


def _compiled_network(setup: Setup) -> dict[str, Any]:
    """Of the network alone: on CPUs, training compiles only where it is asked to, as VGG takes minutes."""
    torch.manual_seed(0)
    config = composed(["network.controls=[]", *recipe(setup.tiny, setup.batch)])["network"]
    network = instantiate_part("network", config, nn.Module).eval()
    photo = to_image(setup.photos(setup.crops[0]))[:1]
    plain, compiled = (backends.Torch(network, setup.device, compiled=made) for made in (False, True))
    exact, started = plain.paint(photo), time.perf_counter()
    painted = compiled.paint(photo)
    numbers = {
        "compiled_difference": float((painted - exact).abs().max()),
        "seconds_to_compile": time.perf_counter() - started,
        "eager_ms": 1e3 * _seconds(lambda: plain.paint(photo), setup.device),
        "compiled_ms": 1e3 * _seconds(lambda: compiled.paint(photo), setup.device),
    }
    return _if_compiled(judged(numbers), compiled._run is not compiled.network)


def _if_compiled(result: dict[str, Any], made: bool) -> dict[str, Any]:
    """A result, which does not hold where the compiler gave up and what is compared is the same code."""
    return result if made else {**result, "held": False, "error": "this machine can't compile; the log says why"}


def _seconds(work: Callable[[], object], device: torch.device, calls: int = 5) -> float:
    """Mean of some calls after two that don't count."""
    for _ in range(2):
        work()
    wait_for(device)
    started = time.perf_counter()
    for _ in range(calls):
        work()
    wait_for(device)
    return (time.perf_counter() - started) / calls


def check_memory(setup: Setup) -> dict[str, Any]:
    """Peaks in MiB: of a training step at each crop size, and of painting one picture at growing sizes."""
    numbers: dict[str, float] = {}
    failed = []
    network = backends.load(STYLE, str(setup.device), "torch")[0]
    works: dict[str, Callable[[], Callable[[], object]]] = {
        f"train_{crop}_px_batch_{setup.batch}": partial(_two_steps, setup, crop) for crop in setup.crops
    }
    for side in (64, 96) if setup.tiny else (1024, 2048, 4096):
        works[f"paint_{side}_px"] = partial(_one_painting, network, side)
    for name, made in works.items():
        try:
            work = made()
            forget_peak(setup.device)
            work()
            numbers[name] = peak(setup.device) / 2**20
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and not any(part in str(error) for part in NO_MEMORY):
                raise
            failed.append(name)
    if setup.device.type == "cuda":
        whole = torch.cuda.get_device_properties(setup.device).total_memory / 2**20
        numbers |= {"memory_share": max(numbers.values(), default=0.0) / whole, "memory_of_the_device": whole}
    result = judged(numbers)
    return {**result, "held": False, "error": f"out of memory: {', '.join(failed)}"} if failed else result


def _two_steps(setup: Setup, crop: int) -> Callable[[], object]:
    """Two steps, as the first has no moments of the optimiser to hold yet."""
    step, photos = setup.step(crop, "bf16-mixed"), setup.photos(crop)

    def work() -> None:
        for _ in range(2):
            step(photos)

    return work


def _one_painting(network: Backend, side: int) -> Callable[[], object]:
    image = torch.rand(1, 3, side, side)
    return lambda: network.paint(image)


def paint_sheet(setup: Setup, options: CheckOptions) -> None:
    """Write a sheet: a row for each of four held-out pictures of the training, painted in each style of a file."""
    data = [] if options.photos is None else ["data=photos", f"data.root={options.photos}"]
    source: Any = instantiate_part("data", composed(data)["data"], object)
    side = 64 if setup.tiny else 384
    originals = [to_image(torch.from_numpy(photo)[None]) for photo in source.held_out(side)[:4]]
    painters = stylizers([str(options.ckpt)])
    images.write(Path(options.out), sheet(originals, painters, len(painters)), quality=88)


CHECKS = {"step": check_step, "painting": check_painting, "compile": check_compile, "memory": check_memory}


def check(arguments: list[str]) -> int:
    """Do one check and write its result; exit code 1 where it did not hold."""
    name, *rest = arguments
    options = parse(CheckOptions, rest)
    setup = Setup(choose_device(options.device), options.tiny, options.batch)
    if name == "sheet":
        paint_sheet(setup, options)
        return 0
    if name not in CHECKS:
        raise UserError(f"there is no check '{name}': {near(name, CHECKS)}")
    result = CHECKS[name](setup)
    write(result, Path(options.out))
    print(f"{name}: {result}")
    return 0 if result["held"] else 1


if __name__ == "__main__":
    sys.exit(guarded((__doc__ or "") + "\n", check, None))
