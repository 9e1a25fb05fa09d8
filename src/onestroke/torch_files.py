"""Files of `torch.save` from anyone: bounded and checked before they are unpickled, by torch's weights-only unpickler.

That unpickler runs no code of a file, but it is written in Python and takes whatever memory and time a file asks for,
and some of what it may call makes tensors of any size. So the pickle is first looked through, without making anything.
"""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import IO

import torch

from onestroke.errors import printable

_MAX_PICKLE = 4 * 2**20  # bytes; that of a network and its optimiser has some 100,000
_MAX_STEPS = 300_000  # of the unpickler, which takes 40 for a tensor; a third of a second
_MAX_ENTRIES = 100_000  # of an archive, one a tensor
_CHUNK = 2**20
_ZIP = b"PK\x03\x04"  # by which torch tells the two kinds of its files apart
_PICKLES_BEFORE_ZIP = 5  # of files from before 2020: magic number, version, machine, the object, its storages

# Plain tensors, what they are made of and what holds them. Not the classes of tensors, which make one of any size.
_ALLOWED = re.compile(
    r"(collections|torch\.nn\.parameter|torch\.serialization) (OrderedDict|Counter|Parameter|_get_layout)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state|qtensor|sparse_tensor"
    r"|meta_tensor_no_storage)"
    r"|torch (\w+Storage|Size|device|per_\w+|[a-z]+[0-9_a-z]*)"
    r"|(builtins|__builtin__) set"
)


class NotPlain(Exception):
    """A file that is damaged, too large or holds more than plain tensors; the message says which, after "it"."""


def read(path: Path, most: int) -> object:
    """What was saved: tensors on the CPU, in whatever plain containers. No code of the file is run.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        NotPlain: see there.
    """
    try:
        size = path.stat().st_size
        if size > most:
            raise NotPlain(f"it has {size / 2**20:.0f} MB, and {most / 2**20:.0f} are the most")
        with path.open("rb") as file:
            zipped = file.read(len(_ZIP)) == _ZIP
            file.seek(0)
            if zipped:
                _check_archive(file, size)
            else:
                _look_through(BytesIO(file.read(_MAX_PICKLE)), _PICKLES_BEFORE_ZIP)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is old, which a user can do nothing about
            return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except NotPlain:
        raise
    except Exception as error:  # whatever a foreign or broken file provokes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NotPlain(f"it is cut short or of another kind: {printable(reason)}") from error


def _check_archive(file: IO[bytes], size: int) -> None:
    """Look at all that the archive holds; each entry's own checksum tells of a single bit."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        if len(entries) > _MAX_ENTRIES or len(names) < len(entries):
            raise NotPlain("it holds too many entries, or two of one name")
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > size:
            raise NotPlain("it is packed, which torch.save never does, and might grow to fill the memory")
        pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
        if any(entry.file_size > _MAX_PICKLE for entry in pickles):
            raise NotPlain(f"it lists more than weights: its pickle has more than {_MAX_PICKLE // 2**20} MiB")
        for entry in pickles:
            _look_through(archive.open(entry), 1)
        for entry in entries:
            try:
                with archive.open(entry) as content:
                    while content.read(_CHUNK):
                        pass
            except zipfile.BadZipFile as error:
                wrong = f"the checksum of {printable(entry.filename)} in it does not fit"
                raise NotPlain(f"it is damaged: {wrong}") from error


def _look_through(file: IO[bytes], pickles: int) -> None:
    """Refuse pickles that are too long, and those that name more than plain tensors are made of."""
    steps = 0
    for _ in range(pickles):
        for operation, argument, _ in pickletools.genops(file):
            steps += 1
            if steps > _MAX_STEPS:
                raise NotPlain("it lists more than weights: its pickle takes too many steps")
            if operation.name == "GLOBAL" and not _ALLOWED.fullmatch(str(argument)):
                raise NotPlain(f"it holds more than plain weights: {printable(argument)}")
