"""Places that hold files: a folder, S3, Google Cloud Storage, or addresses on the web; whole or in parts."""

from __future__ import annotations

import io
import re
import shutil
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from onestroke.errors import UserError, printable
from onestroke.files import atomic
from onestroke.packages import installed, require

EXTRA = "fleet"
MOST_BYTES = 2**31
"""Bytes of a file of the web, or of a picture in a table or tar; larger ones are skipped."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WEB = ("http://", "https://")
Answer = TypeVar("Answer")
_COPIED = 2**22  # bytes that are copied at once
_TRIES, _PATIENCE = 3, 60.0  # requests of a file of the web, and seconds without a byte before one is given up


def is_web(address: str) -> bool:
    """Whether an address is one of http or https."""
    return address.lower().startswith(_WEB)


def join(folder: str, name: str) -> str:
    """The address of a file of a folder; options of its file system stay at the end."""
    base, mark, options = folder.partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{options}"


@dataclass(frozen=True)
class Store:
    """A folder of a file system, or one file of it.

    Args:
        address: a path, or an address such as s3://bucket/folder or gs://bucket/folder; options of the file system as
            pyarrow reads them, such as s3://bucket/folder?endpoint_override=host:9000&scheme=http.
        extra: the extra of onestroke that installs pyarrow, for the message where it is missing.
    """

    address: str
    extra: str = EXTRA

    def opened(self) -> tuple[Any, str]:
        """The file system of pyarrow, and the path in it.

        Raises:
            UserError: there is none for the address, or pyarrow is not installed.
        """
        fs = require("pyarrow.fs", self.extra)
        if not _ADDRESS.match(self.address):
            return fs.LocalFileSystem(), str(Path(self.address).expanduser().absolute())
        try:
            system, path = fs.FileSystem.from_uri(self.address)
        except Exception as error:  # pyarrow raises exceptions of several kinds for addresses
            found = by_fsspec(self.address, self.extra)
            if found is None:
                raise UserError(f"{self.address} can't be opened: {printable(error)}") from error
            system, path = found
        return system, path.rstrip("/")

    @property
    def local(self) -> bool:
        """Whether it is on this machine, or on a disk that all machines share."""
        return not _ADDRESS.match(self.address)

    def files(self, below: bool = True) -> list[str]:
        """The files of the folder, by their paths relative to it. None if there is no such folder.

        below: whether also those of the folders in it.

        Raises:
            UserError: it can't be listed.
        """
        fs = require("pyarrow.fs", self.extra)
        system, root = self.opened()
        with told(self.address):
            found = system.get_file_info(fs.FileSelector(root, recursive=below, allow_not_found=True))
        return [one.path[len(root) :].lstrip("/") for one in found if one.type == fs.FileType.File]

    def kind(self) -> str:
        """file, folder or nothing.

        Raises:
            UserError: the store can't be asked.
        """
        fs = require("pyarrow.fs", self.extra)
        system, root = self.opened()
        with told(self.address):
            found = system.get_file_info(root).type
        return {fs.FileType.File: "file", fs.FileType.Directory: "folder"}.get(found, "nothing")

    @contextmanager
    def reading(self, name: str = "") -> Iterator[Any]:
        """Open a file of the folder, or the one file, to be read anywhere: a file of pyarrow.

        Raises:
            UserError: it can't be read.
        """
        system, root = self.opened()
        with told(name or self.address), system.open_input_file(f"{root}/{name}".rstrip("/")) as file:
            yield file

    def read(self, name: str = "") -> bytes:
        """The content of a file of the folder, or of the one file.

        Raises:
            UserError: it can't be read.
        """
        with self.reading(name) as file:
            return cast(bytes, file.read())

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the folder, completely or not at all; folders are made.

        Raises:
            UserError: it can't be written.
        """
        self._copy(name, io.BytesIO(content))

    def fetch(self, path: Path, name: str = "") -> None:
        """Copy a file of the folder, or the one file, to a new file of this machine.

        Raises:
            UserError: it can't be read, or the copy not be written.
        """
        with self.reading(name) as file, told(str(path)), path.open("xb") as copy:
            shutil.copyfileobj(file, copy, _COPIED)

    def put(self, name: str, path: Path) -> None:
        """Write a file of the folder as a copy of a file of this machine, as `write`.

        Raises:
            UserError: it can't be written.
        """
        with told(name), path.open("rb") as file:
            self._copy(name, file)

    def _copy(self, name: str, content: BinaryIO) -> None:
        """Write a file of the folder from one that is open."""
        with told(name):
            if self.local:
                there = Path(self.address).expanduser().absolute() / name
                there.parent.mkdir(parents=True, exist_ok=True)
                with atomic(there) as temporary, temporary.open("wb") as copy:
                    shutil.copyfileobj(content, copy, _COPIED)
                return
            system, root = self.opened()
            # an object store shows an object once it is closed
            with system.open_output_stream(f"{root}/{name}") as copy:
                shutil.copyfileobj(content, copy, _COPIED)

    def present(self, names: list[str]) -> set[str]:
        """Those of these files of the folder that exist.

        Raises:
            UserError: the store can't be asked.
        """
        fs = require("pyarrow.fs", self.extra)
        system, root = self.opened()
        with told(self.address):
            found = system.get_file_info([f"{root}/{name}" for name in names])
        return {name for name, one in zip(names, found, strict=True) if one.type == fs.FileType.File}

    def version(self, name: str) -> str:
        """A word of hexadecimal digits that is another one when a file of the folder is replaced: by size and time.

        Raises:
            UserError: the store can't be asked.
        """
        system, root = self.opened()
        with told(name):
            found = system.get_file_info(f"{root}/{name}")
        return f"{zlib.crc32(f'{found.size} {found.mtime_ns}'.encode()):08x}"

    def remove(self) -> None:
        """Remove the folder with all that is in it, if it is there.

        Raises:
            UserError: it can't be removed.
        """
        fs = require("pyarrow.fs", self.extra)
        system, root = self.opened()
        with told(self.address), suppress(FileNotFoundError):
            if system.get_file_info(root).type == fs.FileType.Directory:
                system.delete_dir(root)


def by_fsspec(address: str, extra: str = EXTRA) -> tuple[Any, str] | None:
    """A file system of fsspec for an address that pyarrow has none for, and the path in it; None if there is none."""
    if not installed("fsspec"):
        return None
    core, fs = require("fsspec.core", extra), require("pyarrow.fs", extra)
    try:
        found, path = core.url_to_fs(address.partition("?")[0])
    except (ValueError, ImportError):
        return None
    return fs.PyFileSystem(fs.FSSpecHandler(found)), str(path)


@contextmanager
def told(name: str) -> Iterator[None]:
    """Context manager: an error of a file system becomes a UserError."""
    try:
        yield
    except OSError as error:  # those of pyarrow are, too
        raise UserError(f"'{name}' can't be reached: {printable(error.strerror or error, 300)}") from error


def download(address: str) -> bytes:
    """The content of a file of the web; asked for again where the connection breaks.

    Raises:
        UserError: it can't be had, or is too large.
    """
    return requested(address, {}, lambda response: _bounded(cast(BinaryIO, response), address))


def requested(address: str, headers: Mapping[str, str], read: Callable[[Any], Answer]) -> Answer:
    """What `read` makes of a web server's answer; asked for again where the connection breaks.

    Args:
        address: of http or https.
        headers: of the request, beside our name.
        read: takes the open answer; an OSError in it is a connection that broke.

    Raises:
        UserError: it can't be had.
    """
    for left in reversed(range(_TRIES)):
        try:
            request = urllib.request.Request(address, headers={"User-Agent": "onestroke", **headers})
            with urllib.request.urlopen(request, timeout=_PATIENCE) as response:
                return read(response)
        except urllib.error.HTTPError as error:
            if error.code < 500 or not left:
                raise UserError(f"'{address}' can't be had: {error.code} {printable(error.reason)}") from error
        except (OSError, ValueError, HTTPException) as error:  # among them URLError, and connections that break
            if not left:
                raise UserError(f"'{address}' can't be had: {printable(error)}") from error
        time.sleep(2.0 ** (_TRIES - left) / 4)
    raise AssertionError("the last try returns or raises")


def _bounded(file: BinaryIO, name: str) -> bytes:
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"'{name}' is larger than {MOST_BYTES // 2**30} GiB")
    return content
