"""Files of which parts are read, wherever they lie: on a disk, in an object store, or on the web."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, Protocol, cast

from onestroke.errors import UserError
from onestroke.files import home
from onestroke.packages import require
from onestroke.stores import Store, is_web, requested, told

_SIZE = re.compile(r"bytes 0-0/(\d+)")


class RangedFile(Protocol):
    """A file of which parts are read, by several threads at once; not to be taken into another process.

    size: of the file in bytes. stamp: changes where the file does, as far as its place tells.
    """

    size: int

    @property
    def stamp(self) -> str: ...

    def read(self, start: int, count: int) -> bytes:
        """Up to `count` bytes from `start` on, fewer at the end of the file; a UserError if they can't be had."""
        ...


def ranged(address: str, extra: str) -> RangedFile:
    """A file of which parts are read.

    Args:
        address: a path, http(s)://, s3://, gs://, or any other that fsspec knows.
        extra: the extra of onestroke that installs what object stores need, for the message where it is missing.

    Raises:
        UserError: there is no such file, or it can't be reached.
    """
    if is_web(address):
        return _OfWeb(address)
    store = Store(address, extra)
    return _OfDisk(home(address)) if store.local else _OfStore(store)


class _OfDisk:
    def __init__(self, path: str) -> None:
        self.path = path
        with told(path):
            found = os.stat(path)
        if os.path.isdir(path):
            raise UserError(f"'{path}' is a folder, not a file")
        self.size, self.stamp = found.st_size, str(found.st_mtime_ns)

    def read(self, start: int, count: int) -> bytes:
        with told(self.path), open(self.path, "rb") as file:  # opened each time, as threads share a file's position
            file.seek(start)
            return file.read(count)


class _OfStore:
    def __init__(self, store: Store) -> None:
        self.address = store.address
        fs = require("pyarrow.fs", store.extra)
        self.system, self.path = store.opened()
        with told(self.address):
            found = self.system.get_file_info(self.path)
            if found.type != fs.FileType.File:
                raise FileNotFoundError(0, "there is no such file")
            self.size, self.stamp = int(found.size), str(found.mtime_ns)
            if isinstance(self.system, fs.PyFileSystem):
                # not a file of fsspec, which would fetch megabytes around each part
                self.part: Callable[[int, int], bytes] = self._by_fsspec
            else:
                self.file: Any = self.system.open_input_file(self.path)
                self.part = self._by_arrow

    def read(self, start: int, count: int) -> bytes:
        with told(self.address):
            return self.part(start, min(count, self.size - start)) if start < self.size else b""

    def _by_arrow(self, start: int, count: int) -> bytes:
        return cast(bytes, self.file.read_at(count, start))

    def _by_fsspec(self, start: int, count: int) -> bytes:
        return cast(bytes, self.system.handler.fs.cat_file(self.path, start=start, end=start + count))


class _OfWeb:
    def __init__(self, address: str) -> None:
        self.address = address
        self.size, self.stamp = requested(address, {"Range": "bytes=0-0"}, self._told)

    def _told(self, response: Any) -> tuple[int, str]:
        found = _SIZE.fullmatch(response.headers.get("Content-Range", "").strip())
        if response.status != 206 or found is None:
            raise UserError(f"'{self.address}' can't be read in parts: its server ignores range requests")
        return int(found[1]), response.headers.get("ETag") or response.headers.get("Last-Modified") or ""

    def read(self, start: int, count: int) -> bytes:
        count = min(count, self.size - start)
        if count <= 0:
            return b""

        def content(response: Any) -> bytes:
            if response.status != 206:
                raise UserError(f"'{self.address}' can't be read in parts: its server ignores range requests")
            read: bytes = response.read(count)
            if len(read) < count:
                raise OSError("the connection closed early")
            return read

        return requested(self.address, {"Range": f"bytes={start}-{start + count - 1}"}, content)
