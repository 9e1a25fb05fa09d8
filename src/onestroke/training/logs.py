"""A run's logs may fail, as on a full disk: that is said once, and the training goes on without."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from onestroke.errors import UserError
from onestroke.files import atomic

log = logging.getLogger(__name__)


class Events:
    """TensorBoard's events of a run, as SummaryWriter writes them; where they can't be written, none any more.

    Args:
        folder: where the file of events is made.
    """

    def __init__(self, folder: Path) -> None:
        self._writer: SummaryWriter | None = None
        self._before = threading.excepthook
        threading.excepthook = self._in_thread
        self._guarded(lambda: setattr(self, "_writer", SummaryWriter(str(folder))))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """A point of a curve."""
        self._write("add_scalar", tag, value, step)

    def add_image(self, tag: str, image: Tensor, step: int) -> None:
        """A picture, (3, H, W) in [0, 1]."""
        self._write("add_image", tag, image, step)

    def add_text(self, tag: str, text: str) -> None:
        """Markdown."""
        self._write("add_text", tag, text)

    def flush(self) -> None:
        """Have on the disk what was added."""
        self._write("flush")

    def close(self) -> None:
        """Add nothing more."""
        self._write("close")
        self._writer = None
        threading.excepthook = self._before

    def _write(self, what: str, *arguments: Any) -> None:
        if self._writer is not None:
            self._guarded(lambda: getattr(self._writer, what)(*arguments))

    def _guarded(self, job: Callable[[], object]) -> None:
        try:
            job()
        except OSError as error:  # of this call, or of the thread that writes
            self._writer = None
            log.warning("TensorBoard's events can't be written (%s); going on without", error.strerror or error)

    def _in_thread(self, failure: threading.ExceptHookArgs) -> None:
        """The thread that writes keeps its OSError for the next call; other threads' errors are told as ever."""
        if not (issubclass(failure.exc_type, OSError) and type(failure.thread).__module__.startswith("tensorboard.")):
            self._before(failure)


def write_config(path: Path, text: str) -> None:
    """Keep a run's config beside its events, for people: a resumed run has its own from the resume file."""
    try:
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except UserError as error:
        log.warning("%s; going on without", error)


def survive_log_failures() -> None:
    """Leave out the handlers of the root logger that can't write any more, instead of a traceback for each line."""
    for handler in logging.getLogger().handlers:
        setattr(handler, "handleError", _leaver(handler))  # noqa: B010 - mypy lets no method be replaced


def _leaver(handler: logging.Handler) -> Callable[[logging.LogRecord], None]:
    usual = handler.handleError

    def leave(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            usual(record)
            return
        root = logging.getLogger()
        # a new list, as the old one is being gone through, and the handler behind this one would be left out
        root.handlers = [other for other in root.handlers if other is not handler]
        where = getattr(handler, "baseFilename", "the log")
        log.warning("%s can't be written (%s); going on without", where, error.strerror or error)

    return leave
