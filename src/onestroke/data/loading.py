"""Batches made ahead by worker processes, several to a message, and taken in by a thread.

A message from one process to another costs a third of a millisecond at either end, whatever is in it. At 2,000 pictures
a second, in batches of 4, that is a sixth of the time there is. So small batches are sent together, and unpacked while
the training goes on.
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

Sample = Callable[[int], tuple[np.ndarray, list[str]]]

TOGETHER = 16  # pictures in a message, where a batch has fewer
_PREFETCH = 3  # messages that each worker has ready
_WAITING = 2  # messages that the thread has ready


class Batch(TypedDict):
    """photos: uint8 (N, H, W, 3). numbers: which samples these are. skipped: what could not be read on the way."""

    photos: Tensor
    numbers: list[int]
    skipped: list[str]


class _Message(TypedDict):
    """Batches end to end, as Batch but with the lists apart."""

    photos: Tensor
    numbers: list[list[int]]
    skipped: list[list[str]]


class Loader:
    """Endless batches from a step on; each time it is iterated, from there again.

    Args:
        sample: gives the n-th picture, uint8 (H, W, 3), and what was skipped on the way.
        start: the first step.
        batch_size: pictures of a step in all processes of a distributed training.
        mine: which of them are this process's.
        workers: processes that prepare pictures; 0: this one does, when a batch is asked for.
    """

    def __init__(self, sample: Sample, start: int, batch_size: int, mine: range, workers: int) -> None:
        self.workers = workers
        self.together = max(1, TOGETHER // len(mine)) if workers else 1
        self.messages = DataLoader(
            _Steps(sample),
            batch_sampler=_Numbers(start, batch_size, mine, self.together),
            collate_fn=_same,
            num_workers=workers,
            prefetch_factor=_PREFETCH if workers else None,
            worker_init_fn=_leave_signals if workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    @property
    def ahead(self) -> int:
        """How many batches are made before they are asked for, at most."""
        return self.together * (_PREFETCH * self.workers + _WAITING + 1) if self.workers else 0

    def __iter__(self) -> Iterator[Batch]:
        messages = iter(self.messages)
        for message in _taken_in(messages) if self.workers else messages:
            photos = message["photos"].split([len(numbers) for numbers in message["numbers"]])
            for own, numbers, skipped in zip(photos, message["numbers"], message["skipped"], strict=True):
                yield {"photos": own, "numbers": numbers, "skipped": skipped}


class _Numbers(Sampler[list[list[int]]]):
    """Of each step from `start` on the numbers that are mine, several steps at once, but first few, to begin soon."""

    def __init__(self, start: int, batch_size: int, mine: range, together: int) -> None:
        self.start, self.batch_size, self.mine, self.together = start, batch_size, mine, together

    def __iter__(self) -> Iterator[list[list[int]]]:
        step, count = self.start, 1
        while True:
            yield [[(step + i) * self.batch_size + j for j in self.mine] for i in range(count)]
            step += count
            count = min(self.together, count + 1)


class _Steps(Dataset[_Message]):
    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def __getitems__(self, steps: list[list[int]]) -> _Message:
        pictures: list[np.ndarray] = []
        skipped: list[list[str]] = []
        for numbers in steps:
            skipped.append([])
            for n in numbers:
                picture, lines = self.sample(n)
                pictures.append(dithered(picture, n))
                skipped[-1] += lines
        # Torch's own, since in a worker it stacks in the memory that is sent, which saves a copy.
        photos = default_collate([torch.from_numpy(picture) for picture in pictures])
        return {"photos": photos, "numbers": steps, "skipped": skipped}

    def __getitem__(self, numbers: Any) -> _Message:
        return self.__getitems__([numbers])


def _same(message: Any) -> Any:
    return message


def _leave_signals(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the training decides when its workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _taken_in(messages: Iterator[_Message]) -> Iterator[_Message]:
    """The same messages, received by a thread before they are asked for."""
    ready: queue.Queue[_Message | BaseException] = queue.Queue(_WAITING)
    over = threading.Event()

    # Its last reference gives a message's memory back, which takes half a millisecond; the thread has that too.
    recent: deque[_Message] = deque(maxlen=_WAITING + 3)

    def receive() -> None:
        try:
            for message in messages:
                recent.append(message)
                if not _put(ready, message, over):
                    return
        except BaseException as error:  # whatever a worker died of is told where the batch is asked for
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


def _put(ready: queue.Queue[Any], what: object, over: threading.Event) -> bool:
    """False where nobody waits for it any more."""
    while not over.is_set():
        with suppress(queue.Full):
            ready.put(what, timeout=0.1)
            return True
    return False
