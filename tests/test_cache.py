"""The cache of decoded photos: a memo that kills, damage, full disks and other processes leave right or empty."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from onestroke.cli import main
from onestroke.cli.cache import build
from onestroke.data import cache, store
from onestroke.data.datamodule import PhotoBatches
from onestroke.data.photos import Photos
from onestroke.data.resized import cut, kept_side
from onestroke.data.store import Store
from onestroke.imaging.images import read_training
from tests.processes import Started, as_module

CROP = 48
Pixels = npt.NDArray[np.uint8]


def noise(seed: int, height: int = 9, width: int = 7) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def key(n: int) -> bytes:
    return n.to_bytes(store.KEY_BYTES, "big")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight photos of different sizes, smooth enough for JPEG."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(8):
        Image.fromarray(noise(n, 12, 16)).resize((150 + 9 * n, 100 + 20 * n)).save(folder / f"{n}.jpg")
    return folder


def photos(root: Path, folder: Path | None, min_size: int = 64) -> Photos:
    made = Photos(str(root), validation=0, min_size=min_size, cache=None if folder is None else str(folder))
    made.prepare(CROP)
    return made


def samples(source: Photos, count: int = 24) -> list[Pixels]:
    return [source.sample(n, 3, CROP)[0] for n in range(count)]


def opened(folder: Path) -> Store:
    return Store(cache.cache_folder(str(folder), CROP))


def never(*_: object) -> None:
    raise AssertionError("a photo was decoded")


# --- what is sampled ------------------------------------------------------------------------------------


def test_samples_are_the_same_with_and_without(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = samples(photos(root, None))
    filling = samples(photos(root, tmp_path / "cache"))
    monkeypatch.setattr("onestroke.data.photos.read_resized", never)
    filled = photos(root, tmp_path / "cache")
    for n, pictures in enumerate(zip(plain, filling, samples(filled), strict=True)):
        assert all(np.array_equal(pictures[0], other) for other in pictures[1:]), n
    assert np.array_equal(pickle.loads(pickle.dumps(filled)).sample(5, 3, CROP)[0], plain[5])


def test_photos_are_kept_at_the_size_that_crops_are_cut_from(root: Path, tmp_path: Path) -> None:
    samples(photos(root, tmp_path / "cache"))
    kept = opened(tmp_path / "cache")
    assert len(kept) == 8
    for n in range(8):
        path = root / f"{n}.jpg"
        found = cache.entry_key(root, str(path))
        entry = kept.get(found) if found else None
        side = min(150 + 9 * n, 100 + 20 * n)
        assert entry is not None and entry.side == side and min(entry.photo.shape[:2]) == min(106, side)
        assert np.array_equal(entry.photo, read_training(path, kept_side(CROP, entry.side)))


def test_a_crop_shows_what_its_zoom_says() -> None:
    ramp = np.tile(np.linspace(0, 250, 200)[None, :, None], (100, 1, 3)).astype(np.uint8)
    for zoom in (1.0, 1.3, 2.0, 2.2):
        crop = cut(ramp, CROP, zoom, 0.5, 0.25, False)
        side = round(CROP * 100 / max(CROP, min(100, round(CROP * zoom))))
        left = int(0.25 * (200 - side + 1))
        inside = (np.arange(CROP) + 0.5) * side / CROP - 0.5 + left
        error = np.abs(crop[:, 4:-4].astype(float) - (inside * 250 / 199)[None, 4:-4, None])
        assert error.max() < 1.6, zoom
        assert np.array_equal(cut(ramp, CROP, zoom, 0.5, 0.25, True), crop[:, ::-1])
    assert np.array_equal(cut(ramp, 100, 2.2, 0, 0, False), ramp[:, :100])  # never enlarged, and so untouched


def test_resampling_is_as_an_independent_one(root: Path) -> None:
    photo = np.asarray(Image.open(root / "7.jpg").convert("RGB"))
    crop = cut(photo, CROP, 1.5, 0.0, 0.0, False)
    side = round(CROP * min(photo.shape[:2]) / round(CROP * 1.5))
    expected = Image.fromarray(photo[:side, :side]).resize((CROP, CROP), Image.Resampling.BICUBIC)
    assert np.abs(crop.astype(int) - np.asarray(expected)).max() <= 1


def test_a_photo_cut_from_is_never_written_to() -> None:
    photo = noise(0, CROP, CROP)
    before = photo.copy()
    cut(photo, CROP, 1, 0, 0, False)[:] = 0
    assert np.array_equal(photo, before)


def test_changed_and_added_photos_are_decoded_anew(root: Path, tmp_path: Path) -> None:
    samples(photos(root, tmp_path / "cache"))
    Image.new("RGB", (160, 120), (255, 0, 0)).save(root / "3.jpg")
    Image.new("RGB", (160, 120), (0, 255, 0)).save(root / "9.jpg")
    seen = samples(photos(root, tmp_path / "cache"), 9)
    plain = samples(photos(root, None), 9)
    assert all(np.array_equal(a, b) for a, b in zip(seen, plain, strict=True))
    assert sum((picture.reshape(-1, 3).mean(0) > (250, 250, 250)).sum() == 1 for picture in seen) == 2
    assert len(opened(tmp_path / "cache")) == 10  # the old third photo stays


def test_a_photo_too_small_now_is_skipped_although_it_is_there(root: Path, tmp_path: Path) -> None:
    samples(photos(root, tmp_path / "cache"))
    stricter = photos(root, tmp_path / "cache", min_size=110)
    skipped = [line for n in range(8) for line in stricter.sample(n, 3, CROP)[1]]
    assert len(skipped) == 1 and "0.jpg: is too small: its shorter side has 100 pixels" in skipped[0]


def test_corrupt_photos_are_skipped_with_a_cache_as_without(root: Path, tmp_path: Path) -> None:
    (root / "bad.jpg").write_bytes((root / "2.jpg").read_bytes()[:900])
    (root / "text.png").write_text("no picture")
    plain, cached = photos(root, None), photos(root, tmp_path / "cache")
    for _ in range(2):
        for n in range(12):
            one, other = plain.sample(n, 1, CROP), cached.sample(n, 1, CROP)
            assert np.array_equal(one[0], other[0]) and one[1] == other[1]
    assert len(opened(tmp_path / "cache")) == 8


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_fill_it_and_read_it(root: Path, tmp_path: Path, workers: int) -> None:
    def pictures(source: Photos, count: int) -> list[torch.Tensor]:
        batches = iter(PhotoBatches(source, 2, CROP, 3, count).train_dataloader())
        return [next(batches)["photos"] for _ in range(12)]

    plain = pictures(photos(root, None), 0)
    for _ in range(2):
        cached = pictures(photos(root, tmp_path / "cache"), workers)
        assert all(torch.equal(a, b) for a, b in zip(plain, cached, strict=True))
    assert len(opened(tmp_path / "cache")) == 8


# --- the files ------------------------------------------------------------------------------------------


def test_the_files_are_raw_pixels_and_records(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    for n in range(3):
        kept.put(key(n), noise(n, 5 + n, 8), 99)
    (pixels,) = tmp_path.glob("*.pixels")
    (index,) = tmp_path.glob("*.index")
    raw = np.memmap(pixels, np.uint8, "r")
    assert np.array_equal(raw, np.concatenate([noise(n, 5 + n, 8).ravel() for n in range(3)]))
    records = np.fromfile(index, [("key", "V16"), ("offset", "<u8"), ("size", "<u4", 3), ("crc", "<u4"), ("c", "<u8")])
    assert records["offset"].tolist() == [0, 120, 264]
    assert records["size"].tolist() == [[5, 8, 99], [6, 8, 99], [7, 8, 99]]


def test_what_is_read_can_not_be_written_to(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    kept.put(key(1), noise(1), 7)
    entry = kept.get(key(1))
    assert entry is not None and np.array_equal(entry.photo, noise(1))
    with pytest.raises(ValueError, match="read-only"):
        entry.photo[0] = 0


def test_a_new_pair_of_files_where_one_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_BYTES", 300)
    kept = Store(tmp_path)
    for n in range(9):
        kept.put(key(n), noise(n), 7)
    assert len(list(tmp_path.glob("*.pixels"))) == 5
    again = Store(tmp_path)
    for n in range(9):
        entry = again.get(key(n))
        assert entry is not None and np.array_equal(entry.photo, noise(n))


@pytest.mark.parametrize("damage", ["pixel", "cut", "gone", "record", "torn record"])
def test_damage_is_found_and_mended(tmp_path: Path, damage: str) -> None:
    kept = Store(tmp_path)
    for n in range(3):
        kept.put(key(n), noise(n), 7)
    (pixels,), (index,) = tmp_path.glob("*.pixels"), tmp_path.glob("*.index")
    if damage == "pixel":
        data = bytearray(pixels.read_bytes())
        data[-5] ^= 1
        pixels.write_bytes(data)
    elif damage == "cut":
        os.truncate(pixels, pixels.stat().st_size - 1)
    elif damage == "gone":
        pixels.unlink()
    elif damage == "record":
        data = bytearray(index.read_bytes())
        data[-12] ^= 1
        index.write_bytes(data)
    else:
        os.truncate(index, index.stat().st_size - 3)
    again = Store(tmp_path)
    assert again.get(key(2)) is None
    whole = again.get(key(0))
    assert (whole is None) == (damage == "gone")
    again.put(key(2), noise(2), 7)
    for reader in (again, Store(tmp_path)):
        entry = reader.get(key(2))
        assert entry is not None and np.array_equal(entry.photo, noise(2))


def test_several_at_once_see_each_others_photos(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    one.put(key(1), noise(1), 7)
    entry = other.get(key(1))
    assert entry is not None and np.array_equal(entry.photo, noise(1))
    before = other.size()
    other.put(key(1), noise(1), 7)
    assert other.size() == before  # known already


def test_a_full_disk_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Store(tmp_path)
    kept.put(key(1), noise(1), 7)
    monkeypatch.setattr(store, "_CHECK_EVERY", 1)
    kept = Store(tmp_path)
    kept.put(key(2), noise(2), 7)
    monkeypatch.setattr(store, "free_bytes", lambda _: 10**9)
    for n in range(3, 9):
        kept.put(key(n), noise(n), 7)
    (line,) = caplog.messages
    assert "takes no more photos (only 1.0 GB are free)" in line
    assert len(Store(tmp_path)) == 2 and kept.get(key(1)) is not None


# --- where it is, and whether ---------------------------------------------------------------------------


def test_auto_is_in_the_users_cache(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    source = Photos(str(root), validation=0)
    source.sample(0, 0, CROP)
    assert not (tmp_path / "xdg").exists()  # before it is asked for
    source.prepare(CROP)
    samples(source)
    (folder,) = (tmp_path / "xdg" / "onestroke" / "photos").iterdir()
    assert folder.name.startswith(f"crop{CROP}-") and len(Store(folder)) == 8


def test_it_tells_where_it_is_and_how_large_it_becomes(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    samples(photos(root, tmp_path / "cache"))
    (line,) = caplog.messages
    assert str(tmp_path / "cache") in line and "0 MB of about 0 MB there" in line
    files = [str(path) for path in sorted(root.iterdir())]
    kept = sum(path.stat().st_size for path in opened(tmp_path / "cache").folder.glob("*.pixels"))
    assert cache.expected_bytes(files, CROP) == pytest.approx(kept, rel=0.02)


def test_no_room(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cache, "free_bytes", lambda _: 10**5)
    source = photos(root, tmp_path / "cache")
    (line,) = caplog.messages
    assert "photo cache: none, as it would take" in line and "data.cache=" in line
    assert all(np.array_equal(a, b) for a, b in zip(samples(source), samples(photos(root, None)), strict=True))
    assert not list((tmp_path / "cache").rglob("*.pixels"))


def test_a_folder_that_can_not_be_made(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "file").touch()
    samples(photos(root, tmp_path / "file"))
    (line,) = caplog.messages
    assert "photo cache: none" in line and "data.cache=" in line


def test_a_read_only_folder_is_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    samples(photos(root, tmp_path / "cache"), 3)
    before = opened(tmp_path / "cache").size()
    caplog.clear()
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    monkeypatch.setattr(store, "_Writer", never)
    samples(photos(root, tmp_path / "cache"))
    (line,) = caplog.messages
    assert "none is added" in line and opened(tmp_path / "cache").size() == before


# --- the command ----------------------------------------------------------------------------------------


def arguments(root: Path, folder: Path) -> list[str]:
    return [f"root={root}", f"cache={folder}", f"crop={CROP}", "workers=1"]


def started(root: Path, folder: Path) -> Started:
    """`python -m onestroke cache build`."""
    return Started(as_module, "onestroke", "cache", "build", *arguments(root, folder), cwd=folder.parent)


def test_build_and_build_again(root: Path, tmp_path: Path) -> None:
    (root / "text.png").write_text("no picture")
    folder = tmp_path / "cache"
    done = started(root, folder).done()
    assert done.returncode == 0, done.stderr
    assert "9 of 9 photos" in done.stdout and "1 files were skipped" in done.stdout and "text.png: " in done.stdout
    assert len(opened(folder)) == 8
    before = opened(folder).size()
    assert build(arguments(root, folder)) == 0
    assert opened(folder).size() == before


class Killed(cache.Builder):
    def __call__(self, path: str) -> str:
        if path.endswith("040.jpg"):
            os.killpg(0, signal.SIGKILL)
        return super().__call__(path)


def killed_build(*given: str) -> None:
    """The command, killed with all of its processes when it comes to one of the photos."""
    os.setsid()
    with mock.patch.object(cache, "Builder", Killed):
        build(list(given))


def test_a_killed_build_goes_on(tmp_path: Path) -> None:
    root, folder = tmp_path / "photos", tmp_path / "cache"
    root.mkdir()
    Image.fromarray(noise(0, 12, 16)).resize((640, 480)).save(root / "000.jpg")
    for n in range(1, 150):
        shutil.copy(root / "000.jpg", root / f"{n:03}.jpg")
    killed = Started(killed_build, *arguments(root, folder), cwd=tmp_path).done()
    assert killed.returncode == -signal.SIGKILL
    assert len(opened(folder)) == 40
    assert build(arguments(root, folder)) == 0
    assert len(opened(folder)) == 150
    source, plain = photos(root, folder), photos(root, None)
    assert all(np.array_equal(source.sample(n, 0, CROP)[0], plain.sample(n, 0, CROP)[0]) for n in range(20))


def test_two_builds_at_once(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    builds = [started(root, folder) for _ in range(2)]
    assert [build.done().returncode for build in builds] == [0, 0]
    assert len(opened(folder)) == 8
    source = photos(root, folder)
    assert all(np.array_equal(a, b) for a, b in zip(samples(source), samples(photos(root, None)), strict=True))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bild"], "there is no command 'cache bild': did you mean 'build'?"),
        (["build", "crop=9"], "root is needed"),
        (["build", "root=gone"], "there is no folder gone"),
        (["build", "root=gone", "size=3"], "there is no option 'size'"),
        (["build", "root=gone", "crop=x"], "crop must be a whole number"),
    ],
)
def test_bad_commands(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["cache", *arguments]) == 2
    assert told in capsys.readouterr().err
