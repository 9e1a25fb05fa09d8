"""Download large files with pooch, and resume interrupted downloads, which pooch's own downloaders can't do."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from onestroke.errors import UserError
from onestroke.packages import require

DELAYS: tuple[float, ...] = (1, 2, 4, 8, 16)  # seconds between retries; starts over after progress
TIMEOUT = 30.0  # seconds without data before a connection is dropped
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # HTTP status codes that are worth a retry
_BLOCK = 1 << 16


def fetch(url: str, path: Path, md5: str | None = None, size: int | None = None) -> None:
    """Download a file unless it exists; one with another `md5` is downloaded again.

    Data is written to `<path>.part` until it is complete, so `path` is never a partial file.

    Args:
        url: of the file.
        path: where it is saved.
        md5: expected MD5 checksum in hexadecimal digits, or None.
        size: expected length in bytes, or None.

    Raises:
        UserError: pooch is missing, the network or the server fails, the disk has too little space, or the file does
            not match `md5` or `size`; it is deleted then.
    """
    pooch, requests = require("pooch", "coco"), require("requests", "coco")
    pooch.get_logger().setLevel("WARNING")
    part = path.with_name(path.name + ".part")
    by_other_means = f"so check the address, go online, or save the file as {path} by other means"
    resuming = Resuming(part, size)
    try:
        pooch.retrieve(url, f"md5:{md5}" if md5 else None, path.name, path.parent, downloader=resuming)
    except ValueError as error:
        if resuming.answered and not isinstance(error, requests.RequestException):  # some are ValueErrors
            part.unlink(missing_ok=True)
            mismatch = str(error).partition(". Deleted")[0]
            raise UserError(
                f"the file from {url} was deleted, so run again or check the address: {mismatch}"
            ) from error
        raise UserError(f"cannot download {url}: it is no valid address ({error})") from error
    except requests.HTTPError as error:
        refusal = f"{error.response.status_code} ({error.response.reason})"
        raise UserError(f"cannot download {url}: the server answers {refusal}, {by_other_means}") from error
    except requests.RequestException as error:
        kept = (
            f", and run again to go on with the {part.stat().st_size:,} bytes that are there" if part.exists() else ""
        )
        raise UserError(f"cannot download {url} ({_innermost_message(error)}), {by_other_means}{kept}") from error
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}): mend that, and run again to go on"
        ) from error
    part.unlink(missing_ok=True)


class Resuming:
    """A downloader for pooch that resumes the file `part` with HTTP range requests.

    size: expected length in bytes, or None.
    """

    def __init__(self, part: Path, size: int | None = None) -> None:
        self.part, self.size = part, size
        self.answered = False  # whether the server has answered; if so, later connection errors are retried

    def __call__(self, url: str, output: str, _: object) -> None:
        """Download to `part`, retrying as long as tries make progress, then link or move it to `output`."""
        requests = require("requests", "coco")
        failures, best = 0, self.have()
        while True:
            try:
                self.resume(url)
                break
            except requests.RequestException as error:
                if self.have() > best:
                    failures, best = 0, self.have()
                refused = isinstance(error, requests.HTTPError) and error.response.status_code not in _BUSY
                if refused or not self.answered or failures == len(DELAYS):
                    raise
                time.sleep(DELAYS[failures])
                failures += 1
        # pooch removes `output` if its check is interrupted; with a hard link, `part` still has the data then
        with suppress(OSError):
            os.unlink(output)
            os.link(self.part, output)
            return
        os.replace(self.part, output)

    def have(self) -> int:
        """The number of bytes in `part`."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def resume(self, url: str) -> None:
        """Request the missing bytes once; a server that ignores ranges sends the whole file again."""
        requests = require("requests", "coco")
        have = self.have()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            self.answered = True
            sent = answer.headers.get("Content-Range", "")
            if answer.status_code == 416 and sent == f"bytes */{have}":
                return  # the file was complete
            if answer.status_code == 416 or (answer.status_code == 206 and not sent.startswith(f"bytes {have}-")):
                self.part.unlink()
                raise requests.ConnectionError("the server has other bytes than those asked for")
            answer.raise_for_status()
            if answer.status_code != 206:
                have = 0
            length = answer.headers.get("Content-Length", "")
            total = have + int(length) if length.isdigit() else None
            self.check(url, have, total)
            with self.part.open("ab" if have else "wb") as file, _bar() as bar:
                task = bar.add_task(self.part.stem, total=total, completed=have)
                for block in answer.iter_content(_BLOCK):
                    file.write(block)
                    bar.advance(task, len(block))
        if total is not None and self.have() < total:
            raise requests.ConnectionError("the connection closed early")

    def check(self, url: str, have: int, total: int | None) -> None:
        """Raise a UserError before the body is read if its size is unexpected, or the disk has too little space."""
        if total is not None and self.size not in (None, total):
            self.part.unlink(missing_ok=True)
            raise UserError(f"{url} has {total:,} bytes, not {self.size:,}, so check the address")
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - have > free:
            raise UserError(
                f"cannot download {url}: {self.part.parent} has {free / 1e9:.1f} GB free, not the "
                f"{(total - have) / 1e9:.1f} GB that are needed, so make room or choose another folder"
            )


def _bar() -> Progress:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True))


def _innermost_message(error: BaseException) -> str:
    """The message of the innermost exception, which requests and urllib3 wrap."""
    while inner := next((e for e in (error.__cause__, error.__context__) if e is not None), None):
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
