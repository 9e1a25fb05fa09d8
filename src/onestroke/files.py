"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import secrets
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
    """A path with the home folder in place of a leading `~`, which no shell expands behind a `=`."""
    return os.path.expanduser(path)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Lend a temporary file that takes the name `path` once the block has ended well.

    The temporary file stands in the folder of `path` (which is not made here), is empty, hidden, and has the
    same suffix and the permission bits of any new file. At the end of the block it is synced to disk and
    renamed onto `path`. A link at `path` is replaced itself, and what it leads to is never touched; links among the
    folders above are followed. When anything fails the temporary file is removed and an older `path` stays whole.

    Raises:
        UserError: `path` is a folder or a device, or the block or the renaming raised an OSError.
    """
    try:
        if path.is_dir():
            raise UserError(f"cannot write '{path}': it is a folder; add a file name")
        # Renaming onto /dev/null and its like would replace the device itself.
        if not path.is_symlink() and path.exists() and not path.is_file():
            raise UserError(f"cannot write '{path}': it is not a regular file; choose another name")
        temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
        # os.open heeds the umask (and the folder's default ACL), which tempfile's 0600 doesn't.
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


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they aren't there.

    Raises:
        UserError: where it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't make the folder {folder}: {error.strerror}") from error


class _Tried(Exception):
    """Leaves `atomic` with nothing written."""


def check_writable(path: Path) -> None:
    """See whether a file could be written there by trying; nothing stays behind, neither it nor its folder.

    Raises:
        UserError: where it can't.
    """
    missing = [folder for folder in path.parents if not os.path.exists(folder)]
    try:
        make_folder(path.parent)
        with suppress(_Tried), atomic(path):
            with suppress(FileNotFoundError):
                path.lstat()  # a name that is too long: the temporary file has another
            raise _Tried
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def user_cache() -> Path:
    """Where things are kept that can be made again: `onestroke` under XDG_CACHE_HOME, or else under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "onestroke"
