from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from onestroke.data import resized
from onestroke.data.cache import Builder
from onestroke.data.draws import MIN_PHOTOS
from onestroke.data.photos import COCO, Photos
from onestroke.data.store import Store
from onestroke.errors import UserError

CROP = 64


def flat(path: Path, index: int, size: tuple[int, int] = (120, 90)) -> Path:
    """A photo of one colour that tells its index, and stays legible after JPEG and resizing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (index % 8 * 32 + 8, index // 8 * 32 + 8, 128)).save(path)
    return path


def folder(root: Path, count: int, first: int = 0, suffixes: tuple[str, ...] = (".jpg",)) -> Path:
    for index in range(first, first + count):
        flat(root / f"{index:03d}{suffixes[index % len(suffixes)]}", index)
    return root


def shown(crop: npt.NDArray[np.uint8]) -> int:
    red, green, _ = crop.reshape(-1, 3).mean(0)
    return int(red) // 32 + int(green) // 32 * 8


def epoch(photos: Photos, count: int, seed: int = 0, start: int = 0) -> list[int]:
    return [shown(photos.sample(n, seed, CROP)[0]) for n in range(start, start + count)]


def test_every_photo_once_an_epoch_in_a_new_order(tmp_path: Path) -> None:
    photos = Photos(str(folder(tmp_path, 12)), validation=0)
    first, second = epoch(photos, 12), epoch(photos, 12, start=12)
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert epoch(photos, 12, seed=1) not in (first, second)


def test_nested_folders_and_mixed_formats(tmp_path: Path) -> None:
    folder(tmp_path / "a", 4, suffixes=(".jpg", ".PNG", ".webp", ".bmp"))
    folder(tmp_path / "a" / "deep" / "er", 4, first=4, suffixes=(".tif", ".gif", ".jpeg"))
    flat(tmp_path / "top.png", 8)
    flat(tmp_path / ".hidden.jpg", 20)
    flat(tmp_path / ".trash" / "gone.jpg", 21)
    (tmp_path / "a" / "._000.jpg").write_bytes(b"a resource fork")
    (tmp_path / "notes.txt").write_text("not a photo")
    photos = Photos(str(tmp_path), validation=0)
    photos.preflight()
    assert photos.describe() == f"photos: 9 in {tmp_path}"
    assert sorted(epoch(photos, 9)) == list(range(9))


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = folder(tmp_path / "root", 6)
    elsewhere = folder(tmp_path / "elsewhere", 3, first=6)
    single = flat(tmp_path / "single" / "photo.jpg", 9)
    (root / "round").symlink_to(root)
    (root / "self.jpg").symlink_to(root / "self.jpg")
    (root / "self").symlink_to(root / "self")
    (root / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (root / "away").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root)
    (root / "file.jpg").symlink_to(single)
    (root / "000-again.jpg").symlink_to(root / "000.jpg")
    photos = Photos(str(root), validation=0)
    assert photos.describe() == f"photos: 10 in {root}"
    assert sorted(epoch(photos, 10)) == list(range(10))


def test_coco_layout_leaves_the_other_folders_out(tmp_path: Path) -> None:
    folder(tmp_path / COCO, 7)
    folder(tmp_path / "val2017", 7, first=20)
    photos = Photos(str(tmp_path), val=str(tmp_path / "val2017"))
    assert photos.describe() == f"photos: 7 in {tmp_path / COCO}"
    assert sorted(epoch(photos, 7)) == list(range(7))
    assert [shown(p) for p in photos.held_out(CROP)] == list(range(20, 27))


def spoiled(root: Path) -> dict[str, str]:
    """Files that cannot be used, with a word that their reason must have."""
    whole = folder(root, 1, first=30) / "030.jpg"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(whole)
    (root / "cut.jpg").write_bytes(whole.read_bytes()[:3000])
    whole.unlink()
    (root / "text.jpg").write_text("this is not a picture")
    (root / "empty.png").touch()
    flat(root / "tiny.png", 31, (40, 30))
    flat(root / "strip.png", 32, (900, 64))
    return {"cut": "damaged", "text": "picture", "empty": "empty", "tiny": "30 pixels", "strip": "narrow"}


def test_bad_files_are_skipped_named_and_replaced_by_the_next(tmp_path: Path) -> None:
    reasons = spoiled(folder(tmp_path, 6))
    photos = Photos(str(tmp_path), validation=0)
    photos.preflight()
    seen, skips = [], {}
    samples = [photos.sample(n, 3, CROP) for n in range(11)]
    for crop, skipped in samples:
        seen.append(shown(crop))
        for line in skipped:
            path, _, reason = line.partition(": ")
            skips[Path(path).stem] = reason
    assert set(seen) == set(range(6))
    assert skips.keys() == reasons.keys()
    for name, word in reasons.items():
        assert word in skips[name]
    # A place whose photo was skipped shows what the next place shows, round the end.
    for n, (_, skipped) in enumerate(samples):
        assert seen[n] == seen[(n + len(skipped)) % 11]
    assert sum(bool(skipped) for _, skipped in samples) == len(reasons)


def test_skips_are_the_same_in_a_run_that_starts_later(tmp_path: Path) -> None:
    spoiled(folder(tmp_path, 8))
    before = Photos(str(tmp_path), validation=2)
    whole = [before.sample(n, 5, CROP) for n in range(45)]
    later = Photos(str(tmp_path), validation=2)
    crop, skipped = later.sample(37, 5, CROP)
    assert np.array_equal(crop, whole[37][0]) and skipped == whole[37][1]
    for n in range(38, 45):
        crop, skipped = later.sample(n, 5, CROP)
        assert np.array_equal(crop, whole[n][0]) and skipped == whole[n][1]


def detailed(root: Path, count: int = 8) -> Path:
    root.mkdir(exist_ok=True)
    ramp = np.linspace(0, 255, 160).astype(np.uint8)
    picture = np.stack([np.tile(ramp, (120, 1)), np.tile(ramp[:120, None], (1, 160)), np.zeros((120, 160))], -1)
    for index in range(count):
        Image.fromarray(picture.astype(np.uint8)).save(root / f"{index}.png")
    return root


def test_two_instances_agree_and_pickling_keeps_the_order(tmp_path: Path) -> None:
    root = str(detailed(tmp_path))
    first, second = Photos(root, validation=1), Photos(root, validation=1)
    ahead = [first.sample(n, 7, CROP)[0] for n in range(40)]
    copied = pickle.loads(pickle.dumps(first))
    assert np.array_equal(second.sample(37, 7, CROP)[0], ahead[37])
    assert np.array_equal(copied.sample(38, 7, CROP)[0], ahead[38])
    assert np.array_equal(first.sample(3, 7, CROP)[0], ahead[3])
    assert not np.array_equal(first.sample(37, 8, CROP)[0], ahead[37])


def test_flip_zoom_and_position_vary(tmp_path: Path) -> None:
    photos = Photos(str(detailed(tmp_path)), validation=0)
    flipped, reds, greens, spans = 0, set(), set(), []
    for n in range(200):
        crop, skipped = photos.sample(n, 0, 48)
        assert crop.shape == (48, 48, 3) and crop.dtype == np.uint8 and crop.flags["C_CONTIGUOUS"]
        assert not skipped
        across = crop[0, :, 0].astype(int)
        flipped += across[-1] < across[0]
        reds.add(across.min() // 8)
        greens.add(int(crop[:, 0, 1].min()) // 8)
        spans.append(abs(across[-1] - across[0]))
    assert 70 < flipped < 130
    assert len(reds) > 8 and len(greens) > 8
    # The red ramp shows how much of the photo's width a crop spans: 3/4 unzoomed, down to 1 / 2.2 of that.
    assert max(spans) > 180 and min(spans) < 95


def test_small_photos_are_not_enlarged_more_than_the_crop_needs(tmp_path: Path) -> None:
    for index in range(8):
        flat(tmp_path / f"{index}.png", index, (100, 70))
    photos = Photos(str(tmp_path), validation=0)
    assert photos.sample(0, 0, 100)[0].shape == (100, 100, 3)
    with pytest.raises(UserError, match=r"8 photos .* size 160.*\d\.png is too small"):
        for n in range(8):
            photos.sample(n, 0, 160)


def test_the_zoom_stops_at_the_photos_own_size(tmp_path: Path) -> None:
    stripes = np.zeros((72, 200, 3), np.uint8)
    stripes[:, ::2] = 255
    for index in range(6):
        Image.fromarray(stripes).save(tmp_path / f"{index}.png")
    photos = Photos(str(tmp_path), validation=0)
    crops = [photos.sample(n, 0, CROP)[0] for n in range(30)]
    # Most zooms drawn are beyond the 72 pixels there are, and then the pixels must come untouched.
    assert sum(set(np.unique(crop)) == {0, 255} for crop in crops) >= 20


def test_held_out_photos_are_never_trained_on(tmp_path: Path) -> None:
    photos = Photos(str(folder(tmp_path, 30)), validation=6)
    held = [shown(p) for p in photos.held_out(CROP)]
    assert held == [2, 7, 12, 17, 22, 27]
    assert sorted(epoch(photos, 24)) == sorted(set(range(30)) - set(held))
    trained_first = Photos(str(tmp_path), validation=6)
    assert not set(epoch(trained_first, 48)) & set(held)


@pytest.mark.parametrize("size", [32, 100, 256])
def test_held_out_is_the_same_at_every_size(tmp_path: Path, size: int) -> None:
    spoiled(folder(tmp_path, 20))
    pictures = Photos(str(tmp_path), validation=4).held_out(size)
    assert all(p.shape == (size, size, 3) and p.dtype == np.uint8 for p in pictures)
    assert [shown(p) for p in pictures] == [3, 9, 15, 0]  # the files after the last place are bad


def test_held_out_is_cut_from_the_centre(tmp_path: Path) -> None:
    (picture,) = Photos(str(detailed(tmp_path)), validation=1).held_out(120)
    assert np.array_equal(picture[0, :, 0], np.linspace(0, 255, 160).astype(np.uint8)[20:140])


def test_the_fewest_photos_still_leave_one_to_validate_on(tmp_path: Path) -> None:
    photos = Photos(str(folder(tmp_path, MIN_PHOTOS)))
    photos.preflight()
    held = [shown(p) for p in photos.held_out(CROP)]
    assert len(held) == 1
    assert sorted([*epoch(photos, MIN_PHOTOS - 1), *held]) == list(range(MIN_PHOTOS))


def test_val_folder_inside_root_is_left_out_of_training(tmp_path: Path) -> None:
    folder(tmp_path / "a", 6)
    folder(tmp_path / "val", 5, first=10)
    (tmp_path / "val" / "009.jpg").write_text("not a picture, and first in order")
    (tmp_path / "z").symlink_to(tmp_path / "val")
    photos = Photos(str(tmp_path), val=str(tmp_path / "val"), validation=3)
    photos.preflight()
    assert [shown(p) for p in photos.held_out(CROP)] == [10, 11, 12]
    assert sorted(epoch(photos, 6)) == list(range(6))


def test_val_folder_around_root_gives_only_other_photos(tmp_path: Path) -> None:
    folder(tmp_path / "a", 6)
    folder(tmp_path / "b", 2, first=10)
    photos = Photos(str(tmp_path / "a"), val=str(tmp_path))
    assert [shown(p) for p in photos.held_out(CROP)] == [10, 11]


def broken(photos: Photos, *words: str) -> None:
    with pytest.raises(UserError) as error:
        photos.preflight()
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_preflight_names_what_is_wrong_with_the_folders(tmp_path: Path) -> None:
    good = str(folder(tmp_path / "good", 6))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    broken(Photos(str(tmp_path / "none")), str(tmp_path / "none"), "data.root=/path/to/photos")
    broken(Photos(""), "data.root=/path/to/photos")
    broken(Photos(str(tmp_path / "file")), "is no folder", "data.root=")
    broken(Photos(str(tmp_path / "empty")), "has 0 photos", ".jpg")
    broken(Photos(str(folder(tmp_path / "few", 4))), "has 4 photos", "5")
    broken(Photos(good, val=str(tmp_path / "none")), "data.val=")
    broken(Photos(good, val=str(tmp_path / "empty")), "empty", "no readable photo")
    broken(Photos(good, val=good), "data.val")
    broken(Photos(good, validation=-1), "data.validation is -1")


def test_too_few_readable_photos_among_many_files(tmp_path: Path) -> None:
    folder(tmp_path, 4)
    for index in range(300):
        (tmp_path / f"bad{index}.jpg").write_text("not a picture")
    photos = Photos(str(tmp_path), validation=0)
    broken(photos, "fewer than 5 of 200 photos", "cannot be read as a picture")
    with pytest.raises(UserError, match=r"300 of 304 photos .* cannot be used"):
        for n in range(304):
            photos.sample(n, 0, CROP)
    with pytest.raises(UserError, match="300 of 304"):
        photos.sample(0, 0, CROP)


def test_preflight_decodes_and_does_not_trust_headers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / f"{index}.jpg"
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
        os.truncate(path, 2000)
    broken(Photos(str(tmp_path)), "fewer than 5 of 12 photos", "damaged or cut short")


def palette_without_colours(path: Path) -> Path:
    """A PNG of palette indices that lacks its palette: it decodes, and fails behind that."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    side = 96
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 3, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(range(side)) for _ in range(side))))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b""))
    return path


def test_a_palette_picture_without_a_palette_costs_itself_alone(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", 8)
    bad = palette_without_colours(root / "bad.png")
    photos = Photos(str(root), validation=1, cache=None)
    photos.preflight()
    skipped = {line for n in range(8) for line in photos.sample(n, 0, CROP)[1]}
    assert {line.split(": ")[0] for line in skipped} == {str(bad)}


@pytest.mark.parametrize(
    "error", [TypeError("no"), ZeroDivisionError(), RuntimeError("a\nb"), MemoryError(), OSError(5, "I/O")]
)
@pytest.mark.parametrize("where", ["read_training", "opened"])
def test_whatever_a_photo_provokes_costs_that_photo_alone(
    error: Exception, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the header or behind the decoder; in training and where the cache is built."""
    root = folder(tmp_path / "photos", 8)
    real = getattr(resized, where)

    def breaks(path: Any, *rest: Any) -> Any:
        if Path(path).name == "003.jpg":
            raise error
        return real(path, *rest)

    monkeypatch.setattr(resized, where, breaks)
    photos = Photos(str(root), validation=2, cache=None)
    photos.preflight()
    assert len(photos.held_out(CROP)) == 2
    skipped = [line for n in range(8) for line in photos.sample(n, 0, CROP)[1]]
    assert skipped and {line.split(": ")[0] for line in skipped} == {str(root / "003.jpg")}
    assert type(error).__name__ in skipped[0] and "\n" not in skipped[0]
    builder = Builder(Store(tmp_path / "cache"), root, CROP, 64)
    wrong = [builder(str(root / f"{n:03d}.jpg")) for n in range(8)]
    assert [n for n, line in enumerate(wrong) if line] == [3]


@pytest.mark.parametrize("error", [NameError("name 'x' is not defined"), ImportError("no module")])
def test_a_mistake_of_our_own_is_no_fault_of_a_photo(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(resized, "read_training", breaks)
    with pytest.raises(type(error)):
        Photos(str(folder(tmp_path / "photos", 8)), cache=None).preflight()


def test_where_every_photo_fails_the_sentence_names_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> Any:
        raise AttributeError("no such thing")

    monkeypatch.setattr(resized, "read_training", breaks)
    with pytest.raises(UserError, match="AttributeError: no such thing"):
        Photos(str(folder(tmp_path / "photos", 8)), cache=None).preflight()
