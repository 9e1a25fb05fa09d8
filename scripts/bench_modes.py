"""The cases of bench.py's modes train, vgg and infer: who is compared with whom."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import torch
from bench_baseline import LAYERS, Apart, ClassicNetwork, ClassicVGG
from bench_measure import Case, Contestant, gmac, precisions, short
from bench_step import composed, prepared
from torch import Tensor, nn

from onestroke import style_file
from onestroke.cli.train import config_folder
from onestroke.data.datamodule import to_image
from onestroke.errors import UserError, near
from onestroke.inference import backends
from onestroke.inference.backend import Backend
from onestroke.inference.memory import free_on
from onestroke.packages import installed
from onestroke.perception.vgg import VGG
from onestroke.style_document import Metadata
from onestroke.training.parts import instantiate_part

Size = tuple[int, int]  # height, width
RECIPES = {"classic": ["experiment=classic"], "default": []}
CONTENT = "relu3_3"
_PACKAGES = {"torch": ("torch",), "onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}


def photos_of(size: Size, batch: int) -> Tensor:
    """Noise, as a loader gives it: uint8 (N, H, W, 3)."""
    return torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def words(size: Size) -> str:
    """Width x height."""
    return f"{size[1]} x {size[0]}"


def train_cases(
    sizes: Sequence[Size], batches: Sequence[int], device: torch.device, overrides: Sequence[str] = ()
) -> Iterator[Case]:
    """A step of the classic recipe in the example's way, then OneStroke's steps of both recipes in each precision.

    The example's has a process of its own, since a training of OneStroke's keeps its memory, and keeps it for all.

    Args:
        overrides: of train.py, for OneStroke's steps.
    """
    oblong = [size for size in sizes if size[0] != size[1]]
    if oblong:
        raise UserError(f"photos to train on are square, not {words(oblong[0])}")
    for size in sizes:
        for batch in batches:
            photos = photos_of(size, batch)
            contestants = [_classic_step(size, photos, device)]
            for recipe, chosen in RECIPES.items():
                for dtype in precisions(device):
                    precision = "32-true" if dtype == torch.float32 else "bf16-mixed"
                    own = [f"crop={size[0]}", f"batch_size={batch}", f"trainer.precision={precision}"]
                    step = prepared([*chosen, *own, *overrides], device)
                    name, work = f"{recipe}-{short(dtype)}", _on(step, photos)
                    macs = batch * step.gmac(*size)
                    contestants.append(Contestant(name, work, batch, gmac=macs, dtype=step.objective.vgg.compute_dtype))
            yield Case({"size": words(size), "batch": batch}, contestants)


def _on(step: Callable[[Tensor], None], photos: Tensor) -> Callable[[], None]:
    return lambda: step(photos)


def _classic_step(size: Size, photos: Tensor, device: torch.device) -> Contestant:
    ready = to_image(photos).contiguous()  # its loader makes tensors of pictures
    apart = Apart(ready, device)
    macs = len(photos) * (3 * gmac(ClassicNetwork(), *size) + 3 * gmac(ClassicVGG(), *size))
    return Contestant("baseline", apart, len(photos), gmac=macs, dtype=torch.float32, peak=lambda: apart.peak)


def vgg_cases(sizes: Sequence[Size], batches: Sequence[int], device: torch.device) -> Iterator[Case]:
    """The two passes of a step: the photos' forward, and the output's forward and backward."""
    for size in sizes:
        for batch in batches:
            photos = to_image(photos_of(size, batch)).to(device)
            plain = ClassicVGG().to(device)
            ours = [VGG(LAYERS, dtype=dtype).to(device) for dtype in precisions(device)]
            for name, layer, make in (("content", CONTENT, _content), ("output", LAYERS[-1], _output)):
                contestants = [make("baseline", plain, photos.contiguous(), LAYERS[-1])]
                contestants += [make(f"vgg-{short(vgg.compute_dtype)}", vgg, photos, layer) for vgg in ours]
                labels: dict[str, str | int] = {"pass": f"{name} to {layer}", "size": words(size), "batch": batch}
                yield Case(labels, contestants)


def _content(name: str, vgg: VGG | ClassicVGG, photos: Tensor, layer: str) -> Contestant:
    extra = {"layers": [layer]} if isinstance(vgg, VGG) else {}

    def work() -> None:
        with torch.no_grad():
            vgg(photos, **extra)

    macs = gmac(vgg, photos.shape[2], photos.shape[3], len(photos), **extra)
    dtype = vgg.compute_dtype if isinstance(vgg, VGG) else torch.float32
    return Contestant(name, work, len(photos), gmac=macs, dtype=dtype)


def _output(name: str, vgg: VGG | ClassicVGG, photos: Tensor, layer: str) -> Contestant:
    extra = {"layers": [layer]} if isinstance(vgg, VGG) else {}
    painted = photos.clone().requires_grad_()

    def work() -> None:
        found = vgg(painted, **extra)
        deepest: Tensor = found[layer] if isinstance(found, dict) else found[-1]
        torch.autograd.grad(deepest, painted, deepest.detach())

    macs = 2 * gmac(vgg, photos.shape[2], photos.shape[3], len(photos), **extra)
    dtype = vgg.compute_dtype if isinstance(vgg, VGG) else torch.float32
    return Contestant(name, work, len(photos), gmac=macs, dtype=dtype)


def infer_cases(
    sizes: Sequence[Size],
    batches: Sequence[int],
    device: torch.device,
    networks: Sequence[str],
    roads: Sequence[str],
    compiled: bool = False,
) -> Iterator[Case]:
    """The classic network as the example paints, then each network of configs/network on each backend.

    Args:
        networks, roads: names of configs and backends.
        compiled: whether torch.compile is one of the roads.
    """
    baseline = ClassicNetwork().to(device).requires_grad_(False).eval()
    painters: list[tuple[str, nn.Module, Backend]] = []
    for name in networks:
        network, found = _painters(name, device, roads, compiled)
        painters += [(f"{name}-{road}", network, backend) for road, backend in found.items()]
    _check_memory(sizes, batches, [backends.Torch(baseline, device), *(found for _, _, found in painters)], device)
    for size in sizes:
        for batch in batches:
            image = to_image(photos_of(size, batch)).contiguous()
            contestants = [_painting("baseline", baseline, _plain(baseline, device), image)]
            contestants += [_painting(name, network, painter.paint, image) for name, network, painter in painters]
            yield Case({"size": words(size), "batch": batch}, contestants)


def _plain(network: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    def paint(image: Tensor) -> Tensor:
        with torch.no_grad():
            painted: Tensor = network(image.to(device)).clamp(0, 1).cpu()
        return painted

    return paint


def _painting(name: str, network: nn.Module, paint: Callable[[Tensor], Tensor], image: Tensor) -> Contestant:
    batch, _, height, width = image.shape
    macs = gmac(network, height, width, batch)

    def work() -> None:
        paint(image)

    return Contestant(name, work, batch, batch * height * width, macs, torch.float32)


def _check_memory(
    sizes: Sequence[Size], batches: Sequence[int], painters: Sequence[Backend], device: torch.device
) -> None:
    """Refuse, before anything is timed, what the system would kill us for."""
    size, batch = max(sizes, key=math.prod), max(batches)
    needed, free = max(painter.memory(batch, *size) for painter in painters), free_on(device)
    if needed > free:
        raise UserError(
            f"{batch} of {words(size)} at once need about {needed / 2**30:.1f} GiB to paint and "
            f"{free / 2**30:.1f} GiB are free: leave out that size or batch"
        )


def _painters(
    name: str, device: torch.device, roads: Sequence[str], compiled: bool
) -> tuple[nn.Module, dict[str, Backend]]:
    """A network with random weights, and what paints with it; through a style file, as for a user."""
    config = composed([f"network={name}"])["network"]
    torch.manual_seed(0)
    network: nn.Module = instantiate_part("network", config, nn.Module)
    arguments = dict(config)
    document = {"name": str(arguments.pop("_target_")).rsplit(".", 1)[-1], "args": arguments}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        style_file.save(path, network, Metadata(document, {"name": name}))
        found = {road: backends.load(path, str(device), road)[0] for road in roads}
        if compiled:
            found["compiled"] = backends.load(path, str(device), "torch", compiled=True)[0]
    return network, found


def network_names() -> list[str]:
    """What configs/network offers."""
    return sorted(path.stem for path in (config_folder() / "network").glob("*.yaml"))


def roads_on(device: torch.device) -> list[str]:
    """The backends that can paint there and are installed."""
    return [
        road for road, needs in _PACKAGES.items() if installed(*needs) and (road == "torch" or device.type == "cpu")
    ]


def chosen(key: str, names: Sequence[str] | None, known: Collection[str]) -> list[str]:
    """The names given, or all.

    Raises:
        UserError: for one that isn't known.
    """
    for name in names or ():
        if name not in known:
            raise UserError(f"{key}: there is no '{name}' here: {near(name, known)}")
    return list(known if names is None else names)
