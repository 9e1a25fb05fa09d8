"""Style files: the only code that reads and writes them.

A style file is a `.safetensors` file with the weights of one network, in fp16, and a JSON document under the metadata
key `onestroke`: format version, the network's name and arguments, facts about the style and the training, held-out
metrics. Reading one rebuilds its network and never runs code from it: the network's name is looked up in the list of
networks/listed.py. All fields that a reader uses are checked (see style_document.py), and so is a checksum over the
weights, which the oldest files lack.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from onestroke import documents
from onestroke.documents import KEY, MAX_HEADER, TEXT, NoDocument, NotWhole, is_whole
from onestroke.errors import UserError, escaped, near, printable
from onestroke.files import atomic, make_folder
from onestroke.networks.listed import NETWORKS
from onestroke.style_document import FORMAT, Metadata, check, check_document

MAX_BYTES = 512 * 2**20  # a style file has about a megabyte; larger files than this are refused
_SHOWN = 200_000  # most characters of a document that are shown; a typical one has 5,000
_KINDS = ("F16", "BF16", "F32", "F64")  # dtypes of weights, by safetensors' names


def network_classes() -> dict[str, type[nn.Module]]:
    """The networks that a style file may name, by name: those of networks/listed.py."""
    return dict(NETWORKS)


def save(path: Path, network: nn.Module, metadata: Metadata, dtype: torch.dtype = torch.float16) -> None:
    """Write a style file, completely or not at all.

    Args:
        path: must end in .safetensors; its folder is created.
        network: the network; its weights are written.
        metadata: the document to store with them.
        dtype: of the stored weights.

    Raises:
        UserError: for weights that are not finite, and if the file can't be written; an existing file is kept then.
    """
    write(path, {name: t.detach().to("cpu", dtype).contiguous() for name, t in network.state_dict().items()}, metadata)


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
    """As `save`, for weights by name, in their own dtypes."""
    check_name(path)
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(f"{path} was not written: the weights {broken[0]} are not finite")
    _write(path, tensors, metadata)


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write the file with a checksum; a document that the reader would refuse is a UserError."""
    try:
        check(metadata)
        document = {"version": FORMAT, **asdict(metadata), "checksum": documents.checksum(tensors)}
        content = serialize(dict(tensors), metadata={KEY: json.dumps(document, allow_nan=False)})
        if struct.unpack("<Q", content[:8])[0] > MAX_HEADER:
            raise NoDocument(f"it has more than {MAX_HEADER // 2**20} MiB")
    except NoDocument as error:
        raise UserError(f"{path} was not written, as its document could not be read: {error}") from error
    make_folder(path.parent)
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def check_name(path: Path) -> None:
    """Raise a UserError if a path does not end in .safetensors."""
    if path.suffix != ".safetensors":
        raise UserError(f"a style file's name ends in .safetensors, unlike {path}")


def annotate(path: Path, metrics: Mapping[str, float]) -> None:
    """Add numbers to a style file's metrics; its weights stay the same to the bit.

    Raises:
        UserError: as `read_document`, and if the file can't be written.
    """
    metadata = read_document(path)
    metadata.metrics = finite({**metadata.metrics, **metrics})
    # a link is followed, so that the file it points to is changed and not replaced by a new one
    _write(path.resolve(), weights(path), metadata)


def read_document(path: Path) -> Metadata:
    """Read a style file's document, without its weights.

    Raises:
        UserError: for a file that is missing, truncated, too large, of another kind or of a newer format.
    """
    if not path.is_file():
        raise UserError(f"there is no style file {path}" + _hint(path))
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"{path} is no style file: it has {size / 2**20:.0f} MB, and one has at most 512")
    try:
        document = documents.read(path)
        version = document.get("version")
        if is_whole(version, FORMAT + 1, 2**31):
            raise UserError(f"{path} has format {version}, and this OneStroke reads {FORMAT}: update OneStroke")
        return check_document(document)
    except NotWhole as error:
        raise UserError(
            f"{path} is not a whole style file (random bytes, cut short or of another kind): {error}; "
            "get it again, or train it again"
        ) from error
    except NoDocument as error:
        raise UserError(
            f"{path} holds weights, but not of a OneStroke style: its document is missing or wrong ({error})"
        ) from error


def load(path: Path) -> tuple[nn.Module, Metadata]:
    """Rebuild the network of a style file, in fp32, ready to paint.

    Raises:
        UserError: as `read_document`, for an unknown network, and for missing, superfluous or not finite weights.
    """
    metadata = read_document(path)
    network = _skeleton(path, metadata.network)
    try:
        with safe_open(str(path), framework="pt") as file:
            expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
            # shapes are compared first, from the header alone, before anything is loaded
            slices = {name: file.get_slice(name) for name in file.keys()}
            found = {name: tuple(part.get_shape()) for name, part in slices.items()}
            if found != expected:
                wrong = sorted(n for n in expected.keys() | found.keys() if found.get(n) != expected.get(n))
                raise UserError(
                    f"{path} does not hold the weights of its network {metadata.network['name']}: "
                    f"{printable(wrong[0])} is {found.get(wrong[0], 'missing')} "
                    f"and should be {expected.get(wrong[0], 'absent')}"
                )
            kinds = {name: part.get_dtype() for name, part in slices.items()}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    odd = [name for name, kind in kinds.items() if kind not in _KINDS]
    if odd:
        raise UserError(f"{path} holds weights that are not floating-point numbers: {odd[0]} is {kinds[odd[0]]}")
    tensors = {name: tensor.float() for name, tensor in weights(path).items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(f"{path} is damaged: its weights {broken[0]} are not finite numbers; train it again")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False), metadata


def weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a style file by name, in their stored dtypes.

    Raises:
        UserError: as `read_document`, and if the checksum differs.
    """
    read_document(path)
    try:
        written = documents.read(path).get("checksum")
        with safe_open(str(path), framework="pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}
    except (NotWhole, NoDocument, SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    if written is not None and written != documents.checksum(tensors):
        raise UserError(
            f"{path} is damaged: its weights don't have the checksum that was stored with them; get it again, "
            "or train it again"
        )
    return tensors


def _skeleton(path: Path, network: Mapping[str, Any]) -> nn.Module:
    """Build the network on the meta device, without memory for weights, as a file may ask for any size."""
    name, classes = network["name"], network_classes()
    if name not in classes:
        raise UserError(
            f"{path} needs the network {printable(name)}, which this OneStroke doesn't have (one of your own gets a "
            f"line in onestroke/networks/listed.py): {near(name, classes)}"
        )
    try:
        with torch.device("meta"):
            return classes[name](**network["args"])
    except Exception as error:  # a constructor may raise anything for arguments from an untrusted file
        raise UserError(f"{path} asks for a network {name} that can't be built: {printable(error, TEXT)}") from error


def _hint(path: Path) -> str:
    if path.parent.is_dir():
        known = [p.stem for p in path.parent.glob("*.safetensors")]
        if known:
            return f": {near(path.stem, known)}"
    return "; train one with  python train.py style=starry_night"


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Only the finite numbers, since JSON has no others."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def show(path: Path) -> str:
    """A style file's document as indented JSON, escaped for terminals; of a very long document, the beginning.

    Raises:
        UserError: as `read_document`.
    """
    document = asdict(read_document(path))
    dense = json.dumps(document, ensure_ascii=False)
    if len(dense) > _SHOWN:  # indentation could turn a document of 4 MiB into hundreds
        return printable(dense, _SHOWN)
    return escaped(json.dumps(document, indent=2, ensure_ascii=False), keep="\n")
