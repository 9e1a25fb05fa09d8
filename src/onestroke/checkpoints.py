"""The style file: the only reader and writer of that format.

A `.safetensors` file with the weights of one network, in fp16, and one JSON document under the metadata key
`onestroke`: format version, the network's name and arguments, the style's facts, how it was trained, held-out metrics.
It rebuilds its own network, and reading one never runs code: the network's name is looked up among our own.

    python -m onestroke.checkpoints show checkpoints/starry_night.safetensors

Networks that were trained with pytorch/examples' fast_neural_style, or a fork of it, become style files too:

    python -m onestroke.checkpoints import path=mosaic.pth out=checkpoints/mosaic.safetensors
"""

from __future__ import annotations

import importlib
import json
import math
import os
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

import onestroke.networks
from onestroke import __version__
from onestroke.arguments import home
from onestroke.errors import UserError, near, told
from onestroke.files import atomic, make_folder

FORMAT = 1
KEY = "onestroke"
MAX_BYTES = 512 * 2**20  # a style is about a megabyte; what is far beyond is none of ours


@dataclass
class Painter:
    """What a style file holds, but for the weights.

    network: {"name": class name, "args": constructor arguments}. style: name, facts, size and strength. training:
    resolved config, seed, steps, images seen, dataset, code version, wall time, device, run. metrics: held-out numbers.
    """

    network: dict[str, Any]
    style: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def styles(self) -> list[str]:
        """The styles that the network can be told to paint in, in its order; of one or of a mix, the file's name."""
        count, listed = self.network.get("args", {}).get("styles", 1), self.style.get("styles")
        if count == 1 or not isinstance(listed, list) or len(listed) != count:
            return [str(self.style.get("name"))]
        return [str(style.get("name")) if isinstance(style, dict) else "" for style in listed]


def network_classes() -> dict[str, type[nn.Module]]:
    """The networks that a style file may name: the classes in onestroke.networks, but for its building blocks."""
    found: dict[str, type[nn.Module]] = {}
    for info in pkgutil.iter_modules(onestroke.networks.__path__):
        if info.name in ("layers", "base"):
            continue
        module = importlib.import_module(f"onestroke.networks.{info.name}")
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__:
                found[name] = value
    return found


def save(path: Path, network: nn.Module, painter: Painter, dtype: torch.dtype = torch.float16) -> None:
    """Write a style file, whole or not at all.

    Args:
        path: must end in .safetensors; its folder is made.
        network: whose weights are written, as `dtype`.
        painter: the document that goes with them.

    Raises:
        UserError: for weights that are not finite, and where the file can't be written; what was there before stays.
    """
    write(path, {name: t.detach().to("cpu", dtype).contiguous() for name, t in network.state_dict().items()}, painter)


def write(path: Path, tensors: Mapping[str, Tensor], painter: Painter) -> None:
    """As `save`, of the weights by name, as they are."""
    _check_name(path)
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(f"{path} was not written: the weights {broken[0]} are not finite")
    document = json.dumps({"version": FORMAT, **asdict(painter)}, allow_nan=False)
    make_folder(path.parent)
    with atomic(path) as temporary:
        temporary.write_bytes(serialize(dict(tensors), metadata={KEY: document}))


def _check_name(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise UserError(f"a style file's name ends in .safetensors, unlike {path}")


def annotate(path: Path, metrics: Mapping[str, float]) -> None:
    """Add numbers to a style file's metrics; its weights stay what they are, to the bit.

    Raises:
        UserError: as `read_document`, and where it can't be written.
    """
    painter = read_document(path)
    painter.metrics = finite({**painter.metrics, **metrics})
    document = json.dumps({"version": FORMAT, **asdict(painter)}, allow_nan=False)
    content = serialize(load_file(str(path)), metadata={KEY: document})
    # of a link, what it leads to: that is the file that was named, and no new one
    with atomic(path.resolve()) as temporary:
        temporary.write_bytes(content)


def read_document(path: Path) -> Painter:
    """What a style file says of itself, without its weights.

    Raises:
        UserError: for files that are missing, truncated, oversized, of another kind or of a newer format.
    """
    if not path.is_file():
        raise UserError(f"there is no style file {path}" + _hint(path))
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"{path} is no style file: it has {size / 2**20:.0f} MB, and one has at most 512")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a whole style file (random bytes, cut short or of another kind): {error}; "
            "get it again, or train it again"
        ) from error
    try:
        document = json.loads(metadata[KEY])
        version = document["version"]
        if version != FORMAT:
            raise UserError(f"{path} has format {version}, and this OneStroke reads {FORMAT}: update OneStroke")
        painter = Painter(*(document[part] for part in ("network", "style", "training", "metrics")))
        if not isinstance(painter.network["name"], str) or not isinstance(painter.network["args"], dict):
            raise TypeError("network")
        if not all(isinstance(part, dict) for part in (painter.style, painter.training, painter.metrics)):
            raise TypeError("document")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} holds weights, but not of a OneStroke style: its document is missing or wrong"
        ) from error
    return painter


def described(text: str) -> Painter:
    """What a document says, of a file that is none of safetensors.

    Raises:
        ValueError: it is no document of a style.
    """
    document = json.loads(text)
    parts = [document.get(part) for part in ("network", "style", "training", "metrics")]
    if document.get("version") != FORMAT or not all(isinstance(part, dict) for part in parts):
        raise ValueError("its document is missing or wrong")
    painter = Painter(*parts)
    if not isinstance(painter.network.get("name"), str) or not isinstance(painter.network.get("args"), dict):
        raise ValueError("its document names no network")
    return painter


def load(path: Path) -> tuple[nn.Module, Painter]:
    """Rebuild the network of a style file, in fp32, ready to paint.

    Raises:
        UserError: as `read_document`, and for unknown networks, foreign or missing weights, and weights not finite.
    """
    painter = read_document(path)
    network = _skeleton(path, painter.network)
    try:
        with safe_open(str(path), framework="pt") as file:
            expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
            # shapes first, from the header alone: what is declared is not yet loaded
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            if found != expected:
                wrong = sorted(n for n in expected.keys() | found.keys() if found.get(n) != expected.get(n))
                raise UserError(
                    f"{path} does not hold the weights of its network {painter.network['name']}: "
                    f"{wrong[0]} is {found.get(wrong[0], 'missing')} and should be {expected.get(wrong[0], 'absent')}"
                )
            tensors = {name: file.get_tensor(name).float() for name in found}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(f"{path} is damaged: its weights {broken[0]} are not finite numbers; train it again")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False), painter


def _skeleton(path: Path, network: Mapping[str, Any]) -> nn.Module:
    """The network without memory for its weights, so that a file that asks for too much costs nothing."""
    classes = network_classes()
    name = network["name"]
    if name not in classes:
        raise UserError(f"{path} needs the network {name}, which this OneStroke doesn't have: {near(name, classes)}")
    try:
        with torch.device("meta"):
            return classes[name](**network["args"])
    except (TypeError, ValueError, RuntimeError, UserError) as error:
        raise UserError(f"{path} asks for a network {name} that can't be built: {error}") from error


def _hint(path: Path) -> str:
    if path.parent.is_dir():
        known = [p.stem for p in path.parent.glob("*.safetensors")]
        if known:
            return f": {near(path.stem, known)}"
    return "; train one with  python train.py style=starry_night"


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Only the numbers that JSON can hold."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def adopt(path: Path, out: Path, name: str | None = None, range: str = "auto", overwrite: bool = False) -> None:
    """Make a style file of a network that others trained, see `onestroke.foreign`, and tell what was found.

    Args:
        path: weights that `torch.save` wrote; no code in them is run.
        out: the style file to write.
        name: what the style is called; default: as `path`.
        range: 255, 1 or imagenet, the values that the network takes and gives; auto finds out by painting.
        overwrite: whether an older `out` is replaced.

    Raises:
        UserError: for networks that OneStroke can't paint with, and where `out` is there or can't be written; nothing
            is written then, nor where what was written wouldn't paint as the original does.
    """
    from onestroke.foreign import converting, layout  # which painting needs nothing of

    _check_name(out)
    if os.path.lexists(out) and not overwrite:
        raise UserError(f"out={out} is there already: choose another name, or add overwrite=true")
    original = layout.read(path)
    found = converting.convert(original, range)
    name = path.stem if name is None else name
    network = {"name": type(found.network).__name__, "args": found.arguments}
    training = {"imported": path.name, "range": found.range, "version": __version__}
    painter = Painter(network, {"name": name, "styles": [{"name": name}]}, training)
    make_folder(out.parent)
    with atomic(out) as temporary:
        save(temporary, found.network, painter, found.dtype)
        difference = converting.difference(original, found.range, load(temporary)[0])
        if not difference < converting.TOLERANCE:
            raise UserError(f"{path} was not imported: the style file would paint another picture than the original")
    print(f"{original.describe()}\n{found.describe()}")
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB): {difference * 255:.2f} of 255 from the original at most")


def main(arguments: list[str]) -> int:
    """`python -m onestroke.checkpoints show FILE`: print what a style file says of itself; `import`: see `adopt`."""
    usage = (
        "usage: python -m onestroke.checkpoints show FILE\n       python -m onestroke.checkpoints import path=FILE.pth "
        "out=FILE.safetensors [name=] [range=auto|255|1|imagenet] [overwrite=true]"
    )
    known = {"path", "out", "name", "range", "overwrite"}
    command, rest = arguments[:1], arguments[1:]
    options = dict(argument.split("=", 1) for argument in rest if "=" in argument)
    if command == ["show"] and len(rest) == 1:
        return told(lambda: print(json.dumps(asdict(read_document(Path(home(rest[0])))), indent=2, ensure_ascii=False)))
    if command == ["import"] and len(options) == len(rest) and {"path", "out"} <= options.keys() <= known:
        overwrite = options.pop("overwrite", "false").lower()
        if overwrite in ("true", "false"):
            path, out = (Path(home(options.pop(key))) for key in ("path", "out"))
            return told(lambda: adopt(path, out, overwrite=overwrite == "true", **options))
    print(usage, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
