"""Write files atomically, check that they can be written, and find the cache folder."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onestroke.errors import UserError

_ADVICE = {
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "make its folder first",
    errno.ENOSPC: "free some space or write elsewhere",
    errno.EDQUOT: "free some space or write elsewhere",
    errno.EFBIG: "write to a disk that takes larger files",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def home(path: str) -> str:
    """Expand a leading `~`, which a shell leaves alone in `key=~/path`."""
    return os.path.expanduser(path)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Context manager: yield a temporary file that is renamed to `path` if the block succeeds.

    The temporary file is an empty hidden file in the folder of `path`, which must exist. It has the suffix of `path`
    and the permissions of any new file. After the block it is synced to disk and renamed. If `path` is a symbolic link,
    the link is replaced and its target is not changed; links among the parent folders are followed. On any exception
    the temporary file is removed and an existing `path` is left unchanged.

    Raises:
        UserError: `path` is a folder or a device, or an OSError was raised in the block or by the renaming.
    """
    try:
        if path.is_dir():
            raise UserError(f"cannot write '{path}': it is a folder; add a file name")
        # Renaming onto a device such as /dev/null would replace the device.
        if not path.is_symlink() and path.exists() and not path.is_file():
            raise UserError(f"cannot write '{path}': it is not a regular file; choose another name")
        temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
        # os.open respects the umask and the folder's default ACL; tempfile always sets 0600.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "choose a place that you may write to")
        raise UserError(f"cannot write '{path}': {error.strerror or error}; {advice}") from error


@contextmanager
def holding(content: bytes) -> Iterator[Path]:
    """Context manager: yield a temporary file with this content, for what takes paths alone.

    Raises:
        UserError: it can't be written.
    """
    path = None
    try:
        try:
            handle, name = tempfile.mkstemp(prefix="onestroke-")
            path = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
        except OSError as error:
            where = tempfile.gettempdir()
            raise UserError(f"cannot write to {where}: {error.strerror or error}; TMPDIR= names another") from error
        yield path
    finally:
        if path is not None:
            with suppress(OSError):
                path.unlink()


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if they don't exist.

    Raises:
        UserError: the folder can't be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't make the folder {folder}: {error.strerror}") from error


class _Cancelled(Exception):
    """Raised to leave `atomic` without writing the file."""


def check_free(out: Path, overwrite: bool) -> None:
    """Check that nothing is at `out` yet, not even a link that leads nowhere, unless it may be replaced.

    Raises:
        UserError: something is.
    """
    if os.path.lexists(out) and not overwrite:
        raise UserError(f"out={out} is there already: choose another name, or add overwrite=true")


def check_writable(path: Path) -> None:
    """Check that a file can be written at `path`, by trying; leaves neither the file nor new folders behind.

    Raises:
        UserError: it can't be written.
    """
    missing = [folder for folder in path.parents if not os.path.exists(folder)]
    try:
        make_folder(path.parent)
        with suppress(_Cancelled), atomic(path):
            with suppress(FileNotFoundError):
                path.lstat()  # fails if the name is too long, which the temporary name doesn't show
            raise _Cancelled
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def user_cache() -> Path:
    """The cache folder, safe to delete: `onestroke` below XDG_CACHE_HOME, or below ~/.cache if that is not set."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "onestroke"
