"""Log files may fail, for example on a full disk: that is reported once, and the training continues without them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from onestroke.errors import UserError
from onestroke.files import atomic

log = logging.getLogger(__name__)


def write_config(path: Path, text: str) -> None:
    """Write a run's config beside its events, for people to read; a resumed run reads that of the resume file."""
    try:
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except UserError as error:
        log.warning("%s; going on without", error)


def survive_log_failures() -> None:
    """Remove handlers of the root logger that can't write any more, instead of a traceback for each line."""
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
