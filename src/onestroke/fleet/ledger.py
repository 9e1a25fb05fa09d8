"""Which pictures are being painted now: what finds the one that kills its workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

MOST = 3
"""A picture whose worker has died so often is skipped."""


class Ledger:
    """Counts how often each picture was begun and not finished. Lives in a process that outlives the workers."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}

    def counts(self, names: Sequence[str]) -> list[int]:
        """How often each picture was begun and never finished."""
        return [self.begun.get(name, 0) for name in names]

    def begin(self, names: Sequence[str]) -> None:
        """Note that pictures are begun."""
        self.begun.update((name, self.begun.get(name, 0) + 1) for name in names)

    def finish(self, names: Sequence[str]) -> None:
        """Note that pictures are finished, painted or not."""
        for name in names:
            self.begun.pop(name, None)


class Ledgers(Protocol):
    """What the workers call of a Ledger, which may live in another process."""

    def counts(self, names: Sequence[str]) -> list[int]:
        """See Ledger."""
        ...

    def begin(self, names: Sequence[str]) -> None:
        """See Ledger."""
        ...

    def finish(self, names: Sequence[str]) -> None:
        """See Ledger."""
        ...


class RemoteLedger:
    """A Ledger in an actor of Ray; `ray` is the package, and `actor` its handle."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self.ray, self.actor = ray, actor

    def counts(self, names: Sequence[str]) -> list[int]:
        """See Ledger."""
        found: list[int] = self.ray.get(self.actor.counts.remote(list(names)))
        return found

    def begin(self, names: Sequence[str]) -> None:
        """See Ledger."""
        self.ray.get(self.actor.begin.remote(list(names)))

    def finish(self, names: Sequence[str]) -> None:
        """See Ledger."""
        self.ray.get(self.actor.finish.remote(list(names)))
