"""Load untrusted files of `torch.save`: size and pickle are checked first, then torch's weights-only unpickler runs.

That unpickler runs no code of a file, but it takes whatever memory and time the file asks for, and some of the
functions it allows create tensors of any size. So the opcodes of the pickle are scanned first, without executing them.
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

_MAX_PICKLE = 4 * 2**20  # bytes; the pickle of a network and its optimiser has about 100,000
_MAX_OPCODES = 300_000  # of the pickle, about 40 per tensor; scanning these takes a third of a second
_MAX_ENTRIES = 100_000  # of the zip archive, one per tensor
_CHUNK = 2**20
_ZIP = b"PK\x03\x04"  # first bytes of the zip format; files without them are in the format of before 2020
_PICKLES_BEFORE_ZIP = 5  # in the old format: magic number, version, machine, the object, its storages

# Functions and classes for plain tensors, their storages and containers. Not the tensor classes themselves, whose
# constructors allocate any size.
_ALLOWED = re.compile(
    r"(collections|torch\.nn\.parameter|torch\.serialization) (OrderedDict|Counter|Parameter|_get_layout)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state|qtensor|sparse_tensor"
    r"|meta_tensor_no_storage)"
    r"|torch (\w+Storage|Size|device|per_\w+|[a-z]+[0-9_a-z]*)"
    r"|(builtins|__builtin__) set"
)


class NotPlain(Exception):
    """The file is damaged, too large or holds more than plain tensors; the message is a clause about "it"."""


def read(path: Path, most: int) -> object:
    """Load a file of `torch.save` without running code from it.

    Args:
        path: the file.
        most: maximum size of the file in bytes.

    Returns:
        The saved object: tensors on the CPU in plain containers.

    Raises:
        NotPlain: the file is damaged, larger than `most`, or holds more than plain tensors.
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
                _check_pickles(BytesIO(file.read(_MAX_PICKLE)), _PICKLES_BEFORE_ZIP)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's deprecation warnings, about which a user can do nothing
            return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except NotPlain:
        raise
    except Exception as error:  # a broken file can cause any exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NotPlain(f"it is cut short or of another kind: {printable(reason)}") from error


def _check_archive(file: IO[bytes], size: int) -> None:
    """Check number, sizes and pickles of the zip entries, and the CRC of each, which detects any changed bit."""
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
            _check_pickles(archive.open(entry), 1)
        for entry in entries:
            try:
                with archive.open(entry) as content:
                    while content.read(_CHUNK):
                        pass
            except zipfile.BadZipFile as error:
                wrong = f"the checksum of {printable(entry.filename)} in it does not fit"
                raise NotPlain(f"it is damaged: {wrong}") from error


def _check_pickles(file: IO[bytes], pickles: int) -> None:
    """Raise NotPlain for pickles with too many opcodes, or with a global that is not in _ALLOWED."""
    opcodes = 0
    for _ in range(pickles):
        for operation, argument, _ in pickletools.genops(file):
            opcodes += 1
            if opcodes > _MAX_OPCODES:
                raise NotPlain("it lists more than weights: its pickle takes too many steps")
            if operation.name == "GLOBAL" and not _ALLOWED.fullmatch(str(argument)):
                raise NotPlain(f"it holds more than plain weights: {printable(argument)}")
