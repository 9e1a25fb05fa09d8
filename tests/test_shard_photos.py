"""scripts/shard_photos.py: shards that other readers read, the same each time, and never half of one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onestroke.byte_ranges import ranged
from onestroke.data.shard_index import SUFFIX, ShardIndex, scan
from onestroke.data.shards import Shards
from tests.commands import command
from tests.test_photos import flat, folder

SCRIPT = "scripts/shard_photos.py"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos in folders, with one that can't be read, one that has no suffix, and a file that is none."""
    root = folder(tmp_path / "in", 9)
    flat(root / "deep" / "er" / "ünï côde.png", 9)
    flat(root / "deep" / f"{'long' * 50}.jpg", 10)
    flat(root / "bare.jpg", 11).rename(root / "bare")
    (root / "cut.jpg").write_bytes((root / "000.jpg").read_bytes()[:300])
    (root / "notes.txt").write_text("no photo")
    return root


def packed(cwd: Path, *arguments: str, out: str = "out") -> dict[str, bytes]:
    done = command(SCRIPT, "input=in", f"output={out}", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in (cwd / out).iterdir()}


def test_webdatasets_own_reader_reads_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("webdataset", reason="needs pip install 'onestroke[test]'")
    found = packed(tmp_path, "photos=5")
    assert sorted(found) == sorted(f"photos-00{i}.tar{end}" for i in range(3) for end in ("", SUFFIX))
    read: dict[str, bytes] = {}
    shards = [str(tmp_path / "out" / f"photos-00{i}.tar") for i in range(3)]
    for sample in library.WebDataset(shards, shardshuffle=False):
        read |= {f"{sample['__key__']}.{end}": value for end, value in sample.items() if not end.startswith("__")}
    expected = {path.relative_to(photos).as_posix(): path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    del expected["cut.jpg"], expected["notes.txt"]
    expected["bare.jpeg"] = expected.pop("bare")
    assert read == expected


def test_the_index_is_that_of_a_scan_and_trains(photos: Path, tmp_path: Path) -> None:
    for name, content in packed(tmp_path, "photos=5").items():
        if name.endswith(".tar"):
            path = str(tmp_path / "out" / name)
            scanned = scan(ranged(path, "shards"), path)
            written = ShardIndex.decoded(Path(path + SUFFIX).read_bytes(), len(content))
            assert written is not None and written.encoded() == scanned.encoded()
    source = Shards(str(tmp_path / "out" / "photos-{000..002}.tar"), validation=1)
    source.preflight()
    assert not [line for n in range(11) for line in source.sample(n, 0, 64)[1]]


def test_the_same_command_makes_the_same_shards_and_goes_on(photos: Path, tmp_path: Path) -> None:
    first = packed(tmp_path, "photos=5")
    assert packed(tmp_path, "photos=5", out="other") == first
    assert packed(tmp_path, "photos=5", "seed=1", out="mixed") != first
    (tmp_path / "out" / "photos-001.tar").unlink()  # as after a stop: the index is written first
    (tmp_path / "out" / "photos-002.tar").unlink()
    (tmp_path / "out" / f"photos-002.tar{SUFFIX}").unlink()
    kept = (tmp_path / "out" / "photos-000.tar").stat().st_mtime_ns
    assert packed(tmp_path, "photos=5") == first
    assert (tmp_path / "out" / "photos-000.tar").stat().st_mtime_ns == kept


def test_shards_that_are_there_are_replaced_only_if_asked(photos: Path, tmp_path: Path) -> None:
    first = packed(tmp_path, "photos=5")
    for change in ("photos=6", "photos=5 max_side=100", "photos=5 seed=3"):
        done = command(SCRIPT, "input=in", "output=out", *change.split(), cwd=tmp_path)
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
        assert "has shards of other photos or options" in done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
    done = command(SCRIPT, "input=in", "output=out", "photos=9", "overwrite=true", cwd=tmp_path)
    assert done.returncode == 0 and "1 shards of an earlier command stay there, such as photos-002.tar" in done.stderr
    index = json.loads((tmp_path / "out" / f"photos-000.tar{SUFFIX}").read_bytes())
    assert len(index["starts"]) >= 8
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photos-000.tar").write_bytes(b"of someone else")
    done = command(SCRIPT, "input=in", "output=mine", cwd=tmp_path)
    assert done.returncode == 2 and os.listdir(tmp_path / "mine") == ["photos-000.tar"]


def test_sizes_in_bytes_and_in_pixels(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(6):
        noise = np.random.default_rng(i).integers(0, 256, (400, 500, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "in" / f"{i}.png")  # of 600 kB
    whole = packed(tmp_path, "size=2")
    assert [len(content) // 10**5 for name, content in sorted(whole.items()) if name.endswith(".tar")] == [18, 18]
    small = packed(tmp_path, "photos=6", "max_side=200", "name=small", out="less")
    assert sorted(small) == ["small-000.tar", f"small-000.tar{SUFFIX}"]
    source = Shards(str(tmp_path / "less" / "small-000.tar"), validation=0)
    index = source.indexes()[0]
    assert sorted(index.name(i) for i in range(6)) == [f"{i}.png.jpg" for i in range(6)]
    with source._file(0) as path:
        assert Image.open(path).size == (200, 160)


@pytest.mark.parametrize(("arguments", "says"), [
    (["output=out"], "input is needed"), (["input=in"], "output is needed"),
    (["input=gone", "output=out"], "there is no folder gone"), (["input=empty", "output=out"], "has no photos"),
    (["input=in", "output=http://h/x"], "can't be written to"), (["input=in", "output=out", "name=a/b"], "name="),
    (["input=in", "output=out", "size=0"], "size"), (["input=in", "output=out", "sise=5"], "did you mean"),
    (["input=in", "output=in/000.jpg"], "folder"),
])  # fmt: skip
def test_mistakes_are_told_in_a_sentence(arguments: list[str], says: str, tmp_path: Path) -> None:
    folder(tmp_path / "in", 2)
    (tmp_path / "empty").mkdir()
    done = command(SCRIPT, *arguments, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert says in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "in"]
