"""Changes of safetensors files, which style files and style cards are."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from fuzzing import values
from fuzzing.cases import Change
from onestroke.documents import checksum

KEY = "onestroke"  # of the metadata: where the document stands
_DTYPES = (
    torch.float64, torch.float32, torch.bfloat16, torch.uint8, torch.int8, torch.int64, torch.bool, torch.complex64,
    torch.float8_e4m3fn,
)  # fmt: skip
_MOST_REWEIGHTED = 5_000  # tensors, as more take minutes to change
_MANY = (3_000, 3_000, 3_000, 3_000, 30_000, 300_000)

Header = dict[str, Any]


def split(content: bytes) -> tuple[Header, bytes]:
    """Header and weights, as they lie in the file."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(header: str, weights: bytes) -> bytes:
    """The file again; the header may be anything."""
    encoded = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + weights


def written(tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> bytes:
    """As safetensors' save, which gives the metadata in an order that differs from call to call."""
    return ordered(save(dict(tensors), dict(told)))


def ordered(content: bytes) -> bytes:
    """The file with its metadata and its table of tensors by name."""
    header, weights = split(content)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    return joined(json.dumps(dict(sorted(header.items()))), weights)


def metadata(content: bytes) -> dict[str, str]:
    """The metadata of a file."""
    found: dict[str, str] = split(content)[0].get("__metadata__", {})
    return found


def with_document(content: bytes, change: Callable[[Any], str]) -> bytes:
    """The file with another document, which `change` makes of the old one."""
    header, weights = split(content)
    header["__metadata__"][KEY] = change(json.loads(header["__metadata__"][KEY]))
    return joined(json.dumps(header), weights)


def _document(content: bytes, rng: Random) -> bytes:
    """Any one place of the document."""
    return with_document(content, lambda document: values.text(values.changed(document, rng)))


def _documents(content: bytes, rng: Random) -> bytes:
    """Many places of the document."""

    def change(document: Any) -> str:
        for _ in range(rng.randrange(2, 20)):
            document = values.changed(document, rng)
        return values.text(document)

    return with_document(content, change)


def _metadata(content: bytes, rng: Random) -> bytes:
    header, weights = split(content)
    header["__metadata__"] = values.changed(header["__metadata__"], rng)
    return joined(values.text(header), weights)


def _padded(content: bytes, rng: Random) -> bytes:
    """Megabytes of metadata beside the document."""
    header, weights = split(content)
    header["__metadata__"][rng.choice(("more", KEY))] = "x" * rng.choice((100_000, 1_000_000, 5_000_000, 30_000_000))
    return joined(json.dumps(header), weights)


def _header(content: bytes, rng: Random) -> bytes:
    """Any one place of the table of tensors."""
    header, weights = split(content)
    told = header.pop("__metadata__")
    header = values.changed(header, rng)
    if isinstance(header, dict):
        header["__metadata__"] = told
    return joined(values.text(header), weights)


def _many(content: bytes, rng: Random) -> bytes:
    """Very many tensors, of one byte or none each."""
    header, weights = split(content)
    count, size = rng.choice(_MANY), rng.choice((0, 1))
    ends = ((len(weights) + i * size, len(weights) + (i + 1) * size) for i in range(count))
    text = json.dumps(header)
    shape = f'"shape":[{size}]'
    more = ",".join(f'"t{i}":{{"dtype":"U8",{shape},"data_offsets":[{a},{b}]}}' for i, (a, b) in enumerate(ends))
    return joined(text[:-1] + "," + more + "}", weights + bytes(count * size))


def reweighted(change: Callable[[dict[str, Tensor], Random], None]) -> Change:
    """A change of the weights; the file is well-formed again after it."""

    def apply(content: bytes, rng: Random) -> bytes:
        if len(split(content)[0]) > _MOST_REWEIGHTED:
            return content
        tensors, told = load(content), metadata(content)
        change(tensors, rng)
        if rng.random() < 0.8:  # so that what is loaded is what was changed
            document = json.loads(told[KEY])
            if "checksum" in document:
                document["checksum"] = checksum(tensors)
                told = {**told, KEY: json.dumps(document)}
        return written({name: tensor.contiguous() for name, tensor in tensors.items()}, told)

    return apply


def _renamed(tensors: dict[str, Tensor], rng: Random) -> None:
    name = rng.choice(sorted(tensors))
    choices = (f"{name}x", "", rng.choice(sorted(tensors)), "x" * 10_000, "\x1b[31mred", "training", "forward.weight")
    tensors[rng.choice(choices)] = tensors.pop(name)


def _dropped(tensors: dict[str, Tensor], rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, len(tensors)))):
        del tensors[rng.choice(sorted(tensors))]


def _added(tensors: dict[str, Tensor], rng: Random) -> None:
    name = rng.choice(("extra", "colour.weight", "paint.convolution.weight2", f"{rng.choice(sorted(tensors))}.x"))
    tensors[name] = torch.zeros(rng.choice(((), (0,), (3,), (1, 0, 5), (1,) * 20)))


def _reshaped(tensors: dict[str, Tensor], rng: Random) -> None:
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    choice = rng.randrange(6)
    if choice == 0:
        tensors[name] = tensor.flatten()
    elif choice == 1:
        tensors[name] = tensor[None]
    elif choice == 2:
        tensors[name] = tensor[: tensor.shape[0] // 2].clone()
    elif choice == 3:
        tensors[name] = torch.cat([tensor, tensor])
    elif choice == 4:
        tensors[name] = tensor.flatten()[:0]
    else:
        tensors[name] = tensor.transpose(0, -1).contiguous()


def _retyped(tensors: dict[str, Tensor], rng: Random) -> None:
    dtype = rng.choice(_DTYPES)
    for name in sorted(tensors) if rng.random() < 0.5 else [rng.choice(sorted(tensors))]:
        tensors[name] = tensors[name].to(dtype)


def _revalued(tensors: dict[str, Tensor], rng: Random) -> None:
    """Other numbers, from zero to none at all."""
    value = rng.choice((float("nan"), float("inf"), -float("inf"), 0.0, 1e-7, 6e4, -6e4, 1.0))
    for name in sorted(tensors) if rng.random() < 0.3 else rng.choices(sorted(tensors), k=2):
        tensor = tensors[name].clone()
        flat = tensor.view(-1)
        flat[:: rng.choice((1, 1, 7))] = torch.tensor(value).to(tensor.dtype)
        tensors[name] = tensor


def _rescaled(tensors: dict[str, Tensor], rng: Random) -> None:
    factor = rng.choice((0.0, 1e-3, 30.0, 1000.0, -1.0))
    for name in sorted(tensors) if rng.random() < 0.5 else rng.choices(sorted(tensors), k=3):
        tensors[name] = (tensors[name].float() * factor).to(tensors[name].dtype)


CHANGES: Mapping[str, tuple[int, Change]] = {
    "document": (10, _document),
    "documents": (5, _documents),
    "metadata": (2, _metadata),
    "metadata.padded": (1, _padded),
    "header": (2, _header),
    "header.many": (1, _many),
    "tensors.renamed": (2, reweighted(_renamed)),
    "tensors.dropped": (1, reweighted(_dropped)),
    "tensors.added": (1, reweighted(_added)),
    "tensors.reshaped": (2, reweighted(_reshaped)),
    "tensors.retyped": (2, reweighted(_retyped)),
    "tensors.revalued": (2, reweighted(_revalued)),
    "tensors.rescaled": (2, reweighted(_rescaled)),
}
"""Of any safetensors file with a document, by weight."""
