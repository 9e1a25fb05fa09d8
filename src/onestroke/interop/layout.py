"""Read weights with the architecture of pytorch/examples' fast_neural_style, and run its forward pass.

It is Johnson's network with instance norms, reflection padding, nearest-neighbour upsampling and no activation after
the last layer. Forks have other widths, numbers of blocks and names: if the names are not those of pytorch/examples,
the layers are taken in the order of the file and checked by their shapes. Paddings, activations and the order of colour
channels can't be read from weights and are assumed to be as in pytorch/examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke import torch_files
from onestroke.errors import UserError, printable
from onestroke.networks.base import LARGEST

_MAX_BYTES = 512 * 2**20  # such a file has 7 MB, or 20 with the state of its optimiser
_LAYOUT = "pytorch/examples' fast_neural_style"

Modules = dict[str, dict[str, Tensor]]  # name of a module -> last part of a tensor's name -> tensor


@dataclass(frozen=True)
class Layout:
    """The layers of a network, in the order of the forward pass.

    path: of the file. convolutions: (weight, bias), fp32. norms: (scale, shift), one for each convolution but the last.
    published: whether the modules have the names of pytorch/examples.
    """

    path: Path
    convolutions: list[tuple[Tensor, Tensor]]
    norms: list[tuple[Tensor, Tensor]]
    published: bool

    @property
    def channels(self) -> list[int]:
        """Numbers of channels at full, half and quarter size."""
        return [len(weight) for weight, _ in self.convolutions[:3]]

    @property
    def blocks(self) -> int:
        """Number of residual blocks."""
        return (len(self.convolutions) - 6) // 2

    @property
    def ends(self) -> int:
        """Kernel size of the first and the last convolution."""
        return self.convolutions[0][0].shape[-1]

    def describe(self) -> str:
        """The architecture, in one line for the user."""
        names = "pytorch/examples' names" if self.published else "names of its own, so its layers in the file's order"
        return f"{self.path}: {'-'.join(map(str, self.channels))} channels, {self.blocks} residual blocks, {names}"

    @torch.no_grad()
    def paint(self, values: Tensor) -> Tensor:
        """The forward pass of the original network.

        Args:
            values: (N, 3, H, W) in the range of its training data; H and W are multiples of 4.

        Returns:
            The same shape, in the range of its output, not clamped.
        """
        layers = iter(zip(self.convolutions, [*self.norms, None], strict=True))

        def layer(x: Tensor, stride: int = 1) -> Tensor:
            (weight, bias), norm = next(layers)
            x = F.conv2d(F.pad(x, [weight.shape[-1] // 2] * 4, mode="reflect"), weight, bias, stride)
            return x if norm is None else F.instance_norm(x, weight=norm[0], bias=norm[1])

        x = values
        for stride in (1, 2, 2):
            x = F.relu(layer(x, stride))
        for _ in range(self.blocks):
            x = x + layer(F.relu(layer(x)))
        for _ in range(2):
            x = F.relu(layer(F.interpolate(x, scale_factor=2)))
        return layer(x)


def read(path: Path) -> Layout:
    """Read a network from a file of `torch.save` that holds a state dict, possibly nested. No code of the file is run.

    Raises:
        UserError: the file is missing or holds more than plain tensors, or the network has another architecture.
    """
    if not path.is_file():
        raise UserError(f"path: there is no file {path}")
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise UserError(f"{path} is no style network: it has {size / 2**20:.0f} MB, and one has at most 512")
    try:
        loaded = torch_files.read(path, _MAX_BYTES)
    except torch_files.NotPlain as error:
        raise UserError(
            f"{path} is not a whole file of plain weights, and nothing else is loaded ({error}): get it again, or save "
            "the model's state_dict() alone where it was trained"
        ) from error
    problems = []
    for tensors in _state_dicts(loaded):
        try:
            return _layout(path, _checked(tensors, size))
        except UserError as error:
            problems.append((len(tensors), str(error)))
    # report the problem of the largest dict, since the file may also hold an optimiser's
    raise UserError(f"{path} {max(problems)[1] if problems else 'holds no network: there are no convolutions in it'}")


def _state_dicts(loaded: object) -> Iterator[dict[str, Tensor]]:
    """Yield all dicts with 4-dimensional tensors, also nested ones as in {"state_dict": ..., "epoch": 2}."""
    waiting, seen = [loaded], set()
    for value in waiting:  # the list grows in the loop; a dict may contain itself
        if not isinstance(value, Mapping) or id(value) in seen:
            continue
        seen.add(id(value))
        tensors = {name: t for name, t in value.items() if isinstance(name, str) and isinstance(t, Tensor)}
        if any(tensor.ndim == 4 for tensor in tensors.values()):
            yield tensors
        else:
            waiting += value.values()


def _checked(tensors: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """Check tensors and convert them to fp32.

    Raises:
        UserError: (here and below) the message is a predicate, to which the path is the subject.
    """
    if any(t.is_meta or t.is_quantized or t.is_complex() or t.layout != torch.strided for t in tensors.values()):
        raise UserError("holds tensors that are not plain numbers: save the network's state_dict() as it was trained")
    # with a stride of 0, a tensor can be larger than the file
    if sum(t.numel() * t.element_size() for t in tensors.values()) > size:
        raise UserError("claims more weights than it holds: get it again")
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(f"is damaged: its weights {printable(broken[0])} are not finite numbers")
    return tensors


def _layout(path: Path, tensors: dict[str, Tensor]) -> Layout:
    """Sort tensors into the layers of the architecture."""
    convolutions, norms = _modules(tensors)
    count = len(convolutions)
    if count < 8 or count % 2 or len(norms) != count - 1:
        raise UserError(
            f"holds {count} convolutions and {len(norms)} norms with weights, where {_LAYOUT} has 6 convolutions, "
            "2 more for each of its residual blocks, and a norm for all but the last"
        )
    names = _published_names((count - 6) // 2)
    named = [part for part in map(_named, (convolutions, norms), names) if part is not None]
    if len(named) == 2:
        convolutions, norms = named
    _check_shapes(convolutions, norms)
    return Layout(
        path,
        [(c["weight"], c.get("bias", torch.zeros(len(c["weight"])))) for c in convolutions.values()],
        [(n["weight"], n["bias"]) for n in norms.values()],
        published=len(named) == 2,
    )


def _modules(tensors: Mapping[str, Tensor]) -> tuple[Modules, Modules]:
    """The convolutions and the norms by module name, in the order of the file."""
    modules: Modules = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        modules.setdefault(module, {})[leaf] = tensor
    convolutions, norms = {}, {}
    for name, parts in modules.items():
        rank = parts["weight"].ndim if "weight" in parts else 0
        if rank == 4 and parts.keys() <= {"weight", "bias"}:
            convolutions[name] = parts
        elif rank == 1 and "bias" in parts:
            # Instance norms of torch 0.3 saved running statistics that they didn't use, but no count of batches.
            # Norms with a count, or named as batch norms, use their statistics.
            named_batch = "running_mean" in parts and re.search(r"(^|[._])bn|batch", name, re.IGNORECASE)
            if named_batch or "num_batches_tracked" in parts:
                raise UserError(
                    f"has batch norms, or others with fixed statistics ({printable(name)}), and OneStroke's networks "
                    "have instance norms: train the style again"
                )
            norms[name] = parts
        else:
            leaf, tensor = next(iter(parts.items()))
            raise UserError(
                f"holds {printable(f'{name}.{leaf}'.lstrip('.'))} of shape {tuple(tensor.shape)}, and {_LAYOUT} has "
                "nothing but convolutions and norms with weights"
            )
    return convolutions, norms


def _published_names(blocks: int) -> tuple[list[str], list[str]]:
    """The names of convolutions and of norms in pytorch/examples, in the order of the forward pass."""
    middle = [(block, half) for block in range(1, blocks + 1) for half in (1, 2)]
    convolutions = ["conv1", "conv2", "conv3", *(f"res{b}.conv{h}" for b, h in middle)]
    convolutions += ["deconv1", "deconv2", "deconv3"]
    norms = ["in1", "in2", "in3", *(f"res{b}.in{h}" for b, h in middle), "in4", "in5"]
    return [f"{name}.conv2d" for name in convolutions], norms


def _named(found: Modules, names: list[str]) -> Modules | None:
    """`found` in the order of `names`, if it has these names after a common prefix such as `module.`; else None."""
    for name in found:
        prefix = name.removesuffix(names[0])
        if found.keys() == {prefix + known for known in names}:
            return {prefix + known: found[prefix + known] for known in names}
    return None


def _check_shapes(convolutions: Modules, norms: Modules) -> None:
    """Raise a UserError unless all shapes are those of the architecture."""
    weights = [parts["weight"] for parts in convolutions.values()]
    full, half, quarter = (len(weight) for weight in weights[:3])
    ends = weights[0].shape[-1]
    if ends % 2 == 0 or ends > LARGEST["ends"]:
        raise UserError(f"begins with a kernel of {ends}, and {_LAYOUT} with an odd one, of {LARGEST['ends']} at most")
    down, middle = [(full, 3, ends), (half, full, 3), (quarter, half, 3)], [(quarter, quarter, 3)] * (len(weights) - 6)
    expected = [*down, *middle, (half, quarter, 3), (full, half, 3), (3, full, ends)]
    for (name, parts), (outputs, inputs, kernel) in zip(convolutions.items(), expected, strict=True):
        shape, bias = tuple(parts["weight"].shape), parts.get("bias")
        transposed = bias is not None and len(bias) == shape[1] != shape[0]  # their weights are (inputs, outputs, ...)
        if transposed or "transpose" in name.lower():
            raise UserError(
                f"upsamples by transposed convolutions ({printable(name)}), which no OneStroke network has: train "
                "the style again"
            )
        fits = shape == (outputs, inputs, kernel, kernel) and (bias is None or bias.shape == (outputs,))
        if not fits:
            raise UserError(
                f"is not of the layout of {_LAYOUT}: {printable(name)}.weight has the shape {shape}, and a convolution "
                f"of {inputs} to {outputs} channels with a kernel of {kernel} should stand there"
            )
    for (name, parts), (outputs, _, _) in zip(norms.items(), expected, strict=False):
        if parts["weight"].shape != (outputs,) or parts["bias"].shape != (outputs,):
            raise UserError(f"is not of the layout of {_LAYOUT}: {printable(name)} is no norm of {outputs} channels")
