"""Batches prepared ahead by worker processes, sent several per message, and received by a thread.

Sending a message between processes costs a third of a millisecond on each side, regardless of its size. At 2,000
pictures per second in batches of 4, that would be a sixth of the training time. So several small batches are sent in
one message, which a thread unpacks while the training runs.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from onestroke.data.dithering import dithered
from onestroke.errors import UserError

Sample = Callable[[int], tuple[np.ndarray, list[str]]]
Expect = Callable[[list[int]], None]

TOGETHER = 16  # pictures per message, if a batch has fewer
_PREFETCH = 3  # messages that each worker prepares ahead
_WAITING = 2  # messages that the thread receives ahead


class Batch(TypedDict):
    """photos: uint8 (N, H, W, 3). numbers: sample numbers, N. skipped: `path: reason` of each file that was skipped."""

    photos: Tensor
    numbers: list[int]
    skipped: list[str]


def to_image(photos: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) -> float (N, 3, H, W) in [0, 1], in channels_last memory format."""
    return photos.permute(0, 3, 1, 2).float() / 255


class _Message(TypedDict):
    """Several batches: photos concatenated along N; numbers and skipped as one list per batch.

    mistake: the UserError for which there are none, or "": raised in a worker, it would come with a traceback.
    """

    photos: Tensor
    numbers: list[list[int]]
    skipped: list[list[str]]
    mistake: str


class Loader:
    """Endless batches; each iterator starts at step `start`.

    Args:
        sample: n -> the n-th picture, uint8 (H, W, 3), and `path: reason` of each file that was skipped for it.
        start: the first step.
        batch_size: pictures per step over all processes of a distributed training.
        mine: the indices within the batch that this process loads.
        workers: worker processes that prepare pictures; 0 prepares them in this process.
        expect: is given the numbers of all samples of a message before the first one is asked for.
    """

    def __init__(
        self, sample: Sample, start: int, batch_size: int, mine: range, workers: int, expect: Expect | None = None
    ) -> None:
        self.workers = workers
        self.together = max(1, TOGETHER // len(mine)) if workers else 1
        self.messages = DataLoader(
            _Steps(sample, expect),
            batch_sampler=_Numbers(start, batch_size, mine, self.together),
            collate_fn=_identity,
            num_workers=workers,
            prefetch_factor=_PREFETCH if workers else None,
            worker_init_fn=_ignore_sigint if workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    @property
    def ahead(self) -> int:
        """Maximum number of batches that are prepared ahead."""
        return self.together * (_PREFETCH * self.workers + _WAITING + 1) if self.workers else 0

    def __iter__(self) -> Iterator[Batch]:
        messages = iter(self.messages)
        for message in _prefetched(messages) if self.workers else messages:
            if message["mistake"]:
                raise UserError(message["mistake"])
            photos = message["photos"].split([len(numbers) for numbers in message["numbers"]])
            for own, numbers, skipped in zip(photos, message["numbers"], message["skipped"], strict=True):
                yield {"photos": own, "numbers": numbers, "skipped": skipped}


class _Numbers(Sampler[list[list[int]]]):
    """Yields this process's sample numbers for several steps at once; few at first, so that training starts early."""

    def __init__(self, start: int, batch_size: int, mine: range, together: int) -> None:
        self.start, self.batch_size, self.mine, self.together = start, batch_size, mine, together

    def __iter__(self) -> Iterator[list[list[int]]]:
        step, count = self.start, 1
        while True:
            yield [[(step + i) * self.batch_size + j for j in self.mine] for i in range(count)]
            step += count
            count = min(self.together, count + 1)


class _Steps(Dataset[_Message]):
    """Dataset whose item for the sample numbers of a step is the message with that batch."""

    def __init__(self, sample: Sample, expect: Expect | None) -> None:
        self.sample, self.expect = sample, expect

    def __getitems__(self, steps: list[list[int]]) -> _Message:
        try:
            return self._message(steps)
        except UserError as error:
            return {"photos": torch.empty(0), "numbers": [], "skipped": [], "mistake": str(error)}

    def _message(self, steps: list[list[int]]) -> _Message:
        if self.expect is not None:
            self.expect([n for numbers in steps for n in numbers])
        pictures: list[np.ndarray] = []
        skipped: list[list[str]] = []
        for numbers in steps:
            skipped.append([])
            for n in numbers:
                picture, lines = self.sample(n)
                pictures.append(dithered(picture, n))
                skipped[-1] += lines
        # default_collate stacks into shared memory in a worker, which saves a copy.
        photos = default_collate([torch.from_numpy(picture) for picture in pictures])
        return {"photos": photos, "numbers": steps, "skipped": skipped, "mistake": ""}

    def __getitem__(self, numbers: Any) -> _Message:
        return self.__getitems__([numbers])


def _identity(message: Any) -> Any:
    return message


def _ignore_sigint(worker: int) -> None:
    """Ignore Ctrl-C in a worker; the training process ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _prefetched(messages: Iterator[_Message]) -> Iterator[_Message]:
    """The same messages, received ahead by a thread; an exception of a worker is raised here."""
    ready: queue.Queue[_Message | BaseException] = queue.Queue(_WAITING)
    over = threading.Event()

    # Freeing a message's memory takes half a millisecond; the thread holds the last reference, so it does that too.
    recent: deque[_Message] = deque(maxlen=_WAITING + 3)

    def receive() -> None:
        try:
            for message in messages:
                recent.append(message)
                if not _put(ready, message, over):
                    return
        except BaseException as error:  # raised again where the batch is requested
            _put(ready, error, over)

    thread = threading.Thread(target=receive, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            message = ready.get()
            if isinstance(message, BaseException):
                raise message
            yield message
    finally:
        over.set()
        thread.join()


def _put(ready: queue.Queue[Any], item: object, over: threading.Event) -> bool:
    """Put an item into the queue; returns False, without putting it, once `over` is set."""
    while not over.is_set():
        with suppress(queue.Full):
            ready.put(item, timeout=0.1)
            return True
    return False
