"""Shards as a source: which photos, in which order, from where, and what becomes of those that can't be read."""

from __future__ import annotations

import io
import logging
import pickle
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from safetensors.torch import load_file
from torch import Tensor

from onestroke import byte_ranges
from onestroke.cli.train import added
from onestroke.data.datamodule import PhotoBatches
from onestroke.data.draws import Unavailable
from onestroke.data.shard_index import SUFFIX, ShardIndex, beside, scan
from onestroke.data.shards import Shards, expanded
from onestroke.errors import UserError
from tests.commands import command, train
from tests.object_stores import bucket
from tests.running import composed, run, shallow
from tests.test_photos import flat, shown
from tests.test_resume import Kill, Killed, go_on, same

__all__ = ["bucket"]  # a fixture
CROP = 64


def tar(path: Path, members: dict[str, bytes]) -> Path:
    """A tar without an index, as any program makes one."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def pictures(folder: Path, first: int, count: int) -> dict[str, bytes]:
    """Photos of one colour each, which tells their number, by their names."""
    paths = [flat(folder / f"{i:03d}.jpg", i) for i in range(first, first + count)]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Three shards of 8, 7 and 5 photos, with what lies beside photos in a shard."""
    for i, (first, count) in enumerate(((0, 8), (8, 7), (15, 5))):
        more = {f"{first:03d}.json": b"{}", f"{first:03d}.cls": b"1"}
        tar(tmp_path / "shards" / f"s-{i}.tar", {**more, **pictures(tmp_path / "photos", first, count)})
    return str(tmp_path / "shards" / "s-{0..2}.tar")


def numbers(source: Shards, count: int, seed: int = 0, start: int = 0) -> list[int]:
    return [shown(source.sample(n, seed, CROP)[0]) for n in range(start, start + count)]


@pytest.mark.parametrize(
    "pattern", ["s3://a/b-{000..117}.tar", "{a,b}/{8..11}.tar", "x{3..1}", "plain.tar", "{one}", "a{00..1}{x,y,}z"]
)
def test_braces_stand_for_what_webdataset_takes_them_for(pattern: str) -> None:
    library = pytest.importorskip("braceexpand", reason="needs pip install 'onestroke[test]'")
    assert expanded(pattern) == list(library.braceexpand(pattern))


def test_every_photo_of_all_shards_once_an_epoch_mixed_anew(shards: str) -> None:
    source = Shards(shards, validation=0)
    first, second = numbers(source, 20), numbers(source, 20, start=20)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second and numbers(source, 20, seed=1) not in (first, second)
    assert len({number // 8 for number in first[:8]}) > 1, "mixed over shards"
    assert numbers(Shards(shards, validation=0), 5, start=13) == [*first[13:], *second][:5], "entered in the middle"
    copied = pickle.loads(pickle.dumps(source))
    assert numbers(copied, 3, start=4) == first[4:7]
    assert source.describe().startswith("shards: 20 photos in 3 shards, ")


def test_held_out_photos_are_never_trained_on(shards: str, tmp_path: Path) -> None:
    source = Shards(shards, validation=4)
    source.preflight()
    held = [shown(photo) for photo in source.held_out(CROP)]
    assert held == [2, 7, 12, 17]
    assert sorted(numbers(source, 16)) == sorted(set(range(20)) - set(held))
    flat(tmp_path / "val" / "a.png", 30)
    other = Shards(shards, val=str(tmp_path / "val"))
    other.preflight()
    assert [shown(photo) for photo in other.held_out(CROP)] == [30] and len(set(numbers(other, 20))) == 20


@pytest.mark.parametrize("workers", [0, 1])
def test_ranks_share_each_batch_and_together_have_what_one_has(shards: str, workers: int) -> None:
    def loaded(rank: int, processes: int, steps: int = 4) -> list[list[int]]:
        data = PhotoBatches(Shards(shards, validation=0), 4, CROP, 3, workers)
        data.trainer = type("Ranks", (), {"global_rank": rank, "world_size": processes})()
        batches = iter(data.train_dataloader())
        return [[shown(photo.numpy()) for photo in next(batches)["photos"]] for _ in range(steps)]

    one, two = loaded(0, 1), [loaded(rank, 2) for rank in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == one
    assert not {number for batch in two[0] for number in batch} & {number for batch in two[1] for number in batch}


def test_a_run_that_is_killed_and_resumed_equals_one_that_is_not(shards: str, alone: None, tmp_path: Path) -> None:
    config = shallow("loss=[content,gram]", "data=webdataset", f'data.urls="{shards}"', steps=4, save_every=2)
    whole = run({**config, "out": "whole.safetensors"}, tmp_path / "whole")
    with pytest.raises(Killed):
        run({**config, "out": "broken.safetensors"}, tmp_path / "broken", more=[Kill(3)])
    assert torch.load(tmp_path / "broken" / "last.ckpt", weights_only=True)["onestroke"]["step"] == 2
    path = go_on(tmp_path / "broken", "out=broken.safetensors")
    assert same(tmp_path / "whole", tmp_path / "broken")
    first, second = load_file(whole.path), load_file(path)
    assert all(torch.equal(first[name], second[name]) for name in first)


# --- what can't be read -----------------------------------------------------------------------------------


def test_a_damaged_photo_costs_itself_and_is_named(tmp_path: Path) -> None:
    members = pictures(tmp_path / "photos", 0, 8)
    members["003.jpg"] = members["003.jpg"][:200]
    members["004.jpg"] = b"no photo"
    source = Shards(str(tar(tmp_path / "a.tar", members)), validation=0)
    source.preflight()
    skipped = [line for n in range(8) for line in source.sample(n, 0, CROP)[1]]
    names = {line.split(": ")[0] for line in skipped}
    assert names == {f"{tmp_path / 'a.tar'}/003.jpg", f"{tmp_path / 'a.tar'}/004.jpg"}
    assert set(numbers(source, 8)) == {0, 1, 2, 5, 6, 7}


def test_a_damaged_header_costs_one_photo_and_a_cut_shard_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tar(tmp_path / "a.tar", pictures(tmp_path / "photos", 0, 20))
    content = bytearray(path.read_bytes())
    place = content.index(b"003.jpg")
    content[place : place + 512] = bytes(range(256)) * 2
    path.write_bytes(content[: content.index(b"017.jpg") + 600])
    source = Shards(str(path), validation=0)
    with caplog.at_level(logging.WARNING):
        source.preflight()
    said = [message for message in caplog.messages if "a.tar" in message]
    assert len(said) == 1 and "damaged, it is cut short; its other 16 photos are used" in said[0]
    assert sorted(numbers(source, 16)) == sorted(set(range(17)) - {3})


def test_a_shard_that_changed_since_its_index_was_made_is_scanned(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", pictures(tmp_path / "photos", 0, 8))
    index = scan(byte_ranges.ranged(str(path), "shards"), str(path))
    Path(beside(str(path))).write_text(index.encoded())
    assert sorted(numbers(Shards(str(path), validation=0), 8)) == list(range(8))
    tar(path, pictures(tmp_path / "photos", 8, 9))
    assert sorted(numbers(Shards(str(path), validation=0), 9)) == list(range(8, 17))


@pytest.mark.parametrize("spoil", [
    lambda text: text[:-9], lambda text: "[]", lambda text: text.replace('"format": 1', '"format": 2'),
    lambda text: re.sub(r'"starts": \[\d+', '"starts": [99999999', text),
    lambda text: re.sub(r'"lengths": \[\d+', '"lengths": [-5', text),
    lambda text: re.sub(r'"starts": \[\d+, ', '"starts": [', text),
    lambda text: re.sub(r'"starts": \[\d+', '"starts": ["x"', text),
    lambda text: re.sub(r'"starts": \[\d+', '"starts": [' + "9" * 40, text), lambda text: "[" * 100_000,
])  # fmt: skip
def test_an_index_is_checked_before_it_is_used(spoil: Callable[[str], str], tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", pictures(tmp_path / "photos", 0, 6))
    index = scan(byte_ranges.ranged(str(path), "shards"), str(path))
    spoiled = spoil(index.encoded())
    assert spoiled != index.encoded()
    assert ShardIndex.decoded(index.encoded().encode(), index.size) is not None
    assert ShardIndex.decoded(spoiled.encode(), index.size) is None
    Path(f"{path}{SUFFIX}").write_text(spoiled)
    assert sorted(numbers(Shards(str(path), validation=0), 6)) == list(range(6))


def test_only_regular_members_with_a_photos_name_are_read(tmp_path: Path) -> None:
    good = pictures(tmp_path / "photos", 0, 6)
    path = tar(tmp_path / "a.tar", {})
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind in (("l.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE), ("d.jpg", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name, content in {**good, "x.pkl": pickle.dumps(1), f"../../{'long' * 60}/e.jpg": good["000.jpg"]}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    before = set(tmp_path.rglob("*"))
    index = scan(byte_ranges.ranged(str(path), "shards"), str(path))
    assert [index.name(i)[-7:] for i in range(len(index))] == [*good, "g/e.jpg"]
    assert index.others == {".pkl": 1} and not index.damage
    assert sorted(numbers(Shards(str(path), validation=0), 7)) == [0, 0, 1, 2, 3, 4, 5]
    assert set(tmp_path.rglob("*")) == before and not (tmp_path.parent.parent / ("long" * 60)).exists()


def refused(source: Callable[[], Shards], *words: str) -> None:
    with pytest.raises(UserError) as error:
        source().preflight()
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_preflight_names_what_is_wrong(shards: str, tmp_path: Path) -> None:
    four = str(tar(tmp_path / "few.tar", pictures(tmp_path / "photos", 0, 4)))
    (tmp_path / "empty.tar").write_bytes(b"")
    (tmp_path / "text.tar").write_bytes(b"no tar" * 200)
    bad = tar(tmp_path / "bad.tar", {f"{i}.jpg": b"no photo" for i in range(9)})
    refused(lambda: Shards(""), "no shards are given", "data.urls=")
    refused(lambda: Shards([]), "no shards are given")
    refused(lambda: Shards(shards.replace("..2", "..4")), "s-3.tar", "No such file")
    refused(lambda: Shards(str(tmp_path)), "is a folder")
    refused(lambda: Shards(four), "few.tar", "have 4 photos", "5 or more")
    refused(lambda: Shards(str(tmp_path / "empty.tar")), "have 0 photos")
    refused(lambda: Shards(str(tmp_path / "text.tar")), "text.tar", "is no tar")
    refused(lambda: Shards(str(bad)), "fewer than 5 of 9", "cannot be read as a picture")
    refused(lambda: Shards(shards, validation=-1), "data.validation is -1")
    refused(lambda: Shards(shards, val=str(tmp_path / "gone")), "data.val=")
    refused(lambda: Shards("s3://key:secret@bucket/a.tar"), "password", "environment")
    refused(lambda: Shards("x{0..999999}.tar"), "more than 100,000")
    with tarfile.open(tmp_path / "z.tar", "w:gz") as archive:
        archive.add(four)
    refused(lambda: Shards(str(tmp_path / "z.tar")), "z.tar", "is compressed")


def test_an_empty_shard_among_others_is_told(shards: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "empty.tar").write_bytes(b"")
    source = Shards([str(tmp_path / "empty.tar"), shards], validation=0)
    with caplog.at_level(logging.INFO):
        source.preflight()
    assert f"{tmp_path / 'empty.tar'} has no photos" in caplog.messages
    assert "shards: members that are no photos by their names are left out: 3 .json, 3 .cls" in caplog.messages
    assert sorted(numbers(source, 20)) == list(range(20))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_is_gone_in_the_middle_ends_the_run(shards: str, tmp_path: Path, workers: int) -> None:
    source = Shards(shards, validation=0)
    source.preflight()
    (tmp_path / "shards" / "s-1.tar").unlink()
    with pytest.raises(Unavailable, match=r"s-1\.tar.*No such file.*resume="):
        numbers(source, 20)
    with pytest.raises(UserError, match=r"^\S+s-1\.tar' can't be reached: No such file.*resume=.*can be$"):
        for _, _ in zip(range(9), PhotoBatches(source, 4, CROP, 3, workers).train_dataloader(), strict=False):
            pass


class Loses(Callback):
    """Moves a shard away after a step."""

    def __init__(self, step: int, shard: Path) -> None:
        self.step, self.shard = step, shard

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if trainer.global_step >= self.step and self.shard.exists():
            self.shard.rename(self.shard.with_suffix(".away"))


def test_a_run_that_lost_a_shard_goes_on_as_if_it_had_not(shards: str, alone: None, tmp_path: Path) -> None:
    config = shallow("loss=[content,gram]", "data=webdataset", f'data.urls="{shards}"', steps=5, save_every=1)
    whole = run({**config, "out": "whole.safetensors"}, tmp_path / "whole")
    shard = tmp_path / "shards" / "s-0.tar"
    with pytest.raises(UserError, match=r"s-0\.tar' can't be reached"):
        run({**config, "out": "broken.safetensors"}, tmp_path / "broken", more=[Loses(2, shard)])
    shard.with_suffix(".away").rename(shard)
    path = go_on(tmp_path / "broken", "out=broken.safetensors")
    first, second = load_file(whole.path), load_file(path)
    assert all(torch.equal(first[name], second[name]) for name in first)


# --- the web and object stores ----------------------------------------------------------------------------


class Ranges(BaseHTTPRequestHandler):
    """A server of files in parts. files: by their paths. failing: number of requests that it still fails."""

    files: dict[str, bytes]
    asked: list[tuple[str, str]]
    failing = 0
    ranges = True

    def do_GET(self) -> None:
        kind, wanted = type(self), self.headers.get("Range", "")
        kind.asked.append((self.path, wanted))
        content = self.files.get(self.path.partition("?")[0])
        if kind.failing:
            kind.failing -= 1
            self.send_error(503)
            return
        if content is None:
            self.send_error(404)
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted) if self.ranges else None
        start, end = (int(found[1]), min(int(found[2]) + 1, len(content))) if found else (0, len(content))
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        self.wfile.write(content[start:end])

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def web(shards: str, tmp_path: Path) -> Iterator[tuple[str, type[Ranges]]]:
    """The address of the shards on a server of this machine, and the server's handler."""
    files = {f"/{path.name}": path.read_bytes() for path in (tmp_path / "shards").iterdir()}
    handler = type("Handler", (Ranges,), {"files": files, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/s-{{0..2}}.tar", handler
    server.shutdown()
    server.server_close()


def batches(source: Shards, workers: int = 0) -> Tensor:
    found = [batch["photos"] for _, batch in zip(range(6), PhotoBatches(source, 4, CROP, 3, workers).train_dataloader(),
                                                 strict=False)]  # fmt: skip
    return torch.cat(found)


def test_the_web_gives_what_a_disk_gives(shards: str, web: tuple[str, type[Ranges]], tmp_path: Path) -> None:
    address, handler = web
    there = Shards(address, validation=2)
    there.preflight()
    here = Shards(shards, validation=2)
    expected = batches(here)
    assert torch.equal(batches(there), expected) and torch.equal(batches(there, workers=1), expected)
    assert [np.array_equal(*each) for each in zip(there.held_out(CROP), here.held_out(CROP), strict=True)] == [True] * 2
    asked = len(handler.asked)
    indexes = Shards(address).indexes()
    assert len(handler.asked) == asked + 6, "a scan is kept: a shard's size, and whether it has an index now"
    for name, index in zip(("s-0", "s-1", "s-2"), indexes, strict=True):
        handler.files[f"/{name}.tar{SUFFIX}"] = index.encoded().encode()
    signed = Shards(f"{address}?key=1", validation=2)
    assert torch.equal(batches(signed), expected)
    assert ("/s-0.tar.json?key=1", "bytes=0-0") in handler.asked


def test_the_web_is_asked_again_and_at_last_named(
    web: tuple[str, type[Ranges]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, handler = web
    monkeypatch.setattr("onestroke.stores.time.sleep", lambda seconds: None)
    source = Shards(address, validation=0)
    source.preflight()
    expected = numbers(source, 4)
    handler.failing = 2
    assert numbers(source, 4) == expected
    handler.failing = 3
    with pytest.raises(Unavailable, match=r"s-\d\.tar' can't be had: 503"):
        numbers(source, 1)
    handler.ranges = False
    refused(lambda: Shards(address), "s-0.tar", "ignores range requests")
    del handler.files["/s-1.tar"]
    handler.ranges = True
    refused(lambda: Shards(address), "s-1.tar", "404")


def test_the_command_line_takes_braces() -> None:
    for value in ("s3://b/x-{000..117}.tar", 'a"b\\{0..1}.tar', "http://h:1/a.tar?b=c&d"):
        assert composed("data=webdataset", added(f"data.urls={value}"))["data"]["urls"] == value
    assert composed("data=webdataset", added('data.urls=["a{0..1}",b]'))["data"]["urls"] == ["a{0..1}", "b"]


def test_other_stores_are_read_in_parts_by_fsspec(shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="needs pip install 'onestroke[shards]'")
    memory = pytest.importorskip("fsspec").filesystem("memory")
    for path in (tmp_path / "shards").iterdir():
        memory.pipe(f"/in/{path.name}", path.read_bytes())
    parts: list[int] = []
    read = type(memory).cat_file

    def noted(self: Any, path: str, start: int, end: int, **more: Any) -> bytes:
        parts.append(end - start)
        return bytes(read(self, path, start, end, **more))

    monkeypatch.setattr(type(memory), "cat_file", noted)
    there, here = Shards("memory://in/s-{0..2}.tar", validation=2), Shards(shards, validation=2)
    assert torch.equal(batches(there), batches(here))
    assert max(parts[-24:]) < 2000, "no more than a photo at a time"
    refused(lambda: Shards("memory://in/s-{0..3}.tar"), "s-3.tar", "no such file")
    refused(lambda: Shards("nostore://in/a.tar"), "nostore://in/a.tar can't be opened")


def damaged_by(case: int, content: bytes) -> bytes:
    """A tar with random damage, in headers with a sound checksum too."""
    random, changed = np.random.default_rng(case), bytearray(content)
    for _ in range(random.integers(1, 8)):
        place = int(random.integers(len(changed)))
        kind = random.integers(4)
        if kind == 0:
            changed[place] = random.integers(256)
        elif kind == 1:
            del changed[place : place + int(random.integers(1, 5000))]
        elif kind == 2:
            changed[place:place] = random.bytes(int(random.integers(1, 3000)))
        elif len(header := changed[place // 512 * 512 :][:512]) == 512:
            header[int(random.choice([0, 124, 125, 135, 156, 257]))] = int(
                random.choice([0, 48, 57, 76, 120, 128, 255])
            )
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            changed[place // 512 * 512 : place // 512 * 512 + 512] = header
    return bytes(changed)


def test_a_scan_of_damaged_tars_ends_with_what_fits_in_them(tmp_path: Path) -> None:
    path, long = tmp_path / "a.tar", {"ü" * 120 + f"{i}.jpg": bytes(700 + 300 * i) for i in range(9)}
    content = tar(path, {**long, "short.jpg": b"1" * 900}).read_bytes()
    for case in range(300):
        path.write_bytes(damaged_by(case, content))
        shard = byte_ranges.ranged(str(path), "shards")
        try:
            index = scan(shard, str(path))
        except UserError:
            continue
        again = ShardIndex.decoded(index.encoded().encode(), shard.size)
        assert again is not None and again.encoded() == index.encoded()
        assert all(index.starts + index.lengths <= shard.size) and len(index) <= 20


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_s3_gives_what_a_disk_gives_to_forked_workers_too(
    bucket: tuple[Any, str], shards: str, tmp_path: Path, workers: int
) -> None:
    pytest.importorskip("pyarrow", reason="needs pip install 'onestroke[shards]'")
    client, options = bucket
    for path in (tmp_path / "shards").iterdir():
        client.put_object(Bucket="archive", Key=f"in/{path.name}", Body=path.read_bytes())
    there, here = Shards(f"s3://archive/in/s-{{0..2}}.tar{options}", validation=2), Shards(shards, validation=2)
    there.preflight()
    assert [np.array_equal(*each) for each in zip(there.held_out(CROP), here.held_out(CROP), strict=True)] == [True] * 2
    assert torch.equal(batches(there, workers), batches(here))
    refused(lambda: Shards(f"s3://archive/in/s-{{0..3}}.tar{options}"), "s-3.tar", "can't be reached")


@pytest.mark.slow
def test_shards_are_packed_into_s3_and_trained_on(bucket: tuple[Any, str], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pip install 'onestroke[shards]'")
    client, options = bucket
    pictures(tmp_path / "in", 0, 12)
    arguments = ["input=in", f"output=s3://archive/out{options}", "photos=5"]
    done = command("scripts/shard_photos.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    address = f"s3://archive/out/photos-{{000..002}}.tar{options}"
    assert f"data.urls={address}" in done.stdout

    def written() -> dict[str, Any]:
        listed = client.list_objects_v2(Bucket="archive", Prefix="out/")["Contents"]
        return {one["Key"]: one["LastModified"] for one in listed}

    first = written()
    assert len(first) == 6
    again = command("scripts/shard_photos.py", *arguments, cwd=tmp_path)
    assert "12 of 12 photos in 3 shards, 3 of them from before" in again.stdout
    assert written() == first
    few = ("steps=2", "trainer.workers=1", "network.controls=[]", "init=null")
    train("data=webdataset", f"data.urls={address}", *few, cwd=tmp_path)
