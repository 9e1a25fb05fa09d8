"""Overlap the stages of a pipeline: iterators that run ahead in threads of their own, and calls side by side."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _End(Generic[Item]):
    """The end of the iterator, or the exception that it raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterator[Item], depth: int = 4) -> Generator[Item, None, None]:
    """Yield the items of an iterator that runs in its own thread; its exceptions are raised here.

    The thread ends when the iterator does, or soon after the generator is closed.

    Args:
        items: what is computed; decoders and OpenCV release the interpreter's lock while they work.
        depth: items that may wait to be taken; bounds the memory.
    """
    waiting: queue.Queue[Item | _End[Item]] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: Item | _End[Item]) -> None:
        while not closed.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def run() -> None:
        error = None
        try:
            for item in items:
                put(item)
                if closed.is_set():
                    break
        except BaseException as raised:  # raised again where the items are taken
            error = raised
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        put(_End(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        closed.set()
        thread.join()


def side_by_side(call: Callable[[Item], Result], items: Iterable[Item], count: int) -> Generator[Result, None, None]:
    """Yield the results of a function for each item, in order; its exceptions are raised here.

    Args:
        call: may run in several threads at once.
        items: are taken in this thread.
        count: calls that run at once.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(call, item))
                if len(waiting) == count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
