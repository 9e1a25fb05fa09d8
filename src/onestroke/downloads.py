"""Downloads that go on where they broke off, and that are checked before they are used."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import NoReturn
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from rich import progress
from rich.console import Console

from onestroke.errors import UserError

if sys.platform != "win32":
    import fcntl

BLOCK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte after which a connection counts as dropped
DELAYS: tuple[float, ...] = (1, 2, 4, 8, 16)  # seconds between tries; begun anew after each that got further
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers of a server that may well serve us in a moment
MEANINGS = {401: " (login needed)", 403: " (forbidden)", 404: " (not found)", 410: " (gone)"}

Show = Callable[[int, "int | None"], None]  # bytes that are here, bytes in all


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    quiet: bool = False,
) -> Path:
    """Download `url` to `path`, or go on with a download that was stopped, unless `path` is there already.

    The bytes are kept in `<path>.part` until all are there and match; `path` itself is never half a file.
    Several processes that fetch the same path take turns, and the later ones find it done.

    Args:
        url: http or https address.
        path: Where to put the file; its folders are made.
        sha256: Expected hash, or its first 8 or more characters (as torch hub puts them in file names).
        md5: Expected hash, for publishers that give no better one.
        size: Expected length in bytes.
        quiet: Show no progress bar.

    Returns:
        `path`.

    Raises:
        UserError: In one sentence, for no network, a refusing server, a full disk, or a file that does not
            match (which is deleted).
    """
    path = Path(path)
    _host(url)
    wanted = _wanted(sha256, md5)
    if path.is_dir():
        raise UserError(f"cannot download {url} to {path}: that is a folder, so name a file in it")
    with _told(path):
        # Looked at before the lock too, since a folder with the file in it may be read-only.
        if path.is_file() and not _mismatch(path, wanted, size):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if path.is_file() and not _mismatch(path, wanted, size):
                return path
            download = _Download(url, path, size, trusted=bool(wanted))
            with _bar(path.name, quiet) as show:
                download.run(show)
            if wrong := _mismatch(download.part, wanted, size):
                download.drop()
                raise UserError(f"what came from {url} {wrong}, and was deleted: run again, or check the address")
            os.replace(download.part, path)
            download.drop()
    return path


def verify(path: Path, sha256: str | None = None, md5: str | None = None) -> bool:
    """Whether `path` is a file that has every hash given (`sha256` may be its first 8 or more characters).

    Raises:
        UserError: If a hash given cannot be one, or the file cannot be read.
    """
    path, wanted = Path(path), _wanted(sha256, md5)
    with _told(path):
        return path.is_file() and not _mismatch(path, wanted, None)


class _Dropped(Exception):
    """A try that failed in a way that another try may mend."""


class _Download:
    """`<path>.part`, with a note beside it of which state of the remote file its bytes come from."""

    def __init__(self, url: str, path: Path, size: int | None, trusted: bool) -> None:
        self.url, self.path, self.size = url, path, size
        self.part = path.with_name(path.name + ".part")
        self.note = path.with_name(path.name + ".part.json")
        self.met = False  # whether the server has answered, so that not reaching it now may pass
        # Without a note of this address, only a checksum at the end tells whether the bytes belong together.
        if not trusted and not self.validator():
            self.drop()

    def have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def validator(self) -> str | None:
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return str(note["validator"]) if note["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def run(self, show: Show) -> None:
        """Fill the part in as many tries as it takes, as long as they get further."""
        failures, best = 0, self.have()
        while True:
            try:
                answer = self.ask()
                if answer is not None:
                    with answer:
                        self.receive(answer, show)
                return
            except _Dropped as drop:
                self.met = True
                if self.have() > best:
                    failures, best = 0, self.have()
                if failures == len(DELAYS):
                    raise UserError(
                        f"the download of {self.url} kept breaking off ({drop}), so run again later to go on "
                        f"with the {self.have():,} bytes that are there"
                    ) from drop
                time.sleep(DELAYS[failures])
                failures += 1

    def ask(self) -> HTTPResponse | None:
        """Ask for the bytes that are missing; None if there are none."""
        headers = {"User-Agent": "onestroke", "Accept-Encoding": "identity"}
        if have := self.have():
            headers["Range"] = f"bytes={have}-"
            if validator := self.validator():
                headers["If-Range"] = validator
        opener = request.build_opener(_NoFtp)
        try:
            answer: HTTPResponse = opener.open(request.Request(self.url, headers=headers), timeout=TIMEOUT)
            return answer
        except HTTPError as error:
            error.close()
            if error.code == 416 and have and error.headers.get("Content-Range", "") == f"bytes */{have}":
                return None
            raise self.refusal(error.code) from error
        except URLError as error:
            if self.met:
                raise _Dropped(_reason(error)) from error
            raise UserError(
                f"cannot download {self.url}: {_host(self.url)} cannot be reached ({_reason(error)}), so go "
                f"online or save the file as {self.path} by other means"
            ) from error
        except (HTTPException, OSError) as error:
            raise _Dropped(_reason(error)) from error

    def refusal(self, code: int) -> Exception:
        if code == 416 and self.have():
            self.drop()
            return _Dropped("the file there is another one now")
        if code in PASSING:
            return _Dropped(f"the server answers {code}")
        return UserError(
            f"cannot download {self.url}: the server answers {code}{MEANINGS.get(code, '')}, so check the "
            f"address or save the file as {self.path} by other means"
        )

    def receive(self, answer: HTTPResponse, show: Show) -> None:
        """Append the body of one answer to the part, or start it anew if the answer is the whole file."""
        if answer.status == 206 and not self.continues(answer):
            self.drop()
            raise _Dropped("the server sent other bytes than asked for")
        total = _total(answer)
        if self.size is not None and total not in (None, self.size):
            self.drop()
            raise UserError(f"{self.url} has {total:,} bytes, not {self.size:,}, so check the address")
        if answer.status != 206:
            self.begin(answer)
        have = self.have()
        free = shutil.disk_usage(self.path.parent).free
        if total is not None and total - have > free:
            raise UserError(
                f"cannot download {self.url}: {self.path.parent} has {free / 1e9:.1f} GB free, not the "
                f"{(total - have) / 1e9:.1f} GB that are needed, so make room or choose another folder"
            )
        with self.part.open("ab") as file:
            show(have, total)
            while block := _read(answer):
                file.write(block)
                have += len(block)
                show(have, total)
        if total is not None and have < total:
            raise _Dropped("the connection closed early")

    def continues(self, answer: HTTPResponse) -> bool:
        """Whether a partial answer goes on from the end of the part, and is of the same state of the file."""
        tags = {answer.headers.get("ETag"), answer.headers.get("Last-Modified")} - {None}
        validator = self.validator()
        same = not tags or validator is None or validator in tags
        return same and answer.headers.get("Content-Range", "").startswith(f"bytes {self.have()}-")

    def begin(self, answer: HTTPResponse) -> None:
        self.drop()
        self.part.touch()
        etag = answer.headers.get("ETag")
        # RFC 9110 forbids weak tags in If-Range: they do not promise the same bytes.
        strong = etag if etag and not etag.startswith("W/") else None
        if validator := strong or answer.headers.get("Last-Modified"):
            self.note.write_text(json.dumps({"url": self.url, "validator": validator}), encoding="utf-8")


def _total(answer: HTTPResponse) -> int | None:
    """Length of the whole remote file, where the server tells."""
    if answer.status == 206:
        length = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _read(answer: HTTPResponse) -> bytes:
    # read1 gives what has come so far, so that a break costs none of it.
    try:
        return answer.read1(BLOCK)
    except (HTTPException, OSError) as error:
        raise _Dropped(_reason(error)) from error


class _NoFtp(request.FTPHandler):
    """In place of the stock one, to which a redirect may lead."""

    def ftp_open(self, req: request.Request) -> NoReturn:
        raise URLError("it leads to ftp")


def _host(url: str) -> str:
    """The host in an address, which is told to be invalid here and not by a library halfway."""
    try:
        parts = urlsplit(url)
        # `port` raises for what is no number; http.client, late, for characters beyond printable ASCII.
        sound = parts.port != 0 and re.fullmatch(r"[!-~]+", url)
        if sound and parts.scheme in ("http", "https") and parts.hostname:
            return parts.hostname
    except ValueError:
        pass
    raise UserError(f"cannot download {url!r}: no valid address that begins with http:// or https://")


def _reason(error: BaseException) -> str:
    inner = error.reason if isinstance(error, URLError) else error
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(inner) or type(inner).__name__


def _wanted(sha256: str | None, md5: str | None) -> list[tuple[str, str]]:
    """The hashes given as (kind, lower-case start of the hash)."""
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise UserError(f"sha256 '{sha256}' cannot be one: give 8 to 64 hexadecimal characters")
    if md5 is not None and not re.fullmatch(r"[0-9a-fA-F]{32}", md5):
        raise UserError(f"md5 '{md5}' cannot be one: give 32 hexadecimal characters")
    return [(kind, want.lower()) for kind, want in (("sha256", sha256), ("md5", md5)) if want]


def _mismatch(path: Path, wanted: list[tuple[str, str]], size: int | None) -> str:
    """How the file differs from what is wanted; empty if it does not."""
    length = path.stat().st_size
    if size not in (None, length):
        return f"has {length:,} bytes, not {size:,}"
    for kind, want in wanted:
        # md5 guards against damage here, not malice: without the flag, FIPS systems refuse it.
        digest = hashlib.new(kind, usedforsecurity=False)
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        if not digest.hexdigest().startswith(want):
            return f"has {kind} {digest.hexdigest()[:12]}…, not {want[:12]}…"
    return ""


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell trouble with the disk in one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"no room left for {path}, so free some and run again to go on") from error
        raise UserError(f"cannot use {path} ({error.strerror or error}), so choose another place") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time download `path`; the others wait."""
    if sys.platform == "win32":
        yield
        return
    lock = path.with_name(path.name + ".lock")
    while True:
        file = lock.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had the lock has removed its name; another process may hold a new file of that name.
            if os.path.samestat(lock.stat(), os.fstat(file.fileno())):
                break
        except FileNotFoundError:
            pass
        except OSError:  # some network file systems have no locks
            break
        file.close()
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        file.close()


@contextmanager
def _bar(name: str, quiet: bool) -> Iterator[Show]:
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task(name, total=None, visible=False)
        yield lambda have, total: bar.update(task, completed=have, total=total, visible=True)
