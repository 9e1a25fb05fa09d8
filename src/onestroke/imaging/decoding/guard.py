"""Turn what Pillow and its libraries raise, warn of or print into one sentence with the picture's name."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from PIL import Image

from onestroke.devices import NO_MEMORY
from onestroke.errors import UserError

_LONGEST = 160  # characters that are quoted of a library's message
_UNSUPPORTED = ("nsupported", "not supported", "unknown raw mode")


@contextmanager
def guarded(name: str, quiet: bool = False) -> Iterator[None]:
    """Context manager: turn any exception into a UserError, and the warnings of libraries into one PictureWarning.

    Args:
        name: of the picture, for messages.
        quiet: drop the warnings of libraries.

    Raises:
        UserError: as raised inside, or one that says that the picture is damaged, unsupported or too large.
    """
    with _warnings.caught() as found:
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise damaged(name, error, _others(found)) from error
    _tell(name, found, quiet)


def damaged(name: str, error: Exception, said: list[str] | None = None) -> UserError:
    """The UserError for an exception of a decoder, which can be of any class; `said` are the warnings it gave."""
    detail = short(": ".join((str(error) or type(error).__name__, *(said or [])[:1])))
    no_memory = isinstance(error, MemoryError) or any(words in str(error).lower() for words in NO_MEMORY)
    if no_memory or isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return UserError(f"{name} is too large ({detail}); make it smaller first")
    if isinstance(error, NotImplementedError) or any(words in str(error) for words in _UNSUPPORTED):
        return UserError(f"{name} is of a sort that can't be read ({detail}); convert it to another first")
    return UserError(f"{name} is damaged or cut short ({detail}); replace it with a whole copy")


def short(text: str) -> str:
    """A library's message on one line, without control characters, cut after 160 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " ..."


class PictureWarning(UserWarning):
    """A complete sentence about a picture that includes its name."""


class FramesWarning(PictureWarning):
    """A file has several frames or pages, of which one is taken."""


def _others(found: list[Warning | str]) -> list[str]:
    return list(dict.fromkeys(short(str(message)) for message in found if not isinstance(message, PictureWarning)))


def _tell(name: str, found: list[Warning | str], quiet: bool) -> None:
    ours = [message for message in found if isinstance(message, PictureWarning)]
    others = _others(found)
    if others and not quiet:
        more = f", and {len(others) - 1} more like it" if len(others) > 1 else ""
        ours.append(PictureWarning(f"{name} was read, but is not quite in order ({others[0]}{more})"))
    for message in {str(message): message for message in ours}.values():
        warnings.warn(message, stacklevel=5)


@cache
def _frame_warnings() -> set[str]:
    """The frames warning that this process has given; empty before the first."""
    return set()


def warn_frames_once(message: str) -> None:
    """Give a FramesWarning for the first such file of the process only, since training reads thousands of files."""
    if not _frame_warnings():
        _frame_warnings().add(message)
        warnings.warn(message, FramesWarning, stacklevel=3)


class _Caught:
    """Collects warnings per thread, which `warnings.catch_warnings` can't do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.own = threading.local()
        self.before: warnings.catch_warnings[None] | None = None

    @contextmanager
    def caught(self) -> Iterator[list[Warning | str]]:
        """Context manager: yield the list that receives this thread's warnings; other threads are not affected."""
        outer = getattr(self.own, "found", None)
        found: list[Warning | str] = []
        self.own.found = found
        with self.lock:
            if self.users == 0:
                self._install()
            self.users += 1
        try:
            yield found
        finally:
            with self.lock:
                self.users -= 1
                if self.users == 0 and self.before is not None:
                    self.before.__exit__(None, None, None)
            self.own.found = outer

    def _install(self) -> None:
        self.before = warnings.catch_warnings()
        self.before.__enter__()
        elsewhere = warnings.showwarning

        def show(message: Warning | str, *rest: object, **more: object) -> None:
            found = getattr(self.own, "found", None)
            if found is None:
                elsewhere(message, *rest, **more)  # type: ignore[arg-type]
            else:
                found.append(message)

        warnings.showwarning = show
        warnings.simplefilter("always")


_warnings = _Caught()
_printing = threading.Lock()


@contextmanager
def printing_caught() -> Iterator[None]:
    """Context manager: turn what C libraries print on stderr into warnings, which `guarded` collects.

    All threads of a process share stderr, so lines that another thread prints in this time become warnings too.
    """
    with _printing, tempfile.TemporaryFile() as file:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError, AttributeError):  # there is no stderr
            yield
            return
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file.read().decode(errors="replace").splitlines():
                warnings.warn(line, stacklevel=2)
