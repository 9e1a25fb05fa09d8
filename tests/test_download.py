"""Downloads that go on where they broke off, and fetch_coco.py, which unpacks what they bring."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from onestroke.data import download
from onestroke.data.download import fetch
from onestroke.errors import UserError
from tests.commands import command

BODY = bytes(i * i % 251 for i in range(1_000_003))
BLOCK = 1 << 16  # what is kept of a download that breaks off is a multiple of this
MD5 = hashlib.md5(BODY).hexdigest()


@dataclass
class Remote:
    """A file on a server whose manners can be set; `log` has (Range, status, bytes sent) per request."""

    body: bytes = BODY
    ranges: bool = True
    drop_after: list[int] = field(default_factory=list)  # bytes sent before each answer breaks off
    silent: bool = False  # whether an answer that breaks off says nothing more, until the next one is asked for
    asked_again: threading.Event = field(default_factory=threading.Event)
    statuses: list[int] = field(default_factory=list)  # answers to give before the good ones
    location: str = ""
    length: bool = True
    log: list[tuple[str | None, int, int]] = field(default_factory=list)
    url: str = ""
    answered: threading.Event = field(default_factory=threading.Event)  # there is a line in the log

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers["Range"]
        if self.log:
            self.asked_again.set()
        if self.statuses:
            return self.refuse(handler, asked, self.statuses.pop(0))
        start = 0
        if asked and self.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.body):
                return self.refuse(handler, asked, 416)
        sent = self.body[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        if self.length:
            handler.send_header("Content-Length", str(len(sent)))
        handler.end_headers()
        breaks = bool(self.drop_after)
        if breaks:
            sent = sent[: self.drop_after.pop(0)]
        self.log.append((asked, 206 if start else 200, len(sent)))
        self.answered.set()
        handler.wfile.write(sent)
        if breaks and self.silent:
            self.asked_again.wait(600)

    def refuse(self, handler: BaseHTTPRequestHandler, asked: str | None, status: int) -> None:
        self.log.append((asked, status, 0))
        handler.send_response(status)
        if status == 416:
            handler.send_header("Content-Range", f"bytes */{len(self.body)}")
        if self.location:
            handler.send_header("Location", self.location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@pytest.fixture(autouse=True)
def direct_and_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "DELAYS", (0, 0, 0))


@pytest.fixture
def remote() -> Iterator[Remote]:
    served = Remote()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}/file.bin"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


def get(remote: Remote, folder: Path, md5: str | None = None, size: int | None = None) -> Path:
    path = folder / "new" / "file.bin"
    fetch(remote.url, path, md5, size)
    return path


def stopped(remote: Remote, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a download behind that broke off for good."""
    remote.drop_after = [6 * BLOCK]
    with monkeypatch.context() as patch:
        patch.setattr(download, "DELAYS", ())
        with pytest.raises(UserError, match=r"run again to go on with the 393,216 bytes"):
            get(remote, folder)
    remote.log.clear()
    assert os.listdir(folder / "new") == ["file.bin.part"]


def failure(remote: Remote, folder: Path, md5: str | None = None, size: int | None = None) -> str:
    with pytest.raises(UserError) as error:
        get(remote, folder, md5, size)
    message = str(error.value)
    assert "\n" not in message
    assert not (folder / "new" / "file.bin").exists()
    return message


def whole_and_alone(path: Path) -> None:
    assert path.read_bytes() == BODY
    assert os.listdir(path.parent) == [path.name]


def test_a_file_is_downloaded_in_one_request(remote: Remote, tmp_path: Path) -> None:
    whole_and_alone(get(remote, tmp_path, MD5, len(BODY)))
    assert remote.log == [(None, 200, len(BODY))]


def test_a_server_that_does_not_tell_the_length(remote: Remote, tmp_path: Path) -> None:
    remote.length = False
    whole_and_alone(get(remote, tmp_path, MD5))


def test_goes_on_at_once_after_a_drop(remote: Remote, tmp_path: Path) -> None:
    remote.drop_after = [8 * BLOCK, 2 * BLOCK]
    whole_and_alone(get(remote, tmp_path))
    assert remote.log == [
        (None, 200, 8 * BLOCK),
        (f"bytes={8 * BLOCK}-", 206, 2 * BLOCK),
        (f"bytes={10 * BLOCK}-", 206, len(BODY) - 10 * BLOCK),
    ]


def test_keeps_what_came_before_a_silence(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 2)  # far more than this server takes for anything else
    remote.drop_after, remote.silent = [2 * BLOCK], True
    whole_and_alone(get(remote, tmp_path))
    assert remote.log[1] == (f"bytes={2 * BLOCK}-", 206, len(BODY) - 2 * BLOCK)


def test_tries_are_counted_anew_after_each_that_got_further(remote: Remote, tmp_path: Path) -> None:
    remote.drop_after = [100_000] * 8
    whole_and_alone(get(remote, tmp_path))
    assert len(remote.log) == 9


def test_goes_on_in_a_later_run(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(remote, tmp_path, monkeypatch)
    whole_and_alone(get(remote, tmp_path))
    assert remote.log == [(f"bytes={6 * BLOCK}-", 206, len(BODY) - 6 * BLOCK)]


def test_starts_anew_where_the_server_ignores_ranges(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(remote, tmp_path, monkeypatch)
    remote.ranges = False
    whole_and_alone(get(remote, tmp_path))
    assert remote.log == [(f"bytes={6 * BLOCK}-", 200, len(BODY))]


def test_a_part_of_another_state_of_the_file_is_found_by_the_checksum(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.body = bytes(len(BODY))
    stopped(remote, tmp_path, monkeypatch)
    remote.body = BODY
    assert "was deleted, so run again" in failure(remote, tmp_path, MD5)
    assert os.listdir(tmp_path / "new") == []
    whole_and_alone(get(remote, tmp_path, MD5))


def test_a_part_that_is_whole_already(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file.bin.part").write_bytes(BODY)
    whole_and_alone(get(remote, tmp_path, MD5))
    assert remote.log == [(f"bytes={len(BODY)}-", 416, 0)]


def test_a_part_that_is_longer_than_the_file(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file.bin.part").write_bytes(BODY + b"more")
    whole_and_alone(get(remote, tmp_path, MD5))
    assert [status for _, status, _ in remote.log] == [416, 200]


def test_what_was_downloaded_stays_when_its_check_is_interrupted(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pooch.core.hash_matches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get(remote, tmp_path, MD5)
    assert (tmp_path / "new" / "file.bin.part").read_bytes() == BODY
    whole_and_alone(get(remote, tmp_path, MD5))
    assert [status for _, status, _ in remote.log] == [200, 416]


def test_a_file_of_another_checksum_is_deleted_and_told(remote: Remote, tmp_path: Path) -> None:
    message = failure(remote, tmp_path, "0" * 32)
    assert MD5 in message and "0" * 32 in message and "deleted" in message
    assert os.listdir(tmp_path / "new") == []


def test_wrong_size_is_told_before_it_is_downloaded(remote: Remote, tmp_path: Path) -> None:
    assert "1,000,003 bytes, not 7" in failure(remote, tmp_path, size=7)
    assert os.listdir(tmp_path / "new") == []


def test_a_file_that_is_there_is_not_downloaded_again(remote: Remote, tmp_path: Path) -> None:
    get(remote, tmp_path)
    remote.log.clear()
    for md5 in (None, MD5, MD5.upper()):
        get(remote, tmp_path, md5)
    assert remote.log == []


def test_a_file_that_is_there_but_wrong_is_replaced(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file.bin").write_bytes(b"half a file")
    whole_and_alone(get(remote, tmp_path, MD5))


@pytest.mark.parametrize("status, words", [(404, "404 (Not Found)"), (403, "403 (Forbidden)"), (418, "418")])
def test_a_server_that_refuses_is_asked_once_and_told(remote: Remote, tmp_path: Path, status: int, words: str) -> None:
    remote.statuses = [status]
    message = failure(remote, tmp_path)
    assert words in message and remote.url in message and "file.bin by other means" in message
    assert len(remote.log) == 1


def test_a_busy_server_is_asked_again(remote: Remote, tmp_path: Path) -> None:
    remote.statuses = [503, 429]
    whole_and_alone(get(remote, tmp_path))
    remote.statuses = [503] * 9
    (tmp_path / "new" / "file.bin").unlink()
    assert "503" in failure(remote, tmp_path)
    assert len(remote.log) == 3 + 4


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        remote = Remote(url=f"http://127.0.0.1:{unused.getsockname()[1]}/file.bin")
        message = failure(remote, tmp_path)
    assert f"cannot download {remote.url} (Connection refused), so check the address, go online" in message


def test_a_name_that_no_server_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("no_proxy", "*")
    message = failure(Remote(url="https://photos.invalid/file.bin"), tmp_path)
    assert "photos.invalid/file.bin (Name or service not known)" in message


def test_a_full_disk_is_told_before_and_while_a_file_is_downloaded(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 1000))
        assert "0.0 GB free" in failure(remote, tmp_path)
    assert remote.answered.wait(600)  # the server may write its log after we have hung up
    assert remote.log[0][1] == 200

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # As if the disk filled up while others write to it, too.
    monkeypatch.setattr(download.Resuming, "check", full)
    assert re.search(r"cannot write .*file\.bin \(No space left on device\)", failure(remote, tmp_path))


def test_an_address_that_is_not_http_is_refused(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    given = (
        f"file://{tmp_path}/secret",
        "ftp://127.0.0.1/x",
        "no address",
        "http://",
        "http://[::1/x",
        "http://h:p/x",
        f"http://{'a' * 70}.com/",
    )
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file.bin.part").write_bytes(BODY[:9])
    for url in given:
        message = failure(Remote(url=url), tmp_path)
        assert url in message and "no valid address" in message
    assert (tmp_path / "new" / "file.bin.part").read_bytes() == BODY[:9], "what was there is not lost by a typing error"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        fetch(remote.url, tmp_path / "file" / "below")
    assert remote.log == []


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/hostname"])
def test_redirects_lead_to_http_only(remote: Remote, tmp_path: Path, location: str) -> None:
    remote.statuses, remote.location = [302], location
    failure(remote, tmp_path)


def test_a_redirect_is_followed(remote: Remote, tmp_path: Path) -> None:
    remote.statuses, remote.location = [302], remote.url + "?elsewhere"
    whole_and_alone(get(remote, tmp_path))


def test_progress_is_shown(remote: Remote, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    get(remote, tmp_path)
    told = capfd.readouterr()
    assert told.out == "" and "file.bin" in told.err and "1.0/1.0 MB" in told.err


def test_without_pooch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert "pip install 'onestroke[coco]'" in failure(Remote(url="http://127.0.0.1/x"), tmp_path)


def coco(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python scripts/fetch_coco.py`."""
    return command("scripts/fetch_coco.py", *arguments, cwd=Path.cwd())


def zipped(names: dict[str, bytes], link: str = "") -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
        if link:
            entry = zipfile.ZipInfo(link)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, "/etc")
    return memory.getvalue()


def jpegs(count: int, split: str = "train2017") -> dict[str, bytes]:
    photos = {f"{split}/": b""}
    for index in range(count):
        memory = io.BytesIO()
        Image.new("RGB", (80, 64), (index * 20, 90, 90)).save(memory, "JPEG")
        photos[f"{split}/{index:012d}.jpg"] = memory.getvalue()
    return photos


def test_fetch_coco_twice(remote: Remote, tmp_path: Path) -> None:
    photos = jpegs(6)
    remote.body = zipped(photos)
    root = tmp_path / "coco"
    given = f"root={root}", f"url={remote.url}", f"md5={hashlib.md5(remote.body).hexdigest()}"
    first = coco(*given, "keep_zip=true")
    assert first.returncode == 0, first.stderr
    assert f"python train.py data=coco data.root={root}" in first.stdout
    assert "6 photos" in first.stdout
    assert (root / "train2017.zip").read_bytes() == remote.body
    assert {f"train2017/{p.name}": p.read_bytes() for p in (root / "train2017").iterdir()} == {
        name: content for name, content in photos.items() if content
    }
    second = coco(*given)
    assert second.returncode == 0 and second.stdout == first.stdout
    assert len(remote.log) == 1
    assert not (root / "train2017.zip").exists()
    third = coco(*given)
    assert third.returncode == 0 and third.stdout == first.stdout
    assert len(remote.log) == 1


def test_fetch_coco_goes_on_with_unpacking(remote: Remote, tmp_path: Path) -> None:
    photos = jpegs(6, "val2017")
    remote.body = zipped(photos)
    folder = tmp_path / "val2017"
    folder.mkdir()
    there, cut, *_ = (tmp_path / name for name, content in photos.items() if content)
    there.write_bytes(bytes(len(photos[f"val2017/{there.name}"])))
    cut.write_bytes(b"cut")
    (tmp_path / "train2017").mkdir()
    result = coco(f"root={tmp_path}", f"url={remote.url}", "split=val2017")
    assert result.returncode == 0, result.stderr
    assert set(there.read_bytes()) == {0}, "a file of the right size is not unpacked again"
    assert cut.read_bytes() == photos[f"val2017/{cut.name}"]
    assert len(list(folder.iterdir())) == 6
    assert f"data.root={tmp_path} data.val={folder}" in result.stdout


@pytest.mark.parametrize("name", ["train2017/../../slip.jpg", "/slip.jpg", "..\\slip.jpg", "C:/slip.jpg", "link"])
def test_fetch_coco_refuses_a_zip_that_leads_elsewhere(remote: Remote, tmp_path: Path, name: str) -> None:
    link = "train2017/away" if name == "link" else ""
    remote.body = zipped(jpegs(2) | ({} if link else {name: b"slip"}), link)
    root = tmp_path / "a" / "b"
    result = coco(f"root={root}", f"url={remote.url}")
    assert result.returncode == 2
    assert "outside of its folder" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not (root / "train2017").exists() and not list(tmp_path.rglob("slip*"))


def test_fetch_coco_tells_of_a_damaged_or_foreign_zip(remote: Remote, tmp_path: Path) -> None:
    whole = zipped(jpegs(3))
    for body, words in (
        (whole[:-30], "cannot be unpacked"),
        (whole.replace(b"JFIF", b"JFXX"), "Bad CRC-32"),
        (zipped(jpegs(3, "other")), "no folder train2017/"),
    ):
        remote.body = body
        root = tmp_path / str(len(remote.log))
        result = coco(f"root={root}", f"url={remote.url}")
        assert result.returncode == 2 and words in result.stderr and "Traceback" not in result.stderr
        assert not list(root.glob("train2017/*"))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["rot=/data"], "no setting 'rot': did you mean 'root'?"),
        ([], "root is missing"),
        (["root="], "root has no value"),
        (["root=/data", "split=train2014"], "did you mean 'train2017'"),
        (["root=/data", "keep_zip=maybe"], "true or false"),
        (["root=/data", "md5=" + "0" * 32], "md5= goes with url="),
        (["root=/data", "url=http://127.0.0.1/x", "md5=" + "xyz" * 5], "give 32 hexadecimal characters"),
    ],
)
def test_fetch_coco_names_mistakes_in_one_sentence(arguments: list[str], words: str) -> None:
    result = coco(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert words in result.stderr and result.stderr.count("\n") == 1


def test_fetch_coco_help() -> None:
    result = coco("--help")
    assert result.returncode == 0 and "keep_zip" in result.stdout and result.stderr == ""
