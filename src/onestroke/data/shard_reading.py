"""Read photos out of shards, several at once: a request to an object store takes long, and few bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from onestroke.byte_ranges import RangedFile, ranged
from onestroke.data.draws import Unavailable
from onestroke.errors import UserError

EXTRA = "shards"
_AT_ONCE = 16  # requests of a process


class ShardReader:
    """Parts of shards, read by threads of the process that asks; may be forked and pickled.

    addresses: of the shards.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._files: dict[int, RangedFile] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._coming: dict[tuple[int, int, int], Future[bytes]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"addresses": self.addresses}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.addresses = state["addresses"]
        self._begin()

    def expect(self, parts: Iterable[tuple[int, int, int]]) -> None:
        """Begin to read parts, each a shard's number, a start and a length; parts that were expected before are not.

        A shard on this machine's disk is read when it is asked for.
        """
        self._check_process()
        wanted = [part for part in parts if "://" in self.addresses[part[0]]]
        for part in set(self._coming) - set(wanted):
            self._coming.pop(part).cancel()
        if wanted and self._threads is None:
            self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="shards")
        for part in wanted:
            if part not in self._coming and self._threads is not None:
                self._coming[part] = self._threads.submit(self._read, part)

    def read(self, shard: int, start: int, length: int) -> bytes:
        """A part of a shard; fewer bytes where the shard ends.

        Raises:
            Unavailable: the shard can't be read.
        """
        self._check_process()
        coming = self._coming.pop((shard, start, length), None)
        try:
            return self._read((shard, start, length)) if coming is None else coming.result()
        except UserError as error:
            raise Unavailable(f"{error}; resume= goes on with the run once it can be") from error

    def _read(self, part: tuple[int, int, int]) -> bytes:
        shard, start, length = part
        if shard not in self._files:  # two threads may open it at once, which costs a request
            self._files[shard] = ranged(self.addresses[shard], EXTRA)
        return self._files[shard].read(start, length)

    def _check_process(self) -> None:
        """After a fork: neither threads nor connections come along."""
        if self._process != os.getpid():
            self._begin()
